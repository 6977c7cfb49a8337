"""Worlds of a few contexts whose policies have known values, and logs of them to judge estimators on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.arrays import FloatArray, IntArray
from nba.ope.logged import LoggedRounds
from nba.ope.terms import Range
from nba.propensity import choose

UNIT = Range(0.0, 1.0)


class Problem(NamedTuple):
    """X contexts, drawn evenly, with a conversion rate for each of A actions."""

    rates: FloatArray  # (X, A)
    logging: FloatArray  # (X, A)
    target: FloatArray  # (X, A)

    @property
    def truth(self) -> float:
        """The target's value."""
        return float((self.target * self.rates).sum(axis=1).mean())

    def log(self, n: int, rng: np.random.Generator) -> tuple[LoggedRounds, FloatArray, IntArray]:
        """Rounds, the target's distribution (n, A) over them, and their contexts (n,)."""
        contexts = rng.integers(self.rates.shape[0], size=n)
        logging = self.logging[contexts]
        actions = choose(logging, rng.random(n))
        rewards = (rng.random(n) < self.rates[contexts, actions]).astype(np.float64)
        rounds = LoggedRounds(
            actions=actions,
            rewards=rewards,
            propensities=logging[np.arange(n), actions],
            clusters=np.arange(n, dtype=np.uint64),
            logging=logging,
            reward_range=UNIT,
        )
        return rounds, self.target[contexts], contexts


def greedy_problem(seed: int, agree: float, *, n_contexts: int = 20, rate: float = 0.05) -> Problem:
    """The heavy-weight problem of estimators.md 3.7: ten actions, eps 0.2 logging, a nearly sure target.

    Both policies have a favourite per context, the same one in a share `agree` of contexts; where they
    differ the weight of the target's favourite is 0.91 / 0.02 = 45.5.
    """
    rng, rows = np.random.default_rng(seed), np.arange(n_contexts)
    rates = np.clip(rate * np.exp(0.5 * rng.normal(size=(n_contexts, 10))), 0.0, 0.6)
    ours = rng.integers(10, size=n_contexts)
    theirs = np.where(rng.random(n_contexts) < agree, ours, rng.integers(10, size=n_contexts))
    logging, target = np.full((n_contexts, 10), 0.02), np.full((n_contexts, 10), 0.01)
    logging[rows, ours], target[rows, theirs] = 0.82, 0.91
    return Problem(rates, logging, target)


def mild_problem(seed: int, *, n_contexts: int = 20, n_actions: int = 6, rate: float = 0.05) -> Problem:
    """Softmax logging and target of moderate weights."""
    rng = np.random.default_rng(seed)
    rates = np.clip(rate * np.exp(0.5 * rng.normal(size=(n_contexts, n_actions))), 0.0, 0.6)
    logging, target = (
        np.exp(scale * rng.normal(size=(n_contexts, n_actions))) + 0.05 for scale in (0.7, 0.7)
    )
    return Problem(
        rates, logging / logging.sum(axis=1, keepdims=True), target / target.sum(axis=1, keepdims=True)
    )
