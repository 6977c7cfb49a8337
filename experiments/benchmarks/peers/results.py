"""Results of single runs, kept in a folder: a benchmark that was killed goes on where it stood.

    DIR/<sha256>.json      one run: what it follows from, and what it came to

A run follows from its task and setting, and from the code and the package that play it. If any of these is
another one, so is the name of the file: an old result is then not found, and nothing need be removed by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from importlib import resources
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np
from msgspec import Struct

from experiments.parquet import write_whole

Task = TypeVar("Task")
Result = TypeVar("Result")

_REPORTS = 20  # of a stage


class Kept(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file of a run."""

    follows_from: list[str]
    result: Any


class Stage(NamedTuple, Generic[Task, Result]):
    """Many runs of one kind; function and tasks can be pickled, a result is a NamedTuple of numbers."""

    name: str
    function: Callable[[Task], Result]
    follows_from: Callable[[Task], list[str]]  # all that a result depends on, in words and checksums
    result: type[Result]


class Runner:
    """Runs tasks on some processes, keeps their results, and says on stderr how far it is."""

    def __init__(self, pool: ProcessPoolExecutor | None, folder: Path) -> None:
        self._pool, self._folder = pool, folder

    def run(self, stage: Stage[Task, Result], tasks: Sequence[Task]) -> list[Result]:
        """Results in the order of the tasks, those that the folder holds read from there."""
        results = {place: kept for place, task in enumerate(tasks) if (kept := self._read(stage, task))}
        if results:
            print(f"{stage.name}: {len(results)} of {len(tasks)} runs are there already", file=sys.stderr)
        open_places = [place for place in range(len(tasks)) if place not in results]
        # In a fixed random order runs that take long do not all come last, and the time left can be told.
        mixed = [open_places[n] for n in np.random.default_rng(0).permutation(len(open_places))]
        begun, step = perf_counter(), max(len(mixed) // _REPORTS, 1)
        for count, (place, result) in enumerate(self._finished(stage, tasks, mixed), start=1):
            results[place] = result
            self._write(stage, tasks[place], result)
            if count % step == 0 or count == len(mixed):
                spent = perf_counter() - begun
                left = spent / count * (len(mixed) - count)
                print(
                    f"{stage.name}: {len(results)} of {len(tasks)} runs, {spent:.0f} s, {left:.0f} s left",
                    file=sys.stderr,
                )
        return [results[place] for place in range(len(tasks))]

    def _finished(
        self, stage: Stage[Task, Result], tasks: Sequence[Task], places: Iterable[int]
    ) -> Iterator[tuple[int, Result]]:
        if self._pool is None:
            yield from ((place, stage.function(tasks[place])) for place in places)
            return
        futures = {self._pool.submit(stage.function, tasks[place]): place for place in places}
        for future in as_completed(futures):
            yield futures[future], future.result()

    def _read(self, stage: Stage[Task, Result], task: Task) -> Result | None:
        """The result of an earlier run; a damaged file counts as none."""
        path = self._path(stage, task)
        try:
            kept = msgspec.json.decode(path.read_bytes(), type=Kept)
            return msgspec.convert(kept.result, stage.result)
        except (OSError, msgspec.MsgspecError):
            return None

    def _write(self, stage: Stage[Task, Result], task: Task, result: Result) -> None:
        kept = Kept(follows_from=stage.follows_from(task), result=result)
        write_whole(self._path(stage, task), lambda draft: draft.write_bytes(msgspec.json.encode(kept)))

    def _path(self, stage: Stage[Task, Result], task: Task) -> Path:
        return self._folder / f"{sha256(msgspec.json.encode(stage.follows_from(task))).hexdigest()[:32]}.json"


@contextmanager
def runner(workers: int, folder: Path) -> Iterator[Runner]:
    """Processes that start afresh, with the BLAS threads that this one was told to use."""
    if workers == 1:
        yield Runner(None, folder)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield Runner(pool, folder)


@cache
def code_digest(*places: str) -> str:
    """Checksum of code and configurations: of all of "package", or of the file "package/path.py"."""
    running = sha256()
    for place in places:
        package, _, file = place.partition("/")
        root = Path(str(resources.files(package)))
        whole = (path for path in sorted(root.rglob("*")) if path.suffix in (".py", ".toml"))
        for path in [root / file] if file else whole:
            for text in (path.relative_to(root).as_posix().encode(), path.read_bytes()):
                running.update(len(text).to_bytes(8, "little"))
                running.update(text)
    return running.hexdigest()[:16]
