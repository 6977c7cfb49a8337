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
and that is what is logged. Where a row is for some customers only, such as those of one manager, the same
action is of another kind for others; nothing else changes.

Shape letters: B customers, A actions (column 0 is no-contact), J rows, V kinds, G groups of customers who use
the same rows, U uses of actions that differ.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.arrays import BoolArray, FloatArray, IntArray, check_shape
from nba.catalogue import NO_ACTION
from nba.errors import require
from nba.propensity import choose

_ROUNDING = 1e-12


class Drawn(NamedTuple):
    """Decisions of a batch, and the exact distribution that each was drawn from."""

    actions: IntArray  # (B,)
    distribution: FloatArray  # (B, A) given what the others drew

    @property
    def propensities(self) -> FloatArray:
        """(B,) probability of each decision."""
        picked: FloatArray = self.distribution[np.arange(self.actions.size), self.actions]
        return picked


def reserved(limits: FloatArray) -> FloatArray:
    """(J,) limits to solve prices for, so that independent draws rarely overflow: B - 3 sqrt(B)."""
    return np.maximum(limits - 3.0 * np.sqrt(np.maximum(limits, 0.0)), 0.0)


class _Kinds(NamedTuple):
    """What contacts use, by whose contacts they are."""

    uses: FloatArray  # (V, J) units
    of: IntArray  # (G, U) kind
    alike: IntArray  # (A,) which of the U each action is
    group: IntArray  # (B,)

    @staticmethod
    def made(uses: FloatArray, groups: BoolArray, group: IntArray) -> _Kinds:
        """Of uses (A, J) by customers of groups who use rows (G, J)."""
        different, alike = np.unique(uses, axis=0, return_inverse=True)
        used = (different * groups[:, None]).reshape(-1, uses.shape[1])
        kinds, of = np.unique(used, axis=0, return_inverse=True)
        return _Kinds(kinds, of.reshape(len(groups), len(different)), alike.ravel(), group)

    def drawn(self, actions: IntArray) -> IntArray:
        """(B,) the kinds of customers' actions (B,)."""
        found: IntArray = self.of[self.group, self.alike[actions]]
        return found


def draw(
    distribution: FloatArray, uses: FloatArray, limits: FloatArray, uniforms: FloatArray, ranks: FloatArray,
    members: BoolArray | None = None,
) -> Drawn:  # fmt: skip
    """Draw for all customers, and settle what overflows by lottery.

    distribution (B, A) at frozen prices, uses (A, J) and limits (J,) in units, all >= 0 and no-contact
    uses nothing; uniforms (B,) for the draws and others, ranks (B,), for the lottery, both in [0, 1).
    members (B, J) says which rows a customer's contacts use; without it all.
    """
    n_customers, n_actions = distribution.shape
    check_shape(uses, (n_actions, limits.size), "uses")
    check_shape(ranks, (n_customers,), "ranks")
    for array, name in ((uses, "uses"), (limits, "limits")):
        require(bool((array >= 0.0).all()), "lottery", name, "must be >= 0: a floor has no lottery")
    require(not uses[NO_ACTION].any(), "lottery", "uses[0]", "no-contact must use nothing")
    kinds = _Kinds.made(uses, *grouped(members, (n_customers, limits.size)))
    drawn = choose(distribution, uniforms)
    mine = kinds.drawn(drawn)
    counts = np.bincount(mine, minlength=len(kinds.uses))
    numbers = _accepted(counts[None], kinds.uses, limits)[0]
    order = np.lexsort((ranks, mine))
    place = np.arange(n_customers) - np.searchsorted(mine[order], mine[order])
    kept = np.empty(n_customers, dtype=np.bool_)
    kept[order] = place < numbers[mine[order]]
    actions = np.where(kept, drawn, NO_ACTION)
    return Drawn(actions, _exact(distribution, mine, counts, kinds, limits))


def grouped(members: BoolArray | None, shape: tuple[int, int]) -> tuple[BoolArray, IntArray]:
    """(G, J) rows that groups of customers use, and the group of each (B,); `shape` is (B, J)."""
    if members is None:
        return np.ones((1, shape[1]), dtype=np.bool_), np.zeros(shape[0], dtype=np.int64)
    check_shape(members, shape, "members")
    groups, group = np.unique(members, axis=0, return_inverse=True)
    return groups, group.ravel()


def _accepted(counts: IntArray, kinds: FloatArray, limits: FloatArray) -> IntArray:
    """(m, V) customers of each kind that are accepted of counts (m, V)."""
    usage = counts @ kinds
    fits = np.divide(limits, usage, out=np.ones_like(usage, dtype=np.float64), where=usage > limits)
    kappa = np.ones(counts.shape)
    for row in range(limits.size):
        users = np.flatnonzero(kinds[:, row] > 0.0)
        kappa[:, users] = np.minimum(kappa[:, users], fits[:, row, None])
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
    distribution: FloatArray, mine: IntArray, counts: IntArray, kinds: _Kinds, limits: FloatArray
) -> FloatArray:
    """(B, A) the distribution of the decision given the draws of all others; kinds drawn (B,), counts (V,).

    The others' counts are known once the customer's own draw is taken away, and the kind that it might
    have drawn is added to them: one row of acceptance numbers for each kind that was drawn and each that
    whoever drew it might have drawn.
    """
    n_kinds = len(kinds.uses)
    met = np.unique(np.stack([mine, kinds.group]), axis=1)
    had, other = np.divmod(np.unique(met[0][:, None] * n_kinds + kinds.of[met[1]]), n_kinds)
    one, each = np.eye(n_kinds, dtype=np.int64), np.arange(had.size)
    would = counts - one[had] + one[other]
    numbers = _accepted(would, kinds.uses, limits)
    shares = np.ones((n_kinds, n_kinds))
    shares[had, other] = numbers[each, other] / np.maximum(would[each, other], 1)
    exact: FloatArray = distribution * shares[mine[:, None], kinds.of[kinds.group][:, kinds.alike]]
    exact[:, NO_ACTION] = 0.0
    exact[:, NO_ACTION] = np.maximum(1.0 - exact.sum(axis=1), 0.0)  # rounding may exceed 1 by a hair
    return exact
