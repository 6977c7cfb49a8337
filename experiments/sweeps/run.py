"""Run a sweep: missing cells as tasks, all at once or in rounds of seeds with early stopping between.

Nothing depends on which worker finishes first, so one process, many and a cluster find the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.executor import Finishing, Report, silent
from experiments.kept import digest_of, run_missing
from experiments.spec import CONTROL
from experiments.sweeps.cells import Cell, CellResult, Failure, failed, run_cell, shelf
from experiments.sweeps.hopeless import hopeless
from experiments.sweeps.measures import Measure
from experiments.sweeps.plan import Plan, Row
from experiments.sweeps.played import Played
from nba.arrays import FloatArray
from nba.errors import require

CELLS = "cells"


class Stopped(NamedTuple):
    """Why a row got no further seeds."""

    seeds: int  # that it had
    by: str  # the strategy that is surely better


class Failed(NamedTuple):
    """A cell that could not be run."""

    row: Row
    seeds: tuple[int, ...]
    failure: Failure


class Swept(NamedTuple):
    """A finished sweep."""

    plan: Plan
    runs: dict[Row, dict[int, Played]]  # seed -> run
    stopped: dict[Row, Stopped]
    failures: tuple[Failed, ...]
    cells_run: int
    cells_kept: int  # that were there before

    @property
    def n_cells(self) -> int:
        """Cells in all: run, kept and failed."""
        return self.cells_run + self.cells_kept

    @property
    def digest(self) -> str:
        """Of all results, wherever they were run; not of the time that it took."""
        rows = [
            [*row, [[seed, runs[seed].digest] for seed in sorted(runs)]] for row, runs in self.runs.items()
        ]
        return digest_of([rows, [[*row, *why] for row, why in self.stopped.items()]])


class Heard(NamedTuple):
    """What somebody who watches is told."""

    on_cell: Callable[[Row, CellResult, bool], None]  # a row got further; whether by what was kept before
    on_steps: Report  # customer-days, as they are simulated


UNHEARD = Heard(lambda row, result, was_kept: None, silent)


def run_sweep(plan: Plan, folder: Path, executor: Finishing, heard: Heard = UNHEARD) -> Swept:
    """Run what is not in `folder`/cells yet; a cell that fails is told in the end, and all others run."""
    _check_stopping(plan)
    swept = Swept(plan, {row: {} for row in plan.digests}, {}, (), 0, 0)
    for blocks in _rounds(plan):
        swept = _round(swept, blocks, folder, executor, heard)
        if plan.sweep.early_stopping is not None:
            swept = _with_stops(swept)
    return swept


def total_customer_days(plan: Plan) -> int:
    """Steps of all cells, for a progress bar; early stopping takes fewer."""
    return sum(plan.cell(row, plan.sweep.all_seeds).customer_days for row in plan.digests)


def _rounds(plan: Plan) -> list[list[int]]:
    """Places of the blocks of seeds that are run before anybody looks."""
    sweep = plan.sweep
    places = list(range(len(sweep.seed_blocks)))
    if sweep.early_stopping is None:
        return [places]
    size = -(-sweep.early_stopping.every_seeds // sweep.seeds_per_cell)
    return [places[start : start + size] for start in range(0, len(places), size)]


def _round(swept: Swept, blocks: list[int], folder: Path, executor: Finishing, heard: Heard) -> Swept:
    """The rows that are still in the running under some more seeds."""
    plan = swept.plan
    cells: dict[str, Cell] = {}
    rows: dict[str, list[Row]] = {}
    for block in blocks:
        for row, names in plan.digests.items():
            if row not in swept.stopped:
                cells.setdefault(names[block], plan.cell(row, plan.sweep.seed_blocks[block]))
                rows.setdefault(names[block], []).append(row)
    ran: list[str] = []

    def on_result(name: str, result: CellResult, was_kept: bool) -> None:
        ran.extend([] if was_kept else [name])
        for row in rows[name]:
            heard.on_cell(row, result, was_kept)

    found = _results(cells, folder, executor, heard, on_result)
    runs, failures = {row: dict(known) for row, known in swept.runs.items()}, list(swept.failures)
    for name, result in found.items():
        for row in rows[name]:
            seeds = cells[name].seeds
            runs[row] |= dict(zip(seeds, result.runs, strict=result.failure is None))
            failures += [Failed(row, seeds, result.failure)] if result.failure is not None else []
    kept = swept.cells_kept + len(found) - len(ran)
    return swept._replace(
        runs=runs, failures=tuple(failures), cells_run=swept.cells_run + len(ran), cells_kept=kept
    )


def _results(
    cells: Mapping[str, Cell],
    folder: Path,
    executor: Finishing,
    heard: Heard,
    on_result: Callable[[str, CellResult, bool], None],
) -> dict[str, CellResult]:
    return run_missing(
        executor,
        run_cell,
        cells,
        shelf(folder / CELLS),
        on_steps=heard.on_steps,
        on_result=on_result,
        on_lost=lambda error: CellResult((), failed(error)),
    )


def _check_stopping(plan: Plan) -> None:
    stopping = plan.sweep.early_stopping
    if stopping is not None:
        metric = plan.metrics()[stopping.metric]
        rule = f"{metric.name!r} has no better side; stop by one that has, such as net_value"
        require(metric.more_is_better is not None, plan.source, "early_stopping.metric", rule)


def _with_stops(swept: Swept) -> Swept:
    """With the rows that are hopeless by now; control and baseline go on: all is compared with them."""
    plan, stopping = swept.plan, swept.plan.sweep.early_stopping
    assert stopping is not None
    metric, stopped = plan.metrics()[stopping.metric], dict(swept.stopped)
    sign = 1.0 if metric.more_is_better else -1.0
    alpha = (1.0 - stopping.confidence) / len(plan.worlds)
    for world in plan.worlds:
        rows = [Row(name, world) for name in plan.tables if Row(name, world) not in stopped]
        seeds = sorted(set.intersection(*(set(swept.runs[row]) for row in rows if swept.runs[row])))
        means = {row.strategy: sign * seed_means(swept.runs[row], seeds, metric.measure) for row in rows}
        usable = {name: values for name, values in means.items() if values.size}
        for name, by in hopeless(usable, alpha, len(plan.tables) - 1).items():
            if name not in (CONTROL, plan.sweep.baseline):
                stopped[Row(name, world)] = Stopped(len(seeds), by)
    return swept._replace(stopped=stopped)


def seed_means(runs: Mapping[int, Played], seeds: list[int], measure: Measure) -> FloatArray:
    """(S,) the metric under each seed; none if a seed is missing."""
    if not set(seeds) <= set(runs):
        return np.zeros(0)
    return np.array([np.mean(np.asarray(measure(runs[seed]), dtype=np.float64)) for seed in seeds])
