"""Worlds with one mechanism left, held against closed forms; the long runs are in test_known_worlds_slow."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from known import (
    CDNOW,
    PFEIFER_CARRAWAY,
    Choose,
    Purchases,
    best_mailing,
    chain_values,
    discounted,
    draw_purchases,
    expected_purchases,
    fit_purchases,
    live,
    log_likelihood,
    silence,
)
from scipy.integrate import quad
from scipy.stats import beta, gamma

from experiments.longrun.one_channel import (
    PRICES,
    FatigueProblem,
    FatigueTable,
    contacts_per_week,
    days_flows,
    optimal_price,
    price_values,
    tabulate,
)
from nba.arrays import BoolArray, FloatArray, IntArray
from simulator.oracle import counterfactual, expected_values
from simulator.state import WorldState
from simulator.world import World, load_world

MAILED = {"all": (True, True, True, True), "stop after 3": (True, True, True, False)}
PRINTED = {"all": (52.320, 5.554, 1.251, -1.820), "stop after 3": (53.149, 6.621, 2.644, 0.0)}
RECENCIES = np.arange(1, 5)


def near(sample: FloatArray | IntArray | BoolArray, truth: float, errors: float = 4.0) -> bool:
    """Is the mean of a sample (N,) within so many standard errors of the truth?"""
    return bool(abs(sample.mean() - truth) <= errors * sample.std() / np.sqrt(sample.size))


# --- Customer lifetime value (Pfeifer and Carraway 2000) --------------------------------------------


@pytest.mark.parametrize("policy", MAILED)
def test_the_chain_has_the_values_of_the_paper(policy: str) -> None:
    values = chain_values(PFEIFER_CARRAWAY, np.array(MAILED[policy]))
    assert np.allclose(values, PRINTED[policy], atol=5e-4)
    assert best_mailing(PFEIFER_CARRAWAY).tolist() == list(MAILED["stop after 3"])


@cache
def by_recency(each: int) -> tuple[World, WorldState]:
    """The mailing world, and `each` customers of every recency: row mod 4 is the recency less 1."""
    world = load_world("clv-recency")
    state = world.reset(1, np.arange(4 * each))
    warm = live(world, state, 4, lambda now, rows: (rows % 4 == 3 - now.day).astype(np.int64))
    assert (warm.margins.sum(axis=0) > 0).all()  # who has never bought answers for certain
    return world, warm.state


def since_purchase(world: World, state: WorldState, rows: IntArray) -> FloatArray:
    days: FloatArray = world.observe(state, rows).attributes["days_since_purchase"]
    return days


def test_the_oracle_knows_the_chain_and_its_best_policy() -> None:
    world, state = by_recency(1)
    rows, none = np.arange(4), np.zeros(4, dtype=np.int64)
    assert since_purchase(world, state, rows).tolist() == RECENCIES.tolist()
    seen = world.odds(state, rows, none, none, none).converts(world.config.response.halo)
    assert np.allclose(seen, PFEIFER_CARRAWAY.purchase, atol=1e-9)
    catalogue = world.config.catalogue
    chain = PFEIFER_CARRAWAY._replace(
        purchase=seen, contribution=float(catalogue.margins[0]), mailing=float(catalogue.costs[1])
    )
    for policy, mailed in MAILED.items():
        assert np.allclose(chain_values(chain, np.array(mailed)), PRINTED[policy], atol=1e-3)
    assert best_mailing(chain).tolist() == list(MAILED["stop after 3"])
    assert np.allclose(expected_values(world, state, rows)[:, 1], seen * chain.contribution - chain.mailing)


@pytest.mark.parametrize("policy", MAILED)
def test_mailed_customers_are_worth_what_the_paper_says(policy: str) -> None:
    """A purchase of one day counts at the start of the next, as the paper counts it."""
    world, state = by_recency(5_000)
    stop = sum(MAILED[policy])

    def mail(now: WorldState, rows: IntArray) -> IntArray:
        return (since_purchase(world, now, rows) <= stop).astype(np.int64)

    life, discount = live(world, state, 60, mail), PFEIFER_CARRAWAY.discount
    worth = discounted(discount * life.margins - life.costs, discount)
    for recency, printed in zip(RECENCIES, PRINTED[policy], strict=True):
        bought = PFEIFER_CARRAWAY.contribution * (recency == 1)
        assert near(worth[recency - 1 :: 4] + bought, printed)


# --- Buy till you drop out (Fader, Hardie, Lee 2005) ------------------------------------------------

WEEKS, BUYERS = 39, 20_000


@pytest.mark.parametrize(("count", "last"), [(0, 0.0), (1, 3.5), (6, 20.0)])
def test_the_likelihood_is_the_integral_over_rates_and_chances(count: int, last: float) -> None:
    r, alpha, a, b = CDNOW
    rates, chances = gamma(r, scale=1.0 / alpha), beta(a, b)

    def mean(function: Callable[[float], float], of: Any) -> float:
        return float(quad(lambda share: function(of.ppf(share)), 0.0, 1.0, epsabs=0.0, limit=500)[0])

    def purchases(until: float) -> float:
        return mean(lambda rate: rate**count * np.exp(-rate * until), rates)

    total = mean(lambda chance: (1.0 - chance) ** count, chances) * purchases(WEEKS)
    if count:
        total += mean(lambda chance: chance * (1.0 - chance) ** (count - 1), chances) * purchases(last)
    one = Purchases(np.array([count]), np.array([last]), np.array([float(WEEKS)]))
    assert np.isclose(log_likelihood(CDNOW, one)[0], np.log(total), rtol=0.0, atol=1e-6)


def check_buyers(seen: Purchases) -> None:
    """Parameters within three standard errors, and the two moments that have a closed form."""
    assert (np.abs(fit_purchases(seen).z(CDNOW)) < 3.0).all()
    assert near(seen.count, expected_purchases(CDNOW, WEEKS))
    assert near(seen.count == 0, (CDNOW.alpha / (CDNOW.alpha + WEEKS)) ** CDNOW.r)


def test_the_likelihood_finds_the_parameters_of_buyers_in_continuous_time() -> None:
    check_buyers(draw_purchases(CDNOW, BUYERS, WEEKS, seed=1))


def test_the_buyers_of_the_world_have_the_parameters_of_the_paper() -> None:
    """Customers come into the world at their first purchase: day 0 is time 0, and all that follow repeat it.

    A day holds one purchase at most, and after it the day's risk is over: it counts as half a day, which is
    exact but for the square of the daily hazard over 24. As a whole day it would raise alpha by 4 %.
    """
    world = load_world("btyd")
    life = live(world, world.reset(1, np.arange(BUYERS)), 7 * WEEKS, silence)
    bought = life.margins > 0
    count, last = bought.sum(axis=0), (bought * np.arange(1, 7 * WEEKS + 1)[:, None]).max(axis=0)
    half_days = count / 2.0
    check_buyers(Purchases(count, (last - half_days) / 7.0, (7 * WEEKS - half_days) / 7.0))


# --- One channel that tires (methods C2) ------------------------------------------------------------

OFFERS = np.array([0.3, 0.5, 0.8, 1.0, 1.3, 1.6, 6.0])
CHANCES = np.array([0.15, 0.20, 0.20, 0.15, 0.10, 0.15, 0.05])
# Half-life, kappa, hazard: what the design prints, gains in % of the optimum (myopic, with a one-step opt-out
# term, best constant price) and contacts a week of the optimum.
C2 = {
    (1.0, 0.1, 0.0): (98.5, 98.5, 100.0, 6.0),
    (1.0, 0.3, 0.002): (62.7, 72.9, 99.8, 2.6),
    (3.0, 0.1, 0.0005): (21.5, 51.7, 98.9, 2.3),
    (3.0, 0.3, 0.002): (-9.6, 44.3, 99.6, 1.2),
    (7.0, 0.1, 0.0005): (-21.0, 38.5, 98.3, 1.2),
    (7.0, 0.3, 0.0): (45.6, 45.6, 99.5, 1.0),
    (7.0, 0.6, 0.002): (-15.1, 36.6, 100.0, 0.4),
    (14.0, 0.1, 0.0005): (-29.1, 38.3, 100.0, 0.7),
    (14.0, 0.3, 0.002): (-47.3, 38.1, 100.0, 0.3),
}


@pytest.mark.parametrize("setting", C2, ids=str)
def test_the_dynamic_programme_finds_what_the_design_prints(setting: tuple[float, float, float]) -> None:
    """The design does not print its offers; with ours the shares agree within 3 percentage points."""
    problem = FatigueProblem(*setting, OFFERS, CHANCES, saturates=False)
    table = tabulate(problem, 401)
    optimal = optimal_price(table)
    best = price_values(table, optimal)[0]
    prices = (PRICES["myopic"](table), table.loss, PRICES["constant"](table))
    found = [100.0 * price_values(table, price)[0] / best for price in prices]
    assert np.allclose(found, C2[setting][:3], rtol=0.0, atol=3.0)
    assert abs(contacts_per_week(table, optimal) - C2[setting][3]) < 0.1
    finer = tabulate(problem, 801)
    assert abs(price_values(finer, optimal_price(finer))[0] / best - 1.0) < 1e-4


def problem_of(world: World) -> FatigueProblem:
    """The world in the words of the programme; both have the same offers with the same chances."""
    config = world.config
    answer, (product,), (channel,) = config.response, config.catalogue.products, config.catalogue.channels
    chances = [kind.per_day for kind in config.behaviour.events]
    boosts = [kind.boosts[product.family] for kind in config.behaviour.events]
    return FatigueProblem(
        half_life_days=config.fatigue.long_half_life_days,
        habituation=-answer.habituation[0],
        opt_out=answer.opt_out.base[0],
        offers=np.exp([*boosts, 0.0]),
        chances=np.array([*chances, 1.0 - sum(chances)]),
        mass=answer.lift[0],
        value=product.value,
        cost=channel.cost,
        relationship=answer.opt_out.cost[0],
    )


def priced(world: World, table: FatigueTable, price: FloatArray) -> Choose:
    """Contact whoever allows it and gains more by it than the price of their fatigue."""
    (margin,), (_, cost) = world.config.catalogue.margins, world.config.catalogue.costs
    prices = np.broadcast_to(price, table.levels.shape)

    def choose(state: WorldState, rows: IntArray) -> IntArray:
        seen, none = world.observe(state, rows), np.zeros_like(rows)
        gain = margin * world.odds(state, rows, none, none, none).converts(halo=0.0) - cost
        worth_it = gain > np.interp(seen.fatigue[:, 0, 1], table.levels, prices)
        return (worth_it & seen.consents[:, 0]).astype(np.int64)

    return choose


def check_against_the_programme(world: World, policy: str, customers: int, days: int) -> None:
    """Margins, costs, losses and net value of a policy, from the first morning on which offers are made."""
    table = tabulate(problem_of(world))
    price = PRICES[policy](table)
    morning = live(world, world.reset(1, np.arange(customers)), 1, silence).state
    _, *flows = live(world, morning, days, priced(world, table, price))
    seen, exact = [discounted(flow, table.discount) for flow in flows], days_flows(table, price, days)
    for one, truth in zip(seen, exact, strict=True):
        assert near(one, truth)
    assert near(seen[0] - seen[1] - seen[2], exact[0] - exact[1] - exact[2])


@pytest.mark.parametrize("policy", PRICES)
def test_customers_who_tire_are_worth_what_the_programme_says(policy: str) -> None:
    world = load_world("fatigue-toy")
    shipped = problem_of(world)
    assert shipped[:3] == (3.0, 0.3, 0.002) and np.isclose(shipped.chances.sum(), 1.0)
    order = np.argsort(shipped.offers)
    assert np.allclose(shipped.offers[order], OFFERS) and np.allclose(shipped.chances[order], CHANCES)
    check_against_the_programme(world, policy, customers=4_000, days=60)


# --- Products that sell by themselves, and clicks that never convert --------------------------------


def test_a_contact_that_lifts_nothing_is_worth_minus_its_cost() -> None:
    world = load_world("organic-only")
    catalogue, n = world.config.catalogue, 5_000
    state, rows = world.reset(3, np.arange(n)), np.arange(n)
    idle, useful = (catalogue.index("sms", "now", name) for name in ("salary-account", "savings-plan"))
    values = expected_values(world, state, rows)
    assert (values[:, idle] == -catalogue.costs[idle]).all()
    assert np.allclose(values[:, useful], 60.0 * -np.expm1(-0.03) - 0.5)
    silent = np.zeros(n, dtype=np.int64)
    idle_pair = counterfactual(world, state, rows, np.full(n, idle), silent, days=7)
    assert np.allclose(idle_pair.difference, -catalogue.costs[idle], rtol=0.0, atol=1e-9)
    assert near(idle_pair.other > 0, 0.05)  # in a decision period, by themselves
    pair = counterfactual(world, state, rows, np.full(n, useful), silent, days=30)
    assert near(pair.difference, values[0, useful])


def test_clicks_that_never_convert_are_worth_nothing() -> None:
    world = load_world("clickbait")
    catalogue, n = world.config.catalogue, 20_000
    state, rows = world.reset(3, np.arange(n)), np.arange(n)
    quiz, coupon, card = (
        catalogue.index(*names.split("/"))
        for names in ("game/now/quiz", "push/now/coupon", "push/now/instalment")
    )
    values = expected_values(world, state, rows)
    assert (values[:, quiz] == -catalogue.costs[quiz]).all() and (values[:, [coupon, card]] > 0.05).all()
    clicks = {act: world.respond(state, rows, np.full(n, act)) for act in (quiz, coupon)}
    assert near(clicks[quiz].engaged, 0.6)
    assert near(clicks[coupon].engaged, 0.2)
    assert (clicks[quiz].due < 0).all() and (clicks[coupon].due >= 0).any()
