"""When a decided contact is made: at once, at the weekend, or on a day that an attribute counts to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import numpy as np

from nba.arrays import AnyArray, IntArray, TimeArray
from nba.catalogue import WEEKEND, Catalogue

SATURDAY = 5
_LONGEST_WAIT_DAYS = 36_500.0  # a century: what is further off than calendars reach would be no moment at all


def weekdays(at: TimeArray) -> IntArray:
    """(...) day of the week, Monday 0; 1970-01-01 was a Thursday."""
    days: IntArray = at.astype("datetime64[D]").astype(np.int64)
    return (days + 3) % 7


def waits_days(catalogue: Catalogue, at: TimeArray, attributes: Mapping[str, AnyArray]) -> IntArray:
    """(B, T) whole days from the decision at `at` (B,) until each timing comes.

    `attributes` holds raw columns (B,); a day that is not known is waited for as if it were today, and one
    further off than a century as if it were that far.
    """
    waits = np.zeros((at.shape[0], len(catalogue.timings)), dtype=np.int64)
    for number, timing in enumerate(catalogue.timings):
        if timing.waits_for == WEEKEND:
            waits[:, number] = np.maximum(SATURDAY - weekdays(at), 0)
        elif timing.waits_for is not None:
            days = np.nan_to_num(attributes[timing.waits_for], nan=0.0)
            waits[:, number] = np.floor(np.clip(days, 0.0, _LONGEST_WAIT_DAYS)).astype(np.int64)
    return waits


def days_on(at: datetime, days: int) -> datetime:
    """The moment whole days of 24 hours later: in a zone of its own `at` would be moved by its clock."""
    return (at.astimezone(UTC) + timedelta(days=days)).astimezone(at.tzinfo) if days else at
