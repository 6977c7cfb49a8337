"""Cover: probability for every action that some good policy would play, by sparsemax."""

from __future__ import annotations

from math import inf

import numpy as np

from nba.arrays import BoolArray, Float32Array, FloatArray
from nba.errors import require
from nba.policies.base import PolicyBase, Ready, barred


class Cover(PolicyBase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="cover"):
    """Online cover in closed form (Agarwal et al. 2014; the limit of Vowpal Wabbit's synthetic cover).

    N policies in turn vote for the action of least cost, which grows by psi / N with each vote; as N
    grows the votes become p(a) = max(0, (u_a - tau) / psi_t), the projection of u / psi_t on the
    simplex: sparsemax (Martins, Astudillo 2016). psi_t = psi (t + 1)^(-decay), in account currency.
    """

    psi: float = 1.0
    decay: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        require(0 < self.psi < inf, "policy cover", "psi", f"must be finite and > 0, got {self.psi}")
        require(0 <= self.decay < inf, "policy cover", "decay", f"must be finite and >= 0, got {self.decay}")

    def base_distribution(self, ready: Ready, utilities: Float32Array, eligible: BoolArray) -> FloatArray:
        """(B, A) sparsemax of utility over psi."""
        psi = self.psi * (ready.rounds + 1.0) ** -self.decay
        return sparsemax(barred(utilities[0], eligible) / psi)


def sparsemax(values: FloatArray) -> FloatArray:
    """(B, A) Euclidean projection of each row on the simplex; -inf gets nothing. By one sort.

    The support is the k largest values with 1 + k v_(k) > v_(1) + ... + v_(k); tau makes them sum to 1.
    """
    highest = values.max(axis=1, keepdims=True)
    shifted = np.where(np.isfinite(values), values - highest, -2.0)  # 2 below the best is never in
    ordered = -np.sort(-shifted, axis=1)
    sums, ranks = np.cumsum(ordered, axis=1), np.arange(1, values.shape[1] + 1)
    support = (1.0 + ranks * ordered > sums).sum(axis=1)
    tau = (sums[np.arange(support.size), support - 1] - 1.0) / support
    shares = np.maximum(shifted - tau[:, None], 0.0)
    projected: FloatArray = shares / shares.sum(axis=1, keepdims=True)
    return projected
