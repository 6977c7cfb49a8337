"""What intervals are worth: how often they hold the truth of known problems, and how wide they are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from experiments.benchmarks.evaluation.problems import Problem, greedy_problem, mild_problem
from nba.arrays import FloatArray, IntArray
from nba.ope.estimators import DoublyRobust, Estimator, InversePropensity
from nba.ope.intervals import Interval, cressie_read
from nba.ope.logged import LoggedRounds, folds_of
from nba.ope.reward_models import RewardRows, Ridge
from nba.ope.sequences import ConfidenceSequence, betting_sequence, predicted_from_past
from nba.ope.terms import Moments

N_LOGS = 500
ESTIMATORS: tuple[Estimator, ...] = (InversePropensity(), DoublyRobust())
Method = Callable[[Moments], Interval]


def action_means(rounds: LoggedRounds, n_actions: int) -> FloatArray:
    """(n, A) cross-fitted predictions of a model that knows nothing but the action."""
    ones, folds = np.ones((rounds.n_rounds, 1)), folds_of(rounds.clusters, 3, 0)
    model = Ridge(precision=20.0)
    return model.predict(model.sums(RewardRows.of(ones, rounds), folds, (3, n_actions)), ones, folds)


def coverage(problem: Problem, n: int, method: Method, seed: int, n_logs: int = N_LOGS) -> dict[str, float]:
    """Share of logs of n rounds whose interval holds the truth, for IPS and DR."""
    rng, held = np.random.default_rng(seed), np.zeros(len(ESTIMATORS))
    for _ in range(n_logs):
        rounds, target, _ = problem.log(n, rng)
        predicted = action_means(rounds, target.shape[1])
        for place, estimator in enumerate(ESTIMATORS):
            low, high, _ = method(Moments.of(estimator.terms(rounds, target, predicted)))
            held[place] += low <= problem.truth <= high
    return {one.name: float(share) for one, share in zip(ESTIMATORS, held / n_logs, strict=True)}


def table_coverage(n: int, n_logs: int = N_LOGS) -> tuple[float, float]:
    """Lowest and highest coverage of the default 95 % interval at 5 % conversions over problem and estimator.

    So many logs of each of six tables of twenty contexts and six actions; 500 logs tell a coverage only to
    within 1 %, and of twelve the lowest and the highest are off by more.
    """
    told = [coverage(mild_problem(seed), n, cressie_read, n, n_logs) for seed in range(20, 26)]
    shares = [share for one in told for share in one.values()]
    return min(shares), max(shares)


def past_means(rounds: LoggedRounds, contexts: IntArray, problem: Problem) -> FloatArray:
    """Predictable predictions (n, A): the running mean reward of each context, the same for every action."""
    n, n_actions = contexts.size, problem.rates.shape[1]
    starts = np.unique(np.append(0, np.geomspace(50, n, 25).astype(np.int64)[:-1]))
    features = np.hstack([np.ones((n, 1)), np.eye(problem.rates.shape[0])[contexts]])
    rows = RewardRows(features, np.zeros(n, dtype=np.int64), rounds.rewards, np.ones(n))
    return np.repeat(predicted_from_past(Ridge(precision=5.0), rows, 1, starts), n_actions, axis=1)


def heavy_sequence(seed: int, number: int, looks: IntArray) -> tuple[ConfidenceSequence, float]:
    """A betting sequence under weights up to 45.5, with the bound fixed to the largest, and the truth."""
    problem = greedy_problem(seed, agree=0.0)
    rounds, target, contexts = problem.log(int(looks[-1]), np.random.default_rng(number))
    return betting_sequence(rounds, target, past_means(rounds, contexts, problem), looks), problem.truth
