"""Action distributions and the choice from them: the one place where propensities are made.

pi(a) = (1 - epsilon) base(a) + epsilon u(a) over the eligible actions (methods A4). The base is the
policy's; for a policy of M draws it is the share of draws that the action wins. What is logged is
what these functions return; no second formula exists.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from nba.arrays import BoolArray, Float32Array, FloatArray, IntArray, check_shape
from nba.catalogue import NO_ACTION
from nba.errors import InvalidConfig
from nba.kernels import compiled


class Floor(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The small exploration probability kept on eligible actions.

    `epsilon` is spread as `no_contact_share` on no-contact and the rest evenly over the eligible
    contacts that cost at most `max_cost` (account currency): dear channels are not explored blindly.
    `most_exploration` caps the probability of everything but the best action, whoever explores: the
    policy or the floor. What is above is given to the best action; no probability becomes zero.
    """

    epsilon: float = 0.0
    no_contact_share: float = 0.5
    max_cost: float = 1.0
    most_exploration: float = 1.0

    def __post_init__(self) -> None:
        """Check the probabilities."""
        for name in ("epsilon", "no_contact_share", "most_exploration"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InvalidConfig("floor", name, f"must lie in [0, 1], got {getattr(self, name)}")
        if not self.max_cost >= 0.0:
            raise InvalidConfig("floor", "max_cost", f"must be >= 0, got {self.max_cost}")

    def distribution(self, eligible: BoolArray, costs: FloatArray) -> FloatArray:
        """(B, A) the distribution u that `epsilon` is spread by."""
        cheap = eligible & (costs <= self.max_cost)
        cheap[:, NO_ACTION] = False
        n_cheap, silent = cheap.sum(axis=1), eligible[:, NO_ACTION]
        of_contacts: FloatArray | float = 1.0 - self.no_contact_share
        if np.count_nonzero(silent) < silent.size:  # without silence and cheap contacts any contact must do
            cheap = np.where(((n_cheap > 0) | silent)[:, None], cheap, eligible & ~silent[:, None])
            n_cheap, of_contacts = cheap.sum(axis=1), np.where(silent, of_contacts, 1.0)
        contact_share = (n_cheap > 0) * of_contacts
        spread: FloatArray = cheap * (contact_share / np.maximum(n_cheap, 1))[:, None]
        spread[:, NO_ACTION] = 1.0 - contact_share
        return spread

    def mix(self, base: FloatArray, eligible: BoolArray, costs: FloatArray) -> FloatArray:
        """(B, A) the policy's distribution with the floor mixed in."""
        if self.epsilon == 0.0:
            return base
        kernels = compiled("propensity")
        of = Floor.mix_numpy if kernels is None else kernels.mix
        mixed: FloatArray = of(self, base, eligible, costs)
        return mixed

    def mix_numpy(self, base: FloatArray, eligible: BoolArray, costs: FloatArray) -> FloatArray:
        """(B, A) the definition of `mix`."""
        mixed = self.distribution(eligible, costs)
        mixed *= self.epsilon
        mixed += (1.0 - self.epsilon) * base
        return mixed

    def capped(self, distribution: FloatArray, expected_values: FloatArray) -> FloatArray:
        """(B, A) the distribution with no more exploration than allowed.

        The best action is that of the largest of expected_values (B, A), -inf where not eligible.
        """
        if self.most_exploration == 1.0:
            return distribution
        best = expected_values.argmax(axis=1)[:, None]
        explored = 1.0 - np.take_along_axis(distribution, best, axis=1)
        too_much = explored > self.most_exploration
        capped = distribution * (self.most_exploration / np.maximum(explored, self.most_exploration or 1.0))
        np.put_along_axis(capped, best, 1.0 - self.most_exploration, axis=1)
        return np.where(too_much, capped, distribution)


def win_shares(utilities: Float32Array, eligible: BoolArray) -> FloatArray:
    """(M, B, A) utilities and (B, A) eligibility to (B, A) shares of draws that each action wins.

    Ties go to the smallest action row, so that no-contact wins against an equal contact.
    """
    n_draws, n_contexts, n_actions = utilities.shape
    check_shape(eligible, (n_contexts, n_actions), "eligible")
    barrier = np.where(eligible, np.float32(0.0), np.float32(np.inf))
    barred = utilities - barrier  # several times faster than np.where on (M, B, A)
    winners = barred.argmax(axis=2)
    # argmax takes a NaN for the largest value, and would hand it an action that no rule allows; so it is
    # enough to look at the winners.
    rows = np.arange(n_contexts)
    if np.isnan(barred[np.arange(n_draws)[:, None], rows, winners]).any():
        raise FloatingPointError("A utility is not a number; the posterior, a price or a feature is damaged.")
    if n_draws == 1:
        certain = np.zeros((n_contexts, n_actions))
        certain[rows, winners[0]] = 1.0
        return certain
    cells = (winners + n_actions * rows).ravel()
    wins = np.bincount(cells, minlength=n_contexts * n_actions).reshape(n_contexts, n_actions)
    shares: FloatArray = wins / n_draws
    return shares


def choose(distribution: FloatArray, uniforms: FloatArray) -> IntArray:
    """(B, A) distribution and (B,) uniforms in [0, 1) to (B,) actions, by walking the cumulative sum.

    An action of probability zero is never chosen, not even when rounding leaves the sum below one.
    """
    return draw(distribution, uniforms)[0]


def draw(distribution: FloatArray, uniforms: FloatArray) -> tuple[IntArray, FloatArray]:
    """(B,) actions as of `choose`, and the probability of each."""
    check_shape(uniforms, (distribution.shape[0],), "uniforms")
    kernels = compiled("propensity")
    of = draw_numpy if kernels is None else kernels.draw
    drawn: tuple[IntArray, FloatArray] = of(distribution, uniforms)
    return drawn


def draw_numpy(distribution: FloatArray, uniforms: FloatArray) -> tuple[IntArray, FloatArray]:
    """The definition of `draw`."""
    actions = choose_numpy(distribution, uniforms)
    return actions, probability_of(distribution, actions)


def choose_numpy(distribution: FloatArray, uniforms: FloatArray) -> IntArray:
    """(B,) the definition of `choose`."""
    cumulative = np.cumsum(distribution, axis=1)
    below = (cumulative <= uniforms[:, None]).sum(axis=1)
    if below.max(initial=0) == distribution.shape[1]:
        last = distribution.shape[1] - 1 - (distribution[:, ::-1] > 0).argmax(axis=1)
        below = np.minimum(below, last)
    actions: IntArray = below
    return actions


def probability_of(distribution: FloatArray, actions: IntArray) -> FloatArray:
    """(B,) probability of one action per context."""
    picked: FloatArray = distribution[np.arange(actions.size), actions]
    return picked
