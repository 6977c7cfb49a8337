"""Our policies as players: the functions by which a snapshot decides and learns, one round at a time."""

from __future__ import annotations

import numpy as np

from experiments.benchmarks.peers.problems import Problem
from nba.feedback import RoundBatch
from nba.policies import Policy
from nba.posteriors import Model
from nba.propensity import choose
from nba.randomness import draw_generator

_ONE = np.ones(1)
_NONE = np.zeros(1)


class OurPlayer:
    """A policy over a posterior that learns every round at once.

    Every product is worth 1 and no channel costs anything, so that a score is a utility.
    """

    def __init__(self, problem: Problem, model: Model, policy: Policy, seed: int) -> None:
        catalogue = problem.catalogue
        self._features, self._products = problem.features, catalogue.product_of
        self._policy, self._rng = policy, draw_generator(seed, 0)
        self._posterior = model.prior(catalogue, problem.schema)
        self._eligible = np.ones((1, catalogue.n_actions), dtype=np.bool_)
        self._eligible[0, 0] = False  # these problems know no no-contact

    def choose(self, row: int, uniform: float) -> int:
        """An action (0 is the first contact) in round `row`."""
        ready = self._policy.freeze(self._posterior, self._rng)
        scores = self._policy.scores(self._posterior, ready, self._features[row : row + 1])
        distribution = self._policy.base_distribution(ready, scores, self._eligible)
        return int(choose(distribution, np.array([uniform]))[0]) - 1

    def learn(self, row: int, action: int, reward: float) -> None:
        """Fold the round into the posterior."""
        actions = np.array([action + 1])
        rounds = RoundBatch(
            features=self._features[row : row + 1],
            actions=actions,
            products=self._products[actions],
            rewards=np.array([reward]),
            exposure=_ONE,
            uplift_share=_ONE,
            organic_share=_NONE,
        )
        self._posterior = self._posterior.fold(rounds)
