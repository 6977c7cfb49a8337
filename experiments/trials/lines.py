"""What a trial shows, as lines for people."""

from __future__ import annotations

from collections.abc import Iterator

from experiments.trials.told import Told, ToldRatio


def lines(told: Told) -> Iterator[str]:
    """For people."""
    yield f"{told.customers:,} customers, against {told.control!r}; {100 * told.confidence:g} % for all"
    if told.rows_outside:
        yield f"{told.rows_outside:,} rows without an arm are passed over"
    if told.sample_ratio is not None:
        yield _ratio_line(told.sample_ratio, told.control)
    for one in told.lifts:
        relative = "" if one.relative_lift is None else f", {100 * one.relative_lift:+.2f} %"
        yield (
            f"{one.arm}: {one.mean:.6g} against {one.control_mean:.6g}: {one.difference:+.6g} "
            f"[{one.ci_low:+.6g}, {one.ci_high:+.6g}]{relative}"
        )
        if one.variance_left < 1.0:
            yield f"  CUPED leaves {100 * one.variance_left:.1f} % of the variance"
        if one.sequence_low is not None:
            when = (
                f"; a difference since {one.first_alarm}" if one.first_alarm else "; no difference shown yet"
            )
            yield f"  sequence, read on any day: [{one.sequence_low:+.6g}, {one.sequence_high:+.6g}]{when}"
        elif told.looks:
            yield "  sequence: not enough customers or outcomes for a first look"
    if told.naive_alarm_rate is not None:
        yield (
            f"If an arm differs by nothing, its interval read after each of {told.looks} days would show a "
            f"difference with chance {100 * told.naive_alarm_rate:.1f} %, any sequence with at most "
            f"{100 * (1 - told.confidence):.2g} %."
        )
    for row in told.segments:
        fair = "unknown, a segment lacks the arm" if row.standardised is None else f"{row.standardised:.6g}"
        turned = "  <- the mix of segments turns the comparison round" if row.reversed else ""
        yield f"{row.arm}: raw {row.raw:.6g}, at the same mix of segments {fair}{turned}"
    if told.uplift is not None:
        found = "finds" if told.uplift.is_found else "does not visibly find"
        yield (
            f"Qini {told.uplift.qini:.6g} +- {told.uplift.qini_stderr:.2g}: the score {found} the customers "
            "whom the arm changes"
        )


def _ratio_line(ratio: ToldRatio, control: str) -> str:
    counts = (
        f"{ratio.arm!r} and {control!r} hold {ratio.customers:,} and {ratio.control_customers:,} customers "
        f"where {ratio.expected:,.1f} and {ratio.control_expected:,.1f} were to be expected (z {ratio.z:.1f})"
    )
    if ratio.is_wrong:
        return f"warning: {counts}: what was lost is not random, and no difference below can be trusted"
    return f"{counts}: nothing speaks against the assignment"
