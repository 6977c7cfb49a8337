"""The figures of an evaluation: estimates, weights, support by action and segment, sequence, calibration."""

from __future__ import annotations

from itertools import accumulate
from operator import add
from typing import Any, NamedTuple

import numpy as np

from experiments.evaluation.estimators import followed
from experiments.evaluation.run import Found
from experiments.evaluation.told import arm_rows, segment_rows
from experiments.plots import Chart
from experiments.report_svg import COLOURS, GREY, name_rows, svg
from nba.arrays import FloatArray
from nba.ope import Moments, asymptotic_reach
from nba.ope.propensities import Calibration

_MOST_ROWS = 20
_FIRST_OCTAVE = -6  # of the histogram


class Path(NamedTuple):
    """What could be seen of an estimate while the log grew."""

    name: str
    rounds: FloatArray  # (L,)
    values: FloatArray  # (L,)
    reaches: FloatArray  # (L,) half widths of the confidence sequence


def charts(found: Found) -> list[Chart]:
    """All figures that this evaluation has."""
    drawn = [_weights(found), _arms(found)]
    if found.report is not None and found.report.estimates:
        drawn = [_estimates(found), *drawn]
        if found.judged is not None and found.judged.path:
            drawn.append(_sequence(found))
    if segment_rows(found):
        drawn.append(_segments(found))
    if found.judged is not None and found.judged.calibration is not None:
        drawn.append(_calibration(found.judged.calibration))
    return drawn


def path_of(found: Found) -> Path:
    """The estimate after every stretch of the log, with its sequence; narrowest at the log's end."""
    assert found.prepared is not None and found.judged is not None
    name = found.prepared.estimators[followed(found.prepared.estimators) or 0].name
    sums: list[Moments] = list(accumulate(found.judged.path, add))
    told = [(one.n_rounds, one.estimate(self_normalised=False)) for one in sums if one.n_rounds >= 2]
    reaches = [asymptotic_reach(one, n, found.n, found.order.confidence) for n, one in told]
    rounds = np.array([float(n) for n, _ in told])
    return Path(name, rounds, np.array([one.value for _, one in told]), np.array(reaches))


def _estimates(found: Found) -> Chart:
    assert found.report is not None
    rows, logged = found.report.estimates, found.report.on_policy_mean

    def draw(axes: Any) -> None:
        for place, row in enumerate(rows):
            colour = COLOURS[1] if row.estimator == found.report.selected else COLOURS[0]  # type: ignore[union-attr]
            if row.ci_low is not None and row.ci_high is not None:
                axes.plot([row.ci_low, row.ci_high], [place, place], color=colour, solid_capstyle="butt")
            axes.plot([row.value], [place], "o", color=colour if row.stderr is not None else GREY)
        axes.axvline(logged, color=GREY, linewidth=1, linestyle="--")
        name_rows(axes, [row.estimator for row in rows])
        axes.set_xlabel("reward a round")

    told = [f"{row.estimator} {row.value:.4g} ({row.ci_low} to {row.ci_high})" for row in rows]
    return Chart(
        "estimates",
        "Estimates",
        f"Estimates with intervals: {'; '.join(told)}; the log itself earned {logged:.4g}.",
        "What the target would have earned by each estimator, with its interval; the one selected stands "
        "out, a grey dot is a model alone, and the dashed line is what the log itself earned.",
        svg("estimates", draw, 0.9 + 0.34 * len(rows)),
    )


def _weights(found: Found) -> Chart:
    assert found.judged is not None
    support = found.judged.evaluation.support
    shares = 100.0 * support.histogram / support.n
    shown = np.flatnonzero(shares)
    names = ["0" if bin_ == 0 else f"{2.0 ** (_FIRST_OCTAVE + bin_ - 1):g}" for bin_ in range(shares.size)]

    def draw(axes: Any) -> None:
        places = np.arange(shown[0], shown[-1] + 1)
        axes.bar(places, shares[places], color=COLOURS[0], width=0.9)
        axes.set_xticks(places, [names[place] for place in places], rotation=45, ha="right")
        axes.set_xlabel("weight, from this value up to its double")
        axes.set_ylabel("% of rounds")

    told = ", ".join(f"{shares[bin_]:.1f} % from {names[bin_]}" for bin_ in shown)
    return Chart(
        "weights",
        "Weights",
        f"Rounds by importance weight: {told}.",
        f"How often the target would do what the log did, relative to the log. Mean {support.mean_ratio:.3f} "
        f"(1 if all is right), largest {support.max_ratio:.4g}, {support.effective_n:,.0f} effective rounds.",
        svg("weights", draw),
    )


def _arms(found: Found) -> Chart:
    rows = sorted(arm_rows(found), key=lambda row: -row[1]["chosen"])[:_MOST_ROWS]

    def draw(axes: Any) -> None:
        for place, (_, row) in enumerate(rows):
            colour = COLOURS[1] if row["excess"] > 1.0 else COLOURS[0]
            axes.plot([row["mean"]], [place], "o", color=colour)
        axes.axvline(1.0, color=GREY, linewidth=1)
        low, high = axes.get_xlim()
        axes.set_xlim(min(low, 0.9), max(high, 1.1))  # what is next to 1 shall look so
        name_rows(axes, [label for label, _ in rows])
        axes.set_xlabel("mean of 1[chosen] / propensity")

    told = "; ".join(f"{label} {row['mean']:.3f}" for label, row in rows)
    return Chart(
        "arms",
        "Propensities by action",
        f"Mean inverse propensity by action: {told}.",
        "Each should be 1, or below it where an action could not always be chosen. In red what right "
        "propensities would not do.",
        svg("arms", draw, 0.9 + 0.28 * max(len(rows), 2)),
    )


def _sequence(found: Found) -> Chart:
    path = path_of(found)

    def draw(axes: Any) -> None:
        low, high = path.values - path.reaches, path.values + path.reaches
        axes.fill_between(path.rounds, low, high, color=COLOURS[0], alpha=0.2, linewidth=0)
        axes.plot(path.rounds, path.values, color=COLOURS[0])
        late = path.rounds.size // 10  # the first looks would flatten all others
        axes.set_ylim(float(low[late:].min()), float(high[late:].max()))
        axes.set_xlabel("rounds, in the order of the log")
        axes.set_ylabel("reward a round")

    value, reach = path.values[-1], path.reaches[-1]
    return Chart(
        "sequence",
        "Confidence sequence",
        f"{path.name} after {path.rounds[-1]:,.0f} rounds: {value:.4g}, from {value - reach:.4g} to "
        f"{value + reach:.4g}.",
        f"{path.name} while the log grew. The band holds the truth at all looks together and may be watched; "
        "it is wider than an interval that is read once.",
        svg("sequence", draw),
    )


def _segments(found: Found) -> Chart:
    rows = segment_rows(found)

    def draw(axes: Any) -> None:
        for place, (_, row) in enumerate(rows):
            axes.barh(place, 100.0 * row["effective_n"] / row["n"], height=0.62, color=COLOURS[0])
        name_rows(axes, [label for label, _ in rows])
        axes.set_xlim(0, 100)
        axes.set_xlabel("effective rounds, % of rounds")

    told = "; ".join(f"{label} {row['effective_n']:,.0f} of {row['n']:,.0f}" for label, row in rows)
    return Chart(
        "segments",
        f"Support by {found.order.asked.segment}",
        f"Effective rounds by segment: {told}.",
        "Where the target does what the log seldom did, few of the rounds count, and the estimate rests on "
        "little.",
        svg("segments", draw, 0.9 + 0.28 * max(len(rows), 2)),
    )


def _calibration(calibration: Calibration) -> Chart:
    told = calibration.counts > 0
    predicted = calibration.predicted[told] / calibration.counts[told]
    chosen = calibration.chosen[told] / calibration.counts[told]
    errors = 2.0 * np.sqrt(calibration.variances[told]) / calibration.counts[told]

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1)
        axes.errorbar(predicted, chosen, errors, fmt="o", color=COLOURS[0])
        axes.set_xlabel("estimated propensity")
        axes.set_ylabel("share that was chosen")

    pairs = "; ".join(f"{p:.3f}: {c:.3f}" for p, c in zip(predicted, chosen, strict=True))
    return Chart(
        "calibration",
        "Estimated propensities",
        f"Estimated propensity and share chosen: {pairs}.",
        "The log has no propensities. These were estimated from its choices, each by a model that did not "
        "see the customer; points off the line say that it is wrong. What it was not told shows nowhere.",
        svg("calibration", draw),
    )
