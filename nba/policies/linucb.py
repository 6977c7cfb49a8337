"""LinUCB: the best action under an optimistic score."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
from msgspec import Struct

from nba.arrays import BoolArray, Float32Array, FloatArray
from nba.errors import require
from nba.posteriors import PosteriorLike
from nba.propensity import win_shares


class LinUCB(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="linucb"):
    """Play the largest mean + alpha x standard deviation (Li et al. 2010; shared: Chu et al. 2011).

    Deterministic, so its propensities are 0 or 1 until a floor is mixed in.
    """

    alpha: float = 0.3

    def __post_init__(self) -> None:
        """Check the number."""
        require(0 <= self.alpha < inf, "policy linucb", "alpha", f"must be finite and >= 0, got {self.alpha}")

    def freeze(self, posterior: PosteriorLike, rng: np.random.Generator) -> Any:
        """The mean and the covariance."""
        return posterior.mean_draw(), posterior.covariance()

    def scores(self, posterior: PosteriorLike, frozen: Any, features: FloatArray) -> Float32Array:
        """(1, B, A) optimistic expected rewards."""
        mean_draw, covariance = frozen
        scores = posterior.scores(mean_draw, features)
        scores[0] += self.alpha * covariance.stddev(features)
        return scores

    def base_distribution(self, utilities: Float32Array, eligible: BoolArray) -> FloatArray:
        """(B, A) all probability on the best action."""
        return win_shares(utilities, eligible)
