"""What the parts of a contact policy look at: contacts in time, and the moments of those that may be made."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from nba.arrays import BoolArray, IntArray
from nba.catalogue import Catalogue
from nba.constraints.local_time import DAY, LocalTimes, Period, local_times, period_of
from nba.context import ContactHistory, ContextBatch
from nba.errors import ShapeMismatch
from nba.scope import products_named
from nba.timing import waits_days


class Scope(NamedTuple):
    """Which contacts a part of the policy is about."""

    channels: BoolArray  # (C + 1,) the last entry is that of rows filled up, and False
    products: BoolArray  # (P + 1,) the last entry is that of contacts about nothing in the catalogue
    offers: BoolArray  # (P,) products whose contacts the part refuses

    @staticmethod
    def of(
        catalogue: Catalogue,
        channels: tuple[str, ...],
        products: tuple[str, ...],
        *,
        spares_service: bool = True,
    ) -> Scope:
        """The scope of some names; no names stand for all, among products also for what is none.

        `products` are names of products, groups and tags.
        """
        on = np.zeros(len(catalogue.channels) + 1, dtype=np.bool_)
        on[[catalogue.level("channel", name) for name in channels] if channels else slice(-1)] = True
        about = np.full(len(catalogue.products) + 1, not products)
        for name in products:
            about[:-1] |= products_named(catalogue, name)
        return Scope(on, about, about[:-1] & ~(catalogue.is_service & spares_service))

    def made(self, history: ContactHistory) -> BoolArray:
        """(B, H) contacts of the scope that were or will be made."""
        return self._hit(history) & ~history.refused

    def refused(self, history: ContactHistory) -> BoolArray:
        """(B, H) contacts of the scope that the channel refused."""
        return self._hit(history) & history.refused

    def closed(self, shut: BoolArray) -> BoolArray:
        """(B, C, T, P) contacts refused, of moments `shut` (B, T)."""
        of_scope: BoolArray = self.channels[:-1, None] & self.offers
        return shut[:, None, :, None] & of_scope[:, None, :]

    def _hit(self, history: ContactHistory) -> BoolArray:
        hit: BoolArray = self.channels[history.channel] & self.products[history.product]
        return hit


def history_in(contexts: ContextBatch) -> ContactHistory:
    """The history of contexts; a batch made without one is a ShapeMismatch."""
    if contexts.history is None:
        raise ShapeMismatch(
            "The contexts hold no history of contacts, which the contact policy asks for: make them with "
            "Strategy.encode, or fill ContextBatch.history."
        )
    return contexts.history


class Shut(NamedTuple):
    """Contacts of one customer that a part of the policy closes, told one by one."""

    look: Look  # B = 1
    closed: BoolArray  # (C, T, P)

    @property
    def timing(self) -> int:
        """The first timing that is closed."""
        return int(np.flatnonzero(self.closed.any(axis=(0, 2)))[0])

    @property
    def moment(self) -> int:
        """When its contact would be made, in microseconds since 1970."""
        return int(self.look.moments[0, self.timing])

    def within(self, scope: Scope) -> BoolArray:
        """(C, T, P) those of a scope."""
        mine: BoolArray = self.closed & scope.closed(np.ones((1, self.closed.shape[1]), dtype=np.bool_))[0]
        return mine


class Look(Struct, frozen=True, eq=False, dict=True):
    """The history of some contexts beside the moments at which contacts would be made."""

    history: ContactHistory
    moments: IntArray  # (B, T) microseconds since 1970
    zone: str  # of customers whose own is not known, and of households

    @staticmethod
    def at(contexts: ContextBatch, catalogue: Catalogue, zone: str) -> Look:
        """The look at contexts, which must hold a history."""
        history, waits = history_in(contexts), waits_days(catalogue, contexts.at, contexts.attributes)
        return Look(history, history.now[:, None] + waits * DAY, zone)

    @cached_property
    def local(self) -> LocalTimes:
        """What the customer's clock and calendar show at the moments (B, T)."""
        return local_times(self.moments, self.history.zones, self.zone)

    def periods(self, period: Period, *, of_household: bool) -> tuple[IntArray, IntArray]:
        """Calendar periods of the contacts (B, H) and of the moments (B, T).

        Those of a household are of the configured zone: its members may live in several.
        """
        zones = np.full_like(self.history.zones, None) if of_household else self.history.zones
        mine = local_times(self.moments, zones, self.zone) if of_household else self.local
        theirs = local_times(self.history.at, zones, self.zone)
        return period_of(theirs.days, period), period_of(mine.days, period)
