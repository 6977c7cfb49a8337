"""The oracle against repeated responses of one customer, and against worlds with a known answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec import structs
from small import bank, small_world

from nba.arrays import IntArray
from nba.feedback import completion
from simulator.oracle import expected_values
from simulator.response import conversion_probability
from simulator.state import WorldState, first_state
from simulator.world import World

N = 20_000
CHANNELS, TIMINGS = ("app_push", "sms", "call"), ("now", "evening", "weekend")
PRODUCTS = ("term-deposit", "coupon", "card-instalment", "membership")


def lively(**response: Any) -> World:
    """A small world in which much happens, so that little noise hides an error; nothing is organic."""
    plain = small_world(CHANNELS, TIMINGS, PRODUCTS).config.response
    opt_out = structs.replace(plain.opt_out, base=(0.05, 0.08, 0.1))
    complaint = structs.replace(plain.complaint, base=(0.02, 0.03, 0.05))
    parts = {"organic": (0.0,) * 4, "opt_out": opt_out, "complaint": complaint, "lift": (0.3, 0.6, 0.4, 0.5)}
    return small_world(CHANNELS, TIMINGS, PRODUCTS, response=parts | response)


def clones(world: World, seed: int, day: int = 3, fatigue: float = 0.0, n: int = N) -> WorldState:
    """The same customer n times under different numbers: only the noise of responses differs."""
    one = world.reset(seed, np.array([seed])).people
    people = one._replace(
        **{name: np.repeat(part, n, axis=0) for name, part in one._asdict().items() if name != "seen"},
        seen={name: np.repeat(column, n) for name, column in one.seen.items()},
    )._replace(ids=np.arange(n))
    state = first_state(1, people, world.config.catalogue)._replace(day=day)
    nobody = np.zeros_like(state.owned)
    return state._replace(fatigue=state.fatigue + fatigue, owned=nobody)


def agrees(happened: Any, probability: float) -> bool:
    share = float(np.mean(happened))
    return abs(share - probability) <= 4 * np.sqrt(max(probability * (1 - probability), 1e-12) / N)


ACTIONS = (
    "app_push/evening/coupon",
    "sms/weekend/membership",
    "call/now/term-deposit",
    "sms/now/card-instalment",
)


@pytest.mark.parametrize("action_id", ACTIONS)
@pytest.mark.parametrize(("seed", "fatigue"), [(3, 0.0), (8, 1.7)], ids=["fresh", "tired"])
def test_repeated_responses_follow_the_tables(action_id: str, seed: int, fatigue: float) -> None:
    world = lively()
    catalogue, state, rows = world.config.catalogue, clones(world, seed, fatigue=fatigue), np.arange(N)
    action = catalogue.row_of(action_id)
    c, t, p = (int(f[action]) for f in (catalogue.channel_of, catalogue.timing_of, catalogue.product_of))
    seen = world.respond(state, rows, np.full(N, action))
    tables = world.tables(state, rows[:1])
    delivered = float(tables.delivered[c])
    assert agrees(seen.delivered, delivered)
    assert agrees(seen.engaged, delivered * float(tables.engaged[0, c, t]))
    assert agrees(seen.opted_out, delivered * float(tables.opt_out[0, c, p]))
    assert agrees(seen.complained, delivered * float(tables.complaint[0, c]))
    converts = float(conversion_probability(tables, world.config.response.halo)[0, c, t, p])
    assert agrees(seen.due >= 0, converts)
    assert not (seen.engaged & ~seen.delivered).any() and not (seen.opted_out & ~seen.delivered).any()
    net = (seen.due >= 0) * catalogue.values[action] - seen.costs - seen.losses
    oracle = expected_values(world, state, rows[:1])[0, action]
    assert abs(net.mean() - oracle) < 4 * net.std() / np.sqrt(N)


def days_of(world: World, state: WorldState, actions: IntArray, days: int) -> tuple[WorldState, Any]:
    """The first day's contacts, then silence; (day, customer, product, caused) of all conversions."""
    rows, silent, found = np.arange(N), np.zeros(0, dtype=np.int64), []
    for number in range(days):
        today, acts = (rows, actions) if number == 0 else (silent, silent)
        day = state.day
        state, sold = world.advance(state, today, acts, world.respond(state, today, acts))
        found += [(day, *row) for row in zip(*sold, strict=True)]
    return state, np.array(found, dtype=np.int64).reshape(-1, 4)


def test_a_contact_brings_the_conversions_that_the_oracle_expects() -> None:
    world = lively()
    state, action = clones(world, 3), world.config.catalogue.index("sms", "evening", "coupon")
    tables = world.tables(state, np.arange(1))
    expected = float(conversion_probability(tables, world.config.response.halo)[0, 1, 1, 1])
    after, sold = days_of(world, state, np.full(N, action), 40)
    assert agrees(np.isin(np.arange(N), sold[:, 1]), expected)
    assert sold[:, 3].all() and (sold[:, 2] == 1).all() and np.unique(sold[:, 1]).size == len(sold)
    assert after.pending.due.size == 0
    # Nobody is contacted, so nobody may convert.
    _, none = days_of(world, state, np.zeros(N, dtype=np.int64), 5)
    assert none.size == 0


@pytest.mark.parametrize(
    ("action_id", "again"),
    [("sms/now/membership", False), ("sms/now/coupon", True)],
)
def test_what_is_held_already_is_bought_again_only_if_it_can_be(action_id: str, again: bool) -> None:
    world = lively()
    state = clones(world, 3)
    held = state._replace(owned=np.ones_like(state.owned))
    _, sold = days_of(world, held, np.full(N, world.config.catalogue.row_of(action_id)), 20)
    assert len(sold) > 500 if again else len(sold) == 0


def test_caused_conversions_come_with_the_delay_of_the_product() -> None:
    """Given its mass, a contact has rung its clock by age a with probability 1 - exp(-mass F(a))."""
    world = lively(halo=1.0, delivery=(1.0, 1.0, 1.0))  # engaged or not, the mass is the same
    state, action = clones(world, 3), world.config.catalogue.index("sms", "now", "membership")
    mass = float(world.tables(state, np.arange(1)).mass[0, 1, 3])
    _, sold = days_of(world, state, np.full(N, action), 30)
    delay = world.config.catalogue.products[3].decision_delay_days
    for age in (1, 2, 4, 8):
        by_then = np.isin(np.arange(N), sold[sold[:, 0] < 3 + age, 1])
        expected = -np.expm1(-mass * completion(np.array([float(age)]), delay)[0])
        assert agrees(by_then, float(expected)), age


def test_organic_conversions_follow_their_hazards() -> None:
    hazards = (0.01, 0.02, 0.005, 0.01)
    world = small_world(CHANNELS, TIMINGS, PRODUCTS, response={"organic": hazards})
    state = clones(world, 3)
    stage = world.config.life_cycle.organic[int(state.stage[0])]
    true = np.array(hazards) * np.exp(state.people.affinity[0]) * stage
    _, sold = world.advance(
        state, *(np.zeros(0, dtype=np.int64),) * 2, world.respond(state, *(np.zeros(0, dtype=np.int64),) * 2)
    )
    assert not sold.caused.any() and agrees(np.isin(np.arange(N), sold.customers), -np.expm1(-true.sum()))
    for product in range(4):
        share = true[product] / true.sum() * -np.expm1(-true.sum())
        assert agrees(np.isin(np.arange(N), sold.customers[sold.products == product]), float(share))


def test_without_lift_the_oracle_prefers_silence_everywhere() -> None:
    products = ("coupon", "card-instalment", "membership")
    world = small_world(products=products, response={"lift": (0.0, 0.0, 0.0)})
    state = world.reset(1, np.arange(500))
    values = expected_values(world, state, np.arange(500))
    assert (values[:, 1:] < 0).all() and not values[:, 0].any()
    lifted = expected_values(small_world(products=products), state, np.arange(500))
    assert (lifted.argmax(axis=1) > 0).mean() > 0.5, "with lift, contacts are worth their cost"


def test_an_average_first_call_sells_as_often_as_in_the_file() -> None:
    full = bank()
    flat = structs.replace(full.calibration, weekday_effects=(0.0,) * 5, month_effects=(0.0,) * 12)
    world = World(full.config, flat)
    state = world.reset(1, np.arange(1))
    people = state.people
    average = people._replace(
        affinity=np.zeros_like(people.affinity),
        responsiveness=np.zeros(1),
        preference=np.zeros_like(people.preference),
        digital=np.full(1, 0.5),
    )
    mature = state._replace(people=average, stage=np.full(1, 2))
    catalogue = full.config.catalogue
    chance = conversion_probability(world.tables(mature, np.arange(1)), full.config.response.halo)
    call, now = catalogue.level("channel", "call"), catalogue.level("timing", "now")
    base_rate = full.calibration.base_rate_first_call
    assert base_rate == pytest.approx(0.0558, abs=5e-4)
    assert chance[0, call, now, 0] == pytest.approx(base_rate, rel=1e-6)


def test_fatigue_lowers_engagement_and_raises_opt_outs() -> None:
    world = bank()
    fresh = world.reset(1, np.arange(50))
    tired = fresh._replace(fatigue=fresh.fatigue + 1.0)
    one, other = (world.tables(state, np.arange(50)) for state in (fresh, tired))
    assert (other.engaged < one.engaged).all() and (other.opt_out > one.opt_out).all()
    np.testing.assert_array_equal(one.mass, other.mass)
