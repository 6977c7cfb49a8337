"""Results kept in a folder under the digest of everything that they follow from.

What is there is read and not run again; what is finished is written at once. So work that was interrupted
takes up where it stopped, and what was changed runs anew, alone.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar
from zipfile import BadZipFile

import msgspec
import numpy as np

from experiments.executor import Finishing, Item, Report, Result, Task
from nba.arrays import AnyArray
from nba.errors import InvalidConfig

Kept = TypeVar("Kept")


class Shelf(NamedTuple, Generic[Kept]):
    """A folder of results, and how they become bytes and come back."""

    folder: Path
    suffix: str
    read: Callable[[bytes], Kept]
    write: Callable[[Kept], bytes | None]  # None for what is not to be kept

    def get(self, name: str) -> Kept | None:
        """The result of a digest, None if it is not there; a file that is no result is an InvalidConfig."""
        path = self.folder / f"{name}{self.suffix}"
        try:
            return self.read(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            rule = f"is no result of a cell ({error}); delete it, and it is run again"
            raise InvalidConfig(str(path), "", rule) from None

    def put(self, name: str, result: Kept) -> None:
        """Write it whole or not at all."""
        data = self.write(result)
        if data is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}{self.suffix}"
        draft = path.with_suffix(f".{os.getpid()}.part")
        draft.write_bytes(data)
        os.replace(draft, path)


def run_missing(
    executor: Finishing,
    task: Task[Item, Result],
    items: Mapping[str, Item],
    shelf: Shelf[Result],
    on_steps: Report | None = None,
    on_result: Callable[[str, Result, bool], None] | None = None,
    on_lost: Callable[[Exception], Result] | None = None,
) -> dict[str, Result]:
    """The results of items by their digests: kept ones are read, others run and kept as they are finished.

    `on_result` hears the name, the result, and whether it had been kept before; `on_lost` as of
    Finishing.finished.
    """
    found = {name: kept for name in items if (kept := shelf.get(name)) is not None}
    if on_result is not None:
        for name, kept in found.items():
            on_result(name, kept, True)
    todo = [name for name in items if name not in found]
    for place, result in executor.finished(task, [items[name] for name in todo], on_steps, on_lost):
        shelf.put(todo[place], result)
        found[todo[place]] = result
        if on_result is not None:
            on_result(todo[place], result, False)
    return found


def digest_of(settings: Any, *data: bytes) -> str:
    """32 hexadecimal digits of SHA-256 over settings, as JSON in a fixed order, and data."""
    running = sha256(msgspec.json.encode(settings, order="deterministic"))
    for part in data:
        running.update(sha256(part).digest())
    return running.hexdigest()[:32]


def npz_bytes(arrays: Mapping[str, AnyArray]) -> bytes:
    """Named arrays as a compressed archive."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def npz_read(data: bytes) -> dict[str, AnyArray]:
    """The arrays of an archive; ValueError, KeyError, OSError, EOFError or BadZipFile if it is none."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
