"""After-state value iteration: by hand where that is possible, else against the exact programme."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.benchmarks.longrun import CHANCES, OFFERS, SETTINGS, learnt
from experiments.longrun.one_channel import (
    FatigueProblem,
    best_affine_price,
    best_constant_price,
    optimal_price,
    price_values,
    tabulate,
)
from nba.catalogue import Catalogue, Channel, Product, Timing
from nba.errors import InvalidConfig, ShapeMismatch
from nba.fatigue import FatigueKernel
from nba.longrun import AfterStateIteration, Basis, LongRun, Moments, ValuesDiverged, affine_price

KERNEL = FatigueKernel(short_half_life_days=1.0, long_half_life_days=2.0)
SPILL = np.array([[1.0, 0.25], [0.25, 1.0]])

# Settings of methods C2 with % of the optimal gain: myopic, and with the one-step opt-out term.
PRINTED = (
    ((1.0, 0.1, 0.0), 98.5, 98.5),
    ((1.0, 0.3, 0.002), 62.7, 72.9),
    ((3.0, 0.1, 0.0005), 21.5, 51.7),
    ((3.0, 0.3, 0.002), -9.6, 44.3),
    ((7.0, 0.1, 0.0005), -21.0, 38.5),
    ((7.0, 0.3, 0.0), 45.6, 45.6),
    ((7.0, 0.6, 0.002), -15.1, 36.6),
    ((14.0, 0.1, 0.0005), -29.1, 38.3),
    ((14.0, 0.3, 0.002), -47.3, 38.1),
)


def moments(
    n: int, n_channels: int, gain: float, seed: int = 0, leaves: float = 0.0, ends: float = 0.0
) -> Moments:
    rng = np.random.default_rng(seed)
    shape = (n, n_channels)
    return Moments(
        fatigue=rng.exponential(1.0, (*shape, 2)),
        is_open=rng.random(shape) < 0.7,
        gains=np.full((2, *shape), gain),
        leaves=np.full((2, *shape), leaves),
        ends=np.full((2, *shape), ends),
    )


def fitted(seen: Moments, flows: tuple[float, ...] = (0.0, 0.0), **changes: float) -> LongRun:
    iteration = AfterStateIteration(**{"discount": 0.9, "tolerance": 1e-9, **changes})  # type: ignore[arg-type]
    return iteration.fit(seen, KERNEL, SPILL, np.array(flows), np.random.default_rng(1))


def test_columns_by_hand() -> None:
    fatigue = np.array([[[1.0, 3.0], [0.0, 7.0]]])
    columns = Basis(2, 2).columns(fatigue, np.array([[True, False]]))
    mine = [1.0, np.log(2.0), np.log(4.0), np.log(4.0) ** 2, np.log(8.0)]
    np.testing.assert_allclose(columns, [[*mine, 0.0, 0.0, 0.0, 0.0, 0.0]])
    assert Basis(2, 2).n_columns == 10 and Basis(1, 3).n_columns == 5


def test_an_open_channel_is_worth_its_flow_for_ever_and_an_opt_out_costs_it() -> None:
    """Contacts that only cost: V = flow / (1 - 0.9) over open channels; fatigue costs nothing."""
    values = fitted(moments(4_000, 2, gain=-1.0), flows=(0.5, 0.25))
    fatigue, is_open = np.ones((3, 2, 2)), np.array([[True, True], [True, False], [False, False]])
    np.testing.assert_allclose(values.values(fatigue, is_open), [7.5, 5.0, 0.0], atol=1e-3)
    prices = values.prices(fatigue, is_open)
    np.testing.assert_allclose(prices.fatigue, 0.0, atol=1e-3)
    np.testing.assert_allclose(
        prices.opt_out, 0.9 * np.array([[5.0, 2.5], [5.0, 0.0], [0.0, 0.0]]), atol=1e-3
    )
    np.testing.assert_allclose(prices.ending, 0.9 * np.array([[7.5, 7.5], [5.0, 0.0], [0.0, 0.0]]), atol=2e-3)
    due = prices.due(np.full((3, 2), 0.1), np.full((3, 2), 0.2))
    np.testing.assert_allclose(due[0], 0.09 * np.array([5.0, 2.5]) + 0.18 * 7.5, atol=2e-3)


def test_a_contact_that_always_gains_the_same_is_worth_its_annuity_until_the_opt_out() -> None:
    """One channel, gain 1 each day, a chance of 0.2 that it closes: V = 1 + 0.9 x 0.8 V."""
    one = moments(4_000, 1, gain=1.0, leaves=0.15, ends=0.05)
    iteration = AfterStateIteration(discount=0.9, tolerance=1e-9)
    values = iteration.fit(one, KERNEL, np.ones((1, 1)), np.zeros(1), np.random.default_rng(1))
    state = np.full((1, 1, 2), 0.7), np.ones((1, 1), dtype=np.bool_)
    np.testing.assert_allclose(values.values(*state), 1.0 / (1.0 - 0.9 * 0.8), rtol=1e-4)
    assert values.discount == 0.9 and values.clipped_share == 0.0


def test_a_step_of_four_days_discounts_and_recovers_four_times() -> None:
    values = fitted(moments(4_000, 2, gain=-1.0), flows=(1.0, 1.0), step_days=4.0)
    state = np.zeros((1, 2, 2)), np.ones((1, 2), dtype=np.bool_)
    np.testing.assert_allclose(values.values(*state), 2.0 / (1.0 - 0.9**4), rtol=1e-3)


def test_noise_in_rewards_is_not_taken_for_gain() -> None:
    """Gains are noise around 0: the largest of two is not, but what one chooses the other values at 0."""
    n, rng = 6_000, np.random.default_rng(2)
    quiet = moments(n, 2, gain=0.0)._replace(is_open=np.ones((n, 2), dtype=np.bool_))
    noise = rng.normal(0.0, 1.0, (2, n, 2))
    state = np.ones((1, 2, 2)), np.ones((1, 2), dtype=np.bool_)
    flows = (1.0, 1.0)  # 20 for ever
    double = fitted(quiet._replace(gains=noise), flows, tolerance=1e-3, degree=1).values(*state)[0]
    same = quiet._replace(gains=np.stack([noise[0], noise[0]]))
    single = fitted(same, flows, tolerance=1e-3, degree=1).values(*state)[0]
    assert abs(double - 20.0) < 0.6  # four standard errors: 10 days x 0.8 / sqrt(n / 2) is 0.15
    assert single > 25.0  # E max(0, z1, z2) = 0.56 for ten days


def test_an_affine_price_is_the_nearest_to_psi_and_never_below_0() -> None:
    weights = np.zeros((2, Basis(2, 1).n_columns))
    weights[:, 2] = -1.0  # the first channel: V = 10 - log(1 + long)
    weights[:, 0], weights[:, 4] = 10.0, 10.0
    values = LongRun(Basis(2, 1), weights, KERNEL, np.eye(2), 1.0, 0.9, 100.0, 1, 0.0)
    rng = np.random.default_rng(3)
    fatigue, is_open = rng.exponential(1.0, (500, 2, 2)), np.ones((500, 2), dtype=np.bool_)
    left, long = 2.0**-0.5, fatigue[:, 0, 1]
    psi = 0.9 * (np.log1p(left * (long + 1.0)) - np.log1p(left * long))
    np.testing.assert_allclose(values.prices(fatigue, is_open).fatigue[:, 0], psi)
    channels = tuple(Channel(name=name, family=name, cost=1.0) for name in ("call", "mail"))
    one = Product(
        name="card",
        family="card",
        value=1.0,
        forecast_rate=0.1,
        risk_class=1,
        attribution_window_days=9,
        decision_delay_days=1,
    )
    catalogue = Catalogue(channels=channels, timings=(Timing(name="now"),), products=(one,))
    price = affine_price(values, catalogue, fatigue, is_open)
    np.testing.assert_allclose(
        list(price.slopes.values()), 0.0, atol=1e-12
    )  # psi falls: none above 0 is nearer
    np.testing.assert_allclose([price.levels["call"], price.levels["mail"]], [psi.mean(), 0.0], atol=1e-12)
    assert price.otherwise == price.levels["call"]


def test_values_that_do_not_settle_are_not_told() -> None:
    with pytest.raises(ValuesDiverged, match="after 100 sweeps; allow more"):
        fitted(moments(400, 2, gain=1.0), most_sweeps=100)
    with pytest.raises(ValuesDiverged, match="40 moments are too few"):
        fitted(moments(40, 2, gain=1.0))
    with pytest.raises(ShapeMismatch, match="gains"):
        fitted(moments(400, 2, gain=1.0)._replace(gains=np.zeros((2, 400, 1))))
    with pytest.raises(InvalidConfig, match=r"discount: must lie in \[0, 1\), got 1"):
        AfterStateIteration(discount=1.0)


def test_the_offers_reproduce_what_the_design_prints_of_policies_without_a_price() -> None:
    off = []
    for setting, *printed in PRINTED:
        table = tabulate(FatigueProblem(*setting, OFFERS, CHANCES, saturates=False), 401)
        best = price_values(table, optimal_price(table))[0]
        shares = [price_values(table, price)[0] / best for price in (np.zeros(()), table.loss)]
        off.append(100.0 * np.array(shares) - printed)
    assert np.sqrt(np.mean(np.square(off))) < 0.6 and np.abs(off).max() < 2.0
    assert CHANCES.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("setting", SETTINGS[10::22], ids=str)
def test_tuned_prices_come_near_the_optimum(setting: tuple[float, float, float]) -> None:
    table = tabulate(FatigueProblem(*setting, OFFERS, CHANCES, saturates=False), 401)
    best = price_values(table, optimal_price(table))[0]
    constant, affine = (
        price_values(table, find(table))[0] for find in (best_constant_price, best_affine_price)
    )
    assert 0.98 * best <= constant <= affine + 1e-9 and 0.99 * best <= affine <= best * (1.0 + 1e-9)


def test_the_learnt_price_comes_near_the_optimum_where_the_myopic_one_is_worse_than_silence() -> None:
    problem = FatigueProblem(7.0, 0.3, 0.002, OFFERS, CHANCES, saturates=False)
    table = tabulate(problem, 401)
    best = price_values(table, optimal_price(table))[0]
    assert price_values(table, np.zeros(()))[0] < 0.0
    share, clipped, _ = learnt(problem, table, best)
    assert share >= 0.98 and clipped < 0.5
