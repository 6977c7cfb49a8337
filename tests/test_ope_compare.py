"""Two targets on one log: what cancels, what merges, and a sequence that may be looked at daily."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from ope_fixtures import greedy_problem, mild_problem

from nba.arrays import FloatArray
from nba.errors import InvalidConfig
from nba.ope.compare import Comparison, Match
from nba.ope.estimators import DirectMethod, DoublyRobust, InversePropensity
from nba.ope.logged import LoggedRounds

IPS = Match(estimator=InversePropensity(), planned_rounds=2_000)


def test_a_target_differs_from_itself_by_nothing() -> None:
    rounds, target, _ = mild_problem(1).log(2_000, np.random.default_rng(1))
    told = Comparison.of(IPS, rounds, (target, target)).report()
    assert (told.difference, told.stderr, told.ci_low, told.ci_high) == (0.0, 0.0, 0.0, 0.0)
    assert told.verdict != "refused" and not told.is_better
    assert told.naive_alarms_20_looks == pytest.approx(0.248, abs=0.001)


def log_of_two(n: int, seed: int) -> tuple[LoggedRounds, tuple[FloatArray, FloatArray], FloatArray, float]:
    """A log with the targets "what converts best" and "evenly", true rates, and the true difference."""
    problem = mild_problem(2, rate=0.2)
    rounds, _, contexts = problem.log(n, np.random.default_rng(seed))
    best = np.eye(6)[problem.rates.argmax(axis=1)] * 0.8 + 0.2 / 6
    even = np.full_like(best, 1 / 6)
    truth = float(((best - even) * problem.rates).sum(axis=1).mean())
    return rounds, (best[contexts], even[contexts]), problem.rates[contexts], truth


def test_a_better_target_is_found_and_the_figures_hold_the_truth() -> None:
    rounds, targets, rates, truth = log_of_two(6_000, seed=3)
    told = Comparison.of(Match(), rounds, targets, rates).report()
    assert told.is_better and told.sequence_low is not None and told.ci_low is not None
    assert told.sequence_high is not None and told.ci_high is not None
    assert told.sequence_low < told.ci_low < truth < told.ci_high < told.sequence_high
    back = Comparison.of(Match(), rounds, targets[::-1], rates).report()
    assert back.difference == pytest.approx(-(told.difference or 0.0)) and not back.is_better
    assert b'"sequence_low"' in msgspec.json.encode(told)


@pytest.mark.parametrize("n_replicates", [0, 60])
def test_partitions_merge(n_replicates: int) -> None:
    rounds, targets, rates, _ = log_of_two(3_000, seed=4)
    match = Match(n_replicates=n_replicates)
    cuts = [slice(0, 700), slice(700, 3_000)]
    parts = [
        Comparison.of(match, rounds.take(cut), (targets[0][cut], targets[1][cut]), rates[cut], cut.start)
        for cut in cuts
    ]
    merged, whole = (parts[1] + parts[0]).report(), Comparison.of(match, rounds, targets, rates).report()
    assert msgspec.structs.astuple(merged)[:5] == pytest.approx(msgspec.structs.astuple(whole)[:5])
    assert merged.method == ("cluster-bootstrap" if n_replicates else "cressie-read")


def test_either_target_may_be_refused() -> None:
    rounds, target, contexts = greedy_problem(1, agree=0.0).log(2_000, np.random.default_rng(5))
    near = 0.9 * greedy_problem(1, agree=0.0).logging[contexts] + 0.01
    told = Comparison.of(IPS, rounds, (near, target)).report()
    assert told.verdict == "refused" and told.difference is None and told.sequence_low is None
    assert any(reason.startswith("second target: effective_n is") for reason in told.reasons)


def test_some_estimators_have_no_difference_of_known_error() -> None:
    with pytest.raises(InvalidConfig, match="match: estimator: must not be self-normalised"):
        Match(estimator=DoublyRobust(self_normalised=True))
    with pytest.raises(InvalidConfig, match="match: estimator: must weigh rewards"):
        Match(estimator=DirectMethod())


@pytest.mark.slow
def test_looking_every_day_finds_nothing_where_nothing_is() -> None:
    """Two different targets of equal value, looked at ten times: at most 5 % alarms, the interval more."""
    problem = mild_problem(6, n_contexts=1, n_actions=4)
    problem = problem._replace(rates=np.full((1, 4), 0.2))
    one, other = np.array([0.6, 0.2, 0.1, 0.1]), np.array([0.1, 0.1, 0.2, 0.6])
    alarms, match = np.zeros(2), Match(estimator=InversePropensity(), planned_rounds=2_000)
    for seed in range(200):
        rounds, _, _ = problem.log(2_000, np.random.default_rng(seed))
        looked, total = np.zeros(2, dtype=np.bool_), None
        for start in range(0, 2_000, 200):
            part = rounds.take(slice(start, start + 200))
            targets = np.tile(one, (200, 1)), np.tile(other, (200, 1))
            added = Comparison.of(match, part, targets)
            total = added if total is None else total + added
            looked |= alarms_of(total)
        alarms += looked
    sequence, interval = alarms / 200
    assert sequence <= 0.05 and interval > 0.1


def alarms_of(comparison: Comparison) -> np.ndarray:
    """Whether the sequence and the interval of a comparison exclude zero."""
    told = comparison._replace(replicates=None).report()
    if told.verdict == "refused":
        return np.zeros(2, dtype=np.bool_)
    pairs = (told.sequence_low, told.sequence_high), (told.ci_low, told.ci_high)
    return np.array([(low or 0.0) > 0.0 or (high or 0.0) < 0.0 for low, high in pairs])


def test_next_to_no_rounds_are_refused_and_not_a_crash() -> None:
    rounds, (one, two), _, _ = log_of_two(50, seed=5)
    told = Comparison.of(IPS, rounds.take(slice(0, 1)), (one[:1], two[:1])).report()
    assert (told.verdict, told.n, told.difference, told.method) == ("refused", 1, None, None)
    assert "both targets can run in 1 rounds only" in told.reasons
    with pytest.raises(InvalidConfig, match="rounds: must not be empty"):
        Comparison.of(IPS, rounds.take(slice(0, 0)), (one[:0], two[:0])).report()
