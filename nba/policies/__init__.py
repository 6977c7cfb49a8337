"""How belief becomes a distribution over actions: one file per family, all without data.

A policy freezes what it needs from a posterior once per snapshot, scores contexts with it at every
decision, and turns utilities into a distribution. To bring a new one, inherit from `PolicyBase`, write
`base_distribution` (and what differs of the rest) and add the struct to the union.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

import numpy as np

from nba.arbitration import Money
from nba.arrays import BoolArray, Float32Array, FloatArray
from nba.policies.base import PolicyBase, Ready
from nba.policies.cover import Cover
from nba.policies.gap_weighting import Falcon, FastCB, SquareCB
from nba.policies.greedy import EpsilonGreedy, Greedy
from nba.policies.linucb import LinUCB
from nba.policies.regcb import RegCB
from nba.policies.softmax import Softmax
from nba.policies.thompson import ThompsonSampling
from nba.policies.uninformed import NoContact, RandomEligible
from nba.posteriors import PosteriorLike

Policy: TypeAlias = (
    ThompsonSampling
    | LinUCB
    | Greedy
    | EpsilonGreedy
    | Softmax
    | SquareCB
    | FastCB
    | Falcon
    | RegCB
    | Cover
    | RandomEligible
    | NoContact
)


class PolicyLike(Protocol):
    """What every policy can do."""

    def freeze(self, posterior: PosteriorLike, rng: np.random.Generator) -> Ready:
        """What the policy needs of a posterior, fixed for the life of a snapshot."""
        ...

    def scores(self, posterior: PosteriorLike, ready: Ready, features: FloatArray) -> Float32Array:
        """(B, K) to (M, B, A) scores."""
        ...

    def base_distribution(self, ready: Ready, utilities: Float32Array, eligible: BoolArray) -> FloatArray:
        """(M, B, A) utilities and (B, A) eligibility to the (B, A) distribution before the floor."""
        ...

    def distribution(
        self, posterior: PosteriorLike, ready: Ready, features: FloatArray, money: Money, eligible: BoolArray
    ) -> FloatArray:
        """Both in one: (B, K) features and (B, A) eligibility to the (B, A) distribution before the floor."""
        ...

    def publishes(self, then: float, now: float) -> bool:
        """Whether what is known after `now` rounds may replace a snapshot made after `then` rounds."""
        ...


__all__ = [
    "Cover",
    "EpsilonGreedy",
    "Falcon",
    "FastCB",
    "Greedy",
    "LinUCB",
    "NoContact",
    "Policy",
    "PolicyBase",
    "PolicyLike",
    "RandomEligible",
    "Ready",
    "RegCB",
    "Softmax",
    "SquareCB",
    "ThompsonSampling",
]
