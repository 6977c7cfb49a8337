"""Where independent tasks run: one after the other, or on Ray; the results are the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias, TypeVar

from nba.errors import NBAError

Item = TypeVar("Item")
Result = TypeVar("Result")
Report: TypeAlias = Callable[[int], None]  # a task says how many steps it has just finished
Task: TypeAlias = Callable[[Item, Report], Result]

_OBJECT_STORE_BYTES = 512 * 1024 * 1024
_POLL_SECONDS = 0.3
_START_ATTEMPTS = 3


class RayNotStartedError(NBAError, RuntimeError):
    """No local Ray could be started."""


class Executor(Protocol):
    """Maps a plain function over items; results come back in the order of the items."""

    def map(
        self, task: Task[Item, Result], items: Sequence[Item], on_steps: Report | None = None
    ) -> list[Result]:
        """Results of all items; `on_steps` hears the steps of all tasks as they are finished."""
        ...


def silent(steps: int) -> None:
    """Hear nothing."""


class SerialExecutor:
    """In this process, one after the other."""

    def map(
        self, task: Task[Item, Result], items: Sequence[Item], on_steps: Report | None = None
    ) -> list[Result]:
        """Results of all items."""
        return [task(item, on_steps or silent) for item in items]


class _Steps:
    """The actor that tasks report to; the driver collects what came since it last asked."""

    def __init__(self) -> None:
        self.unheard = 0

    def add(self, steps: int) -> None:
        self.unheard += steps

    def collect(self) -> int:
        heard, self.unheard = self.unheard, 0
        return heard


class RayExecutor:
    """As Ray tasks on the cluster that is up; a worker that dies is retried by Ray."""

    def map(
        self, task: Task[Item, Result], items: Sequence[Item], on_steps: Report | None = None
    ) -> list[Result]:
        """Results of all items; an error in a task is raised here as its own type."""
        import ray

        steps: Any = ray.remote(_Steps).options(num_cpus=0).remote() if on_steps else None
        remote: Any = ray.remote(_reporting)
        # What all items share travels in the task: it is stored once, not once for each of them.
        shared = ray.put(task)
        references = [remote.remote(shared, item, steps) for item in items]
        pending, heard = list(references), 0
        while pending:
            _, pending = ray.wait(pending, num_returns=len(pending), timeout=_POLL_SECONDS)
            if on_steps is not None:
                news = ray.get(steps.collect.remote())
                heard += news
                on_steps(news)
        try:
            finished: list[tuple[Result, int]] = ray.get(references)
        except ray.exceptions.RayTaskError as error:
            # Ray's text is the worker's traceback; ours says what to do.
            raise (error.cause if isinstance(error.cause, NBAError) else error) from None
        if on_steps is not None:
            # Reports may come late, or twice from a task that was tried again: the results know better.
            on_steps(sum(n_steps for _, n_steps in finished) - heard)
        return [result for result, _ in finished]


def _reporting(task: Task[Item, Result], item: Item, steps: Any) -> tuple[Result, int]:
    """Run a task whose reports go to an actor; gives its result and how many steps it reported."""
    n_steps = 0

    def report(more: int) -> None:
        nonlocal n_steps
        n_steps += more
        if steps is not None:
            steps.add.remote(more)

    return task(item, report), n_steps


@contextmanager
def executor(workers: int) -> Iterator[Executor]:
    """Serial for one worker, a local Ray of that many CPUs for more; a running Ray is used as it is."""
    if workers <= 1:
        yield SerialExecutor()
        return
    import ray

    started = not ray.is_initialized()
    if started:
        _start(workers)
    try:
        yield RayExecutor()
    finally:
        if started:
            ray.shutdown()


def _start(workers: int) -> None:
    """Join the cluster that RAY_ADDRESS names, or start a local Ray.

    A cold or busy machine can miss the 30 s that Ray grants itself to start, so it is tried again.
    """
    import ray

    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    local: dict[str, Any] = {
        "num_cpus": workers,
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
    }
    is_cluster = bool(os.environ.get("RAY_ADDRESS"))
    for attempt in range(1, _START_ATTEMPTS + 1):
        try:
            ray.init(**quiet, **({} if is_cluster else local))
            return
        except Exception as error:
            ray.shutdown()
            if attempt == _START_ATTEMPTS or isinstance(error, ValueError):
                reason = " ".join(str(error).split())
                way_out = "Check RAY_ADDRESS" if is_cluster else "Free some CPU or memory"
                raise RayNotStartedError(
                    f"Ray did not start: {reason} {way_out}, or run without Ray: --workers 1."
                ) from None
