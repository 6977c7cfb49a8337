"""The folder of a training: whose it is, where it stands, and in the end the bundle.

OUT/training.json                    what the training follows from; a folder holds one training
OUT/state.npz                        where it stands, written whole every few seconds, removed at the end
OUT/manifest.json, posterior.npz     the policy bundle, as `nba serve` reads it
OUT/trained.json                     what was found, written last
OUT/.lock                            held while a process trains into it
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from msgspec import Struct

from experiments.dataset import locked, read_json, write_json
from experiments.parquet import write_whole
from nba.arrays import AnyArray
from nba.bundle import MANIFEST, bundle_digest, save_bundle
from nba.errors import BundleError, InvalidConfig, require
from nba.snapshot import Snapshot

SAVE_SECONDS = 10.0
_WAY_OUT = "name another --out, or remove the folder"
_FOUND = "trained.json"


class Claim(Struct, frozen=True, forbid_unknown_fields=True):
    """What a training follows from, by name."""

    settings: dict[str, str]


class Trained(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a training found."""

    digest: str  # of the bundle
    figures: dict[str, Any]


class TrainingFolder:
    """Where one training is kept; `clock` gives seconds that only rise."""

    def __init__(
        self, path: Path, settings: dict[str, str], clock: Callable[[], float], save_seconds: float
    ) -> None:
        self.path, self._settings = path, settings
        self._clock, self._save_seconds, self._saved_at = clock, save_seconds, clock()

    def claim(self) -> None:
        """Write down whose folder this is; one that holds something else is refused, by name."""
        place = self.path / "training.json"
        if not place.exists():
            strange = sorted(entry.name for entry in self.path.iterdir() if not entry.name.startswith("."))
            rule = f"there is no training.json that says what it holds; {_WAY_OUT}"
            require(not strange, str(self.path), ", ".join(strange[:5]), rule)
            write_json(place, Claim(self._settings))
            return
        held = read_json(place, Claim).settings
        for name in sorted({*held, *self._settings}):
            there, wanted = held.get(name, "none"), self._settings.get(name, "none")
            rule = f"the folder holds a training with {there}, not {wanted}; {_WAY_OUT}"
            require(there == wanted, str(place), name, rule)

    def trained(self) -> Trained | None:
        """What the training found, if it is finished and its bundle is whole."""
        if not (self.path / _FOUND).exists() or not (self.path / MANIFEST).exists():
            return None
        found = read_json(self.path / _FOUND, Trained)
        return found if bundle_digest(self.path) == found.digest else None

    def state(self) -> dict[str, AnyArray] | None:
        """Where an earlier process left the training, None at its beginning."""
        place = self.path / "state.npz"
        if not place.exists():
            return None
        try:
            with np.load(place, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except (ValueError, OSError, EOFError, BadZipFile) as error:
            rule = f"cannot be read ({error}); remove it, and the training begins again"
            raise InvalidConfig(str(place), "", rule) from None

    def save(self, arrays: Callable[[], Mapping[str, AnyArray]]) -> None:
        """Keep a state, whole or not at all, if the last one is old enough."""
        if self._clock() - self._saved_at < self._save_seconds:
            return
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **dict(arrays()))
        write_whole(self.path / "state.npz", lambda draft: draft.write_bytes(buffer.getbuffer()))
        self._saved_at = self._clock()

    def finish(self, snapshot: Snapshot, figures: dict[str, Any]) -> Trained:
        """Write the bundle and what was found."""
        try:
            save_bundle(snapshot, self.path)
        except OSError as error:
            raise BundleError(
                f"{self.path} cannot be written: {error.strerror}; name another --out."
            ) from None
        found = Trained(digest=bundle_digest(self.path), figures=figures)
        write_json(self.path / _FOUND, found)
        (self.path / "state.npz").unlink(missing_ok=True)
        return found


@contextmanager
def training_folder(
    path: Path, settings: dict[str, str], clock: Callable[[], float], save_seconds: float = SAVE_SECONDS
) -> Iterator[TrainingFolder]:
    """The folder of a training, for this process alone."""
    with locked(path):
        folder = TrainingFolder(path, settings, clock, save_seconds)
        folder.claim()
        yield folder
