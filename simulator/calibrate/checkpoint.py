"""Simulations already made, kept in a file, so that a calibration that was stopped goes on where it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np

from nba.arrays import FloatArray
from nba.errors import InvalidConfig
from simulator.calibrate.fit import Simulate

Key: TypeAlias = tuple[float, ...]


class Checkpoint:
    """Answers of functions from parameters (Q,) to statistics (S,), remembered in a file of JSON lines.

    The calibration is deterministic, so a run that starts again asks the same questions and finds the
    first answers here. The first line is the digest of everything else that an answer depends on; a file
    with another digest is started anew.
    """

    def __init__(self, path: Path, digest: str, told: Callable[[], None]) -> None:
        self._path, self._told = path, told
        self._known = _read(path, digest)
        self.n_found, self.n_simulated = len(self._known), 0
        # Written again from the start, without what another digest or a cut last line has left.
        lines = [digest, *self._known.items()]
        _write(path, "w", b"".join(msgspec.json.encode(line) + b"\n" for line in lines))

    def of(self, simulate: Simulate) -> Simulate:
        """The same function, remembered."""

        def answer(theta: FloatArray) -> FloatArray:
            key = tuple(theta.tolist())
            if key not in self._known:
                self._known[key] = simulate(theta).tolist()
                self.n_simulated += 1
                _write(self._path, "a", msgspec.json.encode((key, self._known[key])) + b"\n")
            self._told()
            return np.array(self._known[key])

        return answer

    def remove(self) -> None:
        """Forget: the calibration is done."""
        self._path.unlink(missing_ok=True)


def _read(path: Path, digest: str) -> dict[Key, list[float]]:
    if not path.exists():
        return {}
    first, *lines = path.read_bytes().splitlines(keepends=True) or [b""]
    if first != msgspec.json.encode(digest) + b"\n":
        return {}
    known: dict[Key, list[float]] = {}
    for line in lines:
        try:
            key, statistics = msgspec.json.decode(line, type=tuple[Key, list[float]])
        except msgspec.MsgspecError:
            break  # a run that was killed may have cut the last line short
        known[key] = statistics
    return known


def _write(path: Path, mode: str, lines: bytes) -> None:
    try:
        with path.open(mode + "b") as file:
            file.write(lines)
    except OSError as error:
        raise InvalidConfig(str(path), "", f"cannot be written: {error.strerror}") from None
