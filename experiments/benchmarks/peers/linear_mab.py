"""MABWiser as a player: LinUCB and LinTS with one ridge regression per action."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from experiments.benchmarks.peers.problems import Problem

PACKAGE = "mabwiser"


class MabwiserPlayer:
    """A learning policy of MABWiser by name, over the same features as ours."""

    def __init__(self, problem: Problem, policy: str, settings: dict[str, float], seed: int) -> None:
        self._features, self._n_actions = problem.features, problem.catalogue.n_actions - 1
        self._mab, self._is_fitted = new(policy, settings, self._n_actions, seed), False

    def choose(self, row: int, uniform: float) -> int:
        """An action in round `row`; before the first fit, which must precede a prediction, an even one."""
        if not self._is_fitted:
            return int(uniform * self._n_actions)
        return int(self._mab.predict(self._features[row : row + 1]))

    def learn(self, row: int, action: int, reward: float) -> None:
        """Fit the first round, every other one partially."""
        fit = self._mab.partial_fit if self._is_fitted else self._mab.fit
        fit(np.array([action]), np.array([reward]), self._features[row : row + 1])
        self._is_fitted = True


def new(policy: str, settings: dict[str, float], n_actions: int, seed: int) -> Any:
    """A MAB of so many arms, numbered from 0."""
    module = import_module(f"{PACKAGE}.mab")
    learning = getattr(module.LearningPolicy, policy)(**settings)
    return module.MAB(arms=list(range(n_actions)), learning_policy=learning, seed=seed)
