"""Policies that ignore belief: the two ends that every report shows.

They score with the mean all the same, for the expected values that a decision reports.
"""

from __future__ import annotations

import numpy as np

from nba.arrays import BoolArray, Float32Array, FloatArray
from nba.catalogue import NO_ACTION
from nba.policies.base import PolicyBase, Ready, even


class NoContact(PolicyBase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="no_contact"):
    """Never contact anybody: the control that incremental value is measured against."""

    def base_distribution(self, ready: Ready, utilities: Float32Array, eligible: BoolArray) -> FloatArray:
        """(B, A) all probability on no-contact; even where a strategy knows no silence."""
        distribution = np.zeros(eligible.shape)
        distribution[:, NO_ACTION] = 1.0
        return np.where(eligible[:, [NO_ACTION]], distribution, even(eligible))


class RandomEligible(
    PolicyBase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="random_eligible"
):
    """Every eligible action, no-contact among them, with the same probability."""

    def base_distribution(self, ready: Ready, utilities: Float32Array, eligible: BoolArray) -> FloatArray:
        """(B, A) uniform over the eligible actions."""
        return even(eligible)
