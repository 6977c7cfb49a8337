"""What is known about a customer when deciding: one record at the boundary, columns inside."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple, TypeAlias

from msgspec import Struct

from nba.arrays import AnyArray, BoolArray, FloatArray, IntArray, StrArray, TimeArray

AttributeValue: TypeAlias = float | int | str | bool | None | list[str]


class Contact(Struct, frozen=True, kw_only=True):
    """One contact of a customer, made or planned; `at` is when it is made."""

    channel: str
    product: str
    at: datetime  # aware


class Context(Struct, frozen=True, kw_only=True):
    """One customer at one moment, as a channel system knows them.

    Two attributes are lists with a fixed meaning: "consents" names the channels the customer agreed
    to (absent means none: the rule fails closed) and "owned" names the products they hold. `left` is of
    nobody's own: what everybody together may still use when the decision is made.
    """

    customer_id: str
    at: datetime  # aware
    attributes: dict[str, AttributeValue]
    contacts: tuple[Contact, ...] = ()
    opted_out: tuple[str, ...] = ()
    left: dict[str, float] = {}  # units of each budget that may still be used; one not named is not short


class ContextBatch(NamedTuple):
    """Contexts as columns."""

    customer_ids: StrArray  # (B,)
    at: TimeArray  # (B,) UTC, seconds
    features: FloatArray  # (B, K), the intercept first
    attributes: Mapping[str, AnyArray]  # name -> (B,) raw column: numbers, 0/1 flags, category codes
    consents: BoolArray  # (B, C)
    fatigue: FloatArray  # (B, C, 2) short and long counters
    contact_counts: IntArray  # (B, W, C + 1) contacts in each window; the last column is all channels
    owned: BoolArray  # (B, P)
    offer_age_days: FloatArray  # (B, P) since the product was last offered, inf if never
    left: FloatArray | None = None  # (B, J) units of each budget of the strategy; None without budgets

    def take(self, rows: IntArray | slice) -> ContextBatch:
        """The contexts of `rows`, in that order."""
        columns = {name: column[rows] for name, column in self.attributes.items()}
        arrays = {name: part for name, part in self._asdict().items() if part is not None}
        parts = {name: part[rows] for name, part in arrays.items() if name != "attributes"}
        return ContextBatch(attributes=columns, **parts)

    @property
    def n_contexts(self) -> int:
        """B, the number of contexts."""
        return int(self.features.shape[0])
