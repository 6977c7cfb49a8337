"""What a world was calibrated to, told again by the world and by every member of its ensemble."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct, structs

from experiments.executor import Report
from experiments.world_report.statistics import predictive_tails, two_sided
from nba.arrays import FloatArray
from nba.errors import require
from simulator.calibrate.columns import DATA, load_map
from simulator.calibrate.ensemble import HISTORY, apply
from simulator.calibrate.history import simulate
from simulator.calibrate.moments import values
from simulator.calibrate.parameters import Vector
from simulator.calibrate.run import Problem, problem
from simulator.calibrate.table import load
from simulator.config import WorldConfig
from simulator.world import World

LOW, HIGH = 0.05, 0.95
WANTED_SHARE = 0.9  # of the statistics, methods F4
SHIPPED = DATA / "bank-additional-full.csv.gz"
_BAND = (2.5, 50.0, 97.5)  # percentiles
_OF_THE_WORLD = ("long_fatigue", "short_fatigue", "weekday", "month")


class TargetRow(Struct, frozen=True, kw_only=True):
    """One statistic of the table beside the simulated ones."""

    name: str
    observed: float
    stderr: float  # of the table
    world: float  # the world's own numbers
    low: float  # 2.5 % of the ensemble
    median: float
    high: float  # 97.5 %
    tail: float  # P(replicated >= observed)
    p: float  # two-sided
    fitted: bool

    @property
    def inside(self) -> bool:
        """Tell whether the table looks like one of the world's own."""
        return LOW <= self.tail <= HIGH


class Targets(Struct, frozen=True, kw_only=True):
    """All statistics, or the reason why there are none."""

    absent: str = ""
    data: str = ""
    members: int = 0
    rows: tuple[TargetRow, ...] = ()

    @property
    def inside(self) -> int:
        """Statistics whose tail lies in [LOW, HIGH]."""
        return sum(row.inside for row in self.rows)

    @property
    def passes(self) -> bool:
        """Tell whether enough of them do."""
        return bool(self.rows) and self.inside >= WANTED_SHARE * len(self.rows)


def compare_targets(world: World, campaign: Path | None, columns: Path | None, report: Report) -> Targets:
    """Tell the campaign again with the world's numbers and with those of every member.

    The table is the one that ships by default; it must be the one that the world was fitted to.
    """
    past = _past(world.config.calibration)
    if not past:
        return Targets(
            absent="This world has no [calibration]: run `nba calibrate`, and report on what it wrote."
        )
    place = campaign or SHIPPED
    if campaign is None and world.config.calibration["data"] != SHIPPED.name:
        named = world.config.calibration["data"]
        return Targets(absent=f"This world was fitted to {named}: give it with --campaign (and --columns).")
    of = _problem(world, place, columns)
    _check_source(world, of, place)
    report(1)
    own = _statistics(of, _fields(world.config, of.columns.product), past)
    told = []
    for member in world.config.ensemble:
        config = apply(world.config, member)
        told.append(_statistics(of, _fields(config, of.columns.product), past | _past(member, HISTORY)))
        report(1)
    return _targets(of, own, np.array(told or [own]), place.name, len(world.config.ensemble))


def _past(table: dict[str, Any], prefix: str = HISTORY) -> dict[str, float]:
    """What is told of the campaign in a calibration or a member."""
    return {key.removeprefix(prefix): float(value) for key, value in table.items() if key.startswith(prefix)}


def _problem(world: World, place: Path, columns: Path | None) -> Problem:
    """Read and prepare a table; the stand-ins are those of the calibration."""
    bare = World(structs.replace(world.config, ensemble=()))
    maps = load_map(columns)
    return problem(bare, load(place, maps), maps, int(world.config.calibration.get("seed", 1)))


def _check_source(world: World, of: Problem, place: Path) -> None:
    """A world is held against what it was fitted to, and nothing else."""
    for name, given in (("data", place.name), ("columns", of.columns.name)):
        fitted = world.config.calibration.get(name)
        rule = f"the world was fitted to {fitted!r}, not to {given!r}"
        require(fitted == given, world.config.name, f"calibration.{name}", rule)


def _fields(config: WorldConfig, product: str) -> Vector:
    """What the campaign depends on, as it stands in a world: also what was changed after calibration."""
    answer = config.response
    vector: Vector = {f"response.{name}": getattr(answer, name) for name in _OF_THE_WORLD}
    vector[f"response.lift.{product}"] = answer.lift[config.catalogue.level("product", product)]
    vector["population.responsiveness_sd"] = config.population.responsiveness_sd
    return vector


def _statistics(of: Problem, fields: Vector, past: dict[str, float]) -> FloatArray:
    config = apply(of.cast.config, fields)
    return values(of.summary, simulate(of.cast, of.past, config, past))


def _targets(of: Problem, own: FloatArray, told: FloatArray, data: str, members: int) -> Targets:
    observed = of.goal.target
    low, median, high = np.percentile(told, _BAND, axis=0)
    tails = predictive_tails(observed, told, of.errors)
    columns = (observed, of.errors, own, low, median, high, tails, two_sided(tails))
    numbers = ("observed", "stderr", "world", "low", "median", "high", "tail", "p")
    rows = (
        TargetRow(name=one.name, fitted=one.fitted, **dict(zip(numbers, map(float, row), strict=True)))
        for one, *row in zip(of.summary.statistics, *columns, strict=True)
    )
    return Targets(data=data, members=members, rows=tuple(rows))
