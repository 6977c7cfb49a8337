"""Thompson sampling with draws that are frozen at publication (ensemble sampling)."""

from __future__ import annotations

from math import inf

import numpy as np

from nba.arbitration import Money
from nba.arrays import BoolArray, Float32Array, FloatArray
from nba.errors import require
from nba.policies.base import PolicyBase, Ready
from nba.posteriors import FactoredLinear, NeuralLinear, PosteriorLike
from nba.propensity import win_shares

_COUNTS_WINS = (FactoredLinear, NeuralLinear)  # their draws need no utilities in memory
_CHUNK = 8  # contexts scored at a time: keeps their (M, chunk, A) utilities inside the cache


class ThompsonSampling(PolicyBase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="thompson"):
    """Choose each action with the share of M posterior draws under which it is best.

    The share is exact given the draws, there is no Monte Carlo error in the propensity (methods A4;
    Lu and Van Roy 2017). M sets the grain of the propensity, 1/M. `scale` widens or narrows the
    draws; at 1 they follow the posterior. A model that is an ensemble (ensemble, bagged) has its own
    members for draws: then this is ensemble sampling or bootstrapped Thompson sampling, M is the number
    of members and `scale` stretches their distance from the mean.
    """

    n_draws: int = 64
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        require(self.n_draws >= 1, "policy thompson", "n_draws", f"must be at least 1, got {self.n_draws}")
        require(
            0 <= self.scale < inf, "policy thompson", "scale", f"must be finite and >= 0, got {self.scale}"
        )

    def freeze(self, posterior: PosteriorLike, rng: np.random.Generator) -> Ready:
        """M posterior draws."""
        return Ready(posterior.draw(self.n_draws, rng, self.scale), posterior.rounds)

    def distribution(
        self, posterior: PosteriorLike, ready: Ready, features: FloatArray, money: Money, eligible: BoolArray
    ) -> FloatArray:
        """(B, A) shares of draws that each action wins, without all utilities in memory where that can be."""
        if isinstance(posterior, _COUNTS_WINS):
            return posterior.win_shares(ready.draws, features, money, eligible)
        parts = []
        for start in range(0, features.shape[0], _CHUNK):
            some = slice(start, start + _CHUNK)
            part = super().distribution(posterior, ready, features[some], money.take(some), eligible[some])
            parts.append(part)
        return np.concatenate(parts)

    def base_distribution(self, ready: Ready, utilities: Float32Array, eligible: BoolArray) -> FloatArray:
        """(B, A) shares of draws that each action wins."""
        return win_shares(utilities, eligible)
