"""Inverse gap weighting: the further an action falls behind the best, the less it is explored.

Closed-form propensities for any regressor, with or without a posterior: SquareCB (Foster, Rakhlin 2020),
FastCB (Foster, Krishnamurthy 2021) and FALCON (Simchi-Levi, Xu 2022).
"""

from __future__ import annotations

from math import inf, log

import numpy as np

from nba.arrays import BoolArray, Float32Array, FloatArray
from nba.errors import require
from nba.policies.base import PolicyBase, Ready, barred


class _GapWeighting(PolicyBase, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fields of all three.

    `scale` is the utility (account currency) that counts as a gap of 1. With `among` > 0 only that many
    best actions are played: with 840 of them the tail would eat the budget (methods A5).
    """

    gamma: float = 10.0
    scale: float = 1.0
    among: int = 0

    def __post_init__(self) -> None:
        """Check the numbers."""
        source = f"policy {self.__struct_config__.tag}"
        require(0 < self.gamma < inf, source, "gamma", f"must be finite and > 0, got {self.gamma}")
        require(0 < self.scale < inf, source, "scale", f"must be finite and > 0, got {self.scale}")
        require(self.among >= 0, source, "among", f"must be at least 0 (all actions), got {self.among}")

    def sharpness(self, rounds: float, n_actions: FloatArray) -> FloatArray:
        """(B, 1) gamma after some rounds, given (B, 1) numbers of actions."""
        raise NotImplementedError

    def weights(self, gaps: FloatArray, best: FloatArray, n: FloatArray, gamma: FloatArray) -> FloatArray:
        """(B, A) probabilities of actions behind the best, from their gaps >= 0 (inverse gap weighting)."""
        weights: FloatArray = 1.0 / (n + gamma * gaps)
        return weights

    def base_distribution(self, ready: Ready, utilities: Float32Array, eligible: BoolArray) -> FloatArray:
        """(B, A) inverse gap weights, what they leave on the best action."""
        money = barred(utilities[0], eligible) / self.scale
        played = eligible if self.among == 0 else _best(money, self.among) & eligible
        winners, rows = money.argmax(axis=1), np.arange(money.shape[0])
        best, n = money[rows, winners][:, None], played.sum(axis=1, keepdims=True).astype(np.float64)
        gaps = np.where(played, best - np.where(played, money, best), 0.0)
        shares = np.where(played, self.weights(gaps, best, n, self.sharpness(ready.rounds, n)), 0.0)
        shares[rows, winners] = 0.0
        # Each context keeps its own remainder; it is at least 1 / n because no weight is larger.
        shares[rows, winners] = 1.0 - shares.sum(axis=1)
        return shares


class SquareCB(_GapWeighting, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="squarecb"):
    """p(a) = 1 / (K + gamma_t (u_best - u_a)), gamma_t = gamma (t + 1)^power; the rest on the best."""

    power: float = 0.5

    def sharpness(self, rounds: float, n_actions: FloatArray) -> FloatArray:
        """(B, 1) gamma (t + 1)^power."""
        return np.full_like(n_actions, self.gamma * (rounds + 1.0) ** self.power)


class FastCB(SquareCB, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="fastcb"):
    """p(a) = b / (K b + gamma_t (u_best - u_a)), b the best utility: explores less where rewards are rare."""

    def weights(self, gaps: FloatArray, best: FloatArray, n: FloatArray, gamma: FloatArray) -> FloatArray:
        """(B, A) reweighted inverse gaps; nothing is explored where nothing is worth while."""
        worth = np.maximum(best, 0.0)
        below = n * worth + gamma * gaps
        return np.divide(worth, below, out=np.zeros_like(gaps), where=below > 0)


class Falcon(_GapWeighting, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="falcon"):
    """Inverse gap weighting in epochs: a refit is published when the rounds have doubled.

    gamma_m = gamma sqrt(K t / (complexity + log(1 / delta))), t the rounds the fit has seen; `complexity`
    is the logarithm of the number of regressors, or the number of parameters. For nightly batch refits.
    """

    gamma: float = 1.0
    complexity: float = 50.0
    delta: float = 0.05

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        rule = f"must be finite and >= 0, got {self.complexity}"
        require(0 <= self.complexity < inf, "policy falcon", "complexity", rule)
        require(0 < self.delta < 1, "policy falcon", "delta", f"must lie in (0, 1), got {self.delta}")

    def sharpness(self, rounds: float, n_actions: FloatArray) -> FloatArray:
        """(B, 1) gamma of the epoch."""
        known = rounds / (self.complexity + log(1.0 / self.delta))
        gamma: FloatArray = self.gamma * np.sqrt(n_actions * known)
        return gamma

    def publishes(self, then: float, now: float) -> bool:
        """At the ends of epochs: where 1, 3, 7, ... 2^m - 1 rounds lie behind `now` and not behind `then`.

        Rounds are all that were ever watched, so that epochs go on under forgetting; gamma follows those
        that the published fit remembers.
        """
        return int(np.log2(now + 1.0)) > int(np.log2(then + 1.0))


def _best(money: FloatArray, among: int) -> BoolArray:
    """(B, A) the `among` largest of each row; of equals the smallest action rows."""
    order = np.argsort(-money, axis=1, kind="stable")[:, :among]
    best = np.zeros(money.shape, dtype=np.bool_)
    np.put_along_axis(best, order, True, axis=1)
    return best
