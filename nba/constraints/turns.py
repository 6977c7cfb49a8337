"""Members of one household in one batch: who is decided first, and what those who follow have to see.

A household's limit would be overshot if its members were decided side by side. They take turns instead, in
an order that the keys of their decisions draw, so that nobody always yields. Each is decided as if alone,
with the contacts of those before as history: every propensity is exact, given theirs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nba.arrays import BoolArray, IntArray, KeyArray, join_rows, take_rows
from nba.catalogue import NO_ACTION, Catalogue
from nba.constraints.local_time import DAY
from nba.constraints.look import history_in
from nba.context import ContactHistory, ContextBatch
from nba.decision import DecisionBatch
from nba.timing import waits_days


def turns_of(history: ContactHistory, keys: KeyArray) -> list[IntArray]:
    """Rows of the batch in turns: none holds two members of a household. One turn if no two share one."""
    codes: dict[object, int] = {}
    named = [(row,) if home is None else home for row, home in enumerate(history.households)]
    homes = np.array([codes.setdefault(name, len(codes)) for name in named], dtype=np.int64)
    order = np.lexsort((keys, homes))
    first = np.searchsorted(homes[order], homes[order])  # where the household begins
    turn = np.empty_like(homes)
    turn[order] = np.arange(homes.size) - first
    return [np.flatnonzero(turn == number) for number in range(int(turn.max(initial=0)) + 1)]


def in_turns(
    decide: Callable[[ContextBatch, KeyArray, BoolArray | None], DecisionBatch],
    contexts: ContextBatch,
    keys: KeyArray,
    requested: BoolArray | None,
    catalogue: Catalogue,
) -> DecisionBatch:
    """Decide turn after turn, each seeing what was decided in those before."""
    history = history_in(contexts)
    turns = turns_of(history, keys)
    if len(turns) == 1:
        return decide(contexts, keys, requested)
    made, parts = Household(contexts, history, catalogue), []
    for rows in turns:
        asked = None if requested is None else requested[rows]
        parts.append(decide(made.contexts(rows), keys[rows], asked))
        made.add(rows, parts[-1].actions)
    return take_rows(join_rows(parts), np.argsort(np.concatenate(turns)))


class Household:
    """The contacts decided so far in a batch, by household."""

    def __init__(self, contexts: ContextBatch, history: ContactHistory, catalogue: Catalogue) -> None:
        self._contexts, self._history, self._catalogue = contexts, history, catalogue
        self._waits = waits_days(catalogue, contexts.at, contexts.attributes)
        self._made: dict[object, list[tuple[int, int, int]]] = {}  # moment, channel, product

    def add(self, rows: IntArray, actions: IntArray) -> None:
        """Note what was decided about `rows` (n,)."""
        for row, action in zip(rows.tolist(), actions.tolist(), strict=True):
            home = self._history.households[row]
            if action != NO_ACTION and home is not None:
                wait = int(self._waits[row, self._catalogue.timing_of[action]])
                at = int(self._history.now[row]) + wait * DAY
                contact = at, int(self._catalogue.channel_of[action]), int(self._catalogue.product_of[action])
                self._made.setdefault(home, []).append(contact)

    def contexts(self, rows: IntArray) -> ContextBatch:
        """The contexts of `rows`, with what was decided about the other members."""
        history = take_rows(self._history, rows)
        new = [self._made.get(home, []) for home in history.households]
        more = np.zeros((3, rows.size, max(map(len, new), default=0)), dtype=np.int64)
        more[1:] = -1
        for place, contacts in enumerate(new):
            more[:, place, : len(contacts)] = np.array(contacts, dtype=np.int64).reshape(-1, 3).T
        flags = np.zeros(more.shape[1:], dtype=np.bool_)
        wider = history._replace(
            at=np.concatenate([history.at, more[0]], axis=1),
            channel=np.concatenate([history.channel, more[1]], axis=1),
            product=np.concatenate([history.product, more[2]], axis=1),
            refused=np.concatenate([history.refused, flags], axis=1),
            others=np.concatenate([history.others, ~flags], axis=1),
        )
        return self._contexts.take(rows)._replace(history=wider)
