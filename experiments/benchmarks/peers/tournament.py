"""Tune every method with the same budget, then score those that did best on seeds nobody has seen."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from math import sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.benchmarks.peers.methods import N_SETTINGS, OURS, Method
from experiments.benchmarks.peers.results import Runner, Stage
from experiments.benchmarks.peers.trials import Score, Trial, follows_from, run_trial
from nba.arrays import FloatArray

_Z95 = 1.959963984540054
_FIRST_FRESH = 1_000  # tuning seeds lie below


class Budget(NamedTuple):
    """What tuning may cost each method, and how many fresh seeds judge it."""

    fresh_seeds: int
    tuning_seeds: int = 2
    tuning_rounds: int = 15_000
    settings: int = N_SETTINGS
    rounds: int | None = None  # of a fresh run; all of the problem's without a number


class Contest(NamedTuple):
    """Results on a problem."""

    problem: str
    tuned: dict[str, int]  # method -> its best setting on the tuning seeds
    tuning: dict[str, float]  # method -> mean reward with it
    fresh: dict[str, list[Score]]  # method -> score on each fresh seed, of the finalists

    def rewards(self, method: str) -> FloatArray:
        """(S,) mean reward on each fresh seed."""
        return np.array([score.reward for score in self.fresh[method]])

    def best(self, names: Iterable[str]) -> str:
        """The finalist among `names` that was best on the tuning seeds."""
        return max((name for name in names if name in self.fresh), key=lambda name: self.tuning[name])


class Interval(NamedTuple):
    """A mean over seeds and half the width of its normal 95 % interval."""

    mean: float
    half: float

    @staticmethod
    def of(values: FloatArray) -> Interval:
        """From (S,) independent values; one value has no width to speak of."""
        half = _Z95 * float(values.std(ddof=1)) / sqrt(values.size) if values.size > 1 else np.inf
        return Interval(float(values.mean()), half)


def contest(
    runner: Runner, problem: str, data: Path, field: Sequence[Method], budget: Budget, always: Iterable[str]
) -> Contest:
    """Tune all methods; the best of each family and those in `always` play the fresh seeds."""
    tuned, tuning = _tune(runner, problem, data, field, budget)
    names = _finalists(field, tuning, always)
    seeds = range(_FIRST_FRESH, _FIRST_FRESH + budget.fresh_seeds)
    finals = [
        Trial(problem, data, name, tuned[name], seed, budget.rounds) for name in names for seed in seeds
    ]
    played = runner.run(_stage(f"{problem}, fresh seeds"), finals)
    fresh = {name: played[n * len(seeds) : (n + 1) * len(seeds)] for n, name in enumerate(names)}
    for name, scores in fresh.items():
        rewards = " ".join(f"{score.reward:.4f}" for score in scores)
        print(f"{problem}: {name} on seeds {seeds[0]} to {seeds[-1]}: {rewards}", file=sys.stderr)
    return Contest(problem, tuned, tuning, fresh)


def _tune(
    runner: Runner, problem: str, data: Path, field: Sequence[Method], budget: Budget
) -> tuple[dict[str, int], dict[str, float]]:
    """The setting of each method with the best mean over the tuning seeds, and that mean."""
    trials = [
        Trial(problem, data, method.name, setting, seed, budget.tuning_rounds)
        for method in field
        for setting in range(budget.settings)
        for seed in range(budget.tuning_seeds)
    ]
    scores = np.array([score.reward for score in runner.run(_stage(f"{problem}, tuning"), trials)])
    means = scores.reshape(len(field), budget.settings, budget.tuning_seeds).mean(axis=2)
    for method, row in zip(field, means, strict=True):
        best = method.settings[int(row.argmax())]
        print(f"{problem}: {method.name} {row.max():.4f} with {best}", file=sys.stderr)
    names = [method.name for method in field]
    tuned = dict(zip(names, means.argmax(axis=1).tolist(), strict=True))
    return tuned, dict(zip(names, means.max(axis=1).tolist(), strict=True))


def _finalists(field: Sequence[Method], tuning: dict[str, float], always: Iterable[str]) -> list[str]:
    """Names in the order of the field."""
    families = {method.family for method in field}
    best = {
        max((one for one in field if one.family == family), key=lambda one: tuning[one.name]).name
        for family in families
    }
    return [method.name for method in field if method.name in best | set(always)]


def _stage(name: str) -> Stage[Trial, Score]:
    return Stage(name, run_trial, follows_from, Score)


def told(contest: Contest) -> dict[str, float]:
    """Figures of the finalists: mean reward with its interval, last tenth and time per round."""
    figures = dict[str, float]()
    for name, scores in contest.fresh.items():
        reward, key = Interval.of(contest.rewards(name)), f"{contest.problem}_{name}".replace("-", "_")
        figures |= {key: reward.mean, f"{key}_half": reward.half}
        figures |= {f"{key}_{part}": _mean(scores, part) for part in ("last", "us_per_round")}
    return figures | {f"{contest.problem}_{part}": _mean(scores, part) for part in ("oracle", "random")}


def _mean(scores: Sequence[Score], part: str) -> float:
    return float(np.mean([getattr(score, part) for score in scores]))


def of_family(field: Sequence[Method], is_ours: bool) -> list[str]:
    """Names of our methods, or of everybody else's."""
    return [method.name for method in field if (method.family == OURS) == is_ours]
