"""A cell of a sweep: one strategy in one world under a block of seeds; a task of its own, with a digest."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import structs

from experiments.compare import learns, taught_and_judged
from experiments.executor import Report, SerialExecutor
from experiments.kept import Shelf, digest_of
from experiments.spec import MOST_CUSTOMERS, Contender, StrategySpec
from experiments.sweeps.config import JUDGING, Horizon
from experiments.sweeps.contenders import dotted_in, spec_of, world_of
from experiments.sweeps.custom import Sources, is_dotted
from experiments.sweeps.played import Played, Ran, played, runs_bytes, runs_read
from simulator.world import World

_FORMAT = 1  # of what is kept of a run


class Cell(NamedTuple):
    """Everything that a run follows from, as plain values: a user's own parts are made where it runs."""

    strategy: Mapping[str, Any]
    imitated: Mapping[str, Any] | None  # the strategy that an apprentice imitates
    world: World | str  # ours, or the dotted name of a user's own
    sources: Sources  # of the modules that dotted names speak of
    train: Horizon
    evaluate: Horizon
    seeds: tuple[int, ...]
    oracle: bool
    source: str  # the file that errors name

    @property
    def name(self) -> str:
        """The strategy's."""
        return str(self.strategy["name"])

    def made_world(self) -> World:
        """The world."""
        return world_of(self.world, self.sources, self.source) if isinstance(self.world, str) else self.world

    def spec(self) -> StrategySpec:
        """The strategy."""
        return spec_of(self.strategy, self.sources, self.source, self.name)

    def contender(self, spec: StrategySpec, world: World, seed: int) -> Contender:
        """What a run begins with."""
        ours = spec.strategy(world, seed)
        if self.imitated is None or spec.apprentice is None:
            return Contender(ours)
        imitated = spec_of(self.imitated, self.sources, self.source, str(self.imitated["name"]))
        return Contender(ours, imitated.strategy(world, seed), spec.apprentice.begun())

    def common(self) -> str:
        """The digest of all but the seeds: of settings as they are understood, whatever they are called."""
        world, spec = self.made_world(), self.spec()
        begins = self.contender(structs.replace(spec, name="", description=""), world, 0)
        rules = begins.rules and structs.replace(begins.rules, name="")
        settings = (world.config, begins.strategy, rules, begins.apprentice)
        horizons = self.train if learns(spec) else None, self.evaluate, self.oracle
        own = {name: text for name, text in self.sources.items() if name in self._modules()}
        return digest_of([_FORMAT, version("nba"), settings, horizons, own])

    def _modules(self) -> set[str]:
        names = [*dotted_in(self.strategy), *dotted_in(self.imitated or {})]
        names += [self.world] if isinstance(self.world, str) else []
        return {name.rpartition(".")[0] for name in names if is_dotted(name)}

    @property
    def customer_days(self) -> int:
        """Steps of work, for a progress bar."""
        trained = self.train.phase(0).customer_days if learns(self.spec()) else 0
        return len(self.seeds) * (trained + self.evaluate.phase(0).customer_days)


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A cell that could not be run."""

    error: str  # in one line
    traceback: str


class CellResult(NamedTuple):
    """What came of a cell: its runs, one per seed, or why there are none."""

    runs: tuple[Played, ...]
    failure: Failure | None = None


def shelf(folder: Any) -> Shelf[CellResult]:
    """Where finished cells are kept; failed ones are told, and run again the next time."""
    return Shelf(folder, ".npz", lambda data: CellResult(runs_read(data)), _kept)


def _kept(one: CellResult) -> bytes | None:
    return None if one.failure is not None else runs_bytes(one.runs)


def run_cell(cell: Cell, report: Report) -> CellResult:
    """Run a cell; whatever goes wrong in it is its result. A pure function of the cell, but for the clock."""
    try:
        world, spec = cell.made_world(), cell.spec()
        return CellResult(tuple(_run(cell, world, spec, seed, report) for seed in cell.seeds))
    except Exception as error:
        return CellResult((), failed(error))


def failed(error: Exception) -> Failure:
    """An error as a row."""
    told = " ".join(f"{type(error).__name__}: {error}".split())
    return Failure(error=told, traceback="".join(traceback.format_exception(error)))


def _run(cell: Cell, world: World, spec: StrategySpec, seed: int, report: Report) -> Played:
    train, judge = cell.train.phase(seed), cell.evaluate.phase(JUDGING + seed)
    contender, does_learn = cell.contender(spec, world, seed), learns(spec)
    done = taught_and_judged(
        world, contender, train if does_learn else None, judge, SerialExecutor(), report, cell.oracle
    )
    trained = train.customers if does_learn else 0
    seconds = (done.train_seconds, done.evaluate_seconds)
    ran = Ran(world, done.evaluation, done.training, trained, judge.days, seconds)
    return played(ran, judge.seed, np.arange(MOST_CUSTOMERS, MOST_CUSTOMERS + judge.customers))
