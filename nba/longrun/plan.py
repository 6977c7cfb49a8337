"""What a contact now takes from later moments: the best plan of the days ahead, and the same without it.

A contact now uses a slot of the contact limits and rests its product. What it displaces is

    W(p) = V(all products, s slots) - V(p rests, s - 1 slots)  >= 0,

with V the value of a greedy plan over later moments: the best pair of moment and product that is worth more
than silence, then the best that it leaves open, and so on. Greedy matching is worth at least half of the best
one (Avis 1983); a product that is worth most only now displaces the worst planned contact, or nothing.
Contact now where utility - W(p) > 0: an optimal stopping rule whose stopping value is looked ahead and not
learnt, so that it is right to the extent that the expected values of the coming contexts are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.arrays import FloatArray, IntArray


class Plan(NamedTuple):
    """The planned contacts of each customer, dearest first; K ranks, unused ones hold -1 and a value of 0."""

    moments: IntArray  # (B, K) index of the moment
    products: IntArray  # (B, K)
    values: FloatArray  # (B, K) account currency


class Ahead(NamedTuple):
    """What later moments are worth, as seen today."""

    worth: FloatArray  # (B, D, P) account currency of the best contact about each product, -inf if none
    days: IntArray  # (D,) days from today to each moment, rising
    slots: IntArray  # (B,) contacts that the limits leave for today and all moments together
    rest_days: int  # a product is not offered again for so long

    def plan(self) -> Plan:
        """The greedy plan of these moments."""
        n, n_moments, n_products = self.worth.shape
        left, rows, ranks = self.worth.copy(), np.arange(n), []
        for rank in range(n_moments):
            moment, product = np.divmod(left.reshape(n, n_moments * n_products).argmax(axis=1), n_products)
            values = left[rows, moment, product]
            used = (values > 0.0) & (rank < self.slots)
            ranks.append(
                (np.where(used, moment, -1), np.where(used, product, -1), np.where(used, values, 0.0))
            )
            left[rows, moment] = -np.inf
            near = np.abs(self.days[None, :] - self.days[moment][:, None]) < self.rest_days
            customers, moments = near.nonzero()
            left[customers, moments, product[customers]] = -np.inf
        return Plan(*(np.stack(part, axis=1) for part in zip(*ranks, strict=True)))

    def displaced(self) -> FloatArray:
        """(B, P) account currency of planned contacts that a contact now about each product displaces."""
        plan, rows = self.plan(), np.arange(self.worth.shape[0])
        total, most = plan.values.sum(axis=1), plan.values.shape[1]
        # Whoever is not planned takes at most the last slot.
        last = np.where((0 < self.slots) & (self.slots <= most), np.clip(self.slots, 1, most) - 1, -1)
        base = np.where(last >= 0, plan.values[rows, last], 0.0)
        prices = np.repeat(base[:, None], self.worth.shape[2], axis=1)
        resting = np.flatnonzero(self.days < self.rest_days)
        for products in plan.products.T:
            some = np.flatnonzero(products >= 0)
            worth = self.worth[some]
            worth[np.arange(some.size)[:, None], resting, products[some, None]] = -np.inf
            without = Ahead(worth, self.days, self.slots[some] - 1, self.rest_days).plan()
            loss = total[some] - without.values.sum(axis=1)
            prices[some, products[some]] = np.maximum(loss, 0.0)  # greedy may find more in less
        return prices
