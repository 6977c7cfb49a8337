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
from simulator.calibrate.level import LEVEL
from simulator.calibrate.parameters import PARAMETERS, Vector
from simulator.calibrate.run import Problem, replayed
from simulator.calibrate.table import load
from simulator.config import WorldConfig
from simulator.world import World

LOW, HIGH = 0.05, 0.95
WANTED_SHARE = 0.9  # of the statistics, methods F4
SHIPPED = DATA / "bank-additional-full.csv.gz"
_BAND = (2.5, 50.0, 97.5)  # percentiles
_LEAST = 1e-6  # of a number whose logarithm is fitted
_ROUNDED = 1e-4  # numbers are written with six digits


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
    edited: tuple[str, ...] = ()  # calibrated fields that were changed by hand since

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
    fitted = world.config.calibration.get("data")
    if fitted is None:
        return Targets(
            absent="The world has no [calibration]: run `nba calibrate`, and report on what it wrote."
        )
    if campaign is None and fitted != SHIPPED.name:
        return Targets(absent=f"The world was fitted to {fitted}: give it with --campaign (and --columns).")
    place, maps = campaign or SHIPPED, load_map(columns)
    for name, given in (("data", place.name), ("columns", maps.name)):
        kept = world.config.calibration.get(name)
        rule = f"the world was fitted to {kept!r}, not to {given!r}"
        require(kept == given, world.config.name, f"calibration.{name}", rule)
    of, theta = replayed(world, load(place, maps), maps)
    report(1)
    own = of.simulate(_as_it_stands(world.config, theta, maps.product))
    told = []
    for member in world.config.ensemble:
        told.append(of.simulate(_theta(world.config, member)))
        report(1)
    found = _targets(of, own, np.array(told or [own]), place.name, len(told))
    return structs.replace(found, edited=_edited(world.config, of.vector(theta), maps.product))


def _theta(config: WorldConfig, member: Vector) -> FloatArray:
    """(Q,) the parameters that a member was made of."""
    missing = [HISTORY + one.name for one in PARAMETERS if HISTORY + one.name not in member]
    rule = f"{', '.join(missing)} missing: not written by this version of nba calibrate"
    require(not missing, config.name, "ensemble", rule)
    known = {one: np.asarray(member[HISTORY + one.name], dtype=np.float64) for one in PARAMETERS}
    return np.array([one.fitted_scale(value.item()) for one, value in known.items()])


def _as_it_stands(config: WorldConfig, theta: FloatArray, product: str) -> FloatArray:
    """(Q,) parameters with what the world's file says now, should somebody have changed it since."""
    answer = config.response
    now = {
        "lift": answer.lift[config.catalogue.level("product", product)] / _level(config),
        "long_fatigue": answer.long_fatigue,
        "short_fatigue": answer.short_fatigue,
        "responsiveness_sd": config.population.responsiveness_sd,
    }
    return np.array(
        [
            one.fitted_scale(max(now[one.name], _LEAST)) if one.name in now else value
            for one, value in zip(PARAMETERS, theta.tolist(), strict=True)
        ]
    )


def _level(config: WorldConfig) -> float:
    """What the calibration has multiplied the campaign's lift by for this world's customers."""
    return float(config.calibration.get(LEVEL, 1.0))


def _edited(config: WorldConfig, vector: Vector, product: str) -> tuple[str, ...]:
    """Fields that are not as the calibration has left them."""
    path = f"response.lift.{product}"
    changed = apply(config, vector | {path: _level(config) * float(np.asarray(vector[path]))})
    return tuple(
        path
        for path in vector
        if not np.allclose(_field(config, path), _field(changed, path), rtol=_ROUNDED, atol=_ROUNDED)
    )


def _field(config: WorldConfig, path: str) -> Any:
    section, field = path.split(".")[:2]
    return getattr(getattr(config, section), field)


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
