"""Records of customers to columns: what a strategy asks to be known before it decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nba.arrays import BoolArray, FloatArray, IntArray
from nba.catalogue import Catalogue
from nba.constraints import ContactPolicy, RuleBook
from nba.constraints.history import history_of, levels_of
from nba.constraints.local_time import to_micros
from nba.context import Context, ContextBatch, utc_of
from nba.errors import BadContext, UnknownAction
from nba.fatigue import FatigueKernel
from nba.features import FeatureSchema
from nba.since import counted

_DAY_SECONDS = 86_400.0


class Encoder(NamedTuple):
    """The parts of a strategy that say what is read from a record, and how."""

    catalogue: Catalogue
    schema: FeatureSchema
    contact_policy: ContactPolicy
    rulebook: RuleBook
    fatigue: FatigueKernel
    spill: FloatArray  # of `fatigue` over the catalogue's channels
    budgets: tuple[str, ...]

    def batch(self, contexts: Sequence[Context]) -> ContextBatch:
        """Records to columns; a wrong attribute is a BadContext with its JSON pointer."""
        at = np.array([utc_of(context) for context in contexts], dtype="datetime64[s]")
        parsed = self.schema.parse([context.attributes for context in contexts])
        columns = counted(parsed, contexts, self.schema.since)
        fatigue, counts, ages = self._counters(contexts)
        asks = self.contact_policy.needs_history
        opted_out = self._opted_out(contexts)
        consents = np.array([self._named(context, "consents", "channel") for context in contexts])
        return ContextBatch(
            customer_ids=np.array([context.customer_id for context in contexts], dtype=object),
            at=at,
            features=self.schema.matrix(columns, fatigue, at),
            attributes=columns,
            consents=consents if opted_out is None else consents & ~opted_out,
            fatigue=fatigue,
            contact_counts=counts,
            owned=np.array([self._named(context, "owned", "product") for context in contexts]),
            offer_age_days=ages,
            rests=self.rulebook.resting(contexts),
            left=self._left(contexts),
            history=history_of(contexts, self.catalogue) if asks else None,
            opted_out=opted_out,
        )

    def _left(self, contexts: Sequence[Context]) -> FloatArray | None:
        """(B, J) units left of each budget."""
        if not self.budgets:
            return None
        return np.array([[one.left.get(name, np.inf) for name in self.budgets] for one in contexts])

    def _opted_out(self, contexts: Sequence[Context]) -> BoolArray | None:
        """(B, C) channels that are closed for good; None where nobody has opted out."""
        if not any(context.opted_out for context in contexts):
            return None
        closed = np.zeros((len(contexts), len(self.catalogue.channels)), dtype=np.bool_)
        for row, context in enumerate(contexts):
            closed[row, [self.catalogue.level("channel", name) for name in context.opted_out]] = True
        return closed

    def _named(self, context: Context, attribute: str, factor: str) -> BoolArray:
        """(levels,) which channels or products a list attribute names."""
        names = context.attributes.get(attribute)
        table = self.catalogue.channels if factor == "channel" else self.catalogue.products
        hit = np.zeros(len(table), dtype=np.bool_)
        if names is None:
            return hit
        if not isinstance(names, list):
            raise BadContext(f"/{attribute}", f"must be a list of {factor} names, got {names!r}")
        for number, name in enumerate(names):
            try:
                hit[self.catalogue.level(factor, name)] = True
            except UnknownAction as error:
                raise BadContext(f"/{attribute}/{number}", str(error)) from None
        return hit

    def _counters(self, contexts: Sequence[Context]) -> tuple[FloatArray, IntArray, FloatArray]:
        """Fatigue (B, C, 2), contact counts (B, W, C + 1) and offer ages (B, P) from customers' contacts."""
        found = [(row, one) for row, each in enumerate(contexts) for one in each.contacts if not one.refused]
        rows, contacts = np.array([row for row, _ in found], dtype=np.int64), [one for _, one in found]
        channels, products = levels_of(contacts, self.catalogue)
        now = [
            to_micros(context.at) for context in contexts
        ]  # in UTC: two times of one zone differ by what its clocks show
        ages = np.array([now[row] - to_micros(one.at) for row, one in found]) / 1e6 / _DAY_SECONDS
        made = ages > 0.0
        fatigue = self.fatigue.of_customers(len(contexts), rows[made], channels[made], ages[made], self.spill)
        # For counters, a planned contact counts as made now until it is made: then no window, wherever it
        # lies, can come to hold more contacts than its limit.
        ages = np.maximum(ages, 0.0)
        offers = np.full((len(contexts), len(self.catalogue.products) + 1), np.inf)  # the last: of no product
        np.minimum.at(offers, (rows, products), ages)
        shape = len(contexts), len(self.catalogue.channels)
        return fatigue, self.contact_policy.counts(shape, rows, channels, ages), offers[:, :-1]
