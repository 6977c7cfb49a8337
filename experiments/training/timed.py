"""An executor that knows how long its tasks took, by the clock and by the processor."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from time import perf_counter, process_time
from typing import NamedTuple

from experiments.executor import Executor, Item, Report, Result, SerialExecutor, Task


class Spent(NamedTuple):
    """Seconds of all tasks together."""

    wall: float  # beyond `cpu` where workers waited for a core
    cpu: float


class TimedExecutor:
    """Runs tasks where it is told to and adds up their seconds; `here` is for those not worth a journey."""

    def __init__(self, inner: Executor) -> None:
        self.inner, self.spent = inner, Spent(0.0, 0.0)

    @property
    def here(self) -> Executor:
        """In this process, on the same account."""
        return _Here(self)

    def map(
        self, task: Task[Item, Result], items: Sequence[Item], on_steps: Report | None = None
    ) -> list[Result]:
        """Results of all items, in their order."""
        return self.account(self.inner, task, items, on_steps)

    def account(
        self, where: Executor, task: Task[Item, Result], items: Sequence[Item], on_steps: Report | None
    ) -> list[Result]:
        """Results of all items, whose seconds are added here."""
        found = where.map(partial(_timed, task), items, on_steps)
        wall, cpu = (sum(seconds) for seconds in zip(*(spent for _, spent in found), strict=True))
        self.spent = Spent(self.spent.wall + wall, self.spent.cpu + cpu)
        return [result for result, _ in found]


class _Here(NamedTuple):
    timed: TimedExecutor

    def map(
        self, task: Task[Item, Result], items: Sequence[Item], on_steps: Report | None = None
    ) -> list[Result]:
        return self.timed.account(SerialExecutor(), task, items, on_steps)


def _timed(task: Task[Item, Result], item: Item, report: Report) -> tuple[Result, Spent]:
    wall, cpu = perf_counter(), process_time()
    result = task(item, report)
    return result, Spent(perf_counter() - wall, process_time() - cpu)
