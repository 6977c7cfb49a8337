"""What a sweep's file comes to: named worlds and strategies, metrics, and the cells with their digests."""

from __future__ import annotations

from itertools import chain
from typing import Any, NamedTuple

from experiments.kept import digest_of
from experiments.sweeps.cells import Cell
from experiments.sweeps.config import Sweep, folder_of, load_sweep
from experiments.sweeps.contenders import dotted_in, variants, world_of
from experiments.sweeps.custom import Sources, found_beside, is_dotted, resolved, sources_of
from experiments.sweeps.measures import METRICS, Metric, own_metric
from nba.errors import InvalidConfig, require
from simulator.world import World


class Row(NamedTuple):
    """One strategy in one world: what a line of a comparison is about."""

    strategy: str
    world: str


class Plan(NamedTuple):
    """A sweep, understood and checked as a whole before any work."""

    sweep: Sweep
    source: str
    sources: Sources
    tables: dict[str, dict[str, Any]]  # strategy -> its table
    worlds: dict[str, World | str]  # name -> ours, or the dotted name of a user's own
    digests: dict[Row, tuple[str, ...]]  # of the cells of every row, block of seeds by block

    @property
    def id(self) -> str:
        """12 hexadecimal digits: of all cells and the baseline, so that the same work has the same id."""
        rows = [[*row, *names] for row, names in self.digests.items()]
        return digest_of([self.sweep.name, self.sweep.baseline, rows])[:12]

    def cell(self, row: Row, seeds: tuple[int, ...]) -> Cell:
        """One cell of a row."""
        sweep, table = self.sweep, self.tables[row.strategy]
        apprentice = table.get("apprentice")
        imitates = apprentice.get("imitates") if isinstance(apprentice, dict) else None
        known = f"{imitates!r} is not another strategy of it; use one of {', '.join(self.tables)}"
        is_known = imitates is None or (imitates in self.tables and imitates != row.strategy)
        require(is_known, self.source, f"{row.strategy}.apprentice.imitates", known)
        return Cell(
            strategy=table,
            imitated=None if imitates is None else self.tables[imitates],
            world=self.worlds[row.world],
            sources=self.sources,
            train=sweep.train,
            evaluate=sweep.evaluate,
            seeds=seeds,
            oracle=sweep.oracle,
            source=self.source,
        )

    def metrics(self) -> dict[str, Metric]:
        """The metrics, by name."""
        return metrics_of(self.sweep.metrics, self.sources, self.source)


def load_plan(path: str) -> Plan:
    """Read a sweep's file and all that it names; InvalidConfig says what is wrong with it and where."""
    return plan_of(load_sweep(path), path)


def plan_of(sweep: Sweep, source: str) -> Plan:
    """The plan of a sweep, whose own modules are looked for beside `source` first."""
    with found_beside(folder_of(source)):
        tables = _tables(sweep, source)
        own = chain.from_iterable(dotted_in(table) for table in tables.values())
        names = [*own, *(name for name in (*sweep.worlds, *sweep.metrics) if is_dotted(name))]
        sources = sources_of(names, source)
    metrics_of(sweep.metrics, sources, source)
    plan = Plan(sweep, source, sources, tables, _worlds(sweep, sources, source), {})
    return plan._replace(digests=_digests(plan))


def metrics_of(names: tuple[str, ...], sources: Sources, source: str) -> dict[str, Metric]:
    """Metrics by name, a user's own among them."""
    found = {}
    for name in names:
        if is_dotted(name):
            measure = resolved(name, sources, source)
            require(callable(measure), source, f"metrics.{name}", "must be a function of a run")
            found[name] = own_metric(name, measure)
        else:
            known = f"{name!r} is no metric; use some of {', '.join(METRICS)}, or the dotted name of your own"
            require(name in METRICS, source, "metrics", known)
            found[name] = METRICS[name]
    return found


def _tables(sweep: Sweep, source: str) -> dict[str, dict[str, Any]]:
    """All strategies by name, those of grids and searches among them."""
    found: dict[str, dict[str, Any]] = {}
    for number, table in enumerate(sweep.strategies):
        for name, one in variants(table, source, f"strategies[{number}]").items():
            rule = f"names must be unique, got {name!r} twice"
            require(name not in found, source, f"strategies[{number}].name", rule)
            found[name] = one
    known = f"{sweep.baseline!r} is not a strategy of it; use one of {', '.join(found)}"
    require(sweep.baseline in found, source, "baseline", known)
    return found


def _worlds(sweep: Sweep, sources: Sources, source: str) -> dict[str, World | str]:
    """Name of each world -> what of it travels to where it is needed."""
    found: dict[str, World | str] = {}
    for number, name in enumerate(sweep.worlds):
        world = world_of(name, sources, source)
        label = world.config.name
        rule = f"two worlds call themselves {label!r}; give them different names"
        require(label not in found, source, f"worlds[{number}]", rule)
        found[label] = name if is_dotted(name) else world
    return found


def _digests(plan: Plan) -> dict[Row, tuple[str, ...]]:
    """Every cell is made ready, so that what cannot be run is told before anything runs."""
    sweep, found = plan.sweep, {}
    for label in plan.worlds:
        for name in plan.tables:
            cell = plan.cell(Row(name, label), sweep.seed_blocks[0])
            try:
                common = cell.common()
            except InvalidConfig as error:
                where = error.pointer if error.source == plan.source else f"{error.source}: {error.pointer}"
                raise InvalidConfig(plan.source, f"{name} in {label}: {where}", error.rule) from None
            found[Row(name, label)] = tuple(digest_of([common, seeds]) for seeds in sweep.seed_blocks)
    return found
