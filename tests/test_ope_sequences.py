"""Confidence sequences: exact rates of looking repeatedly, validity at every look, width, hand cases."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import pytest
from ope_fixtures import UNIT, greedy_problem, mild_problem

from experiments.benchmarks.evaluation.proofs import heavy_sequence, past_means
from nba.errors import InvalidConfig
from nba.ope.estimators import DoublyRobust
from nba.ope.sequences import asymptotic_reach, betting_sequence, naive_alarms, t_reach
from nba.ope.terms import Estimate, Moments, Range

# Armitage, McPherson and Rowe (1969): rate of rejecting a true null at 5 % after some numbers of looks.
PUBLISHED = [
    (1, 0.050),
    (2, 0.083),
    (3, 0.107),
    (4, 0.126),
    (5, 0.142),
    (10, 0.193),
    (20, 0.248),
    (50, 0.320),
    (100, 0.374),
]
LOOKS = np.array([250, 500, 1_000, 2_000, 4_000])


@pytest.mark.parametrize(("looks", "rate"), PUBLISHED)
def test_armitage(looks: int, rate: float) -> None:
    assert naive_alarms(looks) == pytest.approx(rate, abs=0.0015)


def test_the_asymptotic_sequence_survives_a_thousand_looks() -> None:
    """A true null looked at 1,000 times, where repeated tests reject half of the time."""
    walks = np.random.default_rng(1).normal(size=(2_000, 1_000)).cumsum(axis=1)
    n = np.arange(20, 1_001)
    reach = np.array([asymptotic_reach(Estimate(0.0, 1.0 / sqrt(k)), int(k), 1_000) for k in n])
    ever: np.ndarray = (np.abs(walks[:, 19:] / n) > reach).any(axis=1)
    assert 0.005 < ever.mean() <= 0.05
    naive: np.ndarray = (np.abs(walks[:, 19:]) > 1.96 * np.sqrt(n)).any(axis=1)
    assert naive.mean() > 0.4


def test_the_asymptotic_reach_by_hand() -> None:
    rho2 = (-2 * log(0.05) + log(1 - 2 * log(0.05))) / 100
    expected = 2.0 * sqrt(2 * (50 * rho2 + 1) / (2_500 * rho2) * log(sqrt(50 * rho2 + 1) / 0.05))
    assert asymptotic_reach(Estimate(0.3, 2.0 / sqrt(50)), 50, 100) == pytest.approx(expected)


def test_predictions_from_the_past_know_no_more() -> None:
    rounds, _, contexts = mild_problem(1).log(400, np.random.default_rng(2))
    before = past_means(rounds, contexts, mild_problem(1))
    later = rounds._replace(rewards=np.where(np.arange(400) >= 300, 1.0 - rounds.rewards, rounds.rewards))
    after = past_means(later, contexts, mild_problem(1))
    assert (before[:300] == after[:300]).all() and (before[0] == 0.0).all()
    assert not np.array_equal(before, after)


def test_the_betting_sequence_holds_at_every_look() -> None:
    """100 logs, three looks each: a 90 % sequence may fail on 10 of them."""
    problem, held = mild_problem(3, rate=0.2), 0
    for seed in range(100):
        rounds, target, contexts = problem.log(600, np.random.default_rng(seed))
        predicted = past_means(rounds, contexts, problem)
        sequence = betting_sequence(rounds, target, predicted, np.array([100, 300, 600]), confidence=0.9)
        held += bool(((sequence.lows <= problem.truth) & (problem.truth <= sequence.highs)).all())
        assert (np.diff(sequence.lows) >= 0).all() and (np.diff(sequence.highs) <= 0).all()
    assert held >= 90


def test_any_bound_and_any_model_leave_the_sequence_valid() -> None:
    problem, rng = greedy_problem(5, agree=0.5, rate=0.3), np.random.default_rng(6)
    for bound in (2.0, 10.0, 45.5, 200.0):
        rounds, target, _ = problem.log(4_000, rng)
        wild = rng.random(target.shape)
        sequence = betting_sequence(rounds, target, wild, LOOKS, bound=bound)
        assert (sequence.lows <= problem.truth).all() and (problem.truth <= sequence.highs).all()
        assert sequence.highs[-1] < 1.0


def test_rewards_of_another_range_scale_the_sequence() -> None:
    problem = mild_problem(7, rate=0.3)
    rounds, target, contexts = problem.log(1_000, np.random.default_rng(8))
    predicted = past_means(rounds, contexts, problem)
    unit = betting_sequence(rounds, target, predicted, np.array([1_000]))
    money = rounds._replace(rewards=40.0 * rounds.rewards - 10.0, reward_range=Range(-10.0, 30.0))
    scaled = betting_sequence(money, target, 40.0 * predicted - 10.0, np.array([1_000]))
    assert scaled.lows == pytest.approx(40.0 * unit.lows - 10.0)
    assert scaled.highs == pytest.approx(40.0 * unit.highs - 10.0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 4, 5])
def test_the_width_under_heavy_weights(seed: int) -> None:
    """At 10,000 rounds and weights up to 45.5 the sequence is at most 0.1 wide (estimators.md 3.7: 0.098)."""
    widths, held = [], 0
    for number in range(20):
        (_, lows, highs), truth = heavy_sequence(seed, number, np.array([2_000, 10_000]))
        held += bool(((lows <= truth) & (truth <= highs)).all())
        widths.append(highs[-1] - lows[-1])
    assert np.mean(widths) <= 0.1
    assert held >= 17  # of 20 at 95 %; over 300 logs of two such problems 96 % held


def test_what_a_sequence_must_know() -> None:
    rounds, target, _ = mild_problem(9).log(50, np.random.default_rng(9))
    with pytest.raises(InvalidConfig, match="betting sequence: reward_range: must be stated"):
        betting_sequence(rounds._replace(reward_range=None), target, target, np.array([50]))
    with pytest.raises(InvalidConfig, match="betting sequence: bound: must be > 0, got 0"):
        betting_sequence(rounds, target, target, np.array([50]), bound=0.0)
    with pytest.raises(InvalidConfig, match="asymptotic sequence: n: must be at least 2, got 1"):
        asymptotic_reach(Estimate(0.0, 1.0), 1, 100)


def test_the_asymptotic_sequence_on_scores_holds_the_value() -> None:
    problem = mild_problem(10, rate=0.2)
    rounds, target, contexts = problem.log(5_000, np.random.default_rng(11))
    terms = DoublyRobust().terms(rounds, target, past_means(rounds, contexts, problem))
    estimate = Moments.of(terms).estimate(self_normalised=False)
    reach = asymptotic_reach(estimate, 5_000, 5_000)
    assert abs(estimate.value - problem.truth) < reach < 4 * estimate.stderr
    assert UNIT.low < estimate.value < UNIT.high


def test_a_learning_policy_leaves_scores_unbiased_and_plain_means_not() -> None:
    """Two actions of equal value, the log greedy after each round: means of arms are biased, IPS is not."""
    rng, n, n_logs, value = np.random.default_rng(12), 60, 3_000, 0.5
    sums, counts = np.zeros((n_logs, 2)), np.zeros((n_logs, 2))
    scores, rows = np.zeros((n_logs, n)), np.arange(n_logs)
    for t in range(n):
        means = sums / np.maximum(counts, 1.0)
        chance = np.where(means[:, 1] > means[:, 0], 0.9, np.where(means[:, 1] < means[:, 0], 0.1, 0.5))
        actions = (rng.random(n_logs) < chance).astype(np.int64)
        rewards = (rng.random(n_logs) < value).astype(np.float64)
        sums[rows, actions] += rewards
        counts[rows, actions] += 1.0
        scores[:, t] = np.where(actions == 1, rewards / chance, 0.0)  # the target: always action 1
    plain = sums[:, 1] / np.maximum(counts[:, 1], 1.0)
    assert plain.mean() < value - 8 * plain.std() / sqrt(n_logs)
    told = scores.mean(axis=1)
    assert abs(told.mean() - value) < 4 * told.std() / sqrt(n_logs)


def test_the_t_sequence_ends_where_its_bayes_factor_reaches_twenty() -> None:
    """At t = reach / (sd / sqrt(n)) the closed form, and the integral over normal effects, are 1 / 0.05."""
    n, effect = 8, 1.5
    t = t_reach(2.0, n, effect=effect) / (2.0 / sqrt(n))
    nu, k = n - 1.0, 1.0 + n * effect * effect
    assert ((1 + t * t / nu) / (1 + t * t / (nu * k))) ** (n / 2) / sqrt(k) == pytest.approx(20.0)
    # The density of a t statistic under an effect d is that of the noncentral t with d sqrt(n).
    from scipy.stats import nct
    from scipy.stats import t as central

    effects, step = np.linspace(-12.0, 12.0, 4_001, retstep=True)
    prior = np.exp(-0.5 * (effects / effect) ** 2) / (effect * sqrt(2 * np.pi))
    mixed = (nct.pdf(t, nu, effects * sqrt(n)) * prior).sum() * step
    assert mixed / central.pdf(t, nu) == pytest.approx(20.0, rel=1e-3)


def test_the_t_sequence_survives_looking_after_every_seed() -> None:
    """Means of unknown variance, looked at 58 times: alarms stay below 5 %, those of plain tests do not."""
    rounds = np.random.default_rng(3).normal(size=(4_000, 60))
    alarms, naive = np.zeros(4_000, dtype=np.bool_), np.zeros(4_000, dtype=np.bool_)
    for n in range(3, 61):
        means, sds = np.abs(rounds[:, :n].mean(axis=1)), rounds[:, :n].std(axis=1, ddof=1)
        alarms |= means > t_reach(1.0, n) * sds
        naive |= means > 1.96 / sqrt(n) * sds
    assert alarms.mean() < 0.05 < 0.3 < naive.mean()
    assert t_reach(1.0, 2) == float("inf") and t_reach(0.0, 10) == 0.0
    with pytest.raises(InvalidConfig, match="n: must be at least 2"):
        t_reach(1.0, 1)
