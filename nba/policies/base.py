"""What policies have in common: what they take from a posterior, and when they may publish."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct

from nba.arbitration import Money
from nba.arrays import BoolArray, Float32Array, FloatArray
from nba.posteriors import PosteriorLike, Spread


class Ready(NamedTuple):
    """What a policy has taken from a posterior, fixed for the life of a snapshot."""

    draws: Any  # what the posterior's `scores` reads
    rounds: float = 0.0  # watched until publication, in whole attribution windows
    spread: Spread | None = None


class PolicyBase(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A policy that scores with the posterior mean and publishes whenever it is asked to."""

    def freeze(self, posterior: PosteriorLike, rng: np.random.Generator) -> Ready:
        """The mean as a single draw."""
        return Ready(posterior.mean_draw(), posterior.rounds)

    def scores(self, posterior: PosteriorLike, ready: Ready, features: FloatArray) -> Float32Array:
        """(B, K) to (M, B, A) expected rewards: under the mean M is 1."""
        return posterior.scores(ready.draws, features)

    def distribution(
        self, posterior: PosteriorLike, ready: Ready, features: FloatArray, money: Money, eligible: BoolArray
    ) -> FloatArray:
        """(B, K) features and (B, A) eligibility to the (B, A) distribution before the floor."""
        utilities = money.utilities(self.scores(posterior, ready, features))
        return self.base_distribution(ready, utilities, eligible)

    def base_distribution(self, ready: Ready, utilities: Float32Array, eligible: BoolArray) -> FloatArray:
        """(M, B, A) utilities and (B, A) eligibility to the (B, A) distribution before the floor."""
        raise NotImplementedError

    def publishes(self, then: float, now: float) -> bool:
        """Whether what is known after `now` rounds may replace a snapshot made after `then` rounds.

        Both count all rounds ever watched, forgotten ones too: what a posterior remembers stops growing.
        """
        return True


def best_share(values: FloatArray, eligible: BoolArray) -> FloatArray:
    """(B, A) all probability on the largest of values (B, A), on the smallest row among equals."""
    winners = barred(values, eligible).argmax(axis=1)
    share = np.zeros(values.shape)
    share[np.arange(values.shape[0]), winners] = 1.0
    return share


def barred(values: FloatArray | Float32Array, eligible: BoolArray) -> FloatArray:
    """(B, A) values, -inf where not eligible.

    Raises FloatingPointError at a NaN where an action is eligible: it would win every comparison.
    """
    found = np.where(eligible, values.astype(np.float64, copy=False), -np.inf)
    if np.isnan(found).any():
        raise FloatingPointError("A utility is not a number; the posterior, a price or a feature is damaged.")
    return found


def even(eligible: BoolArray) -> FloatArray:
    """(B, A) uniform over the eligible actions."""
    shares: FloatArray = eligible / eligible.sum(axis=1, keepdims=True)
    return shares
