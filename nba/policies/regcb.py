"""RegCB: the best and the worst that an action may be, over all models that fit about as well."""

from __future__ import annotations

from math import inf, log
from typing import Literal

import numpy as np

from nba.arrays import BoolArray, Float32Array, FloatArray
from nba.errors import require
from nba.policies.base import PolicyBase, Ready, barred, best_share, even
from nba.posteriors import PosteriorLike


class RegCB(PolicyBase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="regcb"):
    """Optimism over a version space (Foster, Agarwal, Dudik, Luo, Schapire 2018).

    A model fits if its squared loss is within slack x log(A (t + 1)) of the best one's. `optimistic`
    plays the largest upper value; `elimination` plays evenly what is not surely worse than another. For
    a linear posterior the range is mean -+ sqrt(slack log(A (t + 1))) standard deviations, so that it is
    LinUCB with a growing alpha; it earns its place over models without a covariance (bagged, neural).
    """

    slack: float = 0.02
    play: Literal["optimistic", "elimination"] = "optimistic"

    def __post_init__(self) -> None:
        """Check the number."""
        require(0 <= self.slack < inf, "policy regcb", "slack", f"must be finite and >= 0, got {self.slack}")

    def freeze(self, posterior: PosteriorLike, rng: np.random.Generator) -> Ready:
        """The mean and what knows how far models that fit may stray from it."""
        return Ready(posterior.mean_draw(), posterior.rounds, posterior.covariance())

    def scores(self, posterior: PosteriorLike, ready: Ready, features: FloatArray) -> Float32Array:
        """(3, B, A) mean, lowest and highest expected rewards."""
        assert ready.spread is not None
        mean = posterior.scores(ready.draws, features)[0]
        # log 1 at round 0, never log 0 (estimators 4: a defect of others).
        slack = self.slack * log(mean.shape[1] * (ready.rounds + 1.0))
        low, high = ready.spread.bounds(features, mean.astype(np.float64), slack)
        return np.stack([mean, low.astype(np.float32), high.astype(np.float32)])

    def base_distribution(self, ready: Ready, utilities: Float32Array, eligible: BoolArray) -> FloatArray:
        """(B, A) the optimist's choice, or even over what may be best."""
        if self.play == "optimistic":
            return best_share(barred(utilities[2], eligible), eligible)
        surely = barred(utilities[1], eligible).max(axis=1, keepdims=True)
        return even(eligible & (barred(utilities[2], eligible) >= surely))
