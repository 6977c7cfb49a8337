"""How belief becomes a distribution over actions: one file per policy, all without data.

A policy freezes what it needs from a posterior once per snapshot, scores contexts with it at every
decision, and turns utilities into a distribution. To bring a new one, write these three methods and
add the struct to the union.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import numpy as np

from nba.arrays import BoolArray, Float32Array, FloatArray
from nba.policies.greedy import Greedy
from nba.policies.linucb import LinUCB
from nba.policies.thompson import ThompsonSampling
from nba.policies.uninformed import NoContact, RandomEligible
from nba.posteriors import PosteriorLike

Policy: TypeAlias = ThompsonSampling | LinUCB | Greedy | RandomEligible | NoContact


class PolicyLike(Protocol):
    """What every policy can do."""

    def freeze(self, posterior: PosteriorLike, rng: np.random.Generator) -> Any:
        """What the policy needs of a posterior, fixed for the life of a snapshot."""
        ...

    def scores(self, posterior: PosteriorLike, frozen: Any, features: FloatArray) -> Float32Array:
        """(B, K) to (M, B, A) scores."""
        ...

    def base_distribution(self, utilities: Float32Array, eligible: BoolArray) -> FloatArray:
        """(M, B, A) utilities and (B, A) eligibility to the (B, A) distribution before the floor."""
        ...


__all__ = ["Greedy", "LinUCB", "NoContact", "Policy", "PolicyLike", "RandomEligible", "ThompsonSampling"]
