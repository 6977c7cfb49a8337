"""What posteriors of one kind of draws have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from nba.arbitration import Money, masked
from nba.arrays import BoolArray, FloatArray

if TYPE_CHECKING:
    from nba.posteriors import PosteriorLike


class Scoring(Struct, frozen=True, kw_only=True, eq=False):
    """What every posterior does with its scores."""

    @property
    def learns_silence(self) -> bool:
        """Whether rows of no-contact teach it anything; they do not where scores are of the gross reward."""
        return False

    def expected_values(
        self: PosteriorLike, mean_draw: Any, features: FloatArray, money: Money, eligible: BoolArray
    ) -> FloatArray:
        """(B, A) mean utilities in account currency, -inf where not eligible."""
        return masked(money.utilities(self.scores(mean_draw, features))[0], eligible)


class PosteriorBase(Scoring, frozen=True, kw_only=True, eq=False):
    """A posterior that counts its rounds, and whose mean is the score of its mean parameters."""

    watched: FloatArray  # (1,) rounds, in whole attribution windows

    @property
    def rounds(self) -> float:
        """Rounds watched so far, in whole attribution windows; forgotten ones count less."""
        return float(self.watched[0])

    def mean(self: PosteriorLike, features: FloatArray) -> FloatArray:
        """(B, K) to (B, A): score of each action at the mean parameters, 0 for no-contact."""
        mean: FloatArray = self.scores(self.mean_draw(), features)[0].astype(np.float64)
        return mean

    def organic(self, features: FloatArray) -> FloatArray | None:
        """(B, K) to (B, P) expected reward without contact; None where scores are of the gross reward."""
        return None

    def stddev(self: PosteriorLike, features: FloatArray) -> FloatArray:
        """(B, K) to (B, A): posterior standard deviation of `mean`."""
        return self.covariance().stddev(features)
