"""Budgets over any days that follow each other, and budgets that are only measured."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from serving_fixtures import Clock, decided, service, tiny_bundle, tiny_strategy
from test_serving_budgets import again, budgeted

from nba.allocation.budgets import Budget, units_of
from nba.allocation.purses import Purse

NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)
DAY = timedelta(days=1)
CATALOGUE = tiny_strategy().catalogue


def used(budget: Budget, *units: float) -> Purse:
    """A purse after one decision a day."""
    purse = Purse.start(0.0)
    for number, use in enumerate(units):
        purse = purse.after(budget, use, NOON + number * DAY)
    return purse


def test_a_rolling_budget_holds_in_every_window() -> None:
    budget = Budget(name="calls", at_most=5.0, traffic=30.0, rolling=3)
    purse = used(budget, 2.0, 1.0, 2.0)
    assert [purse.left(budget, NOON + day * DAY) for day in range(2, 7)] == [0.0, 2.0, 3.0, 5.0, 5.0]
    assert purse.left(budget, NOON + DAY) == 0.0, "a clock set back uses nothing"
    back = purse.returned(budget, 1.0, NOON + DAY)
    assert back.left(budget, NOON + 2 * DAY) == 1.0 and back.left(budget, NOON + 4 * DAY) == 3.0
    late = back.after(budget, 1.0, NOON + DAY)
    assert late == purse, "one that is committed a day late counts on its own day"


def test_a_rolling_price_aims_at_what_lasts_and_at_what_is_left_of_today() -> None:
    """30 decisions in three days and 5 units: five decisions use 2, or 1 where 4 are used."""
    budget = Budget(name="calls", at_most=5.0, traffic=30.0, rolling=3, where={"channel": "call"})
    units, calm, busy = units_of(budget, CATALOGUE), Purse.start(0.0), used(budget, 2.0, 2.0)
    for use in (1.0, 0.0, 1.0, 0.0, 0.0):
        calm = calm.after(budget, use, NOON)
        busy = busy.after(budget, use / 2.0, NOON + 2 * DAY)
    assert calm.stepped(budget, units).price > 0.0
    assert calm._aim(budget) == 5.0, "10 are expected today, and 5 units for them: 5 for 30 is less"
    # 1 of 5 units is left in a window of which 4 are used: 1 for today's 10 is what 3 would be for 30.
    assert busy._aim(budget) == pytest.approx(3.0)
    assert busy.stepped(budget, units).traffic == 25.0


def test_a_budget_that_is_only_measured_has_no_price_and_no_end() -> None:
    budget = Budget(name="calls", at_most=1.0, report_only=True)
    purse = used(budget, 4.0).stepped(budget, units_of(budget, CATALOGUE))
    assert (purse.price, purse.waiting, purse.room(budget, NOON)) == (0.0, 0, -3.0)


@pytest.mark.parametrize("report_only", [False, True])
def test_the_service_keeps_and_measures_rolling_budgets_over_restarts(
    report_only: bool, tmp_path: Path
) -> None:
    async def check() -> None:
        clock, made, left = Clock(), [], []
        clock.now = clock.now.replace(hour=9)
        tiny_bundle(tmp_path / "bundle", **budgeted(3.0, every=2, rolling=2, report_only=report_only))
        for day in range(3):
            async with service(tmp_path, clock=clock) as client:
                for number in range(2 if day == 0 else 3):
                    one = await decided(client, f"c{day}-{number}", channels=["call"])
                    made.append(one["actions"][0]["channel"] == "call")
                status = (await client.get("/v1/learner")).json()
                left.append(status["budget_left"]["calls"])
                assert (status["prices"]["calls"] == 0.0) or not report_only
            clock.forward(days=1)
        wanted = [True] * 2 + [True, False, False] + [True, True, False]
        assert made == ([True] * 8 if report_only else wanted)
        assert left == ([1.0, -2.0, -3.0] if report_only else [1.0, 0.0, 0.0])
        assert again(tmp_path) == []

    asyncio.run(check())
