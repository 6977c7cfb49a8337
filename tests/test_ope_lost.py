"""Rounds in which the target cannot run at all: every estimate is of the others."""

from __future__ import annotations

import numpy as np
import pytest

from nba.ope.compare import Comparison, Match
from nba.ope.estimators import InversePropensity
from nba.ope.evaluate import Evaluation, Settings
from nba.ope.logged import LoggedRounds
from nba.ope.terms import Range

ESTIMATORS = (InversePropensity(), InversePropensity(name="snips", self_normalised=True))


def log_with_lost(n: int) -> tuple[LoggedRounds, np.ndarray, np.ndarray]:
    """Even choices of three actions of which 4 % of the rounds lack the last two, all that is wanted."""
    rng = np.random.default_rng(8)
    can = rng.random(n) >= 0.04
    eligible = np.ones((n, 3), dtype=np.bool_)
    eligible[~can, 1:] = False
    logging = eligible / eligible.sum(axis=1, keepdims=True)
    actions = np.where(can, rng.integers(0, 3, n), 0)
    rewards = (rng.random(n) < 0.3).astype(np.float64)
    clusters = np.arange(n, dtype=np.uint64)
    rounds = LoggedRounds(
        actions, rewards, logging[np.arange(n), actions], clusters, logging, eligible, Range(0.0, 1.0)
    )
    return rounds, np.tile([0.0, 0.5, 0.5], (n, 1)), can


@pytest.mark.parametrize("n_replicates", [0, 40])
def test_estimates_are_those_of_the_rounds_in_which_the_target_can_run(n_replicates: int) -> None:
    rounds, target, can = log_with_lost(20_000)
    settings = Settings(estimators=ESTIMATORS, n_replicates=n_replicates)
    told = Evaluation.of(settings, rounds, target).report()
    cut = Evaluation.of(settings, rounds.take(can), target[can]).report()
    assert told.n == 20_000 and told.lost_target_mass == pytest.approx(float(np.mean(~can)))
    assert len(told.estimates) == 2
    for one, other in zip(told.estimates, cut.estimates, strict=True):
        assert one.value == pytest.approx(other.value, rel=1e-12)
        assert one.ci_low is not None and one.ci_high is not None
        assert one.ci_low <= one.value <= one.ci_high


def test_a_difference_is_that_of_the_rounds_in_which_both_can_run() -> None:
    rounds, target, can = log_with_lost(20_000)
    match, even = Match(estimator=InversePropensity()), rounds.whole_logging()
    told = Comparison.of(match, rounds, (target, even)).moments.estimate(self_normalised=False)
    cut = Comparison.of(match, rounds.take(can), (target[can], even[can])).moments
    assert told == pytest.approx(cut.estimate(self_normalised=False), rel=1e-12)


def test_a_target_that_can_run_nowhere_is_refused() -> None:
    rounds, target, can = log_with_lost(400)
    told = Evaluation.of(Settings(estimators=ESTIMATORS), rounds.take(~can), target[~can]).report()
    assert told.verdict == "refused" and told.estimates == ()
