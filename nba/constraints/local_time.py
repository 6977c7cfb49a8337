"""Moments as the customer's clock and calendar show them, daylight saving included."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

import numpy as np

from nba.arrays import IntArray, StrArray

Period: TypeAlias = Literal["day", "week", "month"]
PERIODS: tuple[Period, ...] = ("day", "week", "month")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MICROSECOND = timedelta(microseconds=1)
SECOND, DAY = 1_000_000, 86_400_000_000  # microseconds
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = ((datetime(*day, tzinfo=UTC) - _EPOCH) // MICROSECOND for day in ((1, 1, 3), (9999, 12, 29)))
_FIRST_MONDAY = 4  # days since 1970, which began on a Thursday


class LocalTimes(NamedTuple):
    """What clocks and calendars show at some moments."""

    days: IntArray  # (B, n) of the local calendar, since 1970
    clock: IntArray  # (B, n) microseconds after midnight on the clock


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970 of an aware datetime, exactly."""
    return (moment - _EPOCH) // MICROSECOND


def from_micros(micros: int) -> datetime:
    """The aware datetime (UTC) of microseconds since 1970, the nearest one that calendars reach."""
    return _EPOCH + min(max(micros, _FIRST), _LAST) * MICROSECOND


def local_times(moments: IntArray, zones: StrArray, otherwise: str) -> LocalTimes:
    """The local times of `moments` (B, n), in microseconds since 1970, in `zones` (B,).

    Where a zone is missing or not known it is `otherwise`.
    """
    local = moments.copy()
    fallback = zone_named(otherwise)
    assert fallback is not None, "checked when the contact policy was made"
    for row, name in enumerate(zones):
        zone = (None if name is None else zone_named(name)) or fallback
        offsets = [_offset(moment, zone) for moment in moments[row].tolist()]
        local[row] += np.array(offsets, dtype=np.int64)
    days = local // DAY
    return LocalTimes(days, local - days * DAY)


def period_of(days: IntArray, period: Period) -> IntArray:
    """(...) numbers of the calendar days, weeks (from Monday) or months that local days lie in."""
    if period == "day":
        return days
    if period == "week":
        return (days - _FIRST_MONDAY) // 7
    months: IntArray = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    return months


def day_number(iso: str) -> int:
    """Days since 1970 of a date such as 2026-12-24; a ValueError if it is none."""
    return (date.fromisoformat(iso) - _EPOCH.date()).days


def clock_time(text: str) -> int:
    """Microseconds after midnight of a time such as 21:30; 24:00 ends a day. A ValueError if it is none."""
    hours, separator, minutes = text.partition(":")
    is_written = len(hours) == 2 and len(minutes) == 2 and (hours + minutes).isascii()
    if not (separator and is_written and (hours + minutes).isdigit()):
        raise ValueError(text)
    passed = int(hours) * 60 + int(minutes)
    if int(minutes) > 59 or passed > 24 * 60:
        raise ValueError(text)
    return passed * 60 * SECOND


@lru_cache(maxsize=2048)
def zone_named(name: str) -> ZoneInfo | None:
    """The zone of an IANA name, None if there is none of this name."""
    try:
        # "localtime" is a file of some machines: the zone of the server is no customer's.
        return None if name == "localtime" else ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


def _offset(moment: int, zone: ZoneInfo) -> int:
    # The first and the last day of the calendar lie, in some zones, outside of it.
    at = from_micros(moment).astimezone(zone)
    return (at.utcoffset() or timedelta(0)) // MICROSECOND
