"""What is common to all customers on a day: calendar, holidays, pay days, drift, breaks, competitors.

Everything is a log factor on organic hazards or a logit on engagement, and 0 when it is off. Chance is
keyed by (seed, purpose MARKET, number, week or year), so every shard meets the same market on a day
without being told about it, and may ask for the days in any order.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date as Date  # noqa: N812 - `date` is the argument of most functions here
from functools import lru_cache
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from scipy.special import ndtri, pdtr

from nba.arrays import FloatArray, IntArray
from nba.errors import require
from nba.randomness import Purpose, keyed_uniforms

EVERY_FAMILY = "*"
DAYS_OF_WEEK = 7
DAYS_OF_YEAR = 365  # a year of the market starts with the simulation and knows no leap days
_MOST_BREAKS = 12
_MOST_SHOCKS = 50.0  # mean a year
_SHOCKS = np.arange(128)  # numbers of a year's shocks: a Poisson count of mean 50 is larger once in 10^18

# One block of draws per kind of chance; break number k of a year has the block _SHIFT + k.
_STEP, _SHOCK_COUNT, _SHOCK_DAY, _SHOCK_FAMILY, _BREAK_DAY, _SHIFT = range(6)


class Holiday(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Some days of every year on which customers are not as usual.

    `start` is "MM-DD", `days` the length, over the end of the year if need be. `organic` maps a product
    family, or "*" for all that are not named, to a log factor on organic hazards; `engagement` is a
    logit. Decisions made on `special` days have the timing of a campaign.
    """

    name: str
    start: str
    days: int = 1
    organic: dict[str, float] = {}
    engagement: float = 0.0
    special: bool = False

    def __post_init__(self) -> None:
        """Check that it begins on a day of every year, that it ends, and that it is finite."""
        where = f"calendar.holidays[{self.name}]"
        rule = f'must be a day of every year like "12-24", got {self.start!r}'
        require(_is_day_of_every_year(self.start), "world", f"{where}.start", rule)
        rule = f"must be 1..{DAYS_OF_YEAR}, got {self.days}"
        require(1 <= self.days <= DAYS_OF_YEAR, "world", f"{where}.days", rule)
        _finite(f"{where}.organic", self.organic.items())
        _finite(where, [("engagement", self.engagement)])

    def __hash__(self) -> int:
        """Equal holidays have equal names and starts; the table of families has no hash."""
        return hash((self.name, self.start, self.days))

    def covers(self, date: Date) -> bool:
        """Is this one of its days? It may have begun in the year before."""
        month, day = map(int, self.start.split("-"))
        begins = (Date(year, month, day) for year in (date.year - 1, date.year))
        return any(0 <= (date - begin).days < self.days for begin in begins)


class CalendarConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the date does: log factors on organic hazards by month (January first) and weekday (Monday
    first), holidays, and by product family the log factor on a customer's own pay day, which halves
    every `payday_half_life_days` after it.
    """

    organic_month: tuple[float, ...] = (0.0,) * 12
    organic_weekday: tuple[float, ...] = (0.0,) * DAYS_OF_WEEK
    holidays: tuple[Holiday, ...] = ()
    payday: dict[str, float] = {}
    payday_half_life_days: float = 2.0

    def __post_init__(self) -> None:
        """Check lengths and that every number is finite."""
        for name, length in (("organic_month", 12), ("organic_weekday", DAYS_OF_WEEK)):
            row = getattr(self, name)
            rule = f"needs {length} numbers, got {len(row)}"
            require(len(row) == length, "world", f"calendar.{name}", rule)
            _finite(f"calendar.{name}", enumerate(row))
        _finite("calendar.payday", self.payday.items())
        half_life = self.payday_half_life_days
        rule = f"must be finite and above 0, got {half_life}"
        require(0 < half_life < np.inf, "world", "calendar.payday_half_life_days", rule)

    def __hash__(self) -> int:
        """Like equality, without the table of families, which has no hash."""
        return hash((self.organic_month, self.organic_weekday, self.holidays, self.payday_half_life_days))

    def check_families(self, families: Iterable[str]) -> None:
        """Raise InvalidConfig if a table names a product family that does not exist."""
        known = {*families, EVERY_FAMILY}
        tables = {f"holidays[{one.name}].organic": one.organic for one in self.holidays}
        for pointer, table in {**tables, "payday": self.payday}.items():
            rule = f"names {sorted(table.keys() - known)}, which must be among {sorted(known)}"
            require(table.keys() <= known, "world", f"calendar.{pointer}", rule)


class MarketConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the market does of itself; sizes are log factors on organic hazards.

    `drift_sd_weekly` is the step of a random walk per product: the factor's median stays 1, its mean
    grows by sd^2/2 a week. A regime break shifts every product for good by a normal of `regime_sd`. A
    competitor's shock adds `competitor_log` to one family for `competitor_days`.
    """

    drift_sd_weekly: float = 0.0
    regime_breaks_per_year: int = 0
    regime_sd: float = 0.0
    competitor_shocks_per_year: float = 0.0
    competitor_log: float = 0.0
    competitor_days: int = 14

    def __post_init__(self) -> None:
        """Check ranges."""
        ranges = {
            "drift_sd_weekly": (0.0, 1.0),
            "regime_breaks_per_year": (0, _MOST_BREAKS),
            "regime_sd": (0.0, 3.0),
            "competitor_shocks_per_year": (0.0, _MOST_SHOCKS),
            "competitor_log": (-10.0, 0.0),
            "competitor_days": (1, DAYS_OF_YEAR),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            rule = f"must lie in [{low}, {high}], got {value}"
            require(low <= value <= high, "world", f"market.{name}", rule)


@lru_cache(maxsize=1024)
def calendar_factor(calendar: CalendarConfig, families: tuple[str, ...], date: np.datetime64) -> FloatArray:
    """(P,) log factor of a date on the organic hazards of products of `families`; read-only.

    Holidays that overlap add up.
    """
    day = _day(date)
    season = calendar.organic_month[day.month - 1] + calendar.organic_weekday[day.weekday()]
    factor = np.full(len(families), season, dtype=np.float64)
    for holiday in _holidays(calendar, date):
        factor += _by_family(holiday.organic, families)
    return _read_only(factor)


def holiday_engagement(calendar: CalendarConfig, date: np.datetime64) -> float:
    """The logit that the holidays of a date add to engagement."""
    return sum((holiday.engagement for holiday in _holidays(calendar, date)), start=0.0)


def is_special(calendar: CalendarConfig, date: np.datetime64) -> bool:
    """Tell a campaign time."""
    return any(holiday.special for holiday in _holidays(calendar, date))


def payday_factor(calendar: CalendarConfig, families: tuple[str, ...], days_since: IntArray) -> FloatArray:
    """(n, P) log factor for customers whose last pay day was `days_since` (n,) >= 0 days ago."""
    decay = 0.5 ** (np.asarray(days_since) / calendar.payday_half_life_days)
    return decay[:, None] * _by_family(calendar.payday, families)


@lru_cache(maxsize=1024)
def market_factor(market: MarketConfig, families: tuple[str, ...], seed: int, day: int) -> FloatArray:
    """(P,) log factor of drift, breaks and competitors on day >= 0 of a simulation; read-only."""
    products = np.arange(len(families))
    drift, shifts = _walk(market, products, seed, day), _shifts(market, products, seed, day)
    return _read_only(drift + shifts + _competition(market, families, seed, day))


def _walk(market: MarketConfig, products: IntArray, seed: int, day: int) -> FloatArray:
    """(P,) random walk that steps at the end of each whole week."""
    weeks = np.arange(1, day // DAYS_OF_WEEK + 1)
    if market.drift_sd_weekly == 0.0 or weeks.size == 0:
        return np.zeros(products.size)
    steps = market.drift_sd_weekly * _normals(seed, products[:, None], weeks, _STEP)
    # A plain sum adds in pairs; this one adds week by week, so that a day's walk is a step from the last.
    walk: FloatArray = np.cumsum(steps, axis=1)[:, -1]
    return walk


def _shifts(market: MarketConfig, products: IntArray, seed: int, day: int) -> FloatArray:
    """(P,) sum of the regime breaks so far: each year has its number, on uniformly random days."""
    if market.regime_breaks_per_year == 0:
        return np.zeros(products.size)
    years, numbers = np.mgrid[: day // DAYS_OF_YEAR + 1, : market.regime_breaks_per_year]
    past = _random_days(seed, numbers, years, _BREAK_DAY) + DAYS_OF_YEAR * years <= day
    blocks = _SHIFT + numbers[past]
    shifts = market.regime_sd * _normals(seed, products[:, None], years[past], blocks)
    return np.asarray(shifts.sum(axis=1), dtype=np.float64)


def _competition(market: MarketConfig, families: tuple[str, ...], seed: int, day: int) -> FloatArray:
    """(P,) effect of the shocks that last on `day`: a Poisson number a year, each in one family.

    The year before the simulation has shocks too, so that its first weeks are like all others.
    """
    if market.competitor_shocks_per_year == 0.0:
        return np.zeros(len(families))
    names, family = np.unique(families, return_inverse=True)
    years = day // DAYS_OF_YEAR + np.array([[-1], [0]])
    keys = years + 1  # days of a key are not negative
    counts = _poisson(
        market.competitor_shocks_per_year, keyed_uniforms(seed, Purpose.MARKET, 0, keys, _SHOCK_COUNT)
    )
    since = day - DAYS_OF_YEAR * years - _random_days(seed, _SHOCKS, keys, _SHOCK_DAY)
    lasts = (counts > _SHOCKS) & (since >= 0) & (since < market.competitor_days)
    hit = names.size * keyed_uniforms(seed, Purpose.MARKET, _SHOCKS, keys, _SHOCK_FAMILY)[lasts]
    shocks = np.bincount(hit.astype(np.int64), minlength=names.size)
    return np.asarray(market.competitor_log * shocks[family], dtype=np.float64)


def _normals(
    seed: int, ids: int | NDArray[Any], day: int | NDArray[Any], block: int | NDArray[Any]
) -> FloatArray:
    """Standard normals of the market, one per key."""
    normals: FloatArray = ndtri(keyed_uniforms(seed, Purpose.MARKET, ids, day, block) + 2.0**-54)
    return normals


def _random_days(seed: int, ids: int | NDArray[Any], year: int | NDArray[Any], block: int) -> IntArray:
    """Uniformly random days of a year, from 0."""
    uniforms = keyed_uniforms(seed, Purpose.MARKET, ids, year, block)
    return np.floor(DAYS_OF_YEAR * uniforms).astype(np.int64)


def _poisson(mean: float, uniforms: FloatArray) -> IntArray:
    """Poisson counts by inversion of their distribution function."""
    return np.searchsorted(pdtr(_SHOCKS, mean), uniforms, side="right")


@lru_cache(maxsize=1024)
def _holidays(calendar: CalendarConfig, date: np.datetime64) -> tuple[Holiday, ...]:
    return tuple(holiday for holiday in calendar.holidays if holiday.covers(_day(date)))


def _by_family(table: dict[str, float], families: tuple[str, ...]) -> FloatArray:
    """(P,) entries of a table by product family; a name goes before "*", and what has neither is 0."""
    rest = table.get(EVERY_FAMILY, 0.0)
    return np.array([table.get(family, rest) for family in families], dtype=np.float64)


def _day(date: np.datetime64) -> Date:
    day: Date = date.astype("datetime64[D]").item()
    return day


def _is_day_of_every_year(start: str) -> bool:
    """Tell "MM-DD" from anything else; 2001 was no leap year, and no other spelling comes back the same."""
    try:
        return Date.fromisoformat(f"2001-{start}").isoformat() == f"2001-{start}"
    except ValueError:
        return False


def _finite(pointer: str, values: Iterable[tuple[object, float]]) -> None:
    for name, value in values:
        require(bool(np.isfinite(value)), "world", f"{pointer}.{name}", f"must be finite, got {value}")


def _read_only(array: FloatArray) -> FloatArray:
    array.flags.writeable = False
    return array
