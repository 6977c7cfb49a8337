"""Batch decisions that explore: frozen prices, independent draws, and a lottery where they overflow.

A value-sorted repair would make the probability of a decision depend on everybody else's values. Instead
prices are solved once and frozen, every customer draws from its own distribution at these prices, and if a
row overflows all the same, the drawn actions are put through a lottery that only counts heads (methods D5,
made hard): with n_k customers who drew an action of kind k, and kappa_k = min over its rows of limit over
usage, m_k = floor(kappa_k n_k) of them are accepted by rank of their uniforms, and the others get no-contact.

    usage_j = sum_k r_kj m_k <= sum_k r_kj n_k min(1, B_j / U_j) <= B_j      (r >= 0)

so that no limit is overshot. What this leaves is given out too, kind by kind, beginning with the smallest
m_k / n_k, until nobody who was turned away fits. The numbers m follow from the numbers n alone: given what
the others drew, a customer that draws an action of kind k is accepted with probability exactly m_k / n_k,
and that is what is logged.

Shape letters: B customers, A actions (column 0 is no-contact), J rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.arrays import FloatArray, IntArray, check_shape
from nba.catalogue import NO_ACTION
from nba.errors import require
from nba.propensity import choose

_ROUNDING = 1e-12


class Drawn(NamedTuple):
    """Decisions of a batch, and the exact distribution that each was drawn from."""

    actions: IntArray  # (B,)
    distribution: FloatArray  # (B, A) given what the others drew
    accepted: FloatArray  # (A,) share of those who drew an action that kept it; 1 where nobody did

    @property
    def propensities(self) -> FloatArray:
        """(B,) probability of each decision."""
        picked: FloatArray = self.distribution[np.arange(self.actions.size), self.actions]
        return picked


def reserved(limits: FloatArray) -> FloatArray:
    """(J,) limits to solve prices for, so that independent draws rarely overflow: B - 3 sqrt(B)."""
    return np.maximum(limits - 3.0 * np.sqrt(np.maximum(limits, 0.0)), 0.0)


def draw(
    distribution: FloatArray, uses: FloatArray, limits: FloatArray, uniforms: FloatArray, ranks: FloatArray
) -> Drawn:
    """Draw for all customers, and settle what overflows by lottery.

    distribution (B, A) at frozen prices, uses (A, J) and limits (J,) in units, all >= 0 and no-contact
    uses nothing; uniforms (B,) for the draws and others, ranks (B,), for the lottery, both in [0, 1).
    """
    n_customers, n_actions = distribution.shape
    check_shape(uses, (n_actions, limits.size), "uses")
    check_shape(ranks, (n_customers,), "ranks")
    for array, name in ((uses, "uses"), (limits, "limits")):
        require(bool((array >= 0.0).all()), "lottery", name, "must be >= 0: a floor has no lottery")
    require(not uses[NO_ACTION].any(), "lottery", "uses[0]", "no-contact must use nothing")
    kinds, kind_of = np.unique(uses, axis=0, return_inverse=True)
    kind_of = kind_of.ravel()
    drawn = choose(distribution, uniforms)
    counts = np.bincount(kind_of[drawn], minlength=len(kinds))
    numbers = _accepted(counts[None], kinds, limits)[0]
    order = np.lexsort((ranks, kind_of[drawn]))
    place = np.arange(n_customers) - np.searchsorted(kind_of[drawn][order], kind_of[drawn][order])
    kept = np.empty(n_customers, dtype=np.bool_)
    kept[order] = place < numbers[kind_of[drawn][order]]
    actions = np.where(kept, drawn, NO_ACTION)
    exact = _exact(distribution, drawn, counts, kinds, kind_of, limits)
    share = np.where(counts > 0, numbers / np.maximum(counts, 1), 1.0)[kind_of]
    return Drawn(actions, exact, share)


def _accepted(counts: IntArray, kinds: FloatArray, limits: FloatArray) -> IntArray:
    """(m, V) customers of each kind that are accepted of counts (m, V)."""
    usage = counts @ kinds
    fits = np.divide(limits, usage, out=np.ones_like(usage, dtype=np.float64), where=usage > limits)
    kappa = np.ones(counts.shape)
    for row in range(limits.size):
        kappa = np.where(kinds[:, row] > 0.0, np.minimum(kappa, fits[:, row, None]), kappa)
    # A whole number that rounding has put a hair below is meant.
    numbers: IntArray = np.floor(kappa * counts * (1.0 + _ROUNDING)).astype(np.int64)
    short = np.flatnonzero((numbers < counts).any(axis=1))
    numbers[short] = _topped_up(numbers[short], counts[short], kinds, limits)
    return numbers


def _topped_up(numbers: IntArray, counts: IntArray, kinds: FloatArray, limits: FloatArray) -> IntArray:
    """(m, V) numbers with as many more of each kind as there is room for, the worst served kind first."""
    numbers, rows = numbers.copy(), np.arange(numbers.shape[0])
    left = limits * (1.0 + _ROUNDING) - numbers @ kinds
    order = np.argsort(numbers / np.maximum(counts, 1), axis=1, kind="stable")
    for kind in order.T:
        uses = kinds[kind]
        room = np.divide(left, uses, out=np.full(uses.shape, np.inf), where=uses > 0.0).min(
            axis=1, initial=np.inf
        )
        missing = counts[rows, kind] - numbers[rows, kind]
        more = np.minimum(np.floor(room), missing).astype(np.int64)
        numbers[rows, kind] += more
        left -= more[:, None] * uses
    return numbers


def _exact(
    distribution: FloatArray, drawn: IntArray, counts: IntArray, kinds: FloatArray, kind_of: IntArray,
    limits: FloatArray,
) -> FloatArray:  # fmt: skip
    """(B, A) the distribution of the decision given the draws of all others.

    The others' counts are known once the customer's own draw is taken away, and the kind that it might
    have drawn is added to them: one row of acceptance probabilities for each kind that was drawn.
    """
    exact, own, one = distribution.copy(), kind_of[drawn], np.eye(len(kinds), dtype=np.int64)
    present = np.flatnonzero(counts)
    would = counts - one[present][:, None] + one  # (those drawn, V that might have been, V)
    numbers = _accepted(would.reshape(-1, len(kinds)), kinds, limits).reshape(would.shape)
    shares = (numbers / np.maximum(would, 1)).diagonal(axis1=1, axis2=2)  # (those drawn, V)
    for kind, share in zip(present, shares, strict=True):
        exact[own == kind] *= share[kind_of]
    exact[:, NO_ACTION] = 0.0
    exact[:, NO_ACTION] = np.maximum(1.0 - exact.sum(axis=1), 0.0)  # rounding may exceed 1 by a hair
    return exact
