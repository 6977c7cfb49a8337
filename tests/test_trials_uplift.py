"""Uplift and Qini curves with propensity weights, and arms that share a budget."""

from __future__ import annotations

import numpy as np
import pytest
from allocation_fixtures import dense

from nba.allocation.allocate import Solver, allocate
from nba.allocation.shards import Population, Shard
from nba.arrays import BoolArray, FloatArray
from nba.errors import InvalidConfig
from nba.trials.budget import split_budget
from nba.trials.uplift import uplift_of


def test_by_hand() -> None:
    # Transformed outcomes 2, -2, 0, 2 by falling score; none is centred.
    told = uplift_of(
        np.array([4.0, 3.0, 2.0, 1.0]),
        np.array([True, False, False, True]),
        np.array([1.0, 1.0, 0.0, 1.0]),
        np.full(4, 0.5),
        centre=False,
    )
    np.testing.assert_allclose(told.gains[[0, 25, 50, 75, 100]], [0.0, 0.5, 0.0, 0.0, 0.5])
    assert told.total.value == 0.5
    # Shares for which each is among the treated: 7/8, 5/8, 3/8, 1/8.
    assert told.auuc.value == pytest.approx((2 * 7 - 2 * 5 + 2 * 1) / 8 / 4)
    assert told.qini.value == pytest.approx(told.auuc.value - 0.25)
    assert np.trapezoid(told.gains, told.shares) == pytest.approx(told.auuc.value)


def trial(rng: np.random.Generator, n: int) -> tuple[FloatArray, BoolArray, FloatArray, FloatArray]:
    """Uplift 0.2 x, and treated the likelier the larger x: without weights the arms are not alike."""
    x = rng.random(n)
    chances = 0.2 + 0.6 * x
    treated = rng.random(n) < chances
    outcomes = (rng.random(n) < 0.1 + 0.3 * x + 0.2 * x * treated).astype(np.float64)
    return x, treated, outcomes, chances


def test_the_curve_is_that_of_the_truth_although_treatment_was_targeted() -> None:
    x, treated, outcomes, chances = trial(np.random.default_rng(10), 200_000)
    told = uplift_of(x, treated, outcomes, chances)
    # Treating the best share s gains 0.2 (s - s^2 / 2).
    expected = 0.2 * (told.shares - told.shares**2 / 2)
    off = np.abs(told.gains - expected)[1:] / told.stderrs[1:]
    assert off.max() < 4.0
    assert abs(told.total.value - 0.1) < 4 * told.total.stderr
    assert abs(told.qini.value - (0.2 / 3 - 0.05)) < 4 * told.qini.stderr and told.is_found
    naive = outcomes[treated].mean() - outcomes[~treated].mean()
    assert naive > 0.1 + 10 * told.total.stderr


def test_standard_errors_are_those_of_repetitions() -> None:
    rng, found = np.random.default_rng(11), []
    for _ in range(400):
        found.append(uplift_of(*trial(rng, 1_000)))
    for part in ("total", "auuc", "qini"):
        values = np.array([getattr(one, part).value for one in found])
        claimed = np.mean([getattr(one, part).stderr for one in found])
        assert values.std(ddof=1) == pytest.approx(claimed, rel=4 / np.sqrt(800)), part


def test_a_score_that_knows_nothing_is_not_taken_for_one_that_does() -> None:
    rng, calls = np.random.default_rng(12), 0
    for _ in range(400):
        _, treated, outcomes, chances = trial(rng, 500)
        calls += uplift_of(rng.random(500), treated, outcomes, chances).is_found
    assert calls / 400 < 0.0228 + 4 * np.sqrt(0.0228 / 400)


def test_equal_scores_count_as_shuffled() -> None:
    _, treated, outcomes, chances = trial(np.random.default_rng(13), 500)
    told = uplift_of(np.ones(500), treated, outcomes, chances)
    assert told.qini.value == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(told.gains, told.shares * told.total.value, atol=1e-12)


def test_certain_treatment_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="strictly between 0 and 1"):
        uplift_of(np.ones(3), np.ones(3, dtype=bool), np.ones(3), np.ones(3))


def test_failure_11_a_shared_budget_makes_a_boaster_win_and_a_split_one_does_not() -> None:
    rng, n, limit = np.random.default_rng(14), 1_500, 300.0
    values, arms = rng.gamma(2.0, 5.0, n), rng.integers(0, 2, n)
    boast = np.where(arms == 0, 2.0, 1.0) * values  # the same order of customers, told with twice the money
    shared, split = brought(values, boast, None, limit), brought(values, boast, arms, limit)
    lifts = [float(one[arms == 0].mean() - one[arms == 1].mean()) for one in (shared, split)]
    # Rolled out to everybody both choose the same customers: the lift is 0.
    noise = float(np.hypot(*(split[arms == arm].std() / np.sqrt((arms == arm).sum()) for arm in (0, 1))))
    assert lifts[0] > 5.0 * noise and abs(lifts[1]) < 4.0 * noise
    assert split.sum() <= brought(values, values, None, limit).sum() + 1e-9


def test_limits_are_split_as_customers_are() -> None:
    problem = dense(np.ones((10, 2)), [[0.0, 0.0], [1.0, -1.0]], [4.0, -2.0], [np.inf, 3.0])
    one, other = split_budget(problem, np.array([0] * 6 + [1] * 3 + [-1]), 2)
    assert (one.n_customers, other.n_customers) == (6, 3)
    np.testing.assert_allclose(one.rows.limits, [2.4, -1.2])
    np.testing.assert_allclose(other.rows.limits, [1.2, -0.6])
    with pytest.raises(InvalidConfig, match="arm 1 must have customers"):
        split_budget(problem, np.zeros(10, dtype=np.int64), 2)


def brought(values: FloatArray, promised: FloatArray, arms: object, limit: float) -> FloatArray:
    """(N,) true values of the customers whom a plan over promised values contacts; one contact or none."""
    problem = dense(np.column_stack([np.zeros_like(promised), promised]), [[0.0], [1.0]], [limit])
    parts = [problem] if arms is None else split_budget(problem, np.asarray(arms), 2)
    contacted = np.zeros(values.size)
    for part in parts:
        plan = allocate(Population.here(part, 1), Solver(tolerance=1e-3)).plan
        contacted[part.keys.astype(np.int64)] = Shard(part).chosen(plan).reshape(-1, 2)[:, 1]
    return contacted * values
