"""Conversions: the screen is exact, hazards add up, and what a purchase brings about."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from checks.worlds import (
    Day,
    agrees,
    any_action,
    assert_same,
    changed,
    clones,
    days_of,
    edited,
    everybody,
    without,
)
from msgspec import structs
from small import bank

from nba.arrays import FloatArray, IntArray
from nba.randomness import keyed_words
from simulator.behaviour import events_of
from simulator.config import EVENTS, STAGES
from simulator.day import passed
from simulator.engine import engine_of
from simulator.hazards import organic_hazards
from simulator.market import EVERY_FAMILY, Holiday
from simulator.screen import BUYS, HAPPENS, MOVES, Bounds, Uniforms, flags_numpy, let_through, screened
from simulator.state import LONG_AGO, Pending, WorldState
from simulator.world import World

N = 20_000
MATURE = STAGES.index("mature")
PRODUCTS = [one.name for one in bank().config.catalogue.products]
FAMILIES = np.array(bank().config.families)
LONELY = without(bank(), "events", "life_cycle", "referral")


def hazards_of(world: World, state: WorldState) -> FloatArray:
    rows = np.arange(state.people.n_customers)
    return organic_hazards(world.laws.hazards, world.today(state), state, rows)


def index(name: str) -> int:
    return PRODUCTS.index(name)


# --- The screen ---------------------------------------------------------------------------------------


def stormy() -> World:
    """The bank from October to February: everything that moves hazards does, at its peak, up and down."""
    config = bank().config
    events = tuple(
        structs.replace(kind, per_day=0.02, boosts=kind.boosts | {"@": (-1.5 if number % 3 else 1.5)})
        for number, kind in enumerate(config.behaviour.events)
    )
    holiday = Holiday(name="fair", start="12-10", days=20, organic={EVERY_FAMILY: -0.5, "card": 1.5})
    return edited(
        bank(),
        start="2027-10-20",
        behaviour={"events": events},
        response={
            "organic": tuple(6 * rate for rate in config.response.organic),
            "recency_days": (5, 20, 60),
            "recency": (-0.8, 2.0, -0.4, 0.3),
            "lift": tuple(20 * size for size in config.response.lift),
        },
        calendar={"holidays": (*config.calendar.holidays, holiday), "payday": {"card": 1.0, "deposit": -0.7}},
        market={"drift_sd_weekly": 0.3, "regime_breaks_per_year": 12, "regime_sd": 0.5},
        referral={"per_conversion": 0.5},
        population={"branch_customers": 100},
    )


@pytest.fixture(scope="module", params=["numpy", "auto"])
def storm(request: pytest.FixtureRequest) -> list[Day]:
    """Four months, once with the definition of every function and once with what runs by default."""
    world = World(stormy().config, request.param)
    return list(days_of(world, world.reset(6, np.arange(400)), 120, any_action))


def test_the_ceiling_bounds_the_hazard_of_every_customer_on_every_day(storm: list[Day]) -> None:
    world, close = stormy(), []
    for day in storm:
        state, now = day.before, world.today(day.before)
        true = hazards_of(world, state).sum(axis=1)
        bound = state.ceiling * now.bound[state.people.payday]
        assert (true <= bound + 1e-20).all(), day.before.day
        close.append(np.median(true[bound > 1e-9] / bound[bound > 1e-9]))
    assert np.mean(close) > 0.1, "and it is no more than that many times too wide"


def test_who_is_not_let_through_would_not_have_moved_nor_had_an_event(storm: list[Day]) -> None:
    """All customers looked at closely give the same next morning as those that the screen lets through."""
    world, close, through = stormy(), np.uint8(BUYS | MOVES | HAPPENS), []
    laws, nobody = world.laws, np.zeros(0, dtype=np.int64)
    for day in storm[::6]:
        state, now = day.before, world.today(day.before)
        flags = flags_numpy(state, Bounds.of(now, laws.life, laws.behaviour))
        by_screen, sold = passed(laws, now, state, let_through(state, flags), nobody)
        everyone, same = passed(laws, now, state, let_through(state, flags | close), nobody)
        assert_same(by_screen, everyone, leave_out=("ceiling",))  # is renewed for who was looked at
        for left, right in zip(sold, same, strict=True):
            np.testing.assert_array_equal(left, right)
        through.append(((flags & close) > 0).mean())
    assert 0.05 < np.mean(through) < 0.8


def test_no_uniform_above_the_bound_of_events_brings_one(storm: list[Day]) -> None:
    world = stormy()
    state, rows = storm[60].before, np.arange(400)
    state = changed(world, state, owned=2**20 - 1, stage=MATURE, digital=np.where(rows % 2, 0, 255))
    laws, now = world.laws, world.today(state)
    found = [
        events_of(laws, now, state, rows, np.full(400, share * laws.behaviour.bound)).rows.size
        for share in (1.0, 0.3)
    ]
    assert found[0] == 0 and found[1] > 0


def test_numba_and_numpy_let_the_same_customers_through() -> None:
    pytest.importorskip("numba")
    numba = engine_of("numba", "test").screened

    world = stormy()
    ids = np.concatenate([np.arange(500), 2**33 + np.arange(500), 2**55 + np.arange(24)])
    plain = without(world, "capacity")
    state = plain.reset(2**40 + 5, ids)
    for day in (0, 1, 29, 300, 31_999):
        at = state._replace(day=day)
        bounds = Bounds.of(plain.today(at), plain.laws.life, plain.laws.behaviour)
        for one, other in zip(numba(at, bounds), screened(at, bounds), strict=True):
            np.testing.assert_array_equal(np.array(one), np.array(other))
        assert len(np.unique(flags_numpy(at, bounds))) > 4


def test_the_words_of_a_day_are_uniform_and_do_not_hang_together() -> None:
    state = bank().reset(1, np.arange(10_000))
    words = np.array(Uniforms.of(keyed_words, state, np.arange(10_000)))
    assert (np.abs(words.mean(axis=1) - 0.5) < 4 / np.sqrt(12 * 10_000)).all()
    tomorrow = np.array(Uniforms.of(keyed_words, state._replace(day=1), np.arange(10_000)))
    off = np.corrcoef(np.concatenate([words, tomorrow])) - np.eye(6)
    assert np.abs(off).max() < 4.5 / np.sqrt(10_000)


# --- Organic purchases --------------------------------------------------------------------------------


def test_customers_buy_on_their_own_with_the_sum_of_their_hazards() -> None:
    world = edited(LONELY, response={"organic": tuple(0.002 * (1 + p % 5) for p in range(20))})
    state = clones(world, 3, N, stage=MATURE, owned=0b1010)
    (day,) = days_of(world, state, 1)
    hazards = hazards_of(world, clones(world, 3, 1, stage=MATURE, owned=0b1010))[0]
    assert (hazards[[1, 3]] < 1e-20).all() and not day.sold.caused.any()
    total = hazards.sum()
    assert 0.02 < total < 0.3
    for product, hazard in enumerate(hazards):
        share = hazard / total * -np.expm1(-total)
        assert agrees(np.isin(np.arange(N), day.sold.customers[day.sold.products == product]), share), product


def test_a_hazard_is_the_product_of_its_parts() -> None:
    """Base, taste, effect, stage, month, weekday and pay day, of one customer of the shipped world."""
    world = without(bank(), "drift", "regime_breaks", "competitors")
    state = clones(world, 3, 1, day=41, stage=1, owned=0, effect=0.5, payday=10)  # Sunday 12 April 2026
    state.people.interests[0] = (1.0, -0.5, 0.0, 2.0)
    config, p = world.config, 0
    loading = config.population.affinity_scale * np.array(config.population.loadings["deposit"])
    log = loading @ np.array([1.0, -0.5, 0.0, 2.0]) - 0.5 * loading @ loading
    log += 0.5 + np.log(config.life_cycle.organic[1])
    log += config.calendar.organic_month[3] + config.calendar.organic_weekday[6]
    log += config.calendar.payday["deposit"] * 0.5 ** (2 / config.calendar.payday_half_life_days)
    assert hazards_of(world, state)[0, p] == pytest.approx(config.response.organic[p] * np.exp(log), rel=1e-9)


@pytest.mark.parametrize(
    ("days", "factor"), [(1, 0.5), (7, 0.5), (8, 3.0), (30, 3.0), (31, 1.5), (4000, 1.5)]
)
def test_the_last_purchase_counts_by_its_age_in_its_family_alone(days: int, factor: float) -> None:
    recency = tuple(map(math.log, (0.5, 3.0, 1.5)))
    world = edited(LONELY, response={"recency_days": (7, 30), "recency": recency})
    cards = np.unique(FAMILIES, return_inverse=True)[1][index("credit-card")] + 1
    state = clones(
        world, 3, 2, day=5000, stage=MATURE, owned=0, bought=np.array([0, cards]), bought_day=5000 - days
    )
    hazards = hazards_of(world, state)
    np.testing.assert_allclose(hazards[1] / hazards[0], np.where(FAMILIES == "card", factor, 1.0), rtol=1e-9)


def test_who_owns_one_product_buys_its_companions_more_or_less() -> None:
    for link in bank().config.cross_sell:
        owned = np.array([0, 1 << index(link.owns)])
        hazards = hazards_of(LONELY, clones(LONELY, 3, 2, stage=MATURE, owned=owned))
        companions = {one.lifts: one.log_factor for one in LONELY.config.cross_sell if one.owns == link.owns}
        expected = np.exp([companions.get(name, 0.0) for name in PRODUCTS])
        free = np.arange(20) != index(link.owns)
        np.testing.assert_allclose((hazards[1] / hazards[0])[free], expected[free], rtol=1e-9)


# --- What follows -------------------------------------------------------------------------------------


def selling(product: str, rate: float = 30.0) -> World:
    """Everybody buys one product on the first day."""
    rates = tuple(rate if name == product else 0.0 for name in PRODUCTS)
    return edited(LONELY, response={"organic": rates})


def test_what_is_held_is_not_bought_again_and_what_can_be_is() -> None:
    for product, times in (("bond-fund", [50, 0, 0]), ("coupon", [50, 50, 50])):
        world = selling(product)
        days = list(days_of(world, clones(world, 3, 50, stage=MATURE, owned=0, effect=0), 3))
        assert [day.sold.customers.size for day in days] == times
        held = days[-1].after.owned
        assert (held == (1 << index(product) if times[1] == 0 else 0)).all()
        assert (days[-1].after.bought_day == (3 if times[1] == 0 else 5)).all()


def test_substitutes_cancel_the_clocks_of_their_family_and_no_others() -> None:
    """Contacts have set clocks for a gold card and a mortgage; the customer takes the other card."""
    world = selling("credit-card")
    state = clones(world, 3, 3, stage=MATURE, owned=0, effect=0.0)
    rows, none = np.array([0, 0, 1, 2]), np.zeros(0, dtype=np.int64)
    due, products = (
        np.array([9, 9, 9, 2]),
        [index(n) for n in ("gold-card", "mortgage", "mortgage", "gold-card")],
    )
    state = state._replace(
        pending=state.pending._replace(customers=rows, products=np.array(products), due=due)
    )
    after, sold = world.advance(state, none, none, world.respond(state, none, none))
    assert sold.customers.tolist() == [0, 1, 2] and set(sold.products) == {index("credit-card")}
    left = [(int(c), PRODUCTS[p]) for c, p, _ in zip(*after.pending, strict=True)]
    assert left == [(0, "mortgage"), (1, "mortgage")]


def test_what_a_contact_caused_goes_before_what_would_have_come_anyway() -> None:
    world = selling("coupon")
    state = clones(world, 3, 4, stage=MATURE, owned=[0, 0, 1 << index("mortgage"), 0], effect=0.0)
    none, mortgage = np.zeros(0, dtype=np.int64), index("mortgage")
    pending = Pending(np.array([1, 2, 1]), np.array([mortgage, mortgage, 0]), np.array([3, 3, 3]))
    state = state._replace(pending=pending)
    _, sold = world.advance(state, none, none, world.respond(state, none, none))
    by_customer = {int(c): (PRODUCTS[p], bool(caused)) for c, p, caused, _ in zip(*sold, strict=True)}
    coupon = ("coupon", False)
    assert by_customer == {0: coupon, 1: ("mortgage", True), 2: coupon, 3: coupon}
    assert sold.customers.size == 4, "at most one conversion a day"


def test_buyers_invite_others_of_their_branch() -> None:
    """A share of the buyers; whoever is invited hears of it next morning, and of what was bought."""
    rates = tuple(0.3 if name == "coupon" else 0.0 for name in PRODUCTS)
    world = edited(
        without(bank(), "events", "life_cycle"),
        response={"organic": rates},
        referral={"per_conversion": 0.4},
        population={"branch_customers": 500},
    )
    buying = np.arange(4_000) // 500 % 2 == 0  # every other branch is of people who buy
    state = clones(world, 3, 4_000, effect=0.0, stage=np.where(buying, MATURE, STAGES.index("churned")))
    state = changed(world, state, owned=0)
    (day,) = days_of(world, state, 1)
    invited = np.flatnonzero((day.after.event == EVENTS.index("invited")) & (day.after.event_day == 4))
    buyers = day.sold.customers.size
    assert buying[day.sold.customers].mean() > 0.95 and buying[invited].mean() > 0.95
    assert (day.after.event_product[invited] == index("coupon")).all()
    # Of a branch of n with m invitations at random, n (1 - (1 - 1/n)^m) are invited, a little less than m.
    mean = 4 * 500 * (1 - (1 - 1 / 500) ** (0.4 * buyers / 4))
    assert abs(invited.size - mean) < 4 * np.sqrt(0.4 * 0.6 * buyers)
    (quiet,) = days_of(without(world, "referral"), state, 1)
    assert (quiet.after.event_day == LONG_AGO).all()


def test_the_lift_of_contacts_adds_to_what_comes_anyway() -> None:
    """Competing clocks: of clones, 1 - exp(-(organic + caused)) buy the product within the weeks."""
    rates = tuple(0.004 if name == "membership" else 0.0 for name in PRODUCTS)
    sure: dict[str, Any] = {"halo": 1.0, "delivery": (1.0,) * 7, "seen": (1.0,) * 7, "lift": (0.3,) * 20}
    world = edited(LONELY, response=sure | {"organic": rates})
    world = without(world, "seasons", "payday", "holidays", "drift", "competitors", "regime_breaks")
    state = clones(world, 3, N, stage=MATURE, owned=0)
    action = world.config.catalogue.index("sms", "now", "membership")
    rows, where = np.arange(1), [np.array([k]) for k in (3, 0, index("membership"))]
    mass = float(world.odds(state, rows, *where).mass[0])
    hazard = float(hazards_of(world, state)[0].sum())

    def once(world: World, state: WorldState) -> tuple[IntArray, IntArray]:
        return everybody(action)(world, state) if state.day == 3 else (rows[:0], rows[:0])

    bought = np.concatenate([day.sold.customers for day in days_of(world, state, 30, once)])
    assert np.unique(bought).size == bought.size
    assert agrees(np.isin(np.arange(N), bought), -np.expm1(-(30 * hazard + mass)))
