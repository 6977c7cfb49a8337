"""What people see while a sweep runs: how far every row is, the time left, and who leads so far.

On a terminal a table that is drawn anew; elsewhere a line per tenth of the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from experiments.executor import Report
from experiments.sweeps.cells import CellResult
from experiments.sweeps.plan import Plan, Row
from experiments.sweeps.run import Heard, total_customer_days
from experiments.sweeps.told import number
from experiments.terminal import say

Clock = Callable[[], float]  # seconds that only rise


class Board:
    """Where a sweep stands."""

    def __init__(self, plan: Plan, clock: Clock) -> None:
        self._plan, self._clock, self._begun = plan, clock, clock()
        name = plan.sweep.early_stopping.metric if plan.sweep.early_stopping else plan.sweep.metrics[0]
        self._metric = plan.metrics()[name]
        self._values: dict[Row, list[float]] = {row: [] for row in plan.digests}
        self._failed: dict[Row, int] = dict.fromkeys(plan.digests, 0)
        self._each = {row: plan.cell(row, (0,)).customer_days for row in plan.digests}
        self.total, self.kept, self.heard = total_customer_days(plan), 0, 0

    def cell(self, row: Row, result: CellResult, was_kept: bool) -> None:
        """Take in a finished cell."""
        self._values[row] += [float(np.mean(self._metric.measure(run))) for run in result.runs]
        if result.failure is not None:
            self._failed[row] += 1
            self.total -= self._each[row] * self._plan.sweep.seeds_per_cell  # that work is not to come
        self.kept += self._each[row] * len(result.runs) if was_kept else 0

    @property
    def share(self) -> float:
        """Of the work that is done."""
        return min((self.kept + self.heard) / max(self.total, 1), 1.0)

    @property
    def seconds_left(self) -> float | None:
        """At the pace so far; early stopping makes it less. None before there is a pace."""
        if not self.heard:
            return None
        pace = (self._clock() - self._begun) / self.heard
        return pace * max(self.total - self.kept - self.heard, 0)

    def rows(self) -> Iterator[tuple[str, str, str, str]]:
        """World, strategy, seeds and mean so far, in each world the best first."""
        n_seeds, sign = len(self._plan.sweep.all_seeds), -1.0 if self._metric.more_is_better is False else 1.0
        for world in self._plan.worlds:
            some = {row: values for row, values in self._values.items() if row.world == world}
            for row in sorted(some, key=lambda one: -sign * np.mean(some[one]) if some[one] else np.inf):
                failed = f", {self._failed[row]} failed" if self._failed[row] else ""
                mean = number(float(np.mean(some[row]))) if some[row] else ""
                yield world, row.strategy, f"{len(some[row])}/{n_seeds}{failed}", mean

    def headline(self) -> str:
        """Progress and time left in a line."""
        left = self.seconds_left
        told = "" if left is None else f", {_duration(left)} left"
        return f"{100 * self.share:.0f} %{told}"

    def leaders(self) -> str:
        """Who leads in each world, in a line."""
        best: dict[str, str] = {}
        for world, strategy, _, mean in self.rows():
            if mean:
                best.setdefault(world, f"{world}: {strategy} {mean}")
        return "; ".join(best.values())

    def drawn(self) -> Any:
        """The table, for rich."""
        from rich.table import Table

        title = f"sweep {self._plan.id} ({self._plan.sweep.name}): {self.headline()}"
        table = Table("world", "strategy", "seeds", self._metric.name, title=title, title_justify="left")
        for cells in self.rows():
            table.add_row(*cells)
        return table


@contextmanager
def watching(plan: Plan, clock: Clock) -> Iterator[Heard]:
    """Tell people on stderr how a sweep gets on."""
    from rich.console import Console
    from rich.live import Live

    board, console = Board(plan, clock), Console(stderr=True)
    if not console.is_terminal:
        yield Heard(board.cell, _tenths(board))
        return
    with Live(get_renderable=board.drawn, console=console, refresh_per_second=2):
        yield Heard(board.cell, lambda steps: _more(board, steps))


def _more(board: Board, steps: int) -> None:
    board.heard += steps


def _tenths(board: Board) -> Report:
    def report(steps: int) -> None:
        before = int(10 * board.share)
        board.heard += steps
        if before < int(10 * board.share):
            leaders = board.leaders()
            say(f"sweep: {board.headline()}{f'; leaders so far: {leaders}' if leaders else ''}")

    return report


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
