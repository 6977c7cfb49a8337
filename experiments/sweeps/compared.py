"""A sweep's runs side by side: means, intervals, paired differences, the Pareto front, gates.

The strategies of a world met the same customers with the same noise under every seed. With two seeds or more
the interval is Student's over seeds, each a training and a judging of its own; with one seed it is the normal
one over customers, which leaves out the chance of training. A row that was stopped early has the confidence
sequence that stopped it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, nan, sqrt
from typing import NamedTuple

import numpy as np
from msgspec import Struct, structs

from experiments.results import Interval
from experiments.sweeps.config import Gate
from experiments.sweeps.measures import METRICS, Metric
from experiments.sweeps.plan import Row
from experiments.sweeps.played import Played
from experiments.sweeps.run import Failed, Stopped, Swept
from nba.arrays import FloatArray
from nba.ope.intervals import CONFIDENCE
from nba.ope.sequences import t_reach

VALUE, HARM = "net_value", "opt_outs"


class Figure(Struct, frozen=True, kw_only=True):
    """One metric of a row, and its paired difference to the baseline on the same customers."""

    mean: float
    low: float
    high: float
    difference: Interval


class GateResult(Struct, frozen=True, kw_only=True):
    """Whether a gate holds: by the end of the difference's interval that is against it."""

    metric: str
    bound: str  # such as "at least 0"
    end: float  # that was held against it
    passed: bool


class Line(Struct, frozen=True, kw_only=True):
    """One strategy in one world."""

    strategy: str
    world: str
    seeds: int
    stopped_by: str | None  # the surely better strategy, if it was stopped early
    on_front: bool  # nobody has both more value and fewer opt-outs
    figures: dict[str, Figure]
    gates: tuple[GateResult, ...]

    @property
    def row(self) -> Row:
        """What the line is about."""
        return Row(self.strategy, self.world)

    @property
    def passed(self) -> bool:
        """Whether it holds all gates."""
        return all(gate.passed for gate in self.gates)


class Compared(NamedTuple):
    """A sweep, compared; in each world the best strategy first."""

    id: str
    name: str
    baseline: str
    metrics: dict[str, Metric]
    lines: tuple[Line, ...]
    runs: dict[Row, dict[int, Played]]
    failures: tuple[Failed, ...]

    @property
    def worlds(self) -> list[str]:
        """Names of the worlds that have lines."""
        return list(dict.fromkeys(line.world for line in self.lines))

    def of_world(self, world: str) -> list[Line]:
        """The lines of a world."""
        return [line for line in self.lines if line.world == world]


def compare_sweep(swept: Swept) -> Compared:
    """Everything that is printed, logged and drawn of a sweep."""
    plan = swept.plan
    metrics, lines = plan.metrics(), []
    for world in plan.worlds:
        base = swept.runs[Row(plan.sweep.baseline, world)]
        rows = [Row(name, world) for name in plan.tables if swept.runs[Row(name, world)]]
        front = pareto_front({row.strategy: _spot(swept.runs[row]) for row in rows})
        some = [
            _line(row, swept.runs[row], base, metrics, plan.sweep.gates, swept.stopped.get(row))
            for row in rows
        ]
        some = [structs.replace(line, on_front=line.strategy in front) for line in some]
        lines += sorted(some, key=lambda line: -_spot(swept.runs[line.row])[0])
    return Compared(
        plan.id, plan.sweep.name, plan.sweep.baseline, metrics, tuple(lines), swept.runs, swept.failures
    )


def pareto_front(spots: Mapping[str, tuple[float, float]]) -> set[str]:
    """Names that nobody dominates: (value, harm), more of the first and less of the second is better."""
    return {
        name
        for name, (value, harm) in spots.items()
        if not any(
            v >= value and h <= harm and (v > value or h < harm)
            for other, (v, h) in spots.items()
            if other != name
        )
    }


def _spot(runs: Mapping[int, Played]) -> tuple[float, float]:
    """Mean value and opt-outs over seeds."""
    return tuple(  # type: ignore[return-value]
        float(np.mean([np.mean(METRICS[name].measure(run)) for run in runs.values()]))
        for name in (VALUE, HARM)
    )


def _line(
    row: Row,
    runs: Mapping[int, Played],
    base: Mapping[int, Played],
    metrics: Mapping[str, Metric],
    gates: Sequence[Gate],
    stopped: Stopped | None,
) -> Line:
    figures = {name: _figure(metric, runs, base, stopped is not None) for name, metric in metrics.items()}
    return Line(
        strategy=row.strategy,
        world=row.world,
        seeds=len(runs),
        stopped_by=None if stopped is None else stopped.by,
        on_front=False,
        figures=figures,
        gates=tuple(judged(gate, figures[gate.metric].difference) for gate in gates),
    )


def judged(gate: Gate, difference: Interval) -> GateResult:
    """A gate, held against the end of an interval; where there is no interval nothing is proved."""
    if gate.at_least is not None:
        passed, end, bound = difference.low >= gate.at_least, difference.low, f"at least {gate.at_least:g}"
    else:
        assert gate.at_most is not None
        passed, end, bound = difference.high <= gate.at_most, difference.high, f"at most {gate.at_most:g}"
    return GateResult(metric=gate.metric, bound=bound, end=end, passed=bool(passed))


def _figure(metric: Metric, runs: Mapping[int, Played], base: Mapping[int, Played], any_time: bool) -> Figure:
    mine = {seed: np.asarray(metric.measure(run), dtype=np.float64) for seed, run in runs.items()}
    its = {seed: np.asarray(metric.measure(base[seed]), dtype=np.float64) for seed in runs if seed in base}
    own = interval_of(list(mine.values()), any_time)
    gaps = [mine[seed] - its[seed] for seed in its]
    return Figure(mean=own.mean, low=own.low, high=own.high, difference=interval_of(gaps, any_time))


def interval_of(values: Sequence[FloatArray], any_time: bool = False) -> Interval:
    """Mean with its 95 % interval of numbers under each seed: (N,) of customers, or () a single one.

    `any_time` is for numbers that were looked at before, to decide whether to go on. NaN without any.
    """
    if not values:
        return Interval(mean=nan, low=nan, high=nan)
    means = np.array([np.mean(one) for one in values])
    mean, n = float(means.mean()), means.size
    if n == 1:
        size = values[0].size
        half = _normal_half(values[0]) if size > 1 else inf
    elif any_time:
        half = t_reach(float(means.std(ddof=1)), n)
    else:
        from scipy.special import stdtrit

        half = float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2)) * float(means.std(ddof=1)) / sqrt(n)
    return Interval(mean=mean, low=mean - half, high=mean + half)


def _normal_half(values: FloatArray) -> float:
    from scipy.special import ndtri

    return float(ndtri(0.5 + CONFIDENCE / 2)) * float(values.std(ddof=1)) / sqrt(values.size)
