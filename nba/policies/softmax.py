"""Boltzmann exploration: probabilities that rise exponentially with utility."""

from __future__ import annotations

from math import inf

import numpy as np

from nba.arrays import BoolArray, Float32Array, FloatArray
from nba.errors import require
from nba.policies.base import PolicyBase, Ready, barred


class Softmax(PolicyBase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="softmax"):
    """p(a) proportional to exp(lambda_t u(a)), lambda_t = inverse_temperature (t + 1)^growth.

    `inverse_temperature` is per unit of utility (account currency), t counts rounds.
    """

    inverse_temperature: float = 1.0
    growth: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("inverse_temperature", "growth"):
            value = getattr(self, name)
            require(0 <= value < inf, "policy softmax", name, f"must be finite and >= 0, got {value}")

    def base_distribution(self, ready: Ready, utilities: Float32Array, eligible: BoolArray) -> FloatArray:
        """(B, A) the softmax over the eligible actions."""
        sharpness = self.inverse_temperature * (ready.rounds + 1.0) ** self.growth
        money = barred(utilities[0], eligible)
        gaps = np.where(eligible, money - money.max(axis=1, keepdims=True), 0.0)
        weights = eligible * np.exp(sharpness * gaps)
        shares: FloatArray = weights / weights.sum(axis=1, keepdims=True)
        return shares
