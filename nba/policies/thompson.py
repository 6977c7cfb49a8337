"""Thompson sampling with draws that are frozen at publication (ensemble sampling)."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
from msgspec import Struct

from nba.arrays import BoolArray, Float32Array, FloatArray
from nba.errors import require
from nba.posteriors import PosteriorLike
from nba.propensity import win_shares


class ThompsonSampling(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="thompson"):
    """Choose each action with the share of M posterior draws under which it is best.

    The share is exact given the draws, there is no Monte Carlo error in the propensity (methods A4;
    Lu and Van Roy 2017). M sets the grain of the propensity, 1/M. `scale` widens or narrows the
    draws; at 1 they follow the posterior.
    """

    n_draws: int = 64
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        require(self.n_draws >= 1, "policy thompson", "n_draws", f"must be at least 1, got {self.n_draws}")
        require(
            0 <= self.scale < inf, "policy thompson", "scale", f"must be finite and >= 0, got {self.scale}"
        )

    def freeze(self, posterior: PosteriorLike, rng: np.random.Generator) -> Any:
        """M posterior draws."""
        return posterior.draw(self.n_draws, rng, self.scale)

    def scores(self, posterior: PosteriorLike, frozen: Any, features: FloatArray) -> Float32Array:
        """(M, B, A) expected rewards under the frozen draws."""
        return posterior.scores(frozen, features)

    def base_distribution(self, utilities: Float32Array, eligible: BoolArray) -> FloatArray:
        """(B, A) shares of draws that each action wins."""
        return win_shares(utilities, eligible)
