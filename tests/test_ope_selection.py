"""SLOPE++ by hand and on logs, shrunk estimates, and failure modes 10, 12, 20 and 21 of methods H."""

from __future__ import annotations

import numpy as np
import pytest
from ope_fixtures import UNIT, greedy_problem, mild_problem

from nba.errors import InvalidConfig
from nba.ope.estimators import DirectMethod, DoublyRobust, InversePropensity
from nba.ope.intervals import cressie_read
from nba.ope.logged import LoggedRounds
from nba.ope.segments import SegmentRates
from nba.ope.selection import Candidate, select, shrunk, slope
from nba.ope.terms import Moments, Range, difference
from nba.ope.weighting import OptimisticShrinkage


def test_slope_takes_the_narrowest_that_agrees_with_all_wider_ones() -> None:
    wide, middle, narrow = Candidate(0.50, 0.20), Candidate(0.60, 0.10), Candidate(0.20, 0.01)
    # 0.1 <= 0.1 + 1.449 x 0.2, but 0.4 > 0.01 + 1.449 x 0.1.
    assert slope([narrow, wide, middle]) == 2
    assert slope([wide, Candidate(0.75, 0.0)]) == 1 and slope([wide, Candidate(0.80, 0.0)]) == 0
    assert slope([Candidate(np.nan, 0.0), wide]) == 1 and slope([wide]) == 0
    # A later one that would agree again is not reached past one that did not.
    assert slope([wide, Candidate(1.0, 0.1), Candidate(0.5, 0.01)]) == 0
    with pytest.raises(InvalidConfig, match="slope: candidates: must not be empty"):
        slope([])


def test_slope_shrinks_with_a_good_model_and_does_not_with_a_bad_one() -> None:
    problem = greedy_problem(2, agree=0.3, rate=0.2)
    rounds, target, contexts = problem.log(20_000, np.random.default_rng(3))
    strengths = (OptimisticShrinkage(strength) for strength in (1.0, 100.0, 1e6))
    family = [DirectMethod(), *(DoublyRobust(name=str(one.strength), weighting=one) for one in strengths)]
    assert select(family, rounds, target, problem.rates[contexts]) == 0
    assert select(family, rounds, target, np.full_like(target, 0.9)) == 3


def test_failure_10_a_mix_of_segments_is_not_an_effect() -> None:
    """Berkeley 1973: men 44 %, women 30 %, and women ahead in four of six departments."""
    applied = np.array([[825, 560, 325, 417, 191, 373], [108, 25, 593, 375, 393, 341]], dtype=float)
    admitted = np.array([[512, 353, 120, 138, 53, 22], [89, 17, 202, 131, 94, 24]], dtype=float)
    rates = SegmentRates(applied, admitted)
    men, women = rates.raw()
    assert (round(men, 2), round(women, 2)) == (0.45, 0.30)
    assert (rates.rates[1] > rates.rates[0]).sum() == 4
    fair = rates.standardised()
    assert fair[1] > fair[0] and rates.is_reversed(0, 1)
    assert fair == pytest.approx([0.3873, 0.4304], abs=5e-4)


def test_segment_sums_merge() -> None:
    rng = np.random.default_rng(1)
    actions, segments, rewards = rng.integers(2, size=90), rng.integers(3, size=90), rng.random(90)
    whole = SegmentRates.of(actions, segments, rewards, (2, 3))
    parts = [SegmentRates.of(actions[s], segments[s], rewards[s], (2, 3)) for s in (slice(40), slice(40, 90))]
    merged = parts[0] + parts[1]
    assert (merged.counts == whole.counts).all() and merged.rewards == pytest.approx(whole.rewards)


def two_arms(chance: np.ndarray, rates: np.ndarray, rng: np.random.Generator) -> LoggedRounds:
    """Rounds with a contact (action 1) by a known chance (n,), and conversions by rates (n, 2)."""
    n = chance.size
    actions = (rng.random(n) < chance).astype(np.int64)
    logging = np.column_stack([1.0 - chance, chance])
    rewards = (rng.random(n) < rates[np.arange(n), actions]).astype(np.float64)
    keys = np.arange(n, dtype=np.uint64)
    return LoggedRounds(actions, rewards, logging[np.arange(n), actions], keys, logging, None, UNIT)


def test_failure_12_a_targeted_history_does_not_make_contacts_look_harmless() -> None:
    """Yesterday's contact costs 30 % of today's conversions, and went to those who convert anyway."""
    rng, n = np.random.default_rng(12), 40_000
    keen = rng.random(n) < 0.4
    base = np.where(keen, 0.25, 0.05)
    rounds = two_arms(np.where(keen, 0.9, 0.15), np.column_stack([base, 0.7 * base]), rng)
    contacted = rounds.actions == 1
    assert rounds.rewards[contacted].mean() > 1.5 * rounds.rewards[~contacted].mean()
    always, never = np.tile([0.0, 1.0], (n, 1)), np.tile([1.0, 0.0], (n, 1))
    lift = difference(*(InversePropensity().terms(rounds, target) for target in (always, never)))
    interval = cressie_read(Moments.of(lift), mean_ratio=0.0)
    assert interval.high < 0.0
    assert interval.low <= -0.3 * base.mean() <= interval.high


def test_failure_20_the_best_of_many_is_no_longer_too_good_once_shrunk() -> None:
    rng, excess, shrunken = np.random.default_rng(20), [], []
    for _ in range(400):
        truths = rng.normal(1.0, 0.1, size=20)
        estimates = truths + rng.normal(0.0, 0.2, size=20)
        best = int(estimates.argmax())
        excess.append(estimates[best] - truths[best])
        shrunken.append(shrunk(estimates, np.full(20, 0.2))[best] - truths[best])
    error = np.std(shrunken) / np.sqrt(400)
    assert np.mean(excess) > 0.25 and abs(np.mean(shrunken)) < max(4 * error, 0.05)


def test_shrinking_by_hand() -> None:
    values, stderrs = np.array([0.0, 1.0, 2.0]), np.full(3, 0.5)
    # Q = 2 / 0.25 = 8; between = (8 - 2) / (12 - 4) = 0.75; each keeps 0.75 of its deviation.
    assert shrunk(values, stderrs) == pytest.approx([0.25, 1.0, 1.75])
    assert shrunk(values, np.full(3, 5.0)) == pytest.approx([1.0, 1.0, 1.0])
    assert (shrunk(values[:2], stderrs[:2]) == values[:2]).all()


def test_failure_21_organic_conversions_are_no_reason_to_contact() -> None:
    """5 % convert anyway and a contact adds nothing: gross conversions pay for it, its value does not."""
    rng, n, margin, cost = np.random.default_rng(21), 60_000, 40.0, 1.0
    rounds = two_arms(np.full(n, 0.5), np.full((n, 2), 0.05), rng)
    assert margin * rounds.rewards[rounds.actions == 1].mean() > cost
    net = rounds._replace(
        rewards=margin * rounds.rewards - cost * rounds.actions, reward_range=Range(-cost, margin)
    )
    policies = np.tile([0.0, 1.0], (n, 1)), np.tile([1.0, 0.0], (n, 1))
    predicted = np.tile([margin * 0.05, margin * 0.05 - cost], (n, 1))
    lift = difference(*(DoublyRobust().terms(net, target, predicted) for target in policies))
    interval = cressie_read(Moments.of(lift), mean_ratio=0.0)
    assert interval.low <= -cost <= interval.high < 0.0


def test_a_difference_is_of_one_estimator() -> None:
    rounds, target, _ = mild_problem(1).log(50, np.random.default_rng(1))
    one, other = (DoublyRobust().terms(rounds, target, np.full_like(target, q)) for q in (0.1, 0.2))
    with pytest.raises(InvalidConfig, match="difference: both targets must be judged by one estimator"):
        difference(one, other)


def test_targets_without_any_error_are_not_shrunk() -> None:
    values = np.array([0.1, 0.2, 0.6])
    with np.errstate(all="raise", under="ignore"):
        assert shrunk(values, np.zeros(3)) == pytest.approx(values)
