"""LinUCB: the best action under an optimistic score."""

from __future__ import annotations

from math import inf

import numpy as np

from nba.arrays import BoolArray, Float32Array, FloatArray
from nba.errors import require
from nba.policies.base import PolicyBase, Ready
from nba.posteriors import PosteriorLike
from nba.propensity import win_shares


class LinUCB(PolicyBase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="linucb"):
    """Play the largest mean + alpha x standard deviation.

    Over the disjoint and the hybrid model this is Li et al. 2010 (algorithms 1 and 2), over the factored
    one Chu et al. 2011. Over a logistic or hazard model the standard deviation is that of the linear
    predictor, as in UCB-GLM (Li, Lu, Zhou 2017): the highest rate of the confidence ellipsoid. Deterministic,
    so its propensities are 0 or 1 until a floor is mixed in.
    """

    alpha: float = 0.3

    def __post_init__(self) -> None:
        """Check the number."""
        require(0 <= self.alpha < inf, "policy linucb", "alpha", f"must be finite and >= 0, got {self.alpha}")

    def freeze(self, posterior: PosteriorLike, rng: np.random.Generator) -> Ready:
        """The mean and the covariance."""
        return Ready(posterior.mean_draw(), posterior.rounds, posterior.covariance())

    def scores(self, posterior: PosteriorLike, ready: Ready, features: FloatArray) -> Float32Array:
        """(1, B, A) optimistic expected rewards."""
        assert ready.spread is not None
        scores = posterior.scores(ready.draws, features)
        scores[0] = ready.spread.reach(features, scores[0], self.alpha)
        return scores

    def base_distribution(self, ready: Ready, utilities: Float32Array, eligible: BoolArray) -> FloatArray:
        """(B, A) all probability on the best action."""
        return win_shares(utilities, eligible)
