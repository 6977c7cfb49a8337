"""What `nba evaluate` and `nba compare-policies` tell: JSON with fixed keys, and lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from experiments.evaluation.estimators import TUNED
from experiments.evaluation.rewards import SAYS
from experiments.evaluation.run import Difference, Found
from nba.ope import Report
from nba.ope.compare import Compared

_SHOWN = 15


def found_json(found: Found) -> dict[str, Any]:
    """The report; of a log with faults the count, and the faults as reasons."""
    if found.report is not None:
        told: dict[str, Any] = msgspec.to_builtins(found.report)
        return told
    nothing: dict[str, Any] = dict.fromkeys(Report.__struct_fields__)
    reasons = [str(fault) for fault in found.faults]
    return nothing | {"n": found.n, "estimates": [], "verdict": "refused", "reasons": reasons}


def difference_json(found: Difference) -> dict[str, Any]:
    """The comparison, with the targets' words; of a log with faults the count, and the faults as reasons."""
    targets = {"targets": list(found.order.targets)}
    if found.compared is not None:
        told: dict[str, Any] = msgspec.to_builtins(found.compared)
        return targets | told
    nothing: dict[str, Any] = dict.fromkeys(Compared.__struct_fields__)
    reasons = [str(fault) for fault in found.faults]
    return targets | nothing | {"n": found.n, "verdict": "refused", "reasons": reasons}


def found_lines(found: Found) -> Iterator[str]:
    """Support first, then the estimates if there are any."""
    report, prepared = found.report, found.prepared
    if report is None or prepared is None:
        yield f"{found.order.log}: {found.n:,} rounds; refused"
        yield from _reasons(map(str, found.faults))
        return
    yield f"{found.order.log}: {report.n:,} rounds, target {found.order.targets[0]}: {report.verdict}"
    yield from _reasons(report.reasons)
    yield ""
    yield "support"
    yield f"  effective rounds    {report.effective_n:12,.1f}  of {report.n:,}"
    yield f"  mean weight         {report.mean_weight:12.4f}  1 if propensities are right"
    yield f"  largest weight      {report.max_weight:12.4g}"
    yield f"  lost target mass    {report.lost_target_mass:12.4f}  on actions that could not be chosen"
    yield from _arm_lines(found)
    yield from _segment_lines(found)
    yield from _calibration_lines(found)
    yield ""
    yield f"the log itself earned {report.on_policy_mean:.6g} a round"
    if not report.estimates:
        yield "no estimate is printed: the log does not support one"
        return
    yield from _estimate_lines(report, found.order.confidence)
    yield from _tuned_lines(found)
    yield from _model_lines(found)


def difference_lines(found: Difference) -> Iterator[str]:
    """The verdict, the difference, its interval and its sequence."""
    one, two = found.order.targets
    compared = found.compared
    if compared is None:
        yield f"{found.order.log}: {found.n:,} rounds; refused"
        yield from _reasons(map(str, found.faults))
        return
    yield f"{found.order.log}: {compared.n:,} rounds, {one} against {two}: {compared.verdict}"
    yield from _reasons(compared.reasons)
    if compared.difference is None:
        yield "no difference is printed: the log does not support one"
        return
    share = f"{100.0 * found.order.confidence:g} %"
    yield f"difference          {compared.difference:+.6g} +- {compared.stderr:.4g}"
    yield f"read once           {_ends(compared.ci_low, compared.ci_high)}  {share}, {compared.method}"
    yield f"looked at any time  {_ends(compared.sequence_low, compared.sequence_high)}  {share}, sequence"
    alarms = 100.0 * compared.naive_alarms_20_looks
    yield f"20 looks at the interval would find a difference of nothing {alarms:.0f} % of the time"
    yield f"{one} earns more" if compared.is_better else f"that {one} earns more is not shown"


def segment_rows(found: Found) -> list[tuple[str, dict[str, float]]]:
    """Support by segment: rounds, effective rounds, mean and largest weight, lost mass, what was earned."""
    if found.judged is None or found.prepared is None or not found.prepared.coder.segments:
        return []
    rows = []
    for name, sums in zip(found.prepared.coder.segments, found.judged.segments.tolist(), strict=True):
        n, total, squares, lost, earned, largest = sums
        if n:
            told = {
                "n": n,
                "effective_n": total * total / squares if squares else 0.0,
                "mean_weight": total / n,
                "max_weight": largest,
                "lost_target_mass": lost / n,
                "on_policy_mean": earned / n,
            }
            rows.append((name, told))
    return rows


def arm_rows(found: Found) -> list[tuple[str, dict[str, float]]]:
    """Per action how often it was chosen, its mean inverse propensity, and how far that strays."""
    if found.judged is None or found.prepared is None:
        return []
    arms, floors = found.judged.evaluation.support.arms, found.order.floors
    weights = arms.mean_weights()
    excess = weights.excess(floors.false_alarm / arms.largest.size)
    rows = []
    for place, label in enumerate(found.prepared.coder.labels):
        possible = float(weights.expected[place])
        if possible and label != "(any other)":
            mean = float(weights.observed[place]) / possible
            rows.append(
                (
                    label,
                    {"chosen": float(arms.choices[place, 0]), "mean": mean, "excess": float(excess[place])},
                )
            )
    return rows


def _arm_lines(found: Found) -> Iterator[str]:
    rows = arm_rows(found)
    yield f"  {'action':28s} {'chosen':>12s} {'mean 1/p':>9s}  strays, in units of what is still chance"
    for label, row in sorted(rows, key=lambda one: -one[1]["chosen"])[:_SHOWN]:
        yield f"  {label[:28]:28s} {row['chosen']:12,.0f} {row['mean']:9.3f}  {row['excess']:.2f}"
    if len(rows) > _SHOWN:
        yield f"  and {len(rows) - _SHOWN} actions more"


def _segment_lines(found: Found) -> Iterator[str]:
    rows = segment_rows(found)
    if rows:
        name = found.order.asked.segment
        heads = f"{'rounds':>12s} {'effective':>12s} {'mean w':>8s} {'lost':>7s} {'earned':>10s}"
        yield f"  {f'by {name}'[:28]:28s} {heads}"
    for label, row in rows:
        yield (
            f"  {label[:28]:28s} {row['n']:12,.0f} {row['effective_n']:12,.1f} {row['mean_weight']:8.3f} "
            f"{row['lost_target_mass']:7.4f} {row['on_policy_mean']:10.4g}"
        )


def _calibration_lines(found: Found) -> Iterator[str]:
    calibration = None if found.judged is None else found.judged.calibration
    if calibration is None:
        return
    yield f"  {'estimated propensity':28s} {'rounds':>12s} {'chosen':>9s}  off, in standard errors"
    rows = zip(calibration.counts, calibration.predicted, calibration.chosen, calibration.z, strict=True)
    for count, predicted, chosen, z in rows:
        if count:
            off = "too few to say" if np.isnan(z) else f"{z:+.1f}"
            yield f"  {predicted / count:<28.4f} {count:12,.0f} {chosen / count:9.4f}  {off}"


def _estimate_lines(report: Report, confidence: float) -> Iterator[str]:
    share = f"{100.0 * confidence:g} %"
    yield f"{'the target would have':22s} {'earned':>12s} {'+-':>10s}   {share} interval"
    for one in report.estimates:
        mark = "*" if one.estimator == report.selected else " "
        if one.stderr is None:
            yield f"{mark} {one.estimator:20s} {one.value:12.6g} {'':10s}   of a model alone: error not known"
        else:
            ends = _ends(one.ci_low, one.ci_high)
            yield f"{mark} {one.estimator:20s} {one.value:12.6g} {one.stderr:10.4g}   {ends}  {one.method}"
    if report.selected is not None:
        yield "* selected by SLOPE++: the least error up to a constant, if the widest interval is right"


def _tuned_lines(found: Found) -> Iterator[str]:
    """What was chosen among what."""
    for one in found.report.estimates if found.order.tuned and found.report is not None else ():
        family = TUNED.get(one.estimator.partition("(")[0], ())
        if family:
            values = ", ".join(each.name.partition("(")[2].rstrip(")") for each in family)
            yield f"{one.estimator}: chosen by SLOPE++ among {values}"


def _model_lines(found: Found) -> Iterator[str]:
    prepared = found.prepared
    if prepared is None or not prepared.models.models:
        return
    kinds, model = prepared.reading.kinds, SAYS[found.order.reward_model]
    if kinds:
        told = "; ".join(f"{name}: {kind}" for name, kind in kinds.items())
        yield f"reward model: {model}, cross-fitted by customer, on {told}"
    else:
        yield "reward model: the mean reward of each action, cross-fitted; --features names what it may know"
    for name, why in prepared.reading.left_out.items():
        yield f"left out {name}: {why}"


def _reasons(reasons: Sequence[str] | Iterator[str]) -> Iterator[str]:
    return (f"  - {reason}" for reason in reasons)


def _ends(low: float | None, high: float | None) -> str:
    ends = [np.nan if end is None else end for end in (low, high)]
    return f"[{ends[0]:.6g}, {ends[1]:.6g}]"
