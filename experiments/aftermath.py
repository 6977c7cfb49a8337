"""What becomes of simulated contacts and conversions, as rows that teach stages and amounts.

The simulator draws the answer to a contact when it is decided; here nobody knows of it before the day the
contact is made. What a day teaches is put into the order of rounds: day, customer, product.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.choices import Decided
from nba.arrays import FloatArray, IntArray, join_rows, take_rows
from nba.catalogue import Catalogue
from nba.exposure import OpenRounds
from nba.outcomes import STAGES, Aftermath, ContactRows, SaleRows
from simulator.state import Conversions, Responses, WorldState


class Observed(NamedTuple):
    """What some days taught, and the (day, customer, product) of each row."""

    aftermath: Aftermath
    contact_keys: IntArray  # (n, 3)
    sale_keys: IntArray  # (m, 3)

    @staticmethod
    def joined(parts: Sequence[Observed]) -> Observed:
        """The rows of some in their order; there must be at least one."""
        contacts, sales = (np.concatenate(keys) for keys in list(zip(*parts, strict=True))[1:])
        return Observed(Aftermath.joined([one.aftermath for one in parts]), contacts, sales)

    def ordered(self) -> Aftermath:
        """The rows by day, customer and product, which does not depend on the sharding."""
        contacts, sales = self.aftermath
        return Aftermath(
            take_rows(contacts, _order(self.contact_keys)), take_rows(sales, _order(self.sale_keys))
        )


class PlannedContacts(NamedTuple):
    """Contacts that were decided and not yet made, with the answers they will meet."""

    customers: IntArray  # (n,) row
    days: IntArray  # (n,) of the contact
    products: IntArray  # (n,)
    channels: IntArray  # (n,)
    features: FloatArray  # (n, K) at the decision
    events: FloatArray  # (n, len(STAGES))

    @staticmethod
    def none(n_columns: int) -> PlannedContacts:
        """Nothing planned."""
        empty, rows = np.zeros(0, dtype=np.int64), ContactRows.none(n_columns)
        return PlannedContacts(empty, empty, empty, rows.channels, rows.features, rows.events)

    def after(
        self,
        state: WorldState,
        day: Decided,
        seen: Responses,
        ledger: OpenRounds,
        sold: Conversions,
        catalogue: Catalogue,
    ) -> tuple[PlannedContacts, Observed]:
        """What is still planned after a day, and what contacts made and amounts brought have taught.

        An amount is known together with the features of the round that was open when it came.
        """
        planned = join_rows([self, _decided(state.day, day, seen, catalogue)])
        is_due = planned.days <= state.day
        done, round_of = take_rows(planned, is_due), ledger.find(sold.customers, sold.products, state.day)
        known = round_of >= 0
        contacts = ContactRows(done.features, done.channels, done.events, np.ones(done.days.size))
        sales = SaleRows(ledger.features[round_of[known]], sold.products[known], sold.amounts[known])
        observed = Observed(
            Aftermath(contacts, sales),
            _keys(state, done.customers, done.products),
            _keys(state, sold.customers[known], sold.products[known]),
        )
        return take_rows(planned, ~is_due), observed


def _decided(today: int, day: Decided, seen: Responses, catalogue: Catalogue) -> PlannedContacts:
    """The contacts among a day's decisions that nobody refused."""
    made = np.flatnonzero(seen.contacted)
    actions = day.choices.actions[made]
    return PlannedContacts(
        day.rows[made],
        today + seen.waits[made],
        catalogue.product_of[actions],
        catalogue.channel_of[actions],
        day.contexts.features[made],
        np.stack([getattr(seen, stage)[made] for stage in STAGES], axis=1).astype(np.float64),
    )


def _keys(state: WorldState, customers: IntArray, products: IntArray) -> IntArray:
    """(n, 3) day, customer and product."""
    days = np.full(customers.size, state.day, dtype=np.int64)
    return np.stack([days, state.people.ids[customers], products], axis=1)


def _order(keys: IntArray) -> IntArray:
    return np.lexsort((keys[:, 2], keys[:, 1], keys[:, 0]))
