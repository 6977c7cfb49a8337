"""Beliefs about rewards: every member of the union passes the same conformance checks.

A model is the configuration of a prior; a posterior is what it becomes by adding evidence. To bring
a new one, write a model and a posterior with the methods of `PosteriorLike` and add both here.
"""

from __future__ import annotations

from typing import Any, Protocol, Self, TypeAlias

import numpy as np

from nba.arbitration import Money
from nba.arrays import AnyArray, BoolArray, Float32Array, FloatArray
from nba.feedback import RoundBatch
from nba.posteriors.bagged import BaggedModel, BaggedRegressors
from nba.posteriors.disjoint import DisjointLinear, DisjointModel
from nba.posteriors.ensemble import EnsembleLinear, EnsembleModel
from nba.posteriors.factored import FactoredLinear, FactoredModel
from nba.posteriors.fitted_q import FittedAdvantages, FittedQModel
from nba.posteriors.glm import FactoredHazard, FactoredLogistic
from nba.posteriors.glm_models import HazardModel, LogisticModel
from nba.posteriors.hybrid import HybridLinear, HybridModel
from nba.posteriors.neural import NeuralLinear, NeuralLinearModel
from nba.posteriors.online import OnlineLinear, OnlineModel
from nba.posteriors.segment_rates import SegmentRates, SegmentRatesModel

Model: TypeAlias = (
    FactoredModel
    | DisjointModel
    | HybridModel
    | OnlineModel
    | LogisticModel
    | HazardModel
    | EnsembleModel
    | BaggedModel
    | FittedQModel
    | NeuralLinearModel
    | SegmentRatesModel
)
Posterior: TypeAlias = (
    FactoredLinear
    | DisjointLinear
    | HybridLinear
    | OnlineLinear
    | FactoredLogistic
    | FactoredHazard
    | EnsembleLinear
    | BaggedRegressors
    | FittedAdvantages
    | NeuralLinear
    | SegmentRates
)

# `anchor` and the next two say where a fold linearises; they are zeros after everything else.
_GLM_FIELDS = ("precision", "shift", "watched", "anchor", "anchor_covariance", "pace")
# What learning changes; everything else follows from the model's prior.
STATE_FIELDS: dict[type, tuple[str, ...]] = {
    FactoredLinear: ("precision", "shift", "watched"),
    DisjointLinear: ("precision", "shift", "watched"),
    HybridLinear: ("precision", "shift", "cross", "own_moment", "watched"),
    EnsembleLinear: ("precision", "shift", "noise", "watched"),
    **dict.fromkeys((FactoredLogistic, FactoredHazard), _GLM_FIELDS),
    OnlineLinear: ("precision", "shift", "covariances", "centre", "watched"),
    BaggedRegressors: ("rows", "watched"),
    NeuralLinear: ("rows", "watched"),
    FittedAdvantages: ("nodes", "roots", "watched"),
    SegmentRates: ("conversions", "exposure", "watched"),
}
# State arrays of any length: with a row for each round that was learnt, or for each node of a tree.
GROWING_FIELDS: dict[type, tuple[str, ...]] = {
    BaggedRegressors: ("rows",),
    NeuralLinear: ("rows",),
    FittedAdvantages: ("nodes", "roots"),
}
# Exactly symmetric matrices among them.
SYMMETRIC_FIELDS: dict[type, tuple[str, ...]] = {
    FactoredLinear: ("precision",),
    HybridLinear: ("precision",),
    EnsembleLinear: ("precision",),
    FactoredLogistic: ("precision", "anchor_covariance"),
    FactoredHazard: ("precision", "anchor_covariance"),
}


class Spread(Protocol):
    """Something that knows how far every score may be off."""

    def stddev(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, A)."""
        ...

    def reach(self, features: FloatArray, mean: FloatArray, width: float) -> FloatArray:
        """(B, K), means (B, A) to (B, A): where a confidence ellipsoid of `width` standard deviations ends.

        For a linear model that is mean + width x stddev; `width` < 0 is the lower end.
        """
        ...

    def bounds(self, features: FloatArray, mean: FloatArray, slack: float) -> FloatArray:
        """(B, K), means (B, A) to (2, B, A): lowest and highest of models with a loss near the best."""
        ...


class PosteriorLike(Protocol):
    """What every posterior can do; `draws` and `evidence` are of the posterior's own types."""

    @property
    def rounds(self) -> float:
        """Rounds watched so far, in whole attribution windows; forgotten ones count less."""
        ...

    def mean(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, A) expected reward."""
        ...

    @property
    def learns_silence(self) -> bool:
        """Whether rows of no-contact teach it anything."""
        ...

    def organic(self, features: FloatArray) -> FloatArray | None:
        """(B, K) to (B, P) expected reward without contact; None where scores are of the gross reward."""
        ...

    def stddev(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, A) standard deviation of the expected reward."""
        ...

    def covariance(self) -> Spread:
        """The uncertainty, prepared once for many calls of `stddev`."""
        ...

    def draw(self, n_draws: int, rng: np.random.Generator, scale: float = 1.0) -> Any:
        """M draws of the parameters."""
        ...

    def mean_draw(self) -> Any:
        """The mean as a single draw."""
        ...

    def scores(self, draws: Any, features: FloatArray) -> Float32Array:
        """(M, B, A) expected reward under each draw."""
        ...

    def expected_values(
        self, mean_draw: Any, features: FloatArray, money: Money, eligible: BoolArray
    ) -> FloatArray:
        """(B, A) mean utilities, -inf where not eligible."""
        ...

    def evidence(self, rounds: RoundBatch) -> Any:
        """Additive sufficient statistics of rounds."""
        ...

    def absorb(self, evidence: Any) -> Self:
        """The posterior after evidence."""
        ...

    def fold(self, rounds: RoundBatch) -> Self:
        """The posterior after rounds, row by row."""
        ...

    def decayed(self, elapsed_days: float) -> Self:
        """The posterior after forgetting."""
        ...


def state_of(posterior: Posterior) -> dict[str, AnyArray]:
    """The arrays that learning changed; with the model's prior they give the posterior back."""
    return {name: np.asarray(getattr(posterior, name)) for name in STATE_FIELDS[type(posterior)]}


__all__ = [
    "GROWING_FIELDS",
    "BaggedModel",
    "BaggedRegressors",
    "NeuralLinear",
    "NeuralLinearModel",
    "STATE_FIELDS",
    "SYMMETRIC_FIELDS",
    "DisjointLinear",
    "DisjointModel",
    "EnsembleLinear",
    "EnsembleModel",
    "FactoredHazard",
    "FactoredLinear",
    "FactoredLogistic",
    "FactoredModel",
    "FittedAdvantages",
    "FittedQModel",
    "HazardModel",
    "HybridLinear",
    "HybridModel",
    "LogisticModel",
    "Model",
    "OnlineLinear",
    "OnlineModel",
    "Posterior",
    "PosteriorLike",
    "SegmentRates",
    "SegmentRatesModel",
    "Spread",
    "state_of",
]
