"""Lossless pruning: of actions that use the same and share all caps, only the best can be chosen.

Two candidates of one kind never change places under any prices, and any plan that takes the worse of them
without the better can take the better instead. So the q best of a kind suffice, q being the smallest cap
that the kind is under (methods D2). Pruning by value alone would not be safe: it deletes the cheap actions
that win when the dear ones are used up. Prune after the posterior draw is fixed: each has its own best.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.allocation.problem import Kinds, Problem, Rows, problem_of
from nba.arrays import AnyArray, IntArray, KeyArray, check_shape


class Pruned(NamedTuple):
    """What is left of all actions: columns belong to kinds, so every customer's column is of one kind."""

    actions: IntArray  # (B, K) columns of the values that were pruned
    values: AnyArray  # (B, K) account currency; -inf where there is no candidate
    kind_of: IntArray  # (K,), or (B, K) where that depends on the customer


def prune(values: AnyArray, kind_of: IntArray, kinds: Kinds, caps: IntArray) -> Pruned:
    """The best actions of each kind, by values (B, A) and kinds of actions (A,); of equals the first.

    An action that a customer may not get has the value -inf. Negative values stay: a guarantee may pay
    for them. Raises ShapeMismatch.
    """
    check_shape(values, (None, kind_of.size), "values")
    rows, keep = np.arange(values.shape[0])[:, None], caps[kinds.groups].min(axis=1)
    actions, left = [], []
    for kind in np.unique(kind_of):
        members = np.flatnonzero(kind_of == kind)
        own, most = values[:, members], min(int(keep[kind]), members.size)
        best = own.argmax(axis=1)[:, None] if most == 1 else np.argsort(-own, axis=1, kind="stable")[:, :most]
        actions.append(members[best])
        left.append(own[rows, best])
    columns = np.repeat(np.unique(kind_of), [one.shape[1] for one in left])
    return Pruned(np.concatenate(actions, axis=1), np.concatenate(left, axis=1), columns)


def problem_of_pruned(
    keys: KeyArray, pruned: Pruned, kinds: Kinds, rows: Rows, caps: IntArray
) -> tuple[Problem, IntArray]:
    """The problem of customers (B,), in the order of their keys, and the action (n,) of each candidate there.

    Customers without a candidate must be left out before; problem_of says so.
    """
    order = np.argsort(keys, kind="stable")  # so that actions belong to the problem
    keys, pruned = keys[order], Pruned(pruned.actions[order], pruned.values[order], pruned.kind_of)
    there = pruned.values > -np.inf
    starts = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
    own = pruned.kind_of[order] if pruned.kind_of.ndim == 2 else pruned.kind_of
    kind_of = np.broadcast_to(own, there.shape)[there].astype(np.min_scalar_type(kinds.n_kinds))
    problem = problem_of(keys, starts, kind_of, pruned.values[there], kinds, rows, caps)
    return problem, pruned.actions[there]
