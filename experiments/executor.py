"""Where independent tasks run: one after the other, or on Ray; the results are the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
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


class Finishing(Executor, Protocol):
    """An executor that gives results as they are finished, so that they can be kept at once."""

    def finished(
        self,
        task: Task[Item, Result],
        items: Sequence[Item],
        on_steps: Report | None = None,
        on_lost: Callable[[Exception], Result] | None = None,
    ) -> Iterator[tuple[int, Result]]:
        """(place of the item, its result) in the order in which they are finished.

        Where a worker died again and again, `on_lost` makes a result of the error; without it that is raised.
        """
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

    def finished(
        self,
        task: Task[Item, Result],
        items: Sequence[Item],
        on_steps: Report | None = None,
        on_lost: Callable[[Exception], Result] | None = None,
    ) -> Iterator[tuple[int, Result]]:
        """Results in the order of the items: there is no worker to lose."""
        for place, item in enumerate(items):
            yield place, task(item, on_steps or silent)


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
        found = dict(self.finished(task, items, on_steps))
        return [found[place] for place in range(len(items))]

    def finished(
        self,
        task: Task[Item, Result],
        items: Sequence[Item],
        on_steps: Report | None = None,
        on_lost: Callable[[Exception], Result] | None = None,
    ) -> Iterator[tuple[int, Result]]:
        """Results as they come in; once an error is raised, what has not begun is not begun."""
        import ray

        steps: Any = _steps_here() if on_steps else None
        remote: Any = ray.remote(_reporting)
        # What all items share travels in the task: it is stored once, not once for each of them.
        shared = ray.put(task)
        pending = {remote.remote(shared, item, steps): place for place, item in enumerate(items)}
        heard = told = 0
        try:
            while pending:
                ready, _ = ray.wait(list(pending), num_returns=len(pending), timeout=_POLL_SECONDS)
                if on_steps is not None:
                    news = ray.get(steps.collect.remote())
                    heard += news
                    on_steps(news)
                for reference in ready:
                    place = pending.pop(reference)
                    result, n_steps = _fetched(reference, on_lost)
                    told += n_steps
                    yield place, result
        finally:
            for reference in pending:
                ray.cancel(reference)
        if on_steps is not None:
            # Reports may come late, or twice from a task that was tried again: the results know better.
            on_steps(told - heard)


def held(value: Item, run: Executor) -> Callable[[], Item]:
    """What gives tasks a value: on Ray it is put into the object store once, not once with every task or map.

    An executor that hands its tasks to another one says so by `inner`.
    """
    if not isinstance(getattr(run, "inner", run), RayExecutor):
        return lambda: value
    import ray

    return partial(ray.get, ray.put(value))


def _steps_here() -> Any:
    """The actor that hears steps, on the node of the driver: a node that dies must not take it along."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(_Steps).options(num_cpus=0, scheduling_strategy=here).remote()


def _fetched(reference: Any, on_lost: Callable[[Exception], Result] | None) -> tuple[Result, int]:
    """What a task gave; its error as its own type, or what is made of a worker that is lost for good."""
    import ray

    try:
        found: tuple[Result, int] = ray.get(reference)
        return found
    except ray.exceptions.RayTaskError as error:
        # Ray's text is the worker's traceback; ours says what to do.
        raise (error.cause if isinstance(error.cause, NBAError) else error) from None
    except ray.exceptions.RayError as error:
        if on_lost is None:
            raise
        return on_lost(error), 0


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
def executor(workers: int, address: str | None = None) -> Iterator[Finishing]:
    """Serial for one worker, a local Ray of that many CPUs for more; a running Ray is used as it is.

    With `address` the Ray cluster there, or "auto" for the one on this machine, whatever its CPUs.
    """
    if workers <= 1 and address is None:
        yield SerialExecutor()
        return
    import ray

    started = not ray.is_initialized()
    if started:
        _start(workers, address)
    try:
        yield RayExecutor()
    finally:
        if started:
            ray.shutdown()


def _start(workers: int, address: str | None) -> None:
    """Join the cluster at an address or that RAY_ADDRESS names, or start a local Ray.

    A cold or busy machine can miss the 30 s that Ray grants itself to start, so it is tried again.
    """
    import ray

    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    local: dict[str, Any] = {
        "num_cpus": workers,
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
    }
    named = "RAY_ADDRESS" if address is None else f"--address {address}"
    is_cluster = address is not None or bool(os.environ.get("RAY_ADDRESS"))
    for attempt in range(1, _START_ATTEMPTS + 1):
        try:
            ray.init(**quiet, **({"address": address} if is_cluster else local))
            return
        except Exception as error:
            ray.shutdown()
            if attempt == _START_ATTEMPTS or address is not None or isinstance(error, ValueError):
                reason = " ".join(str(error).split())
                way_out = f"Check {named}" if is_cluster else "Free some CPU or memory"
                raise RayNotStartedError(
                    f"Ray did not start: {reason} {way_out}, or run without Ray: --workers 1."
                ) from None
