"""A policy bundle: a snapshot as a directory of a readable manifest and checksummed arrays."""

from __future__ import annotations

import io
from hashlib import sha256
from pathlib import Path
from zipfile import BadZipFile

import msgspec
import numpy as np
from msgspec import Struct, structs

from nba.arrays import AnyArray
from nba.errors import BundleError
from nba.outcomes import OutcomeBeliefs
from nba.posteriors import GROWING_FIELDS, SYMMETRIC_FIELDS, Posterior, state_of
from nba.snapshot import Snapshot
from nba.strategy import Strategy

FORMAT = 4
_READABLE = (3, FORMAT)  # 4 added settings to the strategy, all with defaults
_NO_OUTCOMES = OutcomeBeliefs()
MANIFEST, ARRAYS = "manifest.json", "posterior.npz"


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a bundle says about itself."""

    format: int
    version: int
    posterior_seq: int
    strategy: Strategy
    prices: tuple[float, ...]
    sha256: dict[str, str]  # file name -> checksum


class _Format(Struct, frozen=True):
    format: int


def posterior_bytes(posterior: Posterior, outcomes: OutcomeBeliefs = _NO_OUTCOMES) -> bytes:
    """The learnt state of a posterior, and of beliefs about outcomes; equal ones give equal bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **_packed(posterior), **outcomes.state())
    return buffer.getvalue()


def posterior_from_bytes(data: bytes, strategy: Strategy) -> Posterior:
    """The posterior that `posterior_bytes` wrote, on the prior of its strategy."""
    prior = strategy.model.prior(strategy.catalogue, strategy.schema)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return _unpacked(prior, {name: archive[name] for name in archive.files})
    except (ValueError, KeyError, OSError, EOFError, BadZipFile) as error:
        raise BundleError(f"The posterior does not fit the model {type(prior).__name__}: {error}.") from None


def outcomes_from_bytes(data: bytes, strategy: Strategy) -> OutcomeBeliefs:
    """The beliefs about outcomes that `posterior_bytes` wrote, on the priors of their strategy."""
    prior = strategy.outcomes()
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return prior.restored({name: archive[name] for name in prior.state()})
    except (ValueError, KeyError, OSError, EOFError, BadZipFile) as error:
        raise BundleError(f"The posterior does not fit the stages and revenue: {error}.") from None


def bundle_digest(path: Path) -> str:
    """The identity of a bundle: the checksum of its manifest, which holds those of its arrays."""
    return sha256(_read(path, MANIFEST)).hexdigest()


def save_bundle(snapshot: Snapshot, path: Path) -> Path:
    """Write a snapshot to a directory, which is made if need be."""
    arrays = posterior_bytes(snapshot.posterior, snapshot.outcomes)
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
    manifest = _manifest(path)
    arrays = _read(path, ARRAYS)
    if sha256(arrays).hexdigest() != manifest.sha256.get(ARRAYS):
        raise BundleError(f"{path.name}/{ARRAYS} does not match its checksum; fetch the bundle again.")
    return Snapshot(
        strategy=manifest.strategy,
        posterior=posterior_from_bytes(arrays, manifest.strategy),
        outcomes=outcomes_from_bytes(arrays, manifest.strategy),
        prices=np.array(manifest.prices),
        version=manifest.version,
        posterior_seq=manifest.posterior_seq,
    )


def _manifest(path: Path) -> Manifest:
    """The checked manifest; its format is read first, because another format may have other fields."""
    text = _read(path, MANIFEST)
    try:
        found = msgspec.json.decode(text, type=_Format).format
        if found not in _READABLE:
            reads = " and ".join(map(str, _READABLE))
            raise BundleError(f"{path.name} has bundle format {found}; this nba reads {reads}.")
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BundleError(f"{path.name}/{MANIFEST} is not a bundle manifest: {error}.") from None
    n_resources = manifest.strategy.resource_use.shape[1]
    if len(manifest.prices) != n_resources:
        raise BundleError(
            f"{path.name}/{MANIFEST}: prices must be {n_resources}, got {len(manifest.prices)}."
        )
    return manifest


def _read(path: Path, name: str) -> bytes:
    try:
        return (path / name).read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BundleError(
            f"{path.name or path} is not a policy bundle: {name}: {reason}. "
            "`nba train` writes bundles and `nba policies pull` fetches registered ones."
        ) from None


def _packed(posterior: Posterior) -> dict[str, AnyArray]:
    """The learnt arrays; of a symmetric one the upper triangle is enough."""
    symmetric = SYMMETRIC_FIELDS.get(type(posterior), ())
    return {
        name: array[np.triu_indices(array.shape[0])] if name in symmetric else array
        for name, array in state_of(posterior).items()
    }


def _unpacked(like: Posterior, stored: dict[str, AnyArray]) -> Posterior:
    """The inverse of `_packed`, onto a posterior of the same model."""
    state = {}
    for name, packed in _packed(like).items():
        array = stored[name]
        first = 1 if name in GROWING_FIELDS.get(type(like), ()) else 0
        if array.shape[first:] != packed.shape[first:] or array.dtype != packed.dtype:
            raise ValueError(f"{name} is {array.dtype} {array.shape}, expected {packed.dtype} {packed.shape}")
        state[name] = _mirrored(array) if name in SYMMETRIC_FIELDS.get(type(like), ()) else array
    return structs.replace(like, **state)


def _mirrored(triangle: AnyArray) -> AnyArray:
    size = int(np.sqrt(2 * triangle.size))
    full = np.zeros((size, size))
    rows, columns = np.triu_indices(size)
    full[rows, columns] = triangle
    full[columns, rows] = triangle
    return full
