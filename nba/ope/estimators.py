"""The one-step estimators: each turns rounds and a target into terms.

An estimator is a frozen struct, and a report is a tuple of them. Those that use a model take its
predictions (n, A), cross-fitted (nba.ope.reward_models): the model never saw the round it predicts.
"""

from __future__ import annotations

from typing import ClassVar, Protocol, TypeAlias

import numpy as np
from msgspec import Struct

from nba.arrays import FloatArray
from nba.errors import require
from nba.ope.groups import GroupedDoublyRobust, MarginalInversePropensity
from nba.ope.logged import LoggedRounds
from nba.ope.pieces import MRDR_MODEL, REWARD_MODEL, checked_predictions, modelled, weights_known
from nba.ope.terms import Range, Terms
from nba.ope.weighting import OptimisticShrinkage, Plain, Switched, Weighting


class EstimatorLike(Protocol):
    """What is asked of every estimator."""

    @property
    def name(self) -> str:
        """The word it goes by in reports."""

    @property
    def self_normalised(self) -> bool:
        """Whether its correction is divided by the mean weight."""

    @property
    def model(self) -> str:
        """The name of the predictions that its terms need, empty if none."""

    def terms(self, rounds: LoggedRounds, target: FloatArray, predicted: FloatArray | None) -> Terms:
        """What each round adds; target and predicted are (n, A)."""


class InversePropensity(Struct, frozen=True, kw_only=True, tag="inverse_propensity"):
    """E[w r], unbiased with known propensities and plain weights; self-normalised E[w r] / E[w].

    Self-normalised, it is biased by O(1/n), steadier, and never leaves the range of the rewards. Horvitz and
    Thompson (1952); Strehl et al. (2010); Swaminathan and Joachims (2015).
    """

    name: str = "ips"
    weighting: Weighting = Plain()
    self_normalised: bool = False
    model: ClassVar[str] = ""

    def terms(self, rounds: LoggedRounds, target: FloatArray, predicted: FloatArray | None = None) -> Terms:
        """Base 0, residual the reward."""
        ratios, possible, tail = weights_known(rounds, target)
        return Terms(
            ratios,
            self.weighting(ratios),
            np.zeros(rounds.n_rounds),
            rounds.rewards,
            possible,
            self.weighting.weights_of(possible),
            rounds.possible_rewards,
            tail,
        )


class DirectMethod(Struct, frozen=True, kw_only=True, tag="direct_method"):
    """E[q(x, pi)]: what a reward model says of the target, and as wrong as the model is.

    Its standard error would tell how the customers vary and nothing of that, so a report has none.
    Beygelzimer and Langford (2009).
    """

    name: str = "dm"
    self_normalised: ClassVar[bool] = False
    model: ClassVar[str] = REWARD_MODEL

    def terms(self, rounds: LoggedRounds, target: FloatArray, predicted: FloatArray | None) -> Terms:
        """Base q(x, pi) and no correction."""
        bases, residuals, spread = modelled(self.name, rounds, target, predicted)
        ratios, possible, tail = weights_known(rounds, target)
        silent = np.zeros(rounds.n_rounds)
        return Terms(ratios, silent, bases, residuals, possible, Range(0.0, 0.0), spread, tail)


class DoublyRobust(Struct, frozen=True, kw_only=True, tag="doubly_robust"):
    """E[q(x, pi) + w (r - q(x, a))], unbiased if either propensities or model are right.

    The weighting makes it Switch-DR, DRos or sub-Gaussian DR; with a model fitted under `mrdr_weights` it
    is MRDR (nba.ope.reward_models). Dudik et al. (2011, 2014).
    """

    name: str = "dr"
    weighting: Weighting = Plain()
    self_normalised: bool = False
    model: str = REWARD_MODEL

    def terms(self, rounds: LoggedRounds, target: FloatArray, predicted: FloatArray | None) -> Terms:
        """Base q(x, pi), residual r - q(x, a)."""
        bases, residuals, spread = modelled(self.name, rounds, target, predicted)
        ratios, possible, tail = weights_known(rounds, target)
        weights_of = self.weighting.weights_of(possible)
        return Terms(ratios, self.weighting(ratios), bases, residuals, possible, weights_of, spread, tail)


class AdaptiveBlending(Struct, frozen=True, kw_only=True, tag="adaptive_blending"):
    """CAB: rewards weighted by min(w, most), the model for the share max(0, 1 - most / w) beyond.

    0 is the direct method, infinity IPS. Needs the whole logging distribution. Su, Wang, Santacatterina
    and Joachims (2019).
    """

    most: float
    name: str = "cab"
    self_normalised: ClassVar[bool] = False
    model: ClassVar[str] = REWARD_MODEL

    def __post_init__(self) -> None:
        """Check the bound."""
        require(self.most >= 0.0, self.name, "most", f"must be >= 0, got {self.most}")

    def terms(self, rounds: LoggedRounds, target: FloatArray, predicted: FloatArray | None) -> Terms:
        """Base sum_a pi(a) max(0, 1 - most/w(a)) q(a), residual the reward."""
        predictions = checked_predictions(self.name, target, predicted)
        every = rounds.all_ratios(target)
        shares = np.zeros_like(every)  # of the target's mass that the model speaks for
        np.subtract(1.0, self.most / np.where(every > 0.0, every, 1.0), out=shares, where=every > self.most)
        ratios, possible, tail = weights_known(rounds, target)
        return Terms(
            ratios,
            np.minimum(ratios, self.most),
            np.einsum("na,na,na->n", target, shares, predictions),
            rounds.rewards,
            possible,
            Range(min(possible.low, self.most), min(possible.high, self.most)),
            rounds.possible_rewards,
            tail,
        )


Estimator: TypeAlias = (
    InversePropensity
    | DirectMethod
    | DoublyRobust
    | AdaptiveBlending
    | MarginalInversePropensity
    | GroupedDoublyRobust
)

MRDR = DoublyRobust(name="mrdr", model=MRDR_MODEL)

# What a report shows unless told otherwise: an audit line, a quick look, the model alone, and the default.
USUAL: tuple[Estimator, ...] = (
    InversePropensity(),
    InversePropensity(name="snips", self_normalised=True),
    DirectMethod(),
    DoublyRobust(),
    DoublyRobust(name="sndr", self_normalised=True),
    DoublyRobust(name="switch-dr", weighting=Switched(10.0)),
    DoublyRobust(name="dros", weighting=OptimisticShrinkage(100.0)),
)
