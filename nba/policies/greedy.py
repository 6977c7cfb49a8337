"""Greedy play on the posterior mean; with a floor, epsilon-greedy."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct

from nba.arrays import BoolArray, Float32Array, FloatArray
from nba.posteriors import PosteriorLike
from nba.propensity import win_shares


class Greedy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="greedy"):
    """Play the largest mean utility; the strategy's floor supplies the exploration."""

    def freeze(self, posterior: PosteriorLike, rng: np.random.Generator) -> Any:
        """The mean as a single draw."""
        return posterior.mean_draw()

    def scores(self, posterior: PosteriorLike, frozen: Any, features: FloatArray) -> Float32Array:
        """(1, B, A) expected rewards."""
        return posterior.scores(frozen, features)

    def base_distribution(self, utilities: Float32Array, eligible: BoolArray) -> FloatArray:
        """(B, A) all probability on the best action."""
        return win_shares(utilities, eligible)
