"""A past campaign told again by the world's own responses, its moments, and the search for parameters."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from msgspec import structs

from nba.arrays import FloatArray
from nba.errors import InvalidConfig
from simulator.calibrate.columns import load_map
from simulator.calibrate.ensemble import apply
from simulator.calibrate.fit import Goal, fit, goal
from simulator.calibrate.history import called_again, cast, chances, drawn, promise, simulate
from simulator.calibrate.moments import covariance, values
from simulator.calibrate.parameters import MIDDLES, NAMES, PARAMETERS, SPREADS, natural
from simulator.calibrate.past import Calls, observed
from simulator.calibrate.run import Problem, ensemble, problem, replayed, targets
from simulator.calibrate.table import Campaign, load
from simulator.world import World, load_world

TRUTH = {"first_selection": 1.0, "later_selection": -0.8, "long_fatigue": 0.15, "lift": 0.055}


def every(campaign: Campaign, step: int) -> Campaign:
    """A share of a table's rows, in their order."""
    return campaign._replace(
        n_calls=campaign.n_calls[::step],
        sold=campaign.sold[::step],
        weight=campaign.weight[::step],
        period=campaign.period[::step],
        factors={name: one._replace(codes=one.codes[::step]) for name, one in campaign.factors.items()},
        indicators={name: column[::step] for name, column in campaign.indicators.items()},
    )


@cache
def bank() -> World:
    return load_world("retail-bank")


@cache
def part() -> Problem:
    """A seventh of UCI's clients."""
    return problem(bank(), every(load(), 7), load_map(), seed=3)


def at(**changes: float) -> FloatArray:
    known = {one.name: one.middle for one in PARAMETERS} | changes
    return np.array([one.fitted_scale(known[one.name]) for one in PARAMETERS])


def told(of: Problem, theta: FloatArray) -> Calls:
    return simulate(of.cast, of.past, apply(of.cast.config, of.vector(theta)), natural(theta))


def test_a_first_call_is_answered_as_the_world_answers_it() -> None:
    of, theta = part(), at(background_lift=0.0, background_engagement=0.0, other_contact=0.0)
    flat = dict(of.vector(theta)) | {"response.weekday": (0.0,) * 7, "response.month": (0.0,) * 12}
    config = apply(of.cast.config, flat)
    rows = np.arange(200)
    state = (
        World(config)
        .reset(3, rows)
        ._replace(stage=of.cast.state.stage[rows], owned=of.cast.state.owned[rows])
    )
    world_odds = World(config).odds(
        state, rows, np.array([of.cast.channel]), np.array([0]), np.array([of.cast.product])
    )
    expected = world_odds.converts(config.response.halo) / world_odds.delivered
    # The world keeps responsiveness in 16 bits and preferences in steps of a 32nd.
    np.testing.assert_allclose(
        chances(of.cast, of.past, config, natural(theta))[0, rows], expected, rtol=2e-3
    )


def test_fatigue_of_later_calls_lowers_the_chance_and_fades_with_the_gap() -> None:
    of = part()
    by_gap = {}
    for gap in (1.0, 30.0):
        theta = at(long_fatigue=0.3, short_fatigue=0.2, gap_days=gap)
        by_gap[gap] = chances(of.cast, of.past, apply(of.cast.config, of.vector(theta)), natural(theta))
    assert (np.diff(by_gap[1.0], axis=0) < 0).all()
    assert (by_gap[30.0][1:] > by_gap[1.0][1:]).all()
    np.testing.assert_array_equal(by_gap[1.0][0], by_gap[30.0][0])


@pytest.mark.parametrize("selection", [-2.0, 0.0, 3.0])
def test_as_many_clients_are_reached_as_in_the_table_whatever_the_selection(selection: float) -> None:
    of = part()
    calls = told(of, at(first_selection=selection, later_selection=selection))
    np.testing.assert_allclose(calls.trials.sum(axis=1), of.past.reached, rtol=1e-6)


def test_selection_calls_the_promising_again() -> None:
    of = part()
    config = apply(of.cast.config, of.vector(MIDDLES))
    hidden = promise(of.cast, config)
    assert (hidden.mean(), hidden.std()) == pytest.approx((0.0, 1.0), abs=1e-9)
    left = of.past.weight
    for selection, sign in ((1.5, 1), (-1.5, -1)):
        again = called_again(of.past, natural(at(first_selection=selection)), 0, left, hidden)
        assert sign * np.corrcoef(again, hidden)[0, 1] > 0.3


def test_expected_calls_are_the_mean_of_drawn_ones() -> None:
    of, theta = part(), at(**TRUTH)
    config, expected = apply(of.cast.config, of.vector(theta)), told(of, theta)
    draws = []
    for seed in range(40):
        n_calls, sold = drawn(of.cast, of.past, config, natural(theta), seed)
        draws.append(
            [part.sum(axis=1) for part in observed(of.campaign._replace(n_calls=n_calls, sold=sold))]
        )
    means, errors = np.mean(draws, axis=0), np.std(draws, axis=0) / np.sqrt(len(draws))
    wanted = np.array([part.sum(axis=1) for part in expected])
    assert (np.abs(means - wanted) <= 4 * errors + 1e-6).all()


@pytest.mark.slow
def test_the_covariance_is_that_of_tables_drawn_anew() -> None:
    of = part()
    calls, generator = observed(of.campaign), np.random.default_rng(5)
    spread = np.sqrt(np.diag(covariance(of.summary, calls, of.campaign.weight)))
    n_clients, repeats = of.campaign.sold.size, []
    for _ in range(80):
        often = np.bincount(generator.integers(n_clients, size=n_clients), minlength=n_clients)
        repeats.append(values(of.summary, Calls(*(part * often for part in calls))))
    ratio = np.std(repeats, axis=0, ddof=1) / spread
    # The error of a standard deviation of 80 draws is 8 %.
    assert np.median(np.abs(ratio - 1.0)) < 0.1
    assert (np.abs(ratio - 1.0) < 0.3).all()


def test_a_row_of_weight_two_is_two_clients() -> None:
    of = part()
    calls = observed(of.campaign)
    twice = Calls(*(2.0 * part for part in calls))
    np.testing.assert_allclose(values(of.summary, twice), values(of.summary, calls), atol=1e-7)
    weight = of.campaign.weight
    one, two = covariance(of.summary, calls, weight), covariance(of.summary, twice, 2.0 * weight)
    np.testing.assert_allclose(two, one / 2.0, rtol=1e-5, atol=1e-12)


def linear(rows: int) -> tuple[FloatArray, FloatArray, Goal]:
    generator = np.random.default_rng(2)
    slopes, target = generator.normal(size=(rows, len(NAMES))), generator.normal(size=rows)
    spread = np.diag(generator.uniform(0.5, 2.0, rows))
    return slopes, target, goal(target, spread, np.arange(rows))


def test_a_linear_problem_is_solved_as_by_hand() -> None:
    slopes, target, to = linear(20)
    found = fit(lambda theta: slopes @ theta, to, MIDDLES)
    weights = np.linalg.inv(to.scale @ to.scale.T)
    bend = slopes.T @ weights @ slopes + np.diag(SPREADS**-2)
    expected = np.linalg.solve(bend, slopes.T @ weights @ target + MIDDLES / SPREADS**2)
    np.testing.assert_allclose(found.theta, expected, atol=0.02)
    np.testing.assert_allclose(found.covariance, np.linalg.inv(bend), rtol=1e-4)
    assert found.converged and 0 < found.free < len(NAMES)


def test_a_budget_ends_the_search_and_says_so() -> None:
    slopes, _, to = linear(20)
    asked = []

    def simulated(theta: FloatArray) -> FloatArray:
        asked.append(theta)
        return np.tanh(slopes @ theta)

    found = fit(simulated, to, MIDDLES, budget=30)
    assert len(asked) == found.evaluations <= 30 and not found.converged


def test_members_lie_in_the_region_and_are_the_same_every_time() -> None:
    slopes, _, to = linear(20)
    found = fit(lambda theta: slopes @ theta, to, MIDDLES)
    of = part()._replace(goal=to)
    first, second = (ensemble(of, found, 30, 7, lambda theta: slopes @ theta) for _ in range(2))
    assert all(away <= first.limit for away in first.distances) and not first.short
    np.testing.assert_array_equal(first.thetas, second.thetas)
    # The problem is linear, so 95 % of the draws lie inside.
    assert 30 <= first.tried <= 36


def test_a_vector_is_laid_over_a_world() -> None:
    config = bank().config
    vector = part().vector(at(lift=0.07, long_fatigue=0.2)) | {"history.gap_days": 3.0}
    changed = apply(config, vector | {"response.channel_strength.branch": -0.3})
    assert changed.response.lift[config.catalogue.level("product", "term-deposit")] == 0.07
    assert changed.response.lift[1:] == config.response.lift[1:]
    assert changed.response.long_fatigue == 0.2
    assert changed.response.channel_strength[config.catalogue.level("channel", "branch")] == -0.3
    assert apply(config, {}) == config
    assert apply(config, {"response.channel_fit.card": (0.0,) * 7}).response.channel_fit["card"] == (0.0,) * 7


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("response.charm", "is no field of a world"),
        ("name.first", "is no field of a world"),
        ("response.lift.yacht", "must end in one of term-deposit"),
        ("response.channel_fit.yacht", "must end in one of deposit"),
        ("response.halo.call", "names an entry of no row"),
    ],
)
def test_a_vector_that_fits_no_world_is_refused(path: str, rule: str) -> None:
    with pytest.raises(InvalidConfig, match=rule):
        apply(bank().config, {path: 1.0})


def test_a_table_with_too_few_sales_is_refused() -> None:
    with pytest.raises(InvalidConfig, match=r"only \d+ statistics have enough sales for 11 parameters"):
        few = structs.replace(load_map(), factors={}, contact=None)
        bare = every(load(), 60)._replace(factors={}, indicators={})
        problem(bank(), bare, few, seed=1)


def test_an_uncalibrated_world_cannot_be_replayed() -> None:
    with pytest.raises(InvalidConfig, match="not written by this version of nba calibrate"):
        replayed(World(structs.replace(bank().config, calibration={})), load(), load_map())


@pytest.mark.slow
def test_known_parameters_are_found_again() -> None:
    """A campaign drawn with coins and other stand-ins; background and policy are estimated too."""
    known = problem(bank(), load(), load_map(), seed=1)
    theta = at(calendar=2.9, other_contact=-2.0, background_lift=0.95, **TRUTH)
    config, other = apply(known.cast.config, known.vector(theta)), cast(bank(), load_map(), 41_188, seed=2)
    n_calls, sold = drawn(other, known.past, config, natural(theta), seed=1)
    again = problem(bank(), known.campaign._replace(n_calls=n_calls, sold=sold), load_map(), seed=1)
    found = fit(again.simulate, again.goal, MIDDLES)
    misses = (found.theta - theta) / np.sqrt(np.diag(found.covariance))
    assert found.converged
    assert (np.abs(misses) < 3.0).all(), dict(zip(NAMES, misses.round(2), strict=True))


@pytest.mark.slow
def test_the_bank_s_calls_are_met_raw_and_adjusted_by_one_world() -> None:
    of = problem(bank(), load(), load_map(), seed=1)
    found = fit(of.simulate, of.goal, MIDDLES)
    rows = {row.name: row for row in targets(of, found.statistics)}
    for name, odds_ratio in (("raw", 0.82), ("adjusted", 0.92)):
        row = rows[f"log odds per call, {name}"]
        assert abs(row.z) < 1.0 and np.exp(row.simulated) == pytest.approx(odds_ratio, abs=0.01)
    assert found.converged and found.moments < 25.0
