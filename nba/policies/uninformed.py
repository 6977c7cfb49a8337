"""Policies that ignore belief: the two ends that every report shows."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct

from nba.arrays import BoolArray, Float32Array, FloatArray
from nba.catalogue import NO_ACTION
from nba.posteriors import PosteriorLike


class NoContact(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="no_contact"):
    """Never contact anybody: the control that incremental value is measured against."""

    def freeze(self, posterior: PosteriorLike, rng: np.random.Generator) -> Any:
        """The mean, for the expected values that a decision reports."""
        return posterior.mean_draw()

    def scores(self, posterior: PosteriorLike, frozen: Any, features: FloatArray) -> Float32Array:
        """(1, B, A) expected rewards."""
        return posterior.scores(frozen, features)

    def base_distribution(self, utilities: Float32Array, eligible: BoolArray) -> FloatArray:
        """(B, A) all probability on no-contact."""
        distribution = np.zeros(eligible.shape)
        distribution[:, NO_ACTION] = 1.0
        return distribution


class RandomEligible(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="random_eligible"):
    """Every eligible action, no-contact among them, with the same probability."""

    def freeze(self, posterior: PosteriorLike, rng: np.random.Generator) -> Any:
        """The mean, for the expected values that a decision reports."""
        return posterior.mean_draw()

    def scores(self, posterior: PosteriorLike, frozen: Any, features: FloatArray) -> Float32Array:
        """(1, B, A) expected rewards."""
        return posterior.scores(frozen, features)

    def base_distribution(self, utilities: Float32Array, eligible: BoolArray) -> FloatArray:
        """(B, A) uniform over the eligible actions."""
        even: FloatArray = eligible / eligible.sum(axis=1, keepdims=True)
        return even
