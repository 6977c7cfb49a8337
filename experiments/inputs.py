"""What a run rests on, as datasets of MLflow: simulated phases and logs, by name and digest, never by path.

MLflow shows them beside the run and finds runs by them (``dataset.digest = '...'``). `mlflow.log_input` would
change global state; this logs the same entities by the client.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

_DIGEST_CHARACTERS = 32  # MLflow takes 36
_CHUNK = 1 << 20  # bytes


class Input(NamedTuple):
    """A dataset, and what it was used for: training, evaluation or promotion."""

    name: str
    digest: str
    kind: str  # "simulated" or "log"
    source: Mapping[str, Any]  # how it can be had again
    profile: Mapping[str, Any]  # how large it is
    context: str

    @staticmethod
    def simulated(world: str, context: str, source: Mapping[str, Any], profile: Mapping[str, Any]) -> Input:
        """Customers of a world; the digest is of the world's name and everything in `source`."""
        told = {"world": world, **source}
        text = msgspec.json.encode(told, order="deterministic")
        return Input(
            f"{world} {context}", _short(sha256(text).hexdigest()), "simulated", told, profile, context
        )

    @staticmethod
    def log(path: Path, context: str, profile: Mapping[str, Any]) -> Input:
        """A file, or the folder of a simulated run, whose manifest stands for it."""
        digest = file_digest(path) if path.is_file() else _folder_digest(path)
        return Input(path.name, _short(digest), "log", {"name": path.name}, profile, context)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    running = sha256()
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            running.update(block)
    return running.hexdigest()


def _folder_digest(path: Path) -> str:
    manifest = path / "manifest.json"
    if manifest.exists():
        return file_digest(manifest)
    parts = sorted(file for file in path.rglob("*.parquet") if not file.name.startswith("."))
    return sha256("".join(map(file_digest, parts)).encode()).hexdigest()


def log_inputs(client: Any, run_id: str, inputs: Sequence[Input]) -> None:
    """Tell a run what it rests on."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    def plain(told: Mapping[str, Any]) -> str:
        return msgspec.json.encode(told).decode()

    client.log_inputs(
        run_id,
        [
            DatasetInput(
                Dataset(one.name, one.digest, one.kind, plain(one.source), profile=plain(one.profile)),
                [InputTag("mlflow.data.context", one.context)],
            )
            for one in inputs
        ],
    )


def _short(digest: str) -> str:
    return digest[:_DIGEST_CHARACTERS]
