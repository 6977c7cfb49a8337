"""What two arms differ by, with and without CUPED, and how often looking every day cries wolf."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from nba.arrays import FloatArray
from nba.errors import InvalidConfig
from nba.ope.sequences import naive_alarms
from nba.ope.terms import Estimate
from nba.trials import ArmSums, lift_of, lift_sequence
from nba.trials.lift import relative_lift


def test_by_hand() -> None:
    told = lift_of(ArmSums.of(np.array([1.0, 1.0, 0.0, 1.0])), ArmSums.of(np.array([0.0, 1.0, 0.0, 0.0])))
    assert (told.treated.value, told.control.value, told.difference.value) == (0.75, 0.25, 0.5)
    # Both arms: variance 0.1875 x 4/3, of the mean a quarter of that.
    assert told.treated.stderr == pytest.approx(0.25) and told.difference.stderr == pytest.approx(sqrt(0.125))
    assert told.high - told.low == pytest.approx(2 * 1.959964 * sqrt(0.125))
    assert told.theta == 0.0 and told.variance_left == 1.0


def test_the_relative_lift_is_that_of_the_toolkit() -> None:
    # t/c - 1 and (1/c) sqrt(SE_t^2 + (t/c)^2 SE_c^2), behaviours 32.
    told = relative_lift(Estimate(0.06, 0.004), Estimate(0.05, 0.003))
    assert told.value == pytest.approx(0.2)
    assert told.stderr == pytest.approx(sqrt(0.004**2 + 1.44 * 0.003**2) / 0.05)
    assert np.isnan(relative_lift(Estimate(0.1, 0.1), Estimate(0.0, 0.0)).value)


def test_the_variance_of_a_fixed_value_is_p_1_minus_p_times_its_square() -> None:
    n, p, value = 1_000, 0.05, 80.0
    arm = ArmSums.of(np.repeat([value, 0.0], [int(n * p), n - int(n * p)]))
    told = arm.adjusted(0.0, 0.0)
    assert told.value == pytest.approx(p * value)
    assert told.stderr**2 * n == pytest.approx(p * (1 - p) * value**2 * n / (n - 1))


def test_cuped_is_the_regression_on_the_covariate() -> None:
    rng = np.random.default_rng(4)
    arm, before = rng.random(400) < 0.3, rng.normal(size=400)
    outcomes = 0.4 * arm + 0.8 * before + rng.normal(size=400)
    told = lift_of(*(ArmSums.of(outcomes[some], before[some]) for some in (arm, ~arm)))
    design = np.column_stack([np.ones(400), arm, before])
    coefficients = np.linalg.lstsq(design, outcomes, rcond=None)[0]
    assert told.theta == pytest.approx(coefficients[2])
    assert told.difference.value == pytest.approx(coefficients[1])


def test_cuped_leaves_one_minus_rho_squared_of_the_variance_and_no_bias() -> None:
    rng, rho, found = np.random.default_rng(5), 0.7, []
    for _ in range(400):
        before = rng.normal(size=1_000)
        outcomes = rho * before + sqrt(1 - rho**2) * rng.normal(size=1_000)
        outcomes[:500] += 0.1
        found.append(lift_of(*(ArmSums.of(outcomes[s], before[s]) for s in (slice(500), slice(500, None)))))
    differences = np.array([one.difference.value for one in found])
    assert np.mean([one.variance_left for one in found]) == pytest.approx(1 - rho**2, abs=0.01)
    assert abs(differences.mean() - 0.1) < 4 * differences.std() / 20
    claimed = np.mean([one.difference.stderr for one in found])
    assert differences.std(ddof=1) == pytest.approx(claimed, rel=4 / sqrt(2 * 400))


def test_sums_merge_and_a_constant_covariate_changes_nothing() -> None:
    rng = np.random.default_rng(6)
    outcomes, before = rng.random(50), rng.random(50)
    halves = ArmSums.of(outcomes[:20], before[:20]) + ArmSums.of(outcomes[20:], before[20:])
    np.testing.assert_allclose(halves.gram, ArmSums.of(outcomes, before).gram)
    plain, constant = (
        lift_of(ArmSums.of(outcomes[:25], x[:25]), ArmSums.of(outcomes[25:], x[25:]))
        for x in (np.zeros(50), np.full(50, 7.0))
    )
    assert constant.difference == pytest.approx(plain.difference) and constant.theta == 0.0


def test_an_arm_without_customers_is_named() -> None:
    with pytest.raises(InvalidConfig, match="control: must have at least two customers, has 1"):
        lift_of(ArmSums.of(np.ones(5)), ArmSums.of(np.ones(1)))


def days_of(
    rng: np.random.Generator, n_days: int, per_day: int, rates: tuple[float, float]
) -> list[tuple[ArmSums, ArmSums]]:
    """Binary outcomes, evenly split."""
    hits = rng.binomial(per_day, rates, size=(n_days, 2)).astype(np.float64)
    return [tuple(ArmSums(gram_of(per_day, ones)) for ones in day) for day in hits]  # type: ignore[misc]


def gram_of(n: float, ones: float) -> FloatArray:
    return np.array([[n, ones, 0.0], [ones, ones, 0.0], [0.0, 0.0, 0.0]])


def test_daily_peeking_keeps_its_word_with_the_sequence_alone() -> None:
    rng, n_days, per_day, alarms = np.random.default_rng(7), 60, 200, np.zeros(2)
    n_trials = 150
    for _ in range(n_trials):
        told = lift_sequence(
            days_of(rng, n_days, per_day, (0.05, 0.05)), planned_customers=n_days * 2 * per_day
        )
        alarms += told.first_alarm is not None, told.first_naive_alarm is not None
    rate, naive = alarms / n_trials
    assert rate <= 0.05
    # Looks begin on the third day: 58 unequal stages cry wolf about as often as equal ones.
    assert naive == pytest.approx(naive_alarms(60), abs=0.15) and naive > 0.2


def test_a_lift_that_is_there_is_found_and_ends_only_close_in() -> None:
    told = lift_sequence(days_of(np.random.default_rng(8), 40, 2_000, (0.06, 0.05)), 80_000)
    assert told.first_alarm is not None and told.lows[-1] > 0.0
    assert (np.diff(told.lows) >= 0.0).all() and (np.diff(told.highs) <= 0.0).all()
    assert told.customers[-1] == 160_000 and told.lows[-1] < 0.01 < told.highs[-1]


def test_no_look_before_there_is_enough_to_see() -> None:
    few = [(ArmSums(gram_of(90, 30)), ArmSums(gram_of(90, 30)))]
    rare = [(ArmSums(gram_of(5_000, 24)), ArmSums(gram_of(5_000, 40)))]
    always = [(ArmSums(gram_of(5_000, 4_976)), ArmSums(gram_of(5_000, 4_900)))]
    for days in (few, rare, always):
        told = lift_sequence(days, 1_000)
        assert told.first_alarm is None and np.isinf(told.highs).all() and np.isnan(told.differences).all()


def test_a_covariate_that_explains_everything_is_no_covariate() -> None:
    outcomes = np.random.default_rng(1).normal(size=50)
    arms = (
        ArmSums.of(outcomes[:25], 3.0 * outcomes[:25] + 1.0),
        ArmSums.of(outcomes[25:], 3.0 * outcomes[25:] + 1.0),
    )
    with pytest.raises(InvalidConfig, match="which no number of before the trial does"):
        lift_of(*arms)
