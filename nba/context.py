"""What is known about a customer when deciding: one record at the boundary, columns inside."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

from msgspec import Struct

from nba.arrays import AnyArray, BoolArray, FloatArray, IntArray, StrArray, TimeArray

AttributeValue: TypeAlias = float | int | str | bool | None | list[str]


OUTCOMES = ("delivered", "seen", "engaged", "converted", "rejected", "opted_out", "complained")


class Contact(Struct, frozen=True, kw_only=True):
    """One contact of a customer, made or planned; `at` is when it is made."""

    channel: str
    product: str
    at: datetime  # aware


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of a contact, one of OUTCOMES; without a channel it came by a way that nobody knows."""

    outcome: str
    product: str
    at: datetime  # aware
    channel: str | None = None


class Context(Struct, frozen=True, kw_only=True):
    """One customer at one moment, as a channel system knows them.

    Two attributes are lists with a fixed meaning: "consents" names the channels the customer agreed
    to (absent means none: the rule fails closed) and "owned" names the products they hold.
    """

    customer_id: str
    at: datetime  # aware
    attributes: dict[str, AttributeValue]
    contacts: tuple[Contact, ...] = ()
    opted_out: tuple[str, ...] = ()
    outcomes: tuple[Outcome, ...] = ()


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
    rests: Mapping[Any, BoolArray] = {}  # rule about outcomes -> (B, C, P) contacts that rest under it

    def take(self, rows: IntArray | slice) -> ContextBatch:
        """The contexts of `rows`, in that order."""
        columns = {name: column[rows] for name, column in self.attributes.items()}
        rests = {rule: part[rows] for rule, part in self.rests.items()}
        parts = self._asdict()
        for name in ("attributes", "rests"):
            del parts[name]
        taken = {name: part[rows] for name, part in parts.items()}
        return ContextBatch(attributes=columns, rests=rests, **taken)

    @property
    def n_contexts(self) -> int:
        """B, the number of contexts."""
        return int(self.features.shape[0])
