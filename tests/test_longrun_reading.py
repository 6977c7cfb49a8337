"""A price told in what draws say: by hand, and where a policy sees noise, against the exact programme."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import norm

from experiments.longrun.one_channel import FatigueProblem, FatigueTable, contact_values, tabulate
from nba.arrays import FloatArray
from nba.errors import InvalidConfig
from nba.fatigue import FatigueKernel
from nba.longrun import AfterStateIteration, Moments, Reading

OFFERS = np.array([0.3, 0.5, 0.8, 1.0, 1.3, 1.6, 6.0])
CHANCES = np.array([0.15, 0.20, 0.20, 0.15, 0.10, 0.15, 0.05])
SURPLUS, SPREAD = 1.5, 0.5  # of what draws say above means, account currency


def test_means_are_read_as_they_are() -> None:
    means = np.array([3.0, -1.0, 0.5, 0.5])
    same = Reading.of(means, means)
    at = np.array([-np.inf, -2.0, -1.0, 0.1, 0.5, 3.0, 7.0])
    np.testing.assert_allclose(same.expected(at), at)
    np.testing.assert_allclose(same.price(at), np.maximum(at, 0.0))


def test_pairs_that_do_not_rise_are_pooled_and_a_surplus_is_charged() -> None:
    found = Reading.of(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 2.0, 1.0, 3.0]))
    np.testing.assert_allclose(found.seen, [1.0, 2.5, 4.0])
    np.testing.assert_allclose(found.worth, [0.0, 1.5, 3.0])
    np.testing.assert_allclose(found.expected(np.array([0.0, 1.75, 6.0])), [-1.0, 0.75, 5.0])
    np.testing.assert_allclose(found.price(np.array([0.0, 0.75, 1.5, 5.0])), [1.0, 1.75, 2.5, 6.0])
    with pytest.raises(InvalidConfig, match="reading: seen: must hold at least one contact"):
        Reading.of(np.zeros(0), np.zeros(0))


def due(problem: FatigueProblem, table: FatigueTable, levels: FloatArray, gains: FloatArray) -> FloatArray:
    """(L,) what a contact must gain, by value iteration on moments with these levels and gains (n,)."""

    def leaves(at: FloatArray) -> FloatArray:
        return -np.expm1(-problem.opt_out * np.exp(at))[:, None]

    is_open, days = np.ones((levels.size, 1), dtype=np.bool_), problem.half_life_days
    fatigue = np.broadcast_to(levels[:, None, None], (levels.size, 1, 2))
    pair = [np.stack([one, one]) for one in (gains[:, None], leaves(levels), np.zeros((levels.size, 1)))]
    kernel = FatigueKernel(short_half_life_days=days, long_half_life_days=days)
    flows = np.array([problem.relationship * (1.0 - problem.discount)])
    values = AfterStateIteration(discount=problem.discount).fit(
        Moments(fatigue, is_open, *pair), kernel, np.ones((1, 1)), flows, np.random.default_rng(6)
    )
    at = np.broadcast_to(table.levels[:, None, None], (table.levels.size, 1, 2))
    prices = values.prices(at, np.ones((table.levels.size, 1), dtype=np.bool_))
    return prices.due(leaves(table.levels), np.zeros((table.levels.size, 1)))[:, 0]


@pytest.mark.parametrize("half_life_days", [3.0, pytest.param(14.0, marks=pytest.mark.slow)])
def test_a_policy_that_sees_noise_earns_what_its_best_price_does(half_life_days: float) -> None:
    """Gains are seen with a surplus of 1.5 and a spread of 0.5; worth is computed and not sampled."""
    problem = FatigueProblem(half_life_days, 0.3, 0.0005, OFFERS, CHANCES, saturates=False)
    table, rng, n = tabulate(problem, 101), np.random.default_rng(5), 4_000

    def worth(price: FloatArray) -> float:
        chance = norm.sf((price[:, None] - table.gains - SURPLUS) / SPREAD)
        return float(contact_values(table, chance)[0])

    levels = rng.random(n) * table.levels[-1] * rng.random(n)
    offers = rng.choice(OFFERS.size, size=n, p=CHANCES)
    means = np.array([np.interp(levels, table.levels, row) for row in table.gains.T])[offers, np.arange(n)]
    seen = means + SURPLUS + SPREAD * rng.standard_normal(n)
    reading = Reading.of(seen, means)
    affine = itertools.product(np.linspace(0.0, 8.0, 9), np.linspace(0.0, 4.0, 5))
    best = max(worth(level + slope * table.levels) for level, slope in affine)
    told = worth(reading.price(due(problem, table, levels, reading.expected(seen))))
    assert told > 0.97 * best
    assert worth(due(problem, table, levels, means)) < 0.3 * best, "a price of means, among draws"
