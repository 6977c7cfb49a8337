"""The exposure ledger: open contacts, what has been watched of them, and whom a conversion is credited to.

Methods B1: a conversion is credited once, to the latest contact about the same product within its
attribution window; if there is none, it is organic. A newer contact about the same product closes
the older one, so that every customer-day of a product belongs to exactly one state.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.arrays import BoolArray, FloatArray, IntArray, KeyArray
from nba.feedback import N_INTERVALS, ExposureSchedule, RoundBatch
from nba.randomness import Purpose, keyed_uniforms


class Taught(NamedTuple):
    """Rows to learn from, with the customer of each."""

    customers: IntArray  # (n,) customer row
    rounds: RoundBatch


class OpenRounds(NamedTuple):
    """Rounds whose window is still open: contacts, and no-contact probes of one product each."""

    rounds: IntArray  # (n,) number of the decision in its log
    customers: IntArray  # (n,) customer row
    actions: IntArray  # (n,) 0 for a probe
    products: IntArray  # (n,)
    opened: IntArray  # (n,) day the contact is made
    interval: IntArray  # (n,) next interval to close
    features: FloatArray  # (n, K)

    @staticmethod
    def none(n_columns: int) -> OpenRounds:
        """An empty ledger."""
        empty = np.zeros(0, dtype=np.int64)
        return OpenRounds(empty, empty, empty, empty, empty, empty, np.zeros((0, n_columns)))

    def take(self, keep: BoolArray | IntArray) -> OpenRounds:
        """The rounds of a mask or of indices."""
        return OpenRounds(*(column[keep] for column in self))

    def holds(self, customers: IntArray, products: IntArray) -> BoolArray:
        """(n,) is a round open on these customers and products?"""
        return np.isin(_cell(customers, products), _cell(self.customers, self.products))

    def opening(self, new: OpenRounds) -> OpenRounds:
        """With `new` rounds opened; older rounds on the same customer and product are closed."""
        kept = self.take(~new.holds(self.customers, self.products))
        return OpenRounds(*(np.concatenate(pair) for pair in zip(kept, new, strict=True)))

    def credit(
        self, customers: IntArray, products: IntArray, day: int, schedule: ExposureSchedule
    ) -> tuple[IntArray, Taught]:
        """Conversions (n,) of a day to (n,) credited rounds, -1 if organic, and the rows they teach.

        Only contacts are credited; a conversion on a no-contact probe is organic but still teaches.
        """
        order = np.argsort(_cell(self.customers, self.products), kind="stable")
        cells = _cell(self.customers, self.products)[order]
        wanted = _cell(customers, products)
        slot = np.minimum(np.searchsorted(cells, wanted), max(cells.size - 1, 0))
        found = np.zeros(wanted.size, dtype=np.bool_) if cells.size == 0 else cells[slot] == wanted
        hits = order[slot[found]] if cells.size else np.zeros(0, dtype=np.int64)
        # A contact planned for a later day cannot have caused this conversion.
        begun = self.opened[hits] <= day
        found[np.flatnonzero(found)[~begun]] = False
        hits = hits[begun]
        credited = np.full(wanted.size, -1, dtype=np.int64)
        credited[found] = np.where(self.actions[hits] > 0, self.rounds[hits], -1)
        ages = (day - self.opened[hits] + 1).astype(np.float64)
        intervals = np.minimum(schedule.interval(self.products[hits], ages), N_INTERVALS - 1)
        return credited, self._rows(hits, intervals, schedule, converted=True)

    def passing(self, day: int, schedule: ExposureSchedule) -> tuple[OpenRounds, Taught]:
        """Close every interval that ends with `day`: the remaining ledger and the rows of exposure."""
        ends = self.opened + schedule.cuts_days[self.products, self.interval] - 1
        ending = np.flatnonzero(ends <= day)
        rows = self._rows(ending, self.interval[ending], schedule, converted=False)
        moved = self.interval.copy()
        moved[ending] += 1
        return self._replace(interval=moved).take(moved < N_INTERVALS), rows

    def _rows(self, at: IntArray, intervals: IntArray, schedule: ExposureSchedule, converted: bool) -> Taught:
        products, contacted = self.products[at], (self.actions[at] > 0).astype(np.int64)
        exposure, uplift, organic = schedule.shares(products, intervals, contacted)
        reward = np.full(at.size, float(converted))
        watched = np.zeros(at.size) if converted else exposure
        rounds = RoundBatch(self.features[at], self.actions[at], products, reward, watched, uplift, organic)
        return Taught(self.customers[at], rounds)


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
