"""Stages: daily multinomial logits of what customers did, and the ways that are no chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from checks.worlds import agrees, clones, days_of, edited, everybody, without
from msgspec import structs
from small import bank

from simulator.config import EVENTS, STAGES, Transition
from simulator.hazards import organic_hazards
from simulator.life_cycle import moved
from simulator.memory import remembered
from simulator.oracle import expected_values
from simulator.state import WorldState
from simulator.world import World

N = 20_000
STAGE = {name: number for number, name in enumerate(STAGES)}
WAYS = bank().config.life_cycle.transitions
LIMIT = bank().config.life_cycle.index_limit
COVARIATES = ("tenure", "engagement", "conversion", "fatigue", "complaint", "balance", "absence")

# A customer on the evening of day 300, and what that is worth in each covariate.
COLUMNS: dict[str, Any] = {
    "joined": 300 - 730,  # two years
    "touched": 301,
    "engagement": 1.5,
    "bought": 1,
    "bought_day": 270,  # 30 days: just counted
    "complaint": 269,  # 31 days: not any more
    "balance": -1.0,
    "event_day": 270,  # half of it is left
    "event": EVENTS.index("large_outflow"),
    "login": 240,
}
WORTH = (2.0, 1.5, 1.0, 0.5, 0.0, -0.5, 2.0)


def restless(extra: float = 4.0, **life: Any) -> World:
    """Moves so frequent that their shares are seen in a day; nobody buys, nothing happens."""
    ways = tuple(structs.replace(way, intercept=way.intercept + extra) for way in WAYS)
    world = without(bank(), "events", "organic")
    return edited(world, life_cycle={"transitions": ways} | life)


def customer(world: World, stage: str, n: int = N, **columns: Any) -> WorldState:
    state = clones(world, 3, n, day=300, **(COLUMNS | {"stage": STAGE[stage]} | columns))
    state.fatigue[:, 0, 1] = 0.5
    return state


def shares(world: World, stage: str, worth: tuple[float, ...]) -> dict[str, float]:
    """Chance of each stage on the next morning, from the file's numbers."""
    odds = {"stay": 1.0}
    for way in world.config.life_cycle.transitions:
        if way.source == stage:
            index = sum(getattr(way, name) * value for name, value in zip(COVARIATES, worth, strict=True))
            odds[way.to] = np.exp(way.intercept + np.clip(index, -LIMIT, LIMIT))
    return {name: one / sum(odds.values()) for name, one in odds.items()}


@pytest.mark.parametrize("stage", sorted({way.source for way in WAYS}))
def test_customers_move_with_the_chances_of_their_logits(stage: str) -> None:
    world = restless()
    state = customer(world, stage)
    (day,) = days_of(world, state, 1)
    expected = shares(world, stage, WORTH)
    if stage == "onboarding":  # after two years everybody who stayed is through
        expected["growth"] = expected.pop("stay")
    seen = {STAGES[code] for code in np.unique(day.after.stage)}
    assert seen == {stage if name == "stay" else name for name in expected}
    for name, share in expected.items():
        assert agrees(day.after.stage == STAGE[stage if name == "stay" else name], share), (name, share)


@pytest.mark.parametrize("name", COVARIATES)
def test_each_covariate_counts_with_its_own_slope_and_within_the_limit(name: str) -> None:
    """Exact: where the uniform changes the outcome is the cumulative share."""
    for slope in (0.3, -0.3, 40.0, -40.0):
        way = Transition(source="mature", to="at_risk", intercept=-1.0, **{name: slope})
        world = edited(restless(), life_cycle={"transitions": (way,)})
        columns = {"complaint": 300} if name == "complaint" else {}
        worth = 1.0 if name == "complaint" else WORTH[COVARIATES.index(name)]
        state = customer(world, "mature", n=1, **columns)
        odds = np.exp(-1.0 + np.clip(slope * worth, -LIMIT, LIMIT))
        share, row = odds / (1.0 + odds), np.zeros(1, dtype=np.int64)
        memory = remembered(state, row, 301, world.kernel, world.laws.spill)
        for uniform, stage in ((share - 1e-3, "at_risk"), (share + 1e-3, "mature")):
            after = moved(world.laws.life, state, row, memory, np.array([uniform]))
            assert STAGES[after[0]] == stage, (name, slope, share)


def test_covariates_are_counted_up_to_their_most() -> None:
    """Five years of tenure and three months of absence, however long it has been."""
    world = restless()
    for name, columns, most in (("tenure", {"joined": -9_000}, 5.0), ("absence", {"login": -500}, 3.0)):
        way = Transition(source="mature", to="at_risk", intercept=-1.0, **{name: 0.1})
        one = edited(world, life_cycle={"transitions": (way,)})
        state, row = customer(one, "mature", n=1, **columns), np.zeros(1, dtype=np.int64)
        memory = remembered(state, row, 301, one.kernel, one.laws.spill)
        share = 1.0 / (1.0 + np.exp(1.0 - 0.1 * most))
        stages = [
            moved(one.laws.life, state, row, memory, np.array([share + step]))[0] for step in (-1e-6, 1e-6)
        ]
        assert [STAGES[code] for code in stages] == ["at_risk", "mature"], name


def test_the_screen_lets_through_whoever_may_move() -> None:
    """No customer at the bound of the screen or above it moves, whatever they did."""
    world = bank()
    state = world.reset(3, np.arange(2_000))
    rng = np.random.default_rng(0)
    state = state._replace(
        engagement=rng.exponential(3.0, 2_000).astype(np.float16),
        fatigue=rng.exponential(2.0, (2_000, 7, 2)).astype(np.float16),
        complaint=rng.integers(-40, 1, 2_000).astype(np.int16),
        bought_day=rng.integers(-40, 1, 2_000).astype(np.int16),
        balance=rng.normal(0, 2, 2_000).astype(np.float16),
        event_day=np.zeros(2_000, dtype=np.int16),
    )
    law, rows = world.laws.life, np.arange(2_000)
    memory = remembered(state, rows, 1, world.kernel, world.laws.spill)
    after = moved(law, state, rows, memory, law.bound[state.stage])
    ripe = (state.stage == STAGE["onboarding"]) & (1 - state.joined >= 100)
    np.testing.assert_array_equal(after[~ripe], state.stage[~ripe])
    almost = moved(law, state, rows, memory, 0.2 * law.bound[state.stage])
    assert (almost != state.stage).sum() > 100, "and below it many do"


def test_onboarding_ends_after_its_days_and_not_before() -> None:
    world = edited(without(bank(), "events", "organic"), life_cycle={"transitions": (WAYS[-1],)})
    joined = np.array([0, -50, -97, -98, -99, -200])
    state = clones(world, 3, 6, day=0, stage=STAGE["onboarding"], joined=joined)
    ended = np.full(6, -1)
    for day in days_of(world, state, 101):
        left = (day.after.stage == STAGE["growth"]) & (ended < 0)
        ended[left] = day.after.day
    assert ended.tolist() == [100, 50, 3, 2, 1, 1]


def test_prospects_buy_entry_products_alone_and_become_customers_by_it() -> None:
    world = edited(without(bank(), "events", "referral"), response={"organic": (0.02,) * 20})
    state = clones(world, 3, 5_000, stage=STAGE["acquisition"], owned=0)
    entry = [world.config.catalogue.level("product", name) for name in world.config.life_cycle.entry_products]
    hazards = organic_hazards(world.laws.hazards, world.today(state), state, np.arange(1))[0]
    assert set(np.flatnonzero(hazards > 1e-20)) == set(entry)
    (day,) = days_of(world, state, 1)
    bought = np.isin(np.arange(5_000), day.sold.customers)
    assert bought.sum() > 100 and set(np.unique(day.sold.products)) == set(entry)
    after = day.after
    np.testing.assert_array_equal(after.stage == STAGE["onboarding"], bought)
    np.testing.assert_array_equal(after.joined == 3, bought)
    opened = (after.event == EVENTS.index("account_opened")) & (after.event_day == 4)
    np.testing.assert_array_equal(opened, bought)
    np.testing.assert_array_equal(after.event_product[day.sold.customers], day.sold.products)
    seen = world.observe(after, np.arange(5_000))
    np.testing.assert_array_equal(seen.attributes["is_customer"], bought)
    assert (seen.attributes["tenure_years"][bought] == 1 / 365).all()


def test_prospects_hold_nothing_and_contacts_cannot_sell_them_more() -> None:
    world = without(bank(), "organic")
    state = clones(world, 3, 5_000, stage=STAGE["acquisition"], owned=0)
    for product, possible in (("term-life", False), ("credit-card", True)):
        action = world.config.catalogue.index("sms", "now", product)
        sold = [day.sold.customers.size for day in days_of(world, state, 15, everybody(action))]
        assert (sum(sold) > 0) == possible, product


def test_a_churned_customer_neither_buys_because_of_a_contact_nor_has_events() -> None:
    response = {"organic": (0.0,) * 20, "lift": (3.0,) * 20}
    world = edited(bank(), life_cycle={"transitions": ()}, response=response)
    action = everybody(world.config.catalogue.index("sms", "now", "coupon"))
    for stage, buys in (("churned", False), ("mature", True)):
        state = clones(world, 3, 2_000, stage=STAGE[stage], owned=0)
        days = list(days_of(world, state, 6, action))
        # The oracle knows it: nothing is expected, and no clock rings that would be thrown away.
        assert any(day.responses.due.max() >= 0 for day in days) == buys
        assert (expected_values(world, state, np.arange(1)).max() > 0) == buys
        assert (sum(day.sold.customers.size for day in days) > 0) == buys
        own = np.isin(days[-1].after.event, [EVENTS.index("complaint"), 0])
        assert (days[-1].after.stage == STAGE[stage]).all() and own.all() != buys


def test_buyers_drop_out_with_a_chance_of_their_own_that_stays_theirs() -> None:
    """Beta(a, b): a/(a+b) leave after the first purchase, of the others a/(a+b+1) after the second."""
    a, b = 0.8, 2.4
    world = without(bank(), "events")
    world = edited(
        world,
        life_cycle={"transitions": (), "drop_out": (a, b), "organic": (1.0,) * 8},
        response={"organic": tuple(30.0 if p == 17 else 0.0 for p in range(20))},  # coupons, every day
    )
    state = clones(world, 3, N, stage=STAGE["mature"], effect=0.0)
    first, second = days_of(world, state, 2)
    assert first.sold.customers.size == N
    gone = first.after.stage == STAGE["churned"]
    assert agrees(gone, a / (a + b))
    again = second.after.stage == STAGE["churned"]
    assert agrees(again[~gone], a / (a + b + 1)) and again[gone].all()


def test_a_purchase_moves_first_and_chance_only_from_the_next_day() -> None:
    """Who drops out today is not won back on the same evening, however likely that is."""
    ways = (
        Transition(source="mature", to="growth", intercept=9.0),
        Transition(source="churned", to="won_back", intercept=9.0),
    )
    world = edited(
        without(bank(), "events"),
        life_cycle={"transitions": ways, "drop_out": (1.0, 1.0)},
        response={"organic": tuple(30.0 if p == 17 else 0.0 for p in range(20))},
    )
    state = clones(world, 3, 2_000, stage=STAGE["mature"], effect=0.0)
    first, second = days_of(world, state, 2)
    gone = first.after.stage == STAGE["churned"]
    assert agrees(gone, 0.5) and (first.after.stage[~gone] == STAGE["growth"]).mean() > 0.99
    assert (second.after.stage[gone] == STAGE["won_back"]).mean() > 0.99


def test_without_a_life_cycle_only_purchases_move_customers() -> None:
    world = without(bank(), "life_cycle")
    state = world.reset(3, np.arange(3_000))
    np.testing.assert_array_equal(state.joined, bank().reset(3, np.arange(3_000)).joined)
    new = np.zeros(3_000, dtype=np.bool_)
    for day in days_of(world, state, 120):
        new[day.sold.customers] = True
    prospects = state.stage == STAGE["acquisition"]
    expected = np.where(prospects & new, STAGE["onboarding"], state.stage)
    np.testing.assert_array_equal(day.after.stage, expected)
    assert (prospects & new).any()
