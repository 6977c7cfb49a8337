"""Whether a log's propensities are those that its actions were chosen with: tests that seldom cry wolf.

A sum of independent terms with variances V and none above b in size strays from its mean by more than

    t = b L / 3 + sqrt((b L / 3)^2 + 2 V L),    L = log(2 / chance),

with at most that chance (Bernstein), however skewed weights are. A normal test of the same weights refuses
right logs far too often: one rare choice of propensity 1e-4 is many standard errors by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import NamedTuple

import numpy as np

from nba.arrays import FloatArray
from nba.ope.logged import LoggedRounds, table_ratios


class Deviations(NamedTuple):
    """Sums that have known means if propensities are right."""

    observed: FloatArray  # (m,)
    expected: FloatArray  # (m,)
    variances: FloatArray  # (m,)
    largest: FloatArray  # (m,) size of a single term
    one_sided: bool  # whether only too much is a contradiction

    def excess(self, chance: float) -> FloatArray:
        """(m,) deviations in units of what right propensities exceed with at most `chance` each."""
        level = log(2.0 / chance)
        slack = self.largest * level / 3.0
        bound = slack + np.sqrt(slack * slack + 2.0 * self.variances * level)
        gaps = self.observed - self.expected
        gaps = np.maximum(gaps, 0.0) if self.one_sided else np.abs(gaps)
        gaps = np.where(gaps <= 1e-9 * np.maximum(self.expected, 1.0), 0.0, gaps)  # rounding is no deviation
        excess: FloatArray = np.divide(gaps, bound, out=np.where(gaps > 0.0, np.inf, 0.0), where=bound > 0.0)
        return excess


class ArmSums(NamedTuple):
    """Per action, sums over rounds of what was chosen and what propensities promised; they add."""

    choices: FloatArray  # (A, 3) how often chosen, sum of mu, sum of mu (1 - mu)
    weights: FloatArray  # (A, 3) sum of 1[chosen] / mu, rounds in which it could be chosen, variances
    largest: FloatArray  # (A,) 1 / mu
    knows_logging: bool

    @staticmethod
    def of(rounds: LoggedRounds, n_actions: int) -> ArmSums:
        """The sums of one partition."""
        inverse, logging, support = 1.0 / rounds.propensities, rounds.logging, rounds.support()
        chosen, weighted, squares = (
            np.bincount(rounds.actions, column, n_actions) for column in (None, inverse, inverse * inverse)
        )
        possible = np.full(n_actions, rounds.n_rounds)
        if support is not None and not support.all():
            possible = support.sum(axis=0)
        if logging is None:  # the sample has to tell what was possible; squares are no less than variances
            largest, silent = np.zeros(n_actions), np.zeros((n_actions, 2))
            np.maximum.at(largest, rounds.actions, inverse)
            choices = np.column_stack([chosen, silent])
            return ArmSums(choices, np.column_stack([weighted, possible, squares]), largest, False)
        known, ones = table_ratios(1.0, logging), np.ones(rounds.n_rounds)
        promised = ones @ logging
        choices = np.column_stack([chosen, promised, promised - ones @ (logging * logging)])
        weights = np.column_stack([weighted, possible, ones @ known - possible])
        return ArmSums(choices, weights, known.max(axis=0, initial=0.0), True)

    def __add__(self, other: object) -> ArmSums:
        """The sums of both partitions."""
        if not isinstance(other, ArmSums):
            return NotImplemented
        return ArmSums(
            self.choices + other.choices,
            self.weights + other.weights,
            np.maximum(self.largest, other.largest),
            self.knows_logging and other.knows_logging,
        )

    def mean_weights(self) -> Deviations:
        """Sums of 1[chosen] / mu, which should be the rounds in which each action could be chosen.

        Where the log has no whole distribution, an eligible action may never be chosen in some contexts,
        and only too large a sum is a contradiction.
        """
        observed, expected, variances = self.weights.T
        return Deviations(observed, expected, variances, self.largest, one_sided=not self.knows_logging)

    def choice_counts(self) -> Deviations | None:
        """How often each action was chosen, beside the sum of its propensities; None if that is not known."""
        if not self.knows_logging:
            return None
        observed, expected, variances = self.choices.T
        return Deviations(observed, expected, variances, np.ones_like(self.largest), one_sided=False)

    def faults(self, chance: float, names: Sequence[str] = ()) -> tuple[str, ...]:
        """What the log contradicts, if propensities that are right would do so with at most `chance`.

        Sentences name actions by `names` (A,), or by number.
        """
        tests = [
            (self.mean_weights(), "have a sum of inverse propensities that"),
            (self.choice_counts(), "were chosen more or less often than"),
        ]
        asked = [(one, words) for one, words in tests if one is not None]
        each = chance / (len(asked) * self.largest.size)
        named = names or tuple(f"action {number}" for number in range(self.largest.size))
        return tuple(filter(None, (_fault(one, words, each, named) for one, words in asked)))


def _fault(tested: Deviations, words: str, chance: float, names: Sequence[str]) -> str:
    """A sentence on the actions that stray too far; empty if none does."""
    excess = tested.excess(chance)
    off = np.flatnonzero(excess > 1.0)
    if not off.size:
        return ""
    worst = int(excess.argmax())
    return (
        f"{off.size} of {excess.size} actions {words} right propensities give, most of all {names[worst]}: "
        f"{tested.observed[worst]:.1f} instead of {tested.expected[worst]:.1f}. Something filtered or "
        "rounded after the draw, or the propensities are of another policy."
    )
