"""How often and when a customer may be contacted, and how long a product rests after it was offered.

Limits hold in every window, wherever it lies: contacts made, planned and on their way are counted, before
and after the moment at which one more would be made.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from msgspec import Struct

from nba.arrays import BoolArray, FloatArray, IntArray
from nba.catalogue import Catalogue
from nba.conditions import Ask, Vocabulary, within
from nba.constraints.limits import Apart, BackOff, ContactLimit
from nba.constraints.local_time import zone_named
from nba.constraints.look import Look, Scope
from nba.constraints.quiet_hours import QuietHours
from nba.context import ContextBatch
from nba.errors import InvalidConfig, UnknownAction, require

NAME = "contact_policy"
_FIELDS = ("limits", "quiet_hours", "apart", "back_off")
_MOST_NAMES = 24  # what can remove an action is counted in bytes
Part: TypeAlias = ContactLimit | Apart | BackOff | QuietHours


class Scoped(NamedTuple):
    """A part with the contacts and customers that it is about."""

    part: Part
    scopes: tuple[Scope, ...]
    whom: Ask | None  # None: everybody

    @property
    def text(self) -> str:
        """What must be so, in words, and for whom."""
        condition = None if isinstance(self.part, BackOff) else self.part.whom
        return self.part.text + ("" if condition is None else f", for customers with {condition.text}")

    def closed(self, look: Look, contexts: ContextBatch) -> BoolArray:
        """(B, C, T, P) contacts that it refuses."""
        closed = self.part.closed(look, *self.scopes)
        return closed if self.whom is None else closed & ~self.whom(contexts).fails[:, None, None, None]


class Compiled(NamedTuple):
    """A contact policy with the names of a strategy made ready."""

    most: IntArray  # (W, C + 1) of the limits that counters keep
    groups: tuple[tuple[Scoped, ...], ...]  # the other parts, by name: in the order of `ContactPolicy.names`


class ContactPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """Contact limits, quiet hours, spaces between contacts, and the rest of a product after an offer.

    Unnamed limits of days over one channel or all of them are by default kept by counters: a contact planned
    for a later day counts `as_today` until it is made, and one that would be made later has to fit in today.
    That never breaks a limit, and sometimes leaves room unused. With `planned = "exact"` they are checked
    around the moment of the contact itself, as all other parts always are. The rest of a product is always
    kept as if a planned offer were made today. An exact check trusts that contacts are made when planned;
    what `as_today` allows may also be made late. Service messages do not rest either. `zone` is that of
    customers whose own is not known.
    """

    limits: tuple[ContactLimit, ...] = ()
    product_rest_days: int = 0
    planned: Literal["as_today", "exact"] = "as_today"
    quiet_hours: tuple[QuietHours, ...] = ()
    apart: tuple[Apart, ...] = ()
    back_off: tuple[BackOff, ...] = ()
    zone: str = "UTC"

    def __post_init__(self) -> None:
        """Check numbers and words."""
        rule = f"must be >= 0, got {self.product_rest_days}"
        require(self.product_rest_days >= 0, "contact policy", "product_rest_days", rule)
        rule = f"must be as_today or exact, got {self.planned!r}"
        require(self.planned in ("as_today", "exact"), "contact policy", "planned", rule)
        rule = f"must be a zone of the IANA database that is installed here, such as UTC, got {self.zone!r}"
        require(zone_named(self.zone) is not None, "contact policy", "zone", rule)
        for field in _FIELDS:
            for index, part in enumerate(self._parts(field)):
                part.check(f"{field}[{index}]")
        rule = f"may have at most {_MOST_NAMES} different names, got {len(self.names)}"
        require(len(self.names) <= _MOST_NAMES, "contact policy", "", rule)

    @cached_property
    def exact_parts(self) -> tuple[Part, ...]:
        """What is checked at the moment of each contact."""
        limits = [limit for limit in self.limits if self.planned == "exact" or not limit.is_plain]
        return (*limits, *self.quiet_hours, *self.apart, *self.back_off)

    @property
    def needs_history(self) -> bool:
        """Whether contexts must hold the moments of contacts."""
        return bool(self.exact_parts)

    @property
    def looks(self) -> bool:
        """Whether anything is asked of a customer's contacts or of the hour."""
        return bool(self.limits or self.product_rest_days or self.exact_parts)

    @cached_property
    def has_households(self) -> bool:
        """Whether a limit is over all members of a household."""
        return any(limit.level == "household" for limit in self.limits)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What can remove an action: unnamed limits and the rest together, then the names in their order."""
        named = dict.fromkeys(part.name for part in self.exact_parts if part.name)
        return (NAME, *(f"{NAME}.{name}" for name in named))

    @cached_property
    def windows_days(self) -> tuple[int, ...]:
        """(W,) the distinct windows of counters, shortest first: columns of `ContextBatch.contact_counts`."""
        return tuple(sorted({limit.days for limit in self._counters}))

    @cached_property
    def lookback_days(self) -> float:
        """How far back contacts matter."""
        parts: tuple[Part, ...] = (*self.limits, *self.quiet_hours, *self.apart, *self.back_off)
        return max([float(self.product_rest_days), *(part.lookback_days for part in parts)])

    @cached_property
    def _counters(self) -> tuple[ContactLimit, ...]:
        return () if self.planned == "exact" else tuple(limit for limit in self.limits if limit.is_plain)

    def compiled(self, known: Vocabulary) -> Compiled:
        """The policy for the names of a strategy; InvalidConfig says which part names something unknown."""
        scoped = [self._scoped(part, known) for part in self.exact_parts]
        groups = tuple(
            tuple(one for one in scoped if one.part.name == name)
            for name in ("", *(name.partition(".")[2] for name in self.names[1:]))
        )
        return Compiled(self._most(known.catalogue), groups)

    def _scoped(self, part: Part, known: Vocabulary) -> Scoped:
        pointer = self._pointer(part)
        condition = None if isinstance(part, BackOff) else part.whom
        whom = None if condition is None else within(f"{pointer}.whom", condition, known, source=NAME)
        try:
            return Scoped(part, part.scopes(known.catalogue), whom)
        except UnknownAction as error:
            raise InvalidConfig(NAME, pointer, str(error)) from None

    def _pointer(self, part: Part) -> str:
        """Where a part stands in the strategy."""
        parts = ((field, self._parts(field)) for field in _FIELDS)
        field, number = next((field, found.index(part)) for field, found in parts if part in found)
        return f"{NAME}.{field}[{number}]"

    def _parts(self, field: str) -> tuple[Part, ...]:
        found: tuple[Part, ...] = getattr(self, field)
        return found

    def masks(self, contexts: ContextBatch, catalogue: Catalogue, compiled: Compiled) -> list[BoolArray]:
        """Contacts (B, C | 1, T | 1, P | 1) that break nothing, one mask for each of `names`."""
        allowed = self._counted(contexts, catalogue, compiled.most)
        if not self.exact_parts:
            return [allowed]
        look = Look.at(contexts, catalogue, self.zone)
        masks = [allowed, *(np.ones((1, 1, 1, 1), dtype=np.bool_) for _ in self.names[1:])]
        for number, group in enumerate(compiled.groups):
            for one in group:
                masks[number] = masks[number] & ~one.closed(look, contexts)
        return masks

    def counts(
        self, shape: tuple[int, int], rows: IntArray, channels: IntArray, ages_days: FloatArray
    ) -> IntArray:
        """(B, W, C + 1) contacts in each window: of customers rows (n,), on channels (n,), of ages (n,).

        `shape` is (B, C); the last column is all channels.
        """
        n_rows, n_channels = shape
        counts = np.zeros((n_rows, len(self.windows_days), n_channels + 1), dtype=np.int64)
        for window, days in enumerate(self.windows_days):
            recent = ages_days < days
            np.add.at(counts[:, window], (rows[recent], channels[recent]), 1)
        counts[:, :, n_channels] = counts[:, :, :n_channels].sum(axis=2)
        return counts

    def _counted(self, contexts: ContextBatch, catalogue: Catalogue, most: IntArray) -> BoolArray:
        """(B, C | 1, 1, P) contacts that fit under the counters, of products that have rested."""
        fits: BoolArray = (contexts.offer_age_days >= self.product_rest_days)[:, None, None, :]
        if self.windows_days:
            below: BoolArray = np.logical_and.reduce(contexts.contact_counts < most, axis=1)
            open_channels = below[:, :-1] & below[:, -1:]
            fits = fits & open_channels[:, :, None, None]
        return fits | catalogue.is_service if catalogue.has_service else fits

    def counters(self, catalogue: Catalogue) -> list[tuple[ContactLimit, int, int]]:
        """The limits that counters keep, each with its row and column in `ContextBatch.contact_counts`."""
        found = []
        for limit in self._counters:
            try:
                column = -1 if limit.channel is None else catalogue.level("channel", limit.channel)
            except UnknownAction as error:
                raise InvalidConfig(NAME, self._pointer(limit), str(error)) from None
            found.append((limit, self.windows_days.index(limit.days), column))
        return found

    def _most(self, catalogue: Catalogue) -> IntArray:
        """(W, C + 1) fewer contacts than these are allowed; the last column is all channels."""
        most = np.full((len(self.windows_days), 1 + len(catalogue.channels)), np.iinfo(np.int64).max)
        for limit, row, column in self.counters(catalogue):
            most[row, column] = min(most[row, column], limit.contacts)
        return most
