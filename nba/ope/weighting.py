"""What an estimator makes of importance weights: bias is bought for less variance.

Each is a frozen struct, called with weights of any shape; zero stays zero. `weights_of(range)` is the
range of what comes out.
"""

from __future__ import annotations

from math import inf, sqrt
from typing import TypeAlias

import numpy as np
from msgspec import Struct

from nba.arrays import FloatArray
from nba.errors import require
from nba.ope.terms import Range


class Plain(Struct, frozen=True, tag="plain"):
    """The weights as they are: no bias where the target is supported."""

    def __call__(self, ratios: FloatArray) -> FloatArray:
        """(...) weights."""
        return ratios

    def weights_of(self, ratios: Range) -> Range:
        """The same range."""
        return ratios


class Clipped(Struct, frozen=True, tag="clipped"):
    """min(w, most). Strehl et al. (2010); biased down for rewards >= 0."""

    most: float

    def __post_init__(self) -> None:
        """Check the bound."""
        require(self.most > 0.0, "clipped", "most", f"must be > 0, got {self.most}")

    def __call__(self, ratios: FloatArray) -> FloatArray:
        """(...) weights."""
        return np.minimum(ratios, self.most)

    def weights_of(self, ratios: Range) -> Range:
        """The clipped range."""
        return Range(min(ratios.low, self.most), min(ratios.high, self.most))


class Switched(Struct, frozen=True, tag="switched"):
    """w where w <= most, else 0, so that the model speaks alone. Wang, Agarwal and Dudik (2017)."""

    most: float

    def __post_init__(self) -> None:
        """Check the threshold."""
        require(self.most >= 0.0, "switched", "most", f"must be >= 0, got {self.most}")

    def __call__(self, ratios: FloatArray) -> FloatArray:
        """(...) weights."""
        return np.where(ratios <= self.most, ratios, 0.0)

    def weights_of(self, ratios: Range) -> Range:
        """From 0 up to the threshold, if any weight may pass it."""
        return ratios if ratios.high <= self.most else Range(0.0, self.most)


class OptimisticShrinkage(Struct, frozen=True, tag="optimistic_shrinkage"):
    """strength w / (w^2 + strength): 0 is the direct method, infinity plain weights. Su et al. (2020)."""

    strength: float

    def __post_init__(self) -> None:
        """Check the strength."""
        require(
            self.strength >= 0.0, "optimistic_shrinkage", "strength", f"must be >= 0, got {self.strength}"
        )

    def __call__(self, ratios: FloatArray) -> FloatArray:
        """(...) weights."""
        if self.strength == 0.0:
            return np.zeros_like(ratios)
        return ratios / (ratios * ratios / self.strength + 1.0)  # infinity included

    def weights_of(self, ratios: Range) -> Range:
        """Between the ends, with the top sqrt(strength) / 2 that is reached at sqrt(strength)."""
        low, high = (float(self(np.asarray(end))) for end in ratios)
        inside = ratios.low <= sqrt(self.strength) <= ratios.high if self.strength < inf else False
        return Range(min(low, high), sqrt(self.strength) / 2.0 if inside else max(low, high))


class SubGaussian(Struct, frozen=True, tag="sub_gaussian"):
    """w / ((1 - strength) + strength w), at most 1/strength. Metelli, Russo and Restelli (2021)."""

    strength: float

    def __post_init__(self) -> None:
        """Check the strength."""
        holds = 0.0 <= self.strength <= 1.0
        require(holds, "sub_gaussian", "strength", f"must lie in [0, 1], got {self.strength}")

    def __call__(self, ratios: FloatArray) -> FloatArray:
        """(...) weights."""
        # At strength one a weight of zero is 0/0: the limit of what vanishes with it is zero.
        below = (1.0 - self.strength) + self.strength * ratios
        return np.divide(ratios, below, out=np.zeros_like(ratios), where=below > 0.0)

    def weights_of(self, ratios: Range) -> Range:
        """The weights of both ends, between which it rises."""
        low, high = (float(self(np.asarray(end, dtype=np.float64))) for end in ratios)
        return Range(low, high)


Weighting: TypeAlias = Plain | Clipped | Switched | OptimisticShrinkage | SubGaussian
