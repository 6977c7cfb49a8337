"""The market: dates mean what they say, and chance has exactly the moments that the configuration names."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from scipy.stats import chi2, kstest, norm, poisson

from nba.arrays import FloatArray
from nba.errors import InvalidConfig
from simulator.market import (
    DAYS_OF_YEAR,
    CalendarConfig,
    Holiday,
    MarketConfig,
    calendar_factor,
    holiday_engagement,
    is_special,
    market_factor,
    payday_factor,
)

FAMILIES = ("deposit", "card", "deposit", "lending")
PRODUCTS = 5 * FAMILIES
SEEDS = range(600)
NEW_YEAR = Holiday(name="new year", start="12-30", days=5, organic={"card": 0.5, "*": -0.2}, engagement=-1.0)
LEAP = Holiday(name="end of winter", start="02-27", days=4, engagement=0.25, special=True)
CALENDAR = CalendarConfig(holidays=(NEW_YEAR, LEAP))


def covered(calendar: CalendarConfig, first: str, last: str) -> list[str]:
    """The days on which holidays change engagement."""
    dates = np.arange(np.datetime64(first), np.datetime64(last))
    return [str(date) for date in dates if holiday_engagement(calendar, date) != 0.0]


def factors(market: MarketConfig, day: int) -> FloatArray:
    """(S, P) market factors of many seeds."""
    return np.array([market_factor(market, PRODUCTS, seed, day) for seed in SEEDS])


def assert_variance(sample: FloatArray, variance: float) -> None:
    """A normal sample of mean 0 has this variance, by an exact two-sided chi-square test at 1 in 10 000."""
    statistic = float((sample**2).sum()) / variance
    assert 5e-5 < chi2.sf(statistic, sample.size) < 1 - 5e-5


# Calendar


def test_a_holiday_goes_on_into_the_next_year() -> None:
    calendar = CalendarConfig(holidays=(NEW_YEAR,))
    days = ["2025-12-30", "2025-12-31", "2026-01-01", "2026-01-02", "2026-01-03"]
    assert covered(calendar, "2025-02-01", "2026-12-01") == days


def test_a_holiday_over_the_end_of_february_has_its_length_in_leap_years_too() -> None:
    calendar = CalendarConfig(holidays=(LEAP,))
    leap_year = ["2024-02-27", "2024-02-28", "2024-02-29", "2024-03-01"]
    assert covered(calendar, "2024-01-01", "2025-01-01") == leap_year
    plain_year = ["2025-02-27", "2025-02-28", "2025-03-01", "2025-03-02"]
    assert covered(calendar, "2025-01-01", "2026-01-01") == plain_year


def test_a_holiday_of_a_year_covers_every_day() -> None:
    always = CalendarConfig(holidays=(Holiday(name="always", start="07-01", days=365, engagement=1.0),))
    assert len(covered(always, "2025-01-01", "2026-01-01")) == 365


def test_months_weekdays_and_holidays_add_up() -> None:
    calendar = CalendarConfig(
        organic_month=tuple(float(month) for month in range(1, 13)),
        organic_weekday=tuple(weekday / 100 for weekday in range(7)),
        holidays=(NEW_YEAR, Holiday(name="last day", start="12-31", organic={"lending": 0.7})),
    )
    # 31 December 2025 is a Wednesday.
    got = calendar_factor(calendar, FAMILIES, np.datetime64("2025-12-31"))
    np.testing.assert_allclose(got, 12.02 + np.array([-0.2, 0.5, -0.2, -0.2 + 0.7]), rtol=1e-15)
    plain = calendar_factor(calendar, FAMILIES, np.datetime64("2024-02-29T23:59"))
    np.testing.assert_allclose(plain, 2.03, rtol=1e-15)


def test_every_day_of_a_leap_year_has_its_month_and_weekday() -> None:
    calendar = CalendarConfig(
        organic_month=tuple(range(12)), organic_weekday=tuple(weekday / 10 for weekday in range(7))
    )
    dates = np.arange(np.datetime64("2024-01-01"), np.datetime64("2025-01-01"))
    got = [calendar_factor(calendar, ("card",), date)[0] for date in dates]
    # 2024 began on a Monday.
    wanted = [date.item().month - 1 + number % 7 / 10 for number, date in enumerate(dates)]
    np.testing.assert_allclose(got, wanted, rtol=1e-15)


def test_special_days_are_those_of_special_holidays() -> None:
    dates = np.array(["2025-02-28", "2025-12-31", "2025-06-01"], dtype="datetime64[D]")
    assert [is_special(CALENDAR, date) for date in dates] == [True, False, False]


def test_overlapping_holidays_add_their_engagement() -> None:
    both = CalendarConfig(holidays=(LEAP, Holiday(name="too", start="02-28", engagement=1.0)))
    assert holiday_engagement(both, np.datetime64("2025-02-28")) == 1.25
    assert holiday_engagement(both, np.datetime64("2025-02-27")) == 0.25


def test_pay_day_counts_for_its_families_and_halves() -> None:
    calendar = CalendarConfig(payday={"deposit": 0.8, "*": 0.1}, payday_half_life_days=3.0)
    got = payday_factor(calendar, FAMILIES, np.array([0, 3, 30]))
    decay = np.array([1.0, 0.5, 2.0**-10])
    np.testing.assert_allclose(got, decay[:, None] * [0.8, 0.1, 0.8, 0.1], rtol=1e-15)


def test_by_default_all_days_are_the_same() -> None:
    plain, date = CalendarConfig(), np.datetime64("2026-01-01")
    assert not calendar_factor(plain, FAMILIES, date).any() and not is_special(plain, date)
    assert holiday_engagement(plain, date) == 0.0
    assert not payday_factor(plain, FAMILIES, np.arange(31)).any()
    for day in (0, 6, 7, 364, 365, 4000):
        assert not market_factor(MarketConfig(), FAMILIES, 1, day).any()


def test_calendars_that_differ_only_in_a_table_of_families_are_not_taken_for_each_other() -> None:
    date = np.datetime64("2025-12-31")
    for size in (0.1, 0.2):
        holiday = Holiday(name="same", start="12-31", organic={"card": size})
        got = calendar_factor(CalendarConfig(holidays=(holiday,)), FAMILIES, date)
        assert got.tolist() == [0.0, size, 0.0, 0.0]


# Market


def test_the_walk_has_the_variance_of_its_weeks_and_a_week_is_one_step() -> None:
    market = MarketConfig(drift_sd_weekly=0.02)
    for weeks in (1, 10, 60):
        assert_variance(factors(market, 7 * weeks).ravel(), weeks * 0.02**2)
    steps = factors(market, 7 * 60) - factors(market, 7 * 59)
    assert_variance(steps.ravel(), 0.02**2)
    assert not factors(market, 6).any()
    np.testing.assert_array_equal(factors(market, 13), factors(market, 7))


def test_the_steps_of_products_weeks_and_seeds_are_independent() -> None:
    walk = np.array([factors(MarketConfig(drift_sd_weekly=1.0), 7 * week)[:, :4] for week in range(4)])
    steps = np.diff(walk, axis=0).transpose(1, 0, 2).reshape(len(SEEDS), 12)  # (S, weeks x P)
    pairs, neighbours = np.corrcoef(steps.T), np.corrcoef(steps[1:, 0], steps[:-1, 0])
    limit = norm.isf(1e-4 / 66) / np.sqrt(len(SEEDS))
    assert np.abs(pairs - np.eye(12)).max() < limit and abs(neighbours[0, 1]) < limit
    assert kstest(steps.ravel(), "norm").pvalue > 1e-4


@pytest.mark.parametrize("per_year", [1, 3])
def test_regime_breaks_shift_for_good_and_every_year_has_its_number(per_year: int) -> None:
    market = MarketConfig(regime_breaks_per_year=per_year, regime_sd=0.3)
    for years in (1, 2):
        last_day = years * DAYS_OF_YEAR - 1
        assert_variance(factors(market, last_day).ravel(), years * per_year * 0.3**2)
    path = np.array([market_factor(market, FAMILIES, 5, day) for day in range(2 * DAYS_OF_YEAR)])
    breaks = np.flatnonzero(np.diff(path, axis=0, prepend=0.0).any(axis=1))
    assert np.bincount(breaks // DAYS_OF_YEAR).tolist() == [per_year] * 2


def test_the_day_of_a_regime_break_is_uniform() -> None:
    market = MarketConfig(regime_breaks_per_year=1, regime_sd=1.0)
    for days in (90, 180, 270):
        broken = int(factors(market, days - 1).any(axis=1).sum())
        expected = days / DAYS_OF_YEAR
        assert abs(broken - len(SEEDS) * expected) < 4 * np.sqrt(len(SEEDS) * expected * (1 - expected))
    assert factors(market, DAYS_OF_YEAR - 1).all()  # the last day of a year counts


@pytest.mark.parametrize("day", [0, 239, 370])
def test_shocks_on_any_day_are_poisson_from_the_first_day_on(day: int) -> None:
    market = MarketConfig(competitor_shocks_per_year=1.5, competitor_log=-0.5, competitor_days=240)
    by_family = np.rint(factors(market, day) / -0.5).astype(np.int64)
    np.testing.assert_array_equal(by_family[:, 0], by_family[:, 2])  # both deposits
    active = by_family[:, [0, 1, 3]]
    mean = 1.5 * 240 / DAYS_OF_YEAR
    counts = np.bincount(np.minimum(active.sum(axis=1), 4), minlength=5)
    expected = len(SEEDS) * np.append(poisson.pmf(range(4), mean), poisson.sf(3, mean))
    assert chi2.sf(((counts - expected) ** 2 / expected).sum(), 4) > 1e-4
    # Thinned by family, they are Poisson again, each of a third.
    assert (np.abs(active.mean(axis=0) - mean / 3) < 4 * np.sqrt(mean / 3 / len(SEEDS))).all()


def test_a_shock_lasts_its_days_and_hits_one_family() -> None:
    market = MarketConfig(competitor_shocks_per_year=4.0, competitor_log=-0.5, competitor_days=10)
    path = np.array([market_factor(market, FAMILIES, 2, day) for day in range(2 * DAYS_OF_YEAR)])
    starts = np.flatnonzero((path[1:] != 0).any(axis=1) & ~(path[:-1] != 0).any(axis=1)) + 1
    alone = [day for day in starts if len(np.unique(path[day : day + 10], axis=0)) == 1]
    assert len(alone) >= 4
    for day in alone:
        hit = {family for family, size in zip(FAMILIES, path[day], strict=True) if size != 0}
        assert len(hit) == 1 and set(path[day]) == {0.0, -0.5} and not path[day + 10].any()


def test_a_day_may_be_asked_for_alone_and_in_any_order() -> None:
    market = MarketConfig(
        drift_sd_weekly=0.02,
        regime_breaks_per_year=2,
        regime_sd=0.2,
        competitor_shocks_per_year=12,
        competitor_log=-0.3,
    )
    days = np.random.default_rng(0).permutation(800)[:60].tolist()
    known = {day: market_factor(market, FAMILIES, 2**40 + 7, day) for day in sorted(days)}
    for day in days:
        np.testing.assert_array_equal(market_factor.__wrapped__(market, FAMILIES, 2**40 + 7, day), known[day])
    assert not np.array_equal(known[days[0]], market_factor(market, FAMILIES, 7, days[0]))


def test_what_is_remembered_cannot_be_written_to() -> None:
    market, date = MarketConfig(drift_sd_weekly=0.1), np.datetime64("2026-01-01")
    for remembered in (market_factor(market, FAMILIES, 1, 70), calendar_factor(CALENDAR, FAMILIES, date)):
        assert remembered.dtype == np.float64 and not remembered.flags.writeable


# Configuration


def test_a_calendar_can_be_written_as_toml() -> None:
    text = """
    payday = { deposit = 0.8 }
    [[holidays]]
    name = "golden week"
    start = "10-01"
    days = 7
    organic = { "*" = -0.4, card = 0.3 }
    special = true
    """
    calendar = msgspec.toml.decode(text, type=CalendarConfig)
    calendar.check_families(FAMILIES)
    got = calendar_factor(calendar, FAMILIES, np.datetime64("2026-10-07"))
    assert got.tolist() == [-0.4, 0.3, -0.4, -0.4] and is_special(calendar, np.datetime64("2026-10-01"))


@pytest.mark.parametrize("start", ["02-29", "13-01", "12-32", "1-1", "W01", "2026-01-01", ""])
def test_a_holiday_begins_on_a_day_of_every_year(start: str) -> None:
    with pytest.raises(InvalidConfig, match=r'holidays\[x\].start: must be a day of every year like "12-24"'):
        Holiday(name="x", start=start)


@pytest.mark.parametrize(
    ("type_", "values", "pointer", "rule"),
    [
        (Holiday, {"days": 0}, "calendar.holidays[x].days", "must be 1..365, got 0"),
        (Holiday, {"days": 366}, "calendar.holidays[x].days", "must be 1..365, got 366"),
        (Holiday, {"organic": {"card": np.nan}}, "calendar.holidays[x].organic.card", "must be finite"),
        (Holiday, {"engagement": -np.inf}, "calendar.holidays[x].engagement", "must be finite, got -inf"),
        (CalendarConfig, {"organic_month": (0.0,) * 11}, "calendar.organic_month", "needs 12 numbers, got"),
        (CalendarConfig, {"organic_weekday": (0.0,) * 8}, "calendar.organic_weekday", "needs 7 numbers"),
        (CalendarConfig, {"organic_weekday": (np.nan,) * 7}, "calendar.organic_weekday.0", "must be finite"),
        (CalendarConfig, {"payday": {"*": np.inf}}, "calendar.payday.*", "must be finite, got inf"),
        (CalendarConfig, {"payday_half_life_days": 0.0}, "calendar.payday_half_life_days", "above 0"),
        (MarketConfig, {"drift_sd_weekly": -0.1}, "market.drift_sd_weekly", "in [0.0, 1.0], got -0.1"),
        (MarketConfig, {"drift_sd_weekly": np.nan}, "market.drift_sd_weekly", "got nan"),
        (MarketConfig, {"regime_breaks_per_year": 13}, "market.regime_breaks_per_year", "[0, 12], got 13"),
        (MarketConfig, {"regime_sd": -1.0}, "market.regime_sd", "must lie in [0.0, 3.0], got -1.0"),
        (MarketConfig, {"competitor_shocks_per_year": 51.0}, "market.competitor_shocks_per_year", "got 51.0"),
        (MarketConfig, {"competitor_log": 0.1}, "market.competitor_log", "must lie in [-10.0, 0.0], got 0.1"),
        (MarketConfig, {"competitor_days": 0}, "market.competitor_days", "must lie in [1, 365], got 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(
    type_: Any, values: dict[str, Any], pointer: str, rule: str
) -> None:
    with pytest.raises(InvalidConfig) as caught:
        type_(**({"name": "x", "start": "01-01"} if type_ is Holiday else {}), **values)
    assert caught.value.pointer == pointer and rule in caught.value.rule


def test_families_must_exist() -> None:
    CALENDAR.check_families(FAMILIES)
    with pytest.raises(InvalidConfig) as caught:
        CALENDAR.check_families(("deposit", "lending"))
    assert caught.value.pointer == "calendar.holidays[new year].organic"
    assert caught.value.rule == "names ['card'], which must be among ['*', 'deposit', 'lending']"
