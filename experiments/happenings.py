"""What has happened to the customers of a block, as far back as rules about outcomes look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nba.apprentice import Decider, Tutored
from nba.arrays import IntArray, join_rows, take_rows
from nba.catalogue import Catalogue
from nba.constraints import Happened, Rest, rests_of
from nba.constraints.suppression import CODES, Counting
from nba.context import ContextBatch
from nba.snapshot import Snapshot
from simulator.state import Conversions, Responses

_OF_RESPONSES = ("contacted", "delivered", "seen", "engaged", "opted_out", "complained")


class Dated(NamedTuple):
    """Contacts and what came of them, by the day on which they happen."""

    customers: IntArray  # (n,) row of the block
    codes: IntArray  # (n,) as in Happened
    channels: IntArray  # (n,) -1 where it is not known
    products: IntArray  # (n,)
    days: IntArray  # (n,)


class Happenings(NamedTuple):
    """All that rules ask about; without such rules nothing is kept."""

    rules: dict[Rest, Counting]
    catalogue: Catalogue
    dated: Dated

    @staticmethod
    def none(decider: Decider, catalogue: Catalogue) -> Happenings:
        """Nothing yet, for the rules of everybody who may decide or be compared."""
        deciders = [decider.learner, decider.rules] if isinstance(decider, Tutored) else [decider]
        return Happenings.of(deciders, catalogue)

    @staticmethod
    def of(deciders: Sequence[Snapshot], catalogue: Catalogue) -> Happenings:
        """Nothing yet, for the rules of all of them."""
        strategies = [one.strategy for one in deciders]
        rules = {rule: counting for one in strategies for rule, counting in one.rulebook.rests.items()}
        nothing = np.zeros(0, dtype=np.int64)
        return Happenings(rules, catalogue, Dated(*[nothing] * len(Dated._fields)))

    def onto(self, contexts: ContextBatch, rows: IntArray, day: int) -> ContextBatch:
        """The contexts of customers `rows` (B,) on a day, with the contacts that rest under each rule."""
        if not self.rules:
            return contexts
        old = self.dated
        place = np.full(1 + max(old.customers.max(initial=-1), rows.max(initial=-1)), -1)
        place[rows] = np.arange(rows.size)
        mine = take_rows(old, place[old.customers] >= 0)
        ages = (day - mine.days).astype(np.float64)
        happened = Happened(place[mine.customers], mine.codes, mine.channels, mine.products, ages)
        return contexts._replace(rests=rests_of(self.rules, happened, rows.size))

    def after(
        self, rows: IntArray, actions: IntArray, responses: Responses, sold: Conversions, day: int
    ) -> Happenings:
        """With a day's contacts, on the day on which they are made, and its sales; the old is forgotten.

        `actions` (B,) were decided for the customers `rows` (B,) of the block. Sales count on no channel: a
        bank sees what was bought, and not what brought it about.
        """
        if not self.rules:
            return self
        parts = [self.dated]
        for name in _OF_RESPONSES:
            hit = np.flatnonzero(responses.contacted & getattr(responses, name))
            channels, products = (of[actions[hit]] for of in self._factors)
            codes, days = np.full_like(hit, CODES[name]), day + responses.waits[hit]
            parts.append(Dated(rows[hit], codes, channels, products, days))
        codes, nowhere, days = (np.full_like(sold.customers, n) for n in (CODES["converted"], -1, day))
        parts.append(Dated(sold.customers, codes, nowhere, sold.products, days))
        joined, memory = join_rows(parts), max(rule.memory_days for rule in self.rules)
        return self._replace(dated=take_rows(joined, joined.days > day - memory))

    @property
    def _factors(self) -> tuple[IntArray, IntArray]:
        return self.catalogue.channel_of, self.catalogue.product_of
