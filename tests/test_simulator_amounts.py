"""What conversions bring: the margin on average, more from the wealthy, and the same in every retelling."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from hashlib import sha256

import numpy as np
import pytest
from checks.worlds import Day, N, any_action, busy_bank, clones, days_of, edited, everybody, lively, without
from scipy.stats import kstest, norm
from small import bank

from experiments.logs import DecisionLog, OutcomeLog, digest
from nba.arrays import FloatArray, join_rows
from nba.randomness import Purpose, keyed_uniforms
from simulator.amounts import AmountLaw
from simulator.oracle import counterfactual, expected_values
from simulator.state import Conversions, WorldState
from simulator.world import World, load_world

WEALTH, SHARES = (0.0, 0.2, 0.4, 0.6), (0.5, 0.3, 0.15, 0.05)
BANKS = ("retail-bank", "btyd", "clickbait", "clv-recency", "fatigue-toy", "organic-only")


def law(sd: float, wealth: tuple[float, ...] = WEALTH) -> AmountLaw:
    return AmountLaw.of(edited(bank(), amounts={"sd": sd, "wealth": wealth}).config)


def factors(law: AmountLaw, state: WorldState, day: int = 4) -> FloatArray:
    """(N,) amounts over margins when everybody buys, each another product."""
    rows = np.arange(state.people.n_customers)
    products = rows % 20
    return law.drawn(state.seed, day, state.people, rows, products) / law.margins[products]


@cache
def crowd() -> WorldState:
    return bank().reset(3, np.arange(200_000))


# --- The law ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wealth", [WEALTH, (0.0,) * 4, (2.0, 1.0, 0.0, -3.0), (-9.0, 9.0, -9.0, 9.0)])
def test_the_mean_factor_is_1_by_the_shares_of_the_population(wealth: tuple[float, ...]) -> None:
    assert np.exp(law(0.5, wealth).log_wealth) @ SHARES == pytest.approx(1.0, rel=1e-14)


def test_only_differences_of_wealth_count() -> None:
    lifted = law(0.5, tuple(1.7 + one for one in WEALTH)).log_wealth
    np.testing.assert_allclose(lifted, law(0.5).log_wealth, atol=1e-14)


@pytest.mark.parametrize("sd", [0.0, 0.5, 1.2])
def test_the_mean_factor_of_many_customers_is_1(sd: float) -> None:
    drawn = factors(law(sd), crowd())
    assert abs(drawn.mean() - 1.0) < 4 * drawn.std() / np.sqrt(drawn.size)


def test_the_mean_factor_of_a_tier_is_the_expected_one() -> None:
    state, one = crowd(), law(0.5)
    drawn, expected = factors(one, state), one.expected(state.people, np.arange(200_000))[:, 0] / 60.0
    for tier in range(4):
        some = state.people.wealth == tier
        wanted = np.exp(WEALTH[tier]) / (np.exp(WEALTH) @ SHARES)
        np.testing.assert_allclose(expected[some], wanted, rtol=1e-14)
        assert abs(drawn[some].mean() - wanted) < 4 * drawn[some].std() / np.sqrt(some.sum())


def test_given_the_tier_the_log_is_normal() -> None:
    state = crowd()
    logs = np.log(factors(law(0.5), state)) - law(0.5).log_wealth[state.people.wealth]
    assert kstest((logs + 0.125) / 0.5, "norm").pvalue > 0.001


def test_an_amount_by_hand() -> None:
    """Margins 60 and 900, of customers of tiers 0 and 3, by the quantiles of their uniforms."""
    people = crowd().people
    rows, products = (
        np.array([np.flatnonzero(people.wealth == tier)[0] for tier in (0, 3)]),
        np.array([0, 14]),
    )
    noise = norm.ppf(keyed_uniforms(3, Purpose.AMOUNT, rows, 4, products))
    mean = 0.5 + 0.3 * np.exp(0.2) + 0.15 * np.exp(0.4) + 0.05 * np.exp(0.6)
    by_hand = np.array([60.0, 900.0 * np.exp(0.6)]) / mean * np.exp(0.5 * noise - 0.125)
    np.testing.assert_allclose(law(0.5).drawn(3, 4, people, rows, products), by_hand, rtol=1e-12)


# --- Noise --------------------------------------------------------------------------------------------


def test_every_customer_day_product_and_seed_has_noise_of_its_own() -> None:
    state, one, n = crowd(), law(0.5, (0.0,) * 4), 20_000
    rows, products = np.arange(n), np.zeros(n, dtype=np.int64)
    plain = np.log(one.drawn(3, 4, state.people, rows, products))
    others = (
        one.drawn(3, 5, state.people, rows, products),
        one.drawn(4, 4, state.people, rows, products),
        one.drawn(3, 4, state.people, rows + n, products),
        one.drawn(3, 4, state.people, rows, products + 1),
    )
    for other in others:
        assert abs(np.corrcoef(plain, np.log(other))[0, 1]) < 4 / np.sqrt(n)


def test_amounts_do_not_depend_on_who_is_asked_with_whom() -> None:
    state, one = crowd(), law(0.5)
    rows = np.random.default_rng(0).permutation(5_000)
    together = one.drawn(3, 4, state.people, rows, rows % 20)
    for part in (slice(0, 1), slice(5, 22), slice(4_000, None), slice(None, None, -1)):
        alone = one.drawn(3, 4, state.people, rows[part], rows[part] % 20)
        np.testing.assert_array_equal(alone, together[part])


def sales(world: World, n: int, days: int = 20) -> Iterator[Day]:
    return days_of(world, world.reset(5, np.arange(n)), days, any_action)


def sold_by(world: World, n: int, days: int = 20) -> Conversions:
    return join_rows([day.sold for day in sales(world, n, days)])


def test_both_engines_draw_the_same_amounts() -> None:
    pytest.importorskip("numba")
    one, other = (sold_by(World(busy_bank().config, engine), 1_000) for engine in ("numpy", "numba"))
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right, strict=True)
    assert one.amounts.size > 300


def test_what_is_bought_in_both_paired_lives_brings_the_same_in_both() -> None:
    """Calls differ, capacity is no matter: whoever buys the same on the same day pays the same."""
    world = without(busy_bank(), "capacity", "referral")
    call = world.config.catalogue.row_of("call/now/coupon")
    lives = [
        join_rows([day.sold._replace(caused=np.full(day.sold.caused.shape, day.before.day)) for day in days])
        for days in (
            days_of(world, world.reset(5, np.arange(2_000)), 12, everybody(action)) for action in (call, 0)
        )
    ]
    called, calm = (
        {(int(c), int(p), int(day)): amount for c, p, day, amount in zip(*life, strict=True)}
        for life in lives
    )
    both = called.keys() & calm.keys()
    assert len(both) > 100 and called != calm
    assert all(called[key] == calm[key] for key in both)


# --- Where the money goes -----------------------------------------------------------------------------


def test_the_bank_sells_for_its_margins_on_average() -> None:
    """Over who buys, too: nobody's demand depends on wealth but through managers' time."""
    world = bank()
    sold = join_rows([day.sold for day in sales(world, 20_000, 60)])
    ratio = sold.amounts / world.config.catalogue.margins[sold.products]
    assert ratio.size > 5_000
    assert abs(ratio.mean() - 1.0) < 4 * ratio.std() / np.sqrt(ratio.size)


@pytest.mark.parametrize("wealth", [0, 3])
def test_a_contact_is_worth_more_to_who_brings_more(wealth: int) -> None:
    """The oracle's myopic value is the mean over lives of one customer, of either end of the wealth."""
    world = without(lively(), "events", "life_cycle", "referral")
    state = clones(world, 3, N, stage=3, owned=0, wealth=wealth)
    action, rows = world.config.catalogue.row_of("call/now/term-deposit"), np.arange(N)
    pair = counterfactual(world, state, rows, np.full(N, action), np.zeros(N, dtype=np.int64), days=25)
    expected = expected_values(world, state, rows[:1])[0, action]
    assert abs(pair.net.mean() - expected) < 4 * pair.net.std() / np.sqrt(N)
    plain = expected_values(without(world, "amounts"), state, rows[:1])[0, action]
    assert (expected > plain) == (wealth == 3)


# --- Off ----------------------------------------------------------------------------------------------


def outcomes(world: World) -> OutcomeLog:
    """The conversions of some customers, whom nobody contacts on purpose."""
    logs = [
        OutcomeLog.of(world, day.before, day.sold, np.full(day.sold.customers.size, -1))
        for day in sales(world, 1_000)
    ]
    return join_rows(logs)


def nothing_decided() -> DecisionLog:
    return DecisionLog(*(np.zeros(0) for _ in DecisionLog._fields))


def digest_before(decisions: DecisionLog, outcomes: OutcomeLog) -> str:
    """The digest as it was before conversions had amounts."""
    running = sha256()
    for log in (decisions, outcomes):
        for name, column in log._asdict().items():
            if name != "amount":
                running.update(name.encode())
                running.update(np.ascontiguousarray(column).data)
    return running.hexdigest()


def test_switched_off_a_log_is_what_it_was_and_has_the_digest_that_it_had() -> None:
    on, off = outcomes(bank()), outcomes(without(bank(), "amounts"))
    np.testing.assert_array_equal(off.amount, off.value)
    assert digest(nothing_decided(), off) == digest_before(nothing_decided(), off)
    for name in set(OutcomeLog._fields) - {"amount"}:
        np.testing.assert_array_equal(getattr(on, name), getattr(off, name), err_msg=name)
    assert digest(nothing_decided(), on) != digest(nothing_decided(), off)
    assert not np.isclose(on.amount, on.value).any() and on.value.size > 50


@pytest.mark.parametrize("name", BANKS)
def test_only_the_retail_bank_has_amounts_that_vary(name: str) -> None:
    world = load_world(name)
    assert world.laws.amounts.varies == (name == "retail-bank")
    off = without(world, "amounts").laws.amounts
    state = world.reset(1, np.arange(50))
    margins = np.broadcast_to(world.config.catalogue.margins, (50, world.config.catalogue.shape[2]))
    np.testing.assert_array_equal(off.expected(state.people, np.arange(50)), margins)
