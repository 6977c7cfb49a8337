"""The calendar of one day and of the days ahead to which contacts may be planned."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nba.arrays import FloatArray, IntArray
from simulator.config import WorldConfig
from simulator.market import (
    CalendarConfig,
    calendar_factor,
    holiday_engagement,
    is_special,
    market_factor,
    payday_factor,
)

AHEAD_DAYS = 32  # today and the longest wait
_CHUNK_DAYS = 32  # whose calendar is looked up together
_MONTH_DAYS = 29  # pay days are days 1 to 28 of a month
_YEAR_DAYS, _LEAP_DAY = 366, 60  # nobody is born on 29 February


class Today(NamedTuple):
    """What is the same for all customers on a day; axis W runs over today and the days ahead."""

    day: int
    date: np.datetime64
    weekday: IntArray  # (W,) Monday 0
    engagement: FloatArray  # (W,) logit of engagement: weekday, month, holidays
    organic: FloatArray  # (W, P) log factor on hazards: calendar then, market today
    since_payday: IntArray  # (29, W) days since the last pay day, by pay day
    until_payday: IntArray  # (29,) days until the next one, 0 if it is today
    until_birthday: IntArray  # (366,) days until a birthday, by day of the year (1 to 365), 0 if it is today
    calendar: FloatArray  # (29, W, P) the same with a pay day's after-effect
    bound: FloatArray  # (29,) factor: most that calendar, market and pay day lift any hazard today
    special: bool  # a campaign time


def today(config: WorldConfig, seed: int, day: int) -> Today:
    """The facts of a day of a world."""
    date = np.datetime64(config.start, "D") + np.timedelta64(day, "D")
    dates = date + np.arange(AHEAD_DAYS)
    weekday = (dates.astype(np.int64) + 3) % 7
    month = dates.astype("datetime64[M]").astype(np.int64) % 12
    chunk = day % _CHUNK_DAYS
    seasons = _seasons(config.calendar, config.families, dates[0] - np.timedelta64(chunk, "D"))
    ahead = slice(chunk, chunk + AHEAD_DAYS)
    market = market_factor(config.market, config.families, seed, day)
    paydays = np.arange(_MONTH_DAYS)[:, None]
    since = days_since(paydays, dates)
    payday = payday_factor(config.calendar, config.families, since.ravel()).reshape(*since.shape, -1)
    organic = seasons.organic[ahead] + market
    calendar = organic + payday
    return Today(
        day=day,
        date=date,
        weekday=weekday,
        engagement=np.array(config.response.weekday)[weekday]
        + np.array(config.response.month)[month]
        + seasons.engagement[ahead],
        organic=organic,
        since_payday=since,
        until_payday=days_until(paydays, dates[:1])[:, 0],
        until_birthday=_days_to_days_of_year(date),
        calendar=calendar,
        bound=np.exp(calendar[:, 0].max(axis=1)),
        special=is_special(config.calendar, date),
    )


class _Seasons(NamedTuple):
    """What the calendar says of a chunk of days and of those ahead of its last one."""

    organic: FloatArray  # (days, P) log factor on hazards
    engagement: FloatArray  # (days,) logit


@lru_cache(maxsize=64)
def _seasons(calendar: CalendarConfig, families: tuple[str, ...], first: np.datetime64) -> _Seasons:
    """The calendar from a day on: dates are looked up once, not on all days that look ahead to them."""
    dates = first + np.arange(_CHUNK_DAYS + AHEAD_DAYS)
    return _Seasons(
        np.array([calendar_factor(calendar, families, date) for date in dates]),
        np.array([holiday_engagement(calendar, date) for date in dates]),
    )


def days_until(day_of_month: IntArray, dates: NDArray[np.datetime64]) -> IntArray:
    """Days from dates to the next such day of the month (1 to 28), 0 if it is today; both broadcast."""
    today, _, length = _in_month(dates)
    ahead: IntArray = day_of_month - 1 - today
    return np.where(ahead >= 0, ahead, ahead + length)


def _days_to_days_of_year(date: np.datetime64) -> IntArray:
    """(366,) days from a date to the next such day of the year (1 to 365), 0 if it is today."""
    year = date.astype("datetime64[Y]")
    this, following = (_days_to(np.arange(_YEAR_DAYS), year + shift, date) for shift in (0, 1))
    return np.where(this >= 0, this, following)


def _days_to(day_of_year: IntArray, year: np.datetime64, date: np.datetime64) -> IntArray:
    """(n,) days from a date to days (1 to 365) of a year, in a leap year counted as if it were none."""
    start, end = year.astype("datetime64[D]"), (year + 1).astype("datetime64[D]")
    is_leap = int((end - start).astype(np.int64)) > 365
    after_leap_day = (day_of_year >= _LEAP_DAY) & is_leap
    ahead: IntArray = int((start - date).astype(np.int64)) + day_of_year - 1 + after_leap_day
    return ahead


def days_since(day_of_month: IntArray, dates: NDArray[np.datetime64]) -> IntArray:
    """Days from the last such day of the month (1 to 28) to dates, 0 if it is today; both broadcast."""
    today, before, _ = _in_month(dates)
    behind: IntArray = today - (day_of_month - 1)
    return np.where(behind >= 0, behind, behind + before)


def _in_month(dates: NDArray[np.datetime64]) -> tuple[IntArray, IntArray, IntArray]:
    """Day of the month from 0 on, and the lengths of the month before and of this one."""
    month = dates.astype("datetime64[M]")
    last, first, following = ((month + shift).astype("datetime64[D]") for shift in (-1, 0, 1))
    days: tuple[IntArray, ...] = tuple(
        part.astype(np.int64) for part in (dates - first, first - last, following - first)
    )
    return days[0], days[1], days[2]
