"""Greedy play on the posterior mean, with epsilon of exploration (Sutton and Barto 2018, 2.2)."""

from __future__ import annotations

from math import inf
from typing import Literal, TypeAlias

from nba.arrays import BoolArray, Float32Array, FloatArray
from nba.errors import require
from nba.policies.base import PolicyBase, Ready, even
from nba.propensity import win_shares

EpsilonSchedule: TypeAlias = Literal["constant", "cube_root", "explore_first"]


class Greedy(PolicyBase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="greedy"):
    """Play the largest mean utility; the strategy's floor supplies the exploration."""

    def base_distribution(self, ready: Ready, utilities: Float32Array, eligible: BoolArray) -> FloatArray:
        """(B, A) all probability on the best action."""
        return win_shares(utilities, eligible)


class EpsilonGreedy(PolicyBase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="epsilon_greedy"):
    """The best action with probability 1 - epsilon, an even one of all eligible actions else.

    Schedules over t rounds: `constant`; `cube_root`, epsilon (t + 1)^(-1/3), the rate of
    explore-then-exploit; `explore_first`, everything even for `first_rounds` and `epsilon` afterwards.
    Unlike the strategy's floor it explores dear channels too.
    """

    epsilon: float = 0.1
    schedule: EpsilonSchedule = "constant"
    first_rounds: float = 1000.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        rule = f"must lie in [0, 1], got {self.epsilon}"
        require(0 <= self.epsilon <= 1, "policy epsilon_greedy", "epsilon", rule)
        rule = f"must be finite and >= 0, got {self.first_rounds}"
        require(0 <= self.first_rounds < inf, "policy epsilon_greedy", "first_rounds", rule)

    def exploration(self, rounds: float) -> float:
        """Epsilon after some rounds."""
        if self.schedule == "cube_root":
            return float(self.epsilon * (rounds + 1.0) ** (-1.0 / 3.0))
        is_first = self.schedule == "explore_first" and rounds < self.first_rounds
        return 1.0 if is_first else self.epsilon

    def base_distribution(self, ready: Ready, utilities: Float32Array, eligible: BoolArray) -> FloatArray:
        """(B, A) epsilon even, the rest on the best action."""
        epsilon = self.exploration(ready.rounds)
        return (1.0 - epsilon) * win_shares(utilities, eligible) + epsilon * even(eligible)
