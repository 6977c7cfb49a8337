"""The lift day after day, with limits that may be looked at every day and acted upon at any of them.

A fixed-size interval that is looked at every day for a month finds a difference of nothing in more than a
quarter of all trials; a confidence sequence does so in at most one of twenty, however often it is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nba.arrays import FloatArray, IntArray
from nba.errors import require
from nba.ope.intervals import CONFIDENCE
from nba.ope.sequences import asymptotic_reach
from nba.trials.lift import ArmSums, lift_of

_LEAST_CUSTOMERS = 100  # per arm, before the first look
_LEAST_EFFECTS = 25.0  # per arm: effective number of customers who brought something


class LiftSequence(NamedTuple):
    """Ends after each day; before there is enough to look at they are infinite."""

    customers: IntArray  # (L,) in both arms so far
    differences: FloatArray  # (L,) nan before the first look
    lows: FloatArray  # (L,) rising
    highs: FloatArray  # (L,) falling
    naive_lows: FloatArray  # (L,) of the fixed-size interval, which must not be read more than once
    naive_highs: FloatArray  # (L,)

    @property
    def first_alarm(self) -> int | None:
        """The first look at which no difference is refuted, or None."""
        return _first(self.lows, self.highs)

    @property
    def first_naive_alarm(self) -> int | None:
        """The first look at which a fixed-size interval excludes no difference."""
        return _first(self.naive_lows, self.naive_highs)


def lift_sequence(
    days: Sequence[tuple[ArmSums, ArmSums]], planned_customers: int, confidence: float = CONFIDENCE
) -> LiftSequence:
    """The asymptotic confidence sequence of the difference, from each day's new customers (treated, control).

    It is narrowest at planned_customers, in both arms together, which is fixed before the first look. Each
    customer enters once, on the day on which its outcome is complete. Asymptotic: the first look is when both
    arms have 100 customers and what they brought is not due to a few of them (an effective 25). The ends only
    ever close in. Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024, 2103.06476).
    """
    require(len(days) > 0, "lift sequence", "days", "must not be empty")
    require(
        planned_customers >= 2, "lift sequence", "planned_customers", f"must be >= 2, got {planned_customers}"
    )
    treated, control = (ArmSums(np.zeros((3, 3))) for _ in range(2))
    rows = []
    for more_treated, more_control in days:
        treated, control = treated + more_treated, control + more_control
        n, ready = treated.n + control.n, _is_enough(treated) and _is_enough(control)
        if not ready:
            rows.append((float(n), np.nan, -np.inf, np.inf, -np.inf, np.inf))
            continue
        told = lift_of(treated, control, confidence)
        value, reach = (
            told.difference.value,
            asymptotic_reach(told.difference, n, planned_customers, confidence),
        )
        rows.append((float(n), value, value - reach, value + reach, told.low, told.high))
    table = np.array(rows).T
    lows, highs = np.maximum.accumulate(table[2]), np.minimum.accumulate(table[3])
    return LiftSequence(table[0].astype(np.int64), table[1], lows, highs, table[4], table[5])


def _is_enough(arm: ArmSums) -> bool:
    """Whether the mean of an arm is about normal: enough customers, and not all outcomes by a few of them."""
    return arm.n >= _LEAST_CUSTOMERS and _effective(arm) >= _LEAST_EFFECTS


def _effective(arm: ArmSums) -> float:
    """(sum y)^2 / sum y^2; of outcomes 0 and 1 that is the number of ones, or of zeros if these are rarer."""
    total, square = float(arm.gram[0, 1]), float(arm.gram[1, 1])
    if total == square:
        return min(total, arm.n - total)
    return total * total / square


def _first(lows: FloatArray, highs: FloatArray) -> int | None:
    alarms = np.flatnonzero((lows > 0.0) | (highs < 0.0))
    return int(alarms[0]) if alarms.size else None
