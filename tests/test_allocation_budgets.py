"""Budgets of a strategy: what they pick, when they begin anew, and what cannot be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from serving_fixtures import tiny_strategy

from nba.allocation.budgets import Budget, Pacing, units_of
from nba.allocation.purses import Purse
from nba.errors import InvalidConfig

CATALOGUE = tiny_strategy().catalogue
NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)  # a Tuesday


def budget(**changes: Any) -> Budget:
    return Budget(**({"name": "calls", "at_most": 10.0, "traffic": 20.0} | changes))


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"where": {"channel": "call"}}, 6.0),
        ({"where": {"product_family": "credit", "channel": ("call", "mail")}, "uses": 0.5}, 4.0),
        ({"where": {"timing": "morning"}, "uses": "cost"}, 3 * 2.0 + 3 * 0.01),
        ({}, 12.0),
    ],
)
def test_a_budget_counts_what_its_actions_use(changes: dict[str, Any], wanted: float) -> None:
    use = budget(**changes).use(CATALOGUE)
    assert use[0] == 0.0 and use.sum() == pytest.approx(wanted)


@pytest.mark.parametrize(("period", "same", "later"), [("day", 31, 1), ("week", 30, 6), ("month", 1, 1)])
def test_periods_are_those_of_the_calendar(period: Any, same: int, later: int) -> None:
    one = budget(period=period)
    first = one.period_of(NOON)
    assert one.period_of(NOON.replace(day=same, hour=0)) == first
    assert one.period_of(NOON.replace(month=4, day=later)) == first + 1


def test_a_purse_is_paced_and_begins_anew_but_keeps_its_price() -> None:
    """Twice as fast as the budget lasts: one step by hand, and the next day."""
    one, purse = budget(where={"channel": "call"}), Purse.start(0.0)
    units = units_of(one, CATALOGUE)
    for _ in range(4):
        purse = purse.after(one, 1.0, NOON)
    moved = purse.stepped(one, units)
    # 4 of 20 decisions used 4 of 10 units, where 6 / 16 a decision were left to come by.
    step, z = 0.7 * units.prices[0] / np.sqrt(10.0), 2.5 / np.sqrt(4 * 6.0 / 16.0)
    assert moved.price == pytest.approx(step * z / 2.0 * 2.5)
    assert (moved.used, moved.traffic, moved.waiting) == (4.0, 16.0, 0)
    assert moved.left(one, NOON) == 6.0 and moved.left(one, NOON.replace(day=30)) == 0.0
    tomorrow = moved.after(one, 1.0, NOON.replace(month=4, day=1))
    assert (moved.drift, tomorrow.drift, moved.waiting_squares, tomorrow.waiting_squares) == (
        2.5,
        0.0,
        0.0,
        1.0,
    )
    assert (tomorrow.price, tomorrow.used, tomorrow.traffic) == (moved.price, 1.0, 20.0)
    assert tomorrow.after(one, 1.0, NOON) == tomorrow, "committed late: it counted before"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"at_most": -1.0}, r"pacing.budgets\[0\].at_most: must be a finite number >= 0, got -1"),
        ({"traffic": 0.5}, r"traffic: must be a finite number >= 1, got 0.5"),
        ({"uses": "hours"}, r"uses: must be a finite number > 0 or \"cost\", got 'hours'"),
        ({"uses": 0.0}, "uses: must be a finite number > 0"),
        ({"where": {"branch": "x"}}, "where.branch: is no column of an action; use one of channel"),
        ({"where": {"channel": "fax"}}, "where.channel: no action has 'fax'; known are call, mail"),
        ({"name": ""}, "name: must be there and unique"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidConfig, match=told):
        tiny_strategy(pacing=Pacing(budgets=(budget(**changes),)))


def test_budgets_have_different_names_and_prices_move_now_and_then() -> None:
    with pytest.raises(InvalidConfig, match=r"budgets\[1\].name: must be there and unique, got 'calls'"):
        tiny_strategy(pacing=Pacing(budgets=(budget(), budget())))
    with pytest.raises(InvalidConfig, match="every: must be at least 1, got 0"):
        tiny_strategy(pacing=Pacing(every=0))


@pytest.mark.parametrize(
    ("n", "price", "rise", "least"),
    [(2_000, 0.0, 1.0, 0.98), (2_000, 1.3, 1.0, 0.99), (20_000, 1.3, 1.0, 0.997), (20_000, 1.3, 1.5, 0.998)],
)
def test_prices_use_a_budget_almost_as_well_as_can_be(
    n: int, price: float, rise: float, least: float
) -> None:
    """Calls for three customers in ten, who from half-way on are worth `rise` times as much.

    Without prices the first come, and 61 % of the value. What can be is the best of hindsight where nothing
    changes, and with a rise that nobody foresees the best of each half with half of the budget.
    """
    rng = np.random.default_rng(0)
    one = budget(at_most=0.3 * n, traffic=float(n), where={"channel": "call"})
    units, batch = units_of(one, CATALOGUE), Pacing(budgets=(one,)).batch
    values = units.money * rng.lognormal(0.0, 0.5, n) * np.where(np.arange(n) < n // 2, 1.0, rise)
    purse, won = Purse.start(units.money * price), 0.0  # 1.3 is the quantile of 70 % before the rise
    for number, value in enumerate(values):
        at = NOON.replace(hour=0) + timedelta(seconds=86_400 * number / n)
        use = float(value > purse.price and purse.left(one, at) >= 1.0)
        won, purse = won + use * value, purse.after(one, use, at)
        if (number + 1) % batch == 0:
            purse = purse.stepped(one, units)
    halves = [np.sort(half)[-int(one.at_most / 2) :].sum() for half in np.split(values, 2)]
    best = np.sort(values)[-int(one.at_most) :].sum() if rise == 1.0 else sum(halves)
    assert won > least * best
    assert 0.99 * one.at_most < purse.used <= one.at_most
