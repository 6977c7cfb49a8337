"""Waiting for a better moment: which moments are looked ahead to, and what is known of them today."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from msgspec import Struct

from nba.arrays import AnyArray, FloatArray, IntArray
from nba.catalogue import Catalogue
from nba.constraints import ContactPolicy
from nba.context import ContextBatch
from nba.errors import require
from nba.fatigue import FatigueKernel
from nba.features import Category, FeatureSchema, Numeric

_DAY_MICROSECONDS = 86_400_000_000
_NO_LIMIT = np.iinfo(np.int32).max


class Clock(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An attribute in days that runs by itself, such as days since an event or to a maturity.

    `per_day` is 1 for days since and -1 for days to. What counts to a day comes round after `repeats_days`,
    as pay days do; without them it is unknown once the day is past.
    """

    attribute: str
    per_day: float = 1.0
    repeats_days: float | None = None

    def later(self, raw: AnyArray, days: int) -> FloatArray:
        """(B,) the attribute after so many days, NaN where unknown."""
        moved: FloatArray = raw + self.per_day * days
        if self.repeats_days is not None:
            return np.mod(moved, self.repeats_days)
        return np.where((self.per_day < 0.0) & (moved < 0.0), np.nan, moved)


class Turn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A category that takes a `level` on the day to which a clock counts, and `otherwise` on other days."""

    attribute: str
    level: str
    clock: str
    otherwise: str


class Waiting(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far a decision looks ahead for better moments, and how the context will have changed by then.

    There are `moments` decisions to come, one every `every_days`. `kept` is the share of a contact's value
    that is still to be had one moment later. A slot that is used later also comes back later: where limits
    allow one contact in n days, waiting a moment costs about every_days / n of a contact, and `kept` should
    be 1 - every_days / n or less, for there are events that nobody knows of. Fatigue recovers and products
    rest as they do without a contact; all other attributes stay as they are.
    """

    moments: int = 2
    every_days: int = 4
    kept: float = 0.7
    clocks: tuple[Clock, ...] = ()
    turns: tuple[Turn, ...] = ()

    def __post_init__(self) -> None:
        """Check the numbers."""
        numbers = {
            "moments": (1 <= self.moments <= 31, f"must be 1 to 31, got {self.moments}"),
            "every_days": (1 <= self.every_days <= 31, f"must be 1 to 31, got {self.every_days}"),
            "kept": (0.0 < self.kept <= 1.0, f"must be above 0 and at most 1, got {self.kept}"),
        }
        for index, clock in enumerate(self.clocks):
            rule = f"must be finite and not 0, got {clock.per_day}"
            numbers[f"clocks[{index}].per_day"] = (0.0 < abs(clock.per_day) < np.inf, rule)
            period = clock.repeats_days
            rule = f"must be finite and above 0, got {period}"
            numbers[f"clocks[{index}].repeats_days"] = (period is None or 0.0 < period < np.inf, rule)
        for pointer, (holds, rule) in numbers.items():
            require(holds, "waiting", pointer, rule)

    def check(self, schema: FeatureSchema, policy: ContactPolicy, source: str) -> None:
        """InvalidConfig for what a strategy's schema and contact policy do not have."""
        columns = {column.name: column for column in schema.columns}
        for index, clock in enumerate(self.clocks):
            rule = f"{clock.attribute!r} is not a number of the schema; declare it there, or drop the clock"
            is_number = isinstance(columns.get(clock.attribute), Numeric)
            require(is_number, source, f"waiting.clocks[{index}].attribute", rule)
        known = [clock.attribute for clock in self.clocks]
        for index, turn in enumerate(self.turns):
            column, where = columns.get(turn.attribute), f"waiting.turns[{index}]"
            levels = column.levels if isinstance(column, Category) else ()
            rule = f"{turn.attribute!r} is not a category of the schema; declare it there, or drop the turn"
            require(bool(levels), source, f"{where}.attribute", rule)
            for field in ("level", "otherwise"):
                name = getattr(turn, field)
                rule = f"{name!r} is not a level of {turn.attribute}; use one of {', '.join(levels)}"
                require(name in levels, source, f"{where}.{field}", rule)
            rule = f"{turn.clock!r} is no clock of it, which has {', '.join(known) or 'none'}"
            require(turn.clock in known, source, f"{where}.clock", rule)
        rule = "counts slots by the counters, which planned = 'exact' does not keep; use planned = 'as_today'"
        require(policy.planned == "as_today" or not policy.limits, source, "waiting", rule)

    @property
    def days(self) -> range:
        """Days from today to each moment."""
        return range(self.every_days, self.every_days * self.moments + 1, self.every_days)

    def slots(self, contexts: ContextBatch, policy: ContactPolicy, catalogue: Catalogue) -> IntArray:
        """(B,) contacts on any channel left from now to the last moment, under limits on all channels.

        A window gives its contacts back once for each time that it fits before the last moment.
        """
        slots = np.full(contexts.n_contexts, _NO_LIMIT, dtype=np.int64)
        for limit, row, column in policy.counters(catalogue):
            if column == -1:
                windows = 1 + self.days[-1] // limit.days
                slots = np.minimum(slots, limit.contacts * windows - contexts.contact_counts[:, row, -1])
        return np.maximum(slots, 0)

    def later(
        self,
        contexts: ContextBatch,
        days: int,
        schema: FeatureSchema,
        kernel: FatigueKernel,
        policy: ContactPolicy,
    ) -> ContextBatch:
        """The contexts after so many days without a contact.

        Contacts in a window count until all of it is past: when each of them leaves it is not in a context.
        """
        attributes = self._attributes(contexts.attributes, days, schema)
        at, fatigue = contexts.at + np.timedelta64(days, "D"), contexts.fatigue * kernel.recovery(days)
        over = np.array([window <= days for window in policy.windows_days], dtype=np.bool_)
        counts = np.where(over[None, :, None], 0, contexts.contact_counts)
        history = contexts.history
        if history is not None:
            history = history._replace(now=history.now + days * _DAY_MICROSECONDS)
        return contexts._replace(
            at=at,
            attributes=attributes,
            features=schema.matrix(attributes, fatigue, at),
            fatigue=fatigue,
            contact_counts=counts,
            offer_age_days=contexts.offer_age_days + days,
            history=history,
        )

    def _attributes(
        self, now: Mapping[str, AnyArray], days: int, schema: FeatureSchema
    ) -> dict[str, AnyArray]:
        """Raw columns (B,) after so many days."""
        moved = dict(now) | {one.attribute: one.later(now[one.attribute], days) for one in self.clocks}
        moved |= {column.name: now[column.name] + days for column in schema.since}  # and nothing comes
        levels = {column.name: column.levels for column in schema.columns if isinstance(column, Category)}
        for turn in self.turns:
            level, otherwise = (float(levels[turn.attribute].index(n)) for n in (turn.level, turn.otherwise))
            comes = np.floor(moved[turn.clock]) == 0.0
            moved[turn.attribute] = np.where(comes, level, otherwise)
        return moved
