"""A policy bundle: a snapshot as a directory of a readable manifest and checksummed arrays."""

from __future__ import annotations

import io
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct, structs

from nba.arrays import AnyArray
from nba.errors import BundleError
from nba.posteriors import Posterior, state_of
from nba.snapshot import Snapshot
from nba.strategy import Strategy

FORMAT = 1
MANIFEST, ARRAYS = "manifest.json", "posterior.npz"


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a bundle says about itself."""

    format: int
    version: int
    posterior_seq: int
    strategy: Strategy
    prices: tuple[float, ...]
    sha256: dict[str, str]  # file name -> checksum


def posterior_bytes(posterior: Posterior) -> bytes:
    """The learnt state of a posterior; equal posteriors give equal bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, **{name: _packed(array) for name, array in state_of(posterior).items()})
    return buffer.getvalue()


def posterior_from_bytes(data: bytes, strategy: Strategy) -> Posterior:
    """The posterior that `posterior_bytes` wrote, on the prior of its strategy."""
    prior = strategy.model.prior(strategy.catalogue, strategy.schema)
    expected = state_of(prior)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            state = {name: _unpacked(archive[name], like.shape) for name, like in expected.items()}
    except (ValueError, KeyError, OSError, EOFError) as error:
        raise BundleError(f"The posterior does not fit the model {type(prior).__name__}: {error}.") from None
    return structs.replace(prior, **state)


def bundle_digest(path: Path) -> str:
    """The identity of a bundle: the checksum of its manifest, which holds those of its arrays."""
    return sha256(_read(path, MANIFEST)).hexdigest()


def save_bundle(snapshot: Snapshot, path: Path) -> Path:
    """Write a snapshot to a directory, which is made if need be."""
    arrays = posterior_bytes(snapshot.posterior)
    manifest = Manifest(
        format=FORMAT,
        version=snapshot.version,
        posterior_seq=snapshot.posterior_seq,
        strategy=snapshot.strategy,
        prices=tuple(snapshot.prices.tolist()),
        sha256={ARRAYS: sha256(arrays).hexdigest()},
    )
    path.mkdir(parents=True, exist_ok=True)
    (path / ARRAYS).write_bytes(arrays)
    (path / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2))
    return path


def load_bundle(path: Path) -> Snapshot:
    """Read a snapshot back; a missing, damaged or foreign bundle is a BundleError."""
    try:
        manifest = msgspec.json.decode(_read(path, MANIFEST), type=Manifest)
    except msgspec.MsgspecError as error:
        raise BundleError(f"{path.name}/{MANIFEST} is not a bundle manifest: {error}.") from None
    if manifest.format != FORMAT:
        raise BundleError(f"{path.name} has bundle format {manifest.format}; this nba reads {FORMAT}.")
    arrays = _read(path, ARRAYS)
    if sha256(arrays).hexdigest() != manifest.sha256.get(ARRAYS):
        raise BundleError(f"{path.name}/{ARRAYS} does not match its checksum; fetch the bundle again.")
    return Snapshot(
        strategy=manifest.strategy,
        posterior=posterior_from_bytes(arrays, manifest.strategy),
        prices=np.array(manifest.prices),
        version=manifest.version,
        posterior_seq=manifest.posterior_seq,
    )


def _read(path: Path, name: str) -> bytes:
    try:
        return (path / name).read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BundleError(
            f"{path.name or path} is not a policy bundle: {name}: {reason}. "
            "`nba train` writes bundles and `nba policies pull` fetches registered ones."
        ) from None


def _packed(array: AnyArray) -> AnyArray:
    """A square matrix as its upper triangle: precision matrices are symmetric, half is enough."""
    if array.ndim == 2 and array.shape[0] == array.shape[1]:
        return array[np.triu_indices(array.shape[0])]
    return array


def _unpacked(array: AnyArray, shape: tuple[int, ...]) -> AnyArray:
    """The inverse of `_packed`."""
    if array.ndim == 1 and len(shape) == 2:
        full = np.zeros(shape)
        rows, columns = np.triu_indices(shape[0])
        full[rows, columns] = array
        full[columns, rows] = array
        return full
    if array.shape != shape:
        raise ValueError(f"an array has shape {array.shape}, expected {shape}")
    return array
