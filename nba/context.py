"""What is known about a customer when deciding: one record at the boundary, columns inside."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from msgspec import Struct

from nba.arrays import AnyArray, BoolArray, FloatArray, IntArray, StrArray, TimeArray, take_rows
from nba.errors import BadContext

AttributeValue: TypeAlias = float | int | str | bool | None | list[str]


OUTCOMES = ("delivered", "seen", "engaged", "converted", "rejected", "opted_out", "complained")


class Contact(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One contact of a customer, made or planned; `at` is when it is made.

    Without a product it is about something that the catalogue does not know, such as a message of another
    department. What the channel `refused` was never made: it fills no limit, but its channel backs off.
    """

    channel: str
    product: str | None
    at: datetime  # aware
    refused: bool = False


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of a contact, one of OUTCOMES; without a channel it came by a way that nobody knows."""

    outcome: str
    product: str
    at: datetime  # aware
    channel: str | None = None


class Context(Struct, frozen=True, kw_only=True):
    """One customer at one moment, as a channel system knows them.

    Two attributes are lists with a fixed meaning: "consents" names the channels the customer agreed
    to (absent means none: the rule fails closed) and "owned" names the products they hold. `left` is of
    nobody's own: what everybody together may still use when the decision is made.
    `zone` is the IANA name of the customer's time zone. `household_contacts` are those of the other members
    of the `household`; its limits count them together with the customer's own.
    """

    customer_id: str
    at: datetime  # aware
    attributes: dict[str, AttributeValue]
    contacts: tuple[Contact, ...] = ()
    opted_out: tuple[str, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    left: dict[str, float] = {}  # units of each budget that may still be used; one not named is not short
    zone: str | None = None
    household: str | None = None
    household_contacts: tuple[Contact, ...] = ()


class ContactHistory(NamedTuple):
    """Contacts of each context with their moments, in microseconds since 1970.

    Rows are filled up to H contacts with ones of channel -1, which are nobody's.
    """

    now: IntArray  # (B,) when it is decided
    at: IntArray  # (B, H) when the contact was or will be made
    channel: IntArray  # (B, H)
    product: IntArray  # (B, H) -1 for what is not in the catalogue
    refused: BoolArray  # (B, H) by the channel
    others: BoolArray  # (B, H) of other members of the household
    zones: StrArray  # (B,) IANA names, None where unknown
    households: StrArray  # (B,) None where unknown

    @staticmethod
    def nobody() -> ContactHistory:
        """The history of no contexts."""
        none, nothing = np.zeros(0, dtype=np.int64), np.zeros((0, 0), dtype=np.int64)
        flags, names = np.zeros((0, 0), dtype=np.bool_), np.zeros(0, dtype=object)
        return ContactHistory(none, nothing, nothing, nothing, flags, flags, names, names)


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
    left: FloatArray | None = None  # (B, J) units of each budget of the strategy; None without budgets
    history: ContactHistory | None = None  # where the contact policy asks for moments, see `needs_history`
    opted_out: BoolArray | None = None  # (B, C) channels closed for good; None where nobody has opted out

    def take(self, rows: IntArray | slice) -> ContextBatch:
        """The contexts of `rows`, in that order."""
        columns = {name: column[rows] for name, column in self.attributes.items()}
        rests = {rule: part[rows] for rule, part in self.rests.items()}
        history = None if self.history is None else take_rows(self.history, rows)
        arrays = {name: part for name, part in self._asdict().items() if part is not None}
        tables = ("attributes", "rests", "history")
        parts = {name: part[rows] for name, part in arrays.items() if name not in tables}
        return ContextBatch(attributes=columns, rests=rests, history=history, **parts)

    @property
    def n_contexts(self) -> int:
        """B, the number of contexts."""
        return int(self.features.shape[0])


def utc_of(context: Context) -> np.datetime64:
    """The moment of a context; BadContext without a time zone."""
    if context.at.tzinfo is None:
        raise BadContext("/at", f"must carry a time zone, got {context.at.isoformat()}")
    return np.datetime64(int(context.at.timestamp()), "s")
