"""The oracle against repeated lives of one customer, and against worlds with a known answer."""

from __future__ import annotations

import numpy as np
import pytest
from checks.worlds import (
    CALL,
    PUSH,
    SMS,
    N,
    any_action,
    busy_bank,
    clones,
    days_of,
    edited,
    fresh,
    lively,
    without,
)
from msgspec import structs
from small import bank, small_world

from simulator.oracle import all_odds, counterfactual, expected_values

ACTIONS = (
    "app_push/evening/coupon",
    "sms/weekend/membership",
    "call/now/term-deposit",
    "sms/now/card-instalment",
)


@pytest.mark.parametrize("action_id", ACTIONS)
@pytest.mark.parametrize(("number", "fatigue"), [(3, 0.0), (8, 1.75)], ids=["fresh", "tired"])
def test_the_expected_value_is_the_mean_of_many_lives(action_id: str, number: int, fatigue: float) -> None:
    """Margins that come later, less cost and losses, of clones with one contact and silence after it."""
    world = without(lively(), "events", "life_cycle", "referral")
    state, action = fresh(world, number, fatigue=fatigue), world.config.catalogue.row_of(action_id)
    rows, silent = np.arange(N), np.zeros(N, dtype=np.int64)
    pair = counterfactual(world, state, rows, np.full(N, action), silent, days=25)
    expected = expected_values(world, state, rows[:1])[0, action]
    assert not pair.other.any(), "without organic demand silence is worth nothing"
    assert abs(pair.difference.mean() - expected) < 4 * pair.net.std() / np.sqrt(N)


def test_an_expected_value_by_hand() -> None:
    """One customer, numbers without noise: what is delivered, seen, engaged with, bought, lost and paid."""
    world = without(
        small_world(("sms", "call"), ("now",), ("membership",)), "capacity", "heterogeneity", "seasons"
    )
    world = without(world, "holidays", "payday", "drift", "regime_breaks", "competitors", "life_cycle")
    answer = structs.replace(
        world.config.response,
        delivery=(0.9, 0.5),
        seen=(0.8, 1.0),
        openness=(0.0, 1.0),
        digital_loading=(0.0, 0.0),
        receptivity=((0.0,),) * 4,
        week_class=((0.0,) * 7,) * 3,
        lift=(0.5,),
        channel_strength=(0.0, 0.0),
        channel_fit={"benefit": (0.0, 0.0)},
        halo=0.25,
        opt_out=structs.replace(world.config.response.opt_out, base=(0.01, 0.02), cost=(5.0, 10.0)),
        complaint=structs.replace(
            world.config.response.complaint, base=(0.001, 0.002), cost=100.0, elderly=(0.0, 0.0)
        ),
    )
    world = edited(world, response=answer, amounts={"sd": 0.7, "wealth": (0.0, 0.2, 0.4, 0.6)})
    state = clones(world, 3, 1, stage=3, owned=0, age=40, wealth=2)
    got = expected_values(world, state, np.arange(1))[0]
    factors = np.exp([0.0, 0.2, 0.4, 0.6])  # of 50, 30, 15 and 5 of 100 customers
    margin, values = 12.0 * factors[2] / (factors @ [0.5, 0.3, 0.15, 0.05]), [0.0]
    for delivery, seen, logit, left, loud, cost, price in (
        (0.9, 0.8, 0.0, 0.01, 0.001, 5.0, 0.05),
        (0.5, 1.0, 1.0, 0.02, 0.002, 10.0, 4.0),
    ):
        engaged = 1 / (1 + np.exp(-logit))
        bought = engaged * (1 - np.exp(-0.5)) + (1 - engaged) * (1 - np.exp(-0.125))
        lost = (1 - np.exp(-left)) * cost + (1 - np.exp(-loud)) * 100.0
        values.append(delivery * (seen * bought * margin - lost) - price)
    np.testing.assert_allclose(got, values, rtol=1e-12)


def test_values_stand_in_the_order_of_the_catalogue() -> None:
    """Every action's own odds, asked for one by one, and 0 for silence."""
    world, rows = bank(), np.arange(3)
    state = world.reset(5, rows)
    values, catalogue = expected_values(world, state, rows), world.config.catalogue
    assert values.shape == (3, 841) and not values[:, 0].any()
    actions = np.arange(1, 841)
    of = (catalogue.channel_of[1:], catalogue.timing_of[1:], catalogue.product_of[1:])
    odds = world.odds(state, np.full(840, 2), *of)
    amounts = world.laws.amounts.expected(state.people, np.array([2]))[0, of[2]]
    left = -np.expm1(-odds.opt_out) * world.laws.opt_out_cost[of[0]]
    loud = -np.expm1(-odds.complaint) * world.config.response.complaint.cost
    worth = odds.converts(world.config.response.halo) * amounts - odds.delivered * (left + loud)
    np.testing.assert_allclose(values[2, actions], worth - catalogue.costs[actions], rtol=1e-12)


def test_tables_and_single_contacts_have_the_same_bits() -> None:
    world, rows = busy_bank(), np.arange(40)
    *_, last = days_of(world, world.reset(5, rows), 10, any_action)
    state = last.after
    tables = all_odds(world, state, rows)
    c, t, p = (
        rng % n for rng, n in zip((rows * 3, rows * 5, rows * 7), world.config.catalogue.shape, strict=True)
    )
    single = world.odds(state, rows, c, t, p)
    shape = (40, *world.config.catalogue.shape)
    for name in ("delivered", "seen", "engaged", "mass", "opt_out", "complaint"):
        whole = np.broadcast_to(getattr(tables, name), shape)[rows, c, t, p]
        np.testing.assert_array_equal(np.broadcast_to(getattr(single, name), 40), whole, err_msg=name)


def test_without_lift_the_oracle_prefers_silence_everywhere() -> None:
    products = ("coupon", "card-instalment", "membership")
    world = small_world(products=products, response={"lift": (0.0, 0.0, 0.0)})
    state = world.reset(1, np.arange(500))
    values = expected_values(world, state, np.arange(500))
    assert (values[:, 1:] < 0).all() and not values[:, 0].any()
    lifted = small_world(products=products, response={"lift": (0.5, 0.5, 0.5)})
    best = expected_values(lifted, lifted.reset(1, np.arange(500)), np.arange(500)).argmax(axis=1)
    assert (best > 0).mean() > 0.5, "with lift, contacts are worth their cost"


def test_what_is_held_or_cannot_be_bought_is_worth_less_than_nothing() -> None:
    world = bank()
    state = clones(world, 3, 2, stage=[3, 0], owned=[1, 0])  # holds a term deposit; is no customer yet
    odds = all_odds(world, state, np.arange(2))
    assert (odds.mass[0, :, :, 0] < 1e-20).all() and (odds.mass[0, :, :, 1:] > 1e-6).all()
    entry = [world.config.catalogue.level("product", name) for name in world.config.life_cycle.entry_products]
    assert set(np.flatnonzero(odds.mass[1].max(axis=(0, 1)) > 1e-20)) == set(entry)


def test_fatigue_lowers_engagement_and_raises_opt_outs_and_complaints() -> None:
    world = without(bank(), "habituation")
    fresh_, tired = (clones(world, 4, 50, fatigue=level) for level in (0.0, 1.0))
    one_, other = (all_odds(world, state, np.arange(50)) for state in (fresh_, tired))
    assert (other.engaged < one_.engaged).all() and (other.opt_out > one_.opt_out).all()
    assert (other.complaint > one_.complaint).all()
    np.testing.assert_array_equal(one_.mass, other.mass)


# --- Paired lives -------------------------------------------------------------------------------------


def test_paired_lives_are_equal_where_nothing_differs() -> None:
    """The difference is exactly 0 for who is treated alike, though branches share what there is."""
    world, rows = busy_bank(), np.arange(100)
    *_, last = days_of(world, world.reset(7, rows), 10, any_action)
    call = world.config.catalogue.index("call", "now", "coupon")
    treated = rows < 25  # the whole first branch
    pair = counterfactual(
        world, last.after, rows, np.where(treated, call, 0), np.zeros(100, dtype=np.int64), 30
    )
    assert not pair.difference[~treated].any() and pair.difference[treated].any()
    assert pair.net[~treated].any(), "they buy, and equally so"
    same = counterfactual(world, last.after, rows, np.full(100, call), np.full(100, call), 30)
    assert not same.difference.any() and same.net.any()


def test_an_undelivered_contact_costs_its_price_and_nothing_else() -> None:
    """Until something of it is noticed: the customers live on as if it had not been made."""
    world = without(small_world(("call", "sms"), ("now",), ("term-deposit", "coupon")), "capacity", "fatigue")
    world = edited(world, response={"delivery": (0.0, 0.9)})
    state, rows = world.reset(3, np.arange(400)), np.arange(400)
    action = world.config.catalogue.index("call", "now", "term-deposit")
    pair = counterfactual(world, state, rows, np.full(400, action), np.zeros(400, dtype=np.int64), 30)
    np.testing.assert_allclose(pair.difference, -4.0, atol=1e-12)


def test_pairing_takes_out_the_noise_that_both_lives_share() -> None:
    """The variance of a paired difference is far below that of two independent runs."""
    world, rows = bank(), np.arange(2_000)
    state = world.reset(3, rows)
    action = world.config.catalogue.index("app_push", "evening", "coupon")
    pair = counterfactual(world, state, rows, np.full(2_000, action), np.zeros(2_000, dtype=np.int64), 20)
    assert pair.difference.var() < 0.5 * (pair.net.var() + pair.other.var())


def test_the_delay_is_inside_the_days_that_are_simulated() -> None:
    """Days count from today: what comes on the last of them counts, what comes after does not."""
    off = ("amounts", "events", "life_cycle", "opt_out", "complaints")
    world = without(lively(halo=1.0, delivery=(1.0,) * 3), *off)
    state = fresh(world, 3)
    action = world.config.catalogue.row_of("sms/now/coupon")
    rows = np.arange(N)
    due = world.respond(state, rows, np.full(N, action)).due
    for days in (1, 2, 4):
        pair = counterfactual(world, state, rows, np.full(N, action), np.zeros(N, dtype=np.int64), days)
        bought = (due >= 0) & (due < 3 + days)
        np.testing.assert_allclose(pair.net, 4.0 * bought - 0.05)


def test_channels_of_the_small_world_stand_where_the_tests_think() -> None:
    names = [channel.name for channel in lively().config.catalogue.channels]
    assert [names[k] for k in (PUSH, SMS, CALL)] == ["app_push", "sms", "call"]


def test_the_shipped_bank_has_actions_worth_taking_and_actions_that_lose_money() -> None:
    world, rows = bank(), np.arange(200)
    values, branch = (
        expected_values(world, world.reset(1, rows), rows),
        world.config.catalogue.channel_of == 6,
    )
    assert 0.2 < (values.max(axis=1) > 0).mean() and (values[:, branch] < 0).mean() > 0.9
    assert np.isfinite(values).all() and values.max() < 1_000 and values.min() > -100
