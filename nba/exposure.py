"""The exposure ledger: open contacts, what has been watched of them, and whom a conversion is credited to.

Methods B1: a conversion is credited once, to the latest contact about the same product within its
attribution window; if there is none, it is organic. A newer contact about the same product closes
the older one, so that every customer-day of a product belongs to exactly one state.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.arrays import BoolArray, FloatArray, IntArray, KeyArray, join_rows, take_rows
from nba.feedback import N_INTERVALS, ExposureSchedule, RoundBatch
from nba.randomness import Purpose, keyed_uniforms


class Taught(NamedTuple):
    """Rows to learn from, with the customer of each."""

    customers: IntArray  # (n,) customer row
    rounds: RoundBatch


class OpenRounds(NamedTuple):
    """Rounds whose window is still open: contacts, and no-contact probes of one product each.

    Conversions wait in their round until the running interval passes, and a round that a newer contact
    closes still tells what was watched of its running interval: a conversion never counts without its
    exposure, otherwise every censored round would look too good.
    """

    rounds: IntArray  # (n,) number of the decision in its log
    customers: IntArray  # (n,) customer row
    actions: IntArray  # (n,) 0 for a probe
    products: IntArray  # (n,)
    opened: IntArray  # (n,) day the contact is made
    interval: IntArray  # (n,) the running interval
    conversions: FloatArray  # (n,) in the running interval
    features: FloatArray  # (n, K)

    @staticmethod
    def none(n_columns: int) -> OpenRounds:
        """An empty ledger."""
        empty = np.zeros(0, dtype=np.int64)
        return OpenRounds(empty, empty, empty, empty, empty, empty, np.zeros(0), np.zeros((0, n_columns)))

    def holds(self, customers: IntArray, products: IntArray) -> BoolArray:
        """(n,) whether a round is open on these customers and products."""
        return np.isin(_cell(customers, products), _cell(self.customers, self.products))

    def opening(self, new: OpenRounds, day: int, schedule: ExposureSchedule) -> tuple[OpenRounds, Taught]:
        """With `new` rounds opened on a day; older ones on the same customer and product are closed.

        Also returns what the closed rounds teach about the part of their interval that was watched.
        """
        stale = new.holds(self.customers, self.products)
        closed, kept = take_rows(self, stale), take_rows(self, ~stale)
        begins = schedule.begins(closed.products, closed.interval)
        ages = np.maximum((day - closed.opened).astype(np.float64), begins)
        watched = take_rows(closed, ages > begins)
        taught = watched._rows(begins[ages > begins], ages[ages > begins], schedule)
        return join_rows([kept, new]), taught

    def credit(self, customers: IntArray, products: IntArray, day: int) -> tuple[OpenRounds, IntArray]:
        """Conversions (n,) of a day: the ledger that holds them, and (n,) credited rounds, -1 if organic.

        Only contacts are credited; a conversion on a no-contact probe is organic but still held.
        """
        place = self.find(customers, products, day)
        found, hits = place >= 0, place[place >= 0]
        credited = np.full(place.size, -1, dtype=np.int64)
        credited[found] = np.where(self.actions[hits] > 0, self.rounds[hits], -1)
        held = self.conversions.copy()
        np.add.at(held, hits, 1.0)
        return self._replace(conversions=held), credited

    def find(self, customers: IntArray, products: IntArray, day: int) -> IntArray:
        """(n,) row of the round that is open on a day for each customer and product, -1 where none is."""
        order = np.argsort(_cell(self.customers, self.products), kind="stable")
        cells = _cell(self.customers, self.products)[order]
        wanted = _cell(customers, products)
        slot = np.searchsorted(cells, wanted)
        inside = slot < cells.size
        found = np.zeros(wanted.size, dtype=np.bool_)
        found[inside] = cells[slot[inside]] == wanted[inside]
        # A contact planned for a later day cannot have caused this conversion.
        found[found] = self.opened[order[slot[found]]] <= day
        rows = np.full(wanted.size, -1, dtype=np.int64)
        rows[found] = order[slot[found]]
        return rows

    def passing(self, day: int, schedule: ExposureSchedule) -> tuple[OpenRounds, Taught]:
        """Close every interval that ends with `day`: the remaining ledger and what the intervals teach."""
        ends = self.opened + schedule.cuts_days[self.products, self.interval] - 1
        ending = ends <= day
        done = take_rows(self, ending)
        begins = schedule.begins(done.products, done.interval)
        taught = done._rows(
            begins, schedule.cuts_days[done.products, done.interval].astype(np.float64), schedule
        )
        interval = self.interval + ending
        held = np.where(ending, 0.0, self.conversions)
        moved = self._replace(interval=interval, conversions=held)
        return take_rows(moved, interval < N_INTERVALS), taught

    def _rows(self, begins: FloatArray, ends: FloatArray, schedule: ExposureSchedule) -> Taught:
        """All rounds of this ledger as rows, watched between two ages (n,) in days."""
        shares = schedule.watched(self.products, begins, ends, self.actions > 0)
        rounds = RoundBatch(self.features, self.actions, self.products, self.conversions, *shares)
        return Taught(self.customers, rounds)


def probe_products(keys: KeyArray, seed: int, n_products: int) -> IntArray:
    """(B,) the one product whose organic conversions a no-contact decision is watched for.

    Drawn evenly, keyed by the decision: watching one product in twenty is enough to learn the
    organic rates, and it costs a twentieth of the rows.
    """
    uniforms = keyed_uniforms(seed, Purpose.PROBE, keys)
    return np.floor(uniforms * n_products).astype(np.int64)


def _cell(customers: IntArray, products: IntArray) -> IntArray:
    """One integer per (customer, product)."""
    return customers * 4096 + products
