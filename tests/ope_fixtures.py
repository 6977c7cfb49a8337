"""Logs with a known answer for the tests of off-policy evaluation."""

from __future__ import annotations

import numpy as np

from experiments.benchmarks.evaluation.problems import UNIT, Problem, greedy_problem, mild_problem
from nba.arrays import FloatArray
from nba.ope.logged import LoggedRounds

__all__ = ["UNIT", "Problem", "by_hand", "greedy_problem", "mild_problem"]


def by_hand() -> tuple[LoggedRounds, FloatArray, FloatArray]:
    """Four rounds of two actions with weights 2, 2.5, 1.5 and 0; the target, and a model's predictions."""
    logging = np.array([[0.5, 0.5], [0.8, 0.2], [0.5, 0.5], [0.8, 0.2]])
    rounds = LoggedRounds(
        actions=np.array([0, 1, 1, 0]),
        rewards=np.array([1.0, 0.0, 1.0, 1.0]),
        propensities=np.array([0.5, 0.2, 0.5, 0.8]),
        clusters=np.arange(4, dtype=np.uint64),
        logging=logging,
        reward_range=UNIT,
    )
    target = np.array([[1.0, 0.0], [0.5, 0.5], [0.25, 0.75], [0.0, 1.0]])
    return rounds, target, np.tile([0.6, 0.2], (4, 1))
