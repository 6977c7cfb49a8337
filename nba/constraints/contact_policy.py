"""How often a customer may be contacted, and how long a product rests after it was offered."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from msgspec import Struct

from nba.arrays import BoolArray, FloatArray, IntArray
from nba.catalogue import Catalogue
from nba.context import ContextBatch
from nba.errors import InvalidConfig


class ContactLimit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most `contacts` in any `days` days, on one channel or, without a channel, over all."""

    contacts: int
    days: int
    channel: str | None = None


class ContactPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """Sliding-window contact limits and the rest of a product after an offer."""

    limits: tuple[ContactLimit, ...] = ()
    product_rest_days: int = 0

    def __post_init__(self) -> None:
        """Check the numbers."""
        for index, limit in enumerate(self.limits):
            if limit.contacts < 0 or limit.days < 1:
                rule = f"needs contacts >= 0 and days >= 1, got {limit.contacts} and {limit.days}"
                raise InvalidConfig("contact policy", f"limits[{index}]", rule)
        if self.product_rest_days < 0:
            rule = f"must be >= 0, got {self.product_rest_days}"
            raise InvalidConfig("contact policy", "product_rest_days", rule)

    @cached_property
    def windows_days(self) -> tuple[int, ...]:
        """(W,) the distinct windows, shortest first: the columns of `ContextBatch.contact_counts`."""
        return tuple(sorted({limit.days for limit in self.limits}))

    def allows(self, contexts: ContextBatch, catalogue: Catalogue, most: IntArray | None = None) -> BoolArray:
        """(B, C | 1, 1, P) contacts that break no limit if made now; `most` saves asking for it again."""
        rested = (contexts.offer_age_days >= self.product_rest_days)[:, None, None, :]
        if not self.limits:
            return rested
        most = self.most(catalogue) if most is None else most
        below: BoolArray = np.logical_and.reduce(contexts.contact_counts < most, axis=1)
        open_channels = below[:, :-1] & below[:, -1:]
        return open_channels[:, :, None, None] & rested

    def most(self, catalogue: Catalogue) -> IntArray:
        """(W, C + 1) fewer contacts than these are allowed; the last column is all channels."""
        most = np.full((len(self.windows_days), 1 + len(catalogue.channels)), np.iinfo(np.int64).max)
        for limit in self.limits:
            channel = -1 if limit.channel is None else catalogue.level("channel", limit.channel)
            cell = self.windows_days.index(limit.days), channel
            most[cell] = min(most[cell], limit.contacts)
        return most

    def counts(self, channels: IntArray, ages_days: FloatArray, n_channels: int) -> IntArray:
        """(W, C + 1) contacts of one customer in each window, from channels (n,) and ages (n,)."""
        counts = np.zeros((len(self.windows_days), n_channels + 1), dtype=np.int64)
        for row, days in enumerate(self.windows_days):
            recent = channels[ages_days < days]
            counts[row, :n_channels] = np.bincount(recent, minlength=n_channels)
            counts[row, n_channels] = recent.size
        return counts
