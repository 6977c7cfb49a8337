"""What a trial shows: every arm against control, with interval and sequence, and in which segments.

With several arms the confidence is that of all comparisons together (Bonferroni): one of them looks good by
chance the more often, the more there are.
"""

from __future__ import annotations

from math import isfinite
from typing import NamedTuple

import numpy as np
from msgspec import Struct, structs

from experiments.trials.read import Customers
from nba.arrays import BoolArray
from nba.errors import InvalidConfig, require
from nba.ope.segments import SegmentRates
from nba.ope.sequences import naive_alarms
from nba.trials import ArmSums, Lift, LiftSequence, Uplift, lift_of, lift_sequence, sample_ratio, uplift_of


class Question(NamedTuple):
    """What is asked of a trial."""

    control: str
    treated: str | None = None  # one arm; all others without it
    confidence: float = 0.95
    planned_customers: int | None = None


class ToldLift(Struct, frozen=True, kw_only=True):
    """One arm against control; per customer, in units of the outcome. None is what cannot be told."""

    arm: str
    customers: int
    mean: float
    control_mean: float
    difference: float
    stderr: float
    ci_low: float
    ci_high: float
    relative_lift: float | None
    relative_stderr: float | None
    theta: float
    variance_left: float
    sequence_low: float | None = None
    sequence_high: float | None = None
    first_alarm: str | None = None  # day on which the sequence first excludes no difference
    first_naive_alarm: str | None = None


class ToldSegments(Struct, frozen=True, kw_only=True):
    """Mean outcome of an arm as it is, and at the mix of segments of all arms."""

    arm: str
    raw: float
    standardised: float | None  # None if a segment has nobody of the arm
    reversed: bool  # against control: raw and standardised disagree on which is better


class ToldUplift(Struct, frozen=True, kw_only=True):
    """Whether the score finds the customers whom the arm changes."""

    arm: str
    qini: float
    qini_stderr: float
    auuc: float
    total: float
    is_found: bool


class ToldRatio(Struct, frozen=True, kw_only=True):
    """Customers of two arms beside those that --chance foretells; p below 0.001 says that some were lost."""

    arm: str
    customers: int
    expected: float
    control_customers: int
    control_expected: float
    z: float
    p: float
    is_wrong: bool


class Told(Struct, frozen=True, kw_only=True):
    """All of it."""

    customers: int
    rows_outside: int
    control: str
    confidence: float
    lifts: tuple[ToldLift, ...]
    segments: tuple[ToldSegments, ...]
    uplift: ToldUplift | None
    sample_ratio: ToldRatio | None  # None without --chance
    looks: int
    naive_alarm_rate: float | None  # of an interval looked at so often, if its arm differs by nothing


class Shown(NamedTuple):
    """What is told, and what is drawn."""

    told: Told
    sequences: dict[str, LiftSequence]
    uplift: Uplift | None
    days: tuple[str, ...]


def answer(customers: Customers, question: Question) -> Shown:
    """Every comparison that the question asks for."""
    control = _place(customers, question.control, "--control")
    asked = [place for place in range(len(customers.labels)) if place != control]
    if question.treated is not None:
        asked = [_place(customers, question.treated, "--treated")]
        require(asked != [control], customers.source, "--treated", "must differ from --control")
    each = 1.0 - (1.0 - question.confidence) / len(asked)
    lifts = {place: lift_of(_sums(customers, place), _sums(customers, control), each) for place in asked}
    sequences = {place: _sequence(customers, (place, control), question, each) for place in asked}
    found = {place: one for place, one in sequences.items() if one is not None}
    uplift = _uplift(customers, asked, control)
    looks = len(customers.days)
    told = Told(
        customers=customers.arms.size,
        rows_outside=customers.n_outside,
        control=question.control,
        confidence=question.confidence,
        lifts=tuple(_told(customers, place, lifts[place], sequences[place]) for place in asked),
        segments=_segments(customers, asked, control),
        uplift=None if uplift is None else _told_uplift(customers.labels[asked[0]], uplift),
        sample_ratio=_ratio(customers, asked, control),
        looks=looks,
        naive_alarm_rate=naive_alarms(looks, each) if looks else None,
    )
    return Shown(told, {customers.labels[place]: one for place, one in found.items()}, uplift, customers.days)


def _place(customers: Customers, label: str, option: str) -> int:
    if label not in customers.labels:
        known = ", ".join(map(repr, customers.labels[:12]))
        raise InvalidConfig(customers.source, option, f"no arm is named {label!r}; there are {known}")
    return customers.labels.index(label)


def _sums(customers: Customers, place: int, day: int | None = None) -> ArmSums:
    """The sums of an arm, of one day if it is named."""
    some: BoolArray = customers.arms == place
    if day is not None and customers.day_of is not None:
        some &= customers.day_of == day
    return ArmSums.of(customers.outcomes[some], None if customers.before is None else customers.before[some])


def _sequence(
    customers: Customers, places: tuple[int, int], question: Question, confidence: float
) -> LiftSequence | None:
    """The sequence over the days, if the table tells them."""
    if customers.day_of is None:
        rule = "goes with --day, for the sequence"
        require(question.planned_customers is None, "lift", "--planned-customers", rule)
        return None
    if question.planned_customers is None:
        rule = "must be given with --day, as fixed before the first look (nba plan-test tells it)"
        raise InvalidConfig("lift", "--planned-customers", rule)
    days = [
        (_sums(customers, places[0], day), _sums(customers, places[1], day))
        for day in range(len(customers.days))
    ]
    return lift_sequence(days, question.planned_customers, confidence)


def _told(customers: Customers, place: int, lift: Lift, sequence: LiftSequence | None) -> ToldLift:
    told = ToldLift(
        arm=customers.labels[place],
        customers=lift.n_treated,
        mean=lift.treated.value,
        control_mean=lift.control.value,
        difference=lift.difference.value,
        stderr=lift.difference.stderr,
        ci_low=lift.low,
        ci_high=lift.high,
        relative_lift=_finite(lift.relative.value),
        relative_stderr=_finite(lift.relative.stderr),
        theta=lift.theta,
        variance_left=lift.variance_left,
    )
    if sequence is None:
        return told
    alarms = sequence.first_alarm, sequence.first_naive_alarm
    first, naive = (None if alarm is None else customers.days[alarm] for alarm in alarms)
    return structs.replace(
        told,
        sequence_low=_finite(sequence.lows[-1]),
        sequence_high=_finite(sequence.highs[-1]),
        first_alarm=first,
        first_naive_alarm=naive,
    )


def _segments(customers: Customers, asked: list[int], control: int) -> tuple[ToldSegments, ...]:
    """Raw rates beside those at one mix of segments."""
    if customers.segment_of is None:
        return ()
    places = [control, *asked]
    row_of = np.full(len(customers.labels), -1, dtype=np.int64)
    row_of[places] = np.arange(len(places))
    some = row_of[customers.arms] >= 0
    arms = row_of[customers.arms[some]]
    shape = (len(places), len(customers.segments))
    rates = SegmentRates.of(arms, customers.segment_of[some], customers.outcomes[some], shape)
    raw, fair = rates.raw(), rates.standardised()
    return tuple(
        ToldSegments(
            arm=customers.labels[place],
            raw=float(raw[row]),
            standardised=_finite(fair[row]),
            reversed=row > 0 and rates.is_reversed(row, 0),
        )
        for row, place in enumerate(places)
    )


def _uplift(customers: Customers, asked: list[int], control: int) -> Uplift | None:
    """The uplift curve of one arm, if the table has a score."""
    if customers.scores is None:
        return None
    require(len(asked) == 1, "lift", "--treated", "must name one arm: a score is judged on two arms")
    some = (customers.arms == asked[0]) | (customers.arms == control)
    treated = customers.arms[some] == asked[0]
    chances = np.full(treated.size, treated.mean()) if customers.chances is None else customers.chances[some]
    return uplift_of(customers.scores[some], treated, customers.outcomes[some], chances)


def _ratio(customers: Customers, asked: list[int], control: int) -> ToldRatio | None:
    """Whether the arms hold the customers that their chances foretell."""
    if customers.chances is None:
        return None
    rule = "must name one arm: --chance is that of being treated instead of in control"
    require(len(asked) == 1, "lift", "--treated", rule)
    some = (customers.arms == asked[0]) | (customers.arms == control)
    found = sample_ratio(customers.arms[some] == asked[0], customers.chances[some])
    return ToldRatio(
        arm=customers.labels[asked[0]],
        customers=found.n_treated,
        expected=found.expected,
        control_customers=found.n - found.n_treated,
        control_expected=found.n - found.expected,
        z=found.z,
        p=found.p,
        is_wrong=found.is_wrong,
    )


def _told_uplift(arm: str, found: Uplift) -> ToldUplift:
    return ToldUplift(
        arm=arm,
        qini=found.qini.value,
        qini_stderr=found.qini.stderr,
        auuc=found.auuc.value,
        total=found.total.value,
        is_found=found.is_found,
    )


def _finite(value: float) -> float | None:
    return float(value) if isfinite(value) else None
