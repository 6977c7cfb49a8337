"""The folder of a simulated run: Parquet parts, what is known of each, and a manifest when all are there.

    OUT/run.json                            what the run follows from; a folder holds one run
    OUT/decisions/part-00000.parquet ...    one row per decision, by day and customer
    OUT/outcomes/part-00000.parquet  ...    one row per conversion: `value` is its product's
                                            margin, `amount` what it brought (account currency)
    OUT/parts/part-00000.json        ...    sums and digest, written when both files of a part are there
    OUT/manifest.json                       all parts and the digest of the run, written last
    OUT/.lock                               held while a process works on the run

A part is what follows from (settings, its number) alone, so that a run which was killed goes on where it
stood, and a run with other settings is refused instead of mixed in.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

import msgspec
import numpy as np
from msgspec import Struct

from experiments.logs import Logs, digest
from experiments.parquet import LogTables, UnwritableFolderError, write_table, write_whole
from experiments.results import Apprenticed
from experiments.spec import Contender, Phase
from experiments.tallies import DAILY, OF_ORACLE
from nba.arrays import FloatArray
from nba.errors import InvalidConfig, require
from simulator.world import World

TABLES = ("decisions", "outcomes")
_SOURCES = ("nba", "simulator", "experiments")
_WAY_OUT = "name another --out, or remove the folder"


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that the logs of a run follow from."""

    world: str
    strategy: str
    phase: Phase
    oracle: bool
    world_sha256: str
    strategy_sha256: str
    code_sha256: str  # of the modules that simulate and decide
    numpy: str  # version

    @classmethod
    def of(cls, world: World, contender: Contender, phase: Phase, oracle: bool) -> Self:
        """The settings of a run; configurations and code by their checksums."""
        given = [part for part in contender if part is not None]
        return cls(
            world=world.config.name,
            strategy=contender.strategy.name,
            phase=phase,
            oracle=oracle,
            world_sha256=digest_of_world(world),
            strategy_sha256=_sha256(*(msgspec.json.encode(part, order="deterministic") for part in given)),
            code_sha256=code_digest(),
            numpy=np.__version__,
        )


class Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of one part: the sums of its days, the digest of its logs and the size of its files."""

    name: str
    sums: dict[str, float]
    digest: str
    bytes: dict[str, int]


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run that is complete."""

    settings: Settings
    sums: dict[str, float]
    digest: str
    parts: tuple[Part, ...]
    apprenticed: Apprenticed | None = None


class RunFolder(NamedTuple):
    """Where one run is kept."""

    path: Path
    settings: Settings

    def claim(self) -> None:
        """Write down whose folder this is; one that holds another run is refused, field by field."""
        place = self.path / "run.json"
        if not place.exists():
            strange = [name for name in TABLES if any((self.path / name).glob("*"))]
            rule = f"there is no run.json that says what it holds; {_WAY_OUT}"
            require(not strange, str(self.path), ", ".join(strange), rule)
            write_json(place, self.settings)
            return
        held = read_json(place, Settings)
        for name in Settings.__struct_fields__:
            there, wanted = getattr(held, name), getattr(self.settings, name)
            rule = f"the folder holds a run with {there}, not {wanted}; {_WAY_OUT}"
            require(there == wanted, str(place), name, rule)

    def manifest(self) -> Manifest | None:
        """What the run has found, if it is complete."""
        place = self.path / "manifest.json"
        manifest = read_json(place, Manifest) if place.exists() else None
        return manifest if manifest and all(map(self._is_whole, manifest.parts)) else None

    def part(self, number: int) -> Part | None:
        """A part that is there with both its files whole, or None."""
        place = self._record(_name(number))
        part = read_json(place, Part) if place.exists() else None
        return part if part and self._is_whole(part) else None

    def write(self, number: int, world: World, logs: Logs, daily: FloatArray) -> Part:
        """Write both files of a part, then its record."""
        tables, log, files = (
            LogTables(world, self.settings.phase.seed),
            logs._asdict(),
            self._files(_name(number)),
        )
        for table, file in files.items():
            write_table(getattr(tables, table)(log[table]), file)
        known = [name for name in DAILY if self.settings.oracle or name not in OF_ORACLE]
        sums = dict(zip(DAILY, daily.sum(axis=0).tolist(), strict=True))
        part = Part(
            name=_name(number),
            sums={name: sums[name] for name in known},
            digest=digest(*logs),
            bytes={table: _size(file) for table, file in files.items()},
        )
        write_json(self._record(part.name), part)
        return part

    def finish(self, parts: Sequence[Part], apprenticed: Apprenticed | None = None) -> Manifest:
        """Write the manifest; its digest is one over the digests of the parts, in their order."""
        manifest = Manifest(
            settings=self.settings,
            sums={name: sum(part.sums[name] for part in parts) for name in parts[0].sums},
            digest=_sha256(*(part.digest.encode() for part in parts)),
            parts=tuple(parts),
            apprenticed=apprenticed,
        )
        write_json(self.path / "manifest.json", manifest)
        return manifest

    def _files(self, part: str) -> dict[str, Path]:
        return {table: self.path / table / f"{part}.parquet" for table in TABLES}

    def _record(self, part: str) -> Path:
        return self.path / "parts" / f"{part}.json"

    def _is_whole(self, part: Part) -> bool:
        return {table: _size(file) for table, file in self._files(part.name).items()} == part.bytes


@contextmanager
def opened(path: Path, settings: Settings) -> Iterator[RunFolder]:
    """The folder of a run, for this process alone."""
    with locked(path):
        folder = RunFolder(path.resolve(), settings)  # workers may stand elsewhere
        folder.claim()
        yield folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """A folder, made if need be, for this process alone while this lasts."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / ".lock").open("w")
    except OSError as error:
        raise UnwritableFolderError(f"{path} cannot be made: {error.strerror}; name another --out.") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            rule = "another process is writing a run into it; wait for it, or name another --out"
            raise InvalidConfig(str(path), "", rule) from None
        yield


Record = TypeVar("Record", bound=Struct)


def read_json(path: Path, type_: type[Record]) -> Record:
    """A record of a run; a damaged one is an InvalidConfig."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=type_)
    except (OSError, msgspec.MsgspecError) as error:
        raise InvalidConfig(str(path), "", f"cannot be read: {error}; {_WAY_OUT}") from None


def write_json(path: Path, record: Struct) -> None:
    """Write a record for machines and people."""
    text = msgspec.json.format(msgspec.json.encode(record), indent=2)
    write_whole(path, lambda draft: draft.write_bytes(text + b"\n"))


def digest_of_world(world: World) -> str:
    """SHA-256 of a world's configuration."""
    return _sha256(msgspec.json.encode(world.config, order="deterministic"))


def code_digest() -> str:
    """SHA-256 of the source of every module that a result follows from."""
    return _sha256(*_modules())


def _size(path: Path) -> int:
    """Bytes of a file, -1 if there is none."""
    return path.stat().st_size if path.exists() else -1


def _name(number: int) -> str:
    return f"part-{number:05d}"


def _modules() -> Iterator[bytes]:
    """The source of every module of ours, in a fixed order."""
    for package in _SOURCES:
        root = Path(str(resources.files(package)))
        for path in sorted(root.rglob("*.py")):
            yield path.relative_to(root).as_posix().encode()
            yield path.read_bytes()


def _sha256(*texts: bytes) -> str:
    running = sha256()
    for text in texts:
        running.update(len(text).to_bytes(8, "little"))
        running.update(text)
    return running.hexdigest()
