"""Hours in which nobody is contacted, on the customer's own clock."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from msgspec import Struct

from nba.arrays import BoolArray, IntArray
from nba.catalogue import Catalogue
from nba.conditions import Condition
from nba.constraints.local_time import DAY, WEEKDAYS, clock_time, day_number, from_micros
from nba.constraints.look import Look, Scope, Shut
from nba.errors import InvalidConfig, require

_MOST_BLOCKS = 400  # one after the other, more than a year of them


class QuietHours(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, dict=True
):
    """A block from `start` to `end` that begins on every day, or on the weekdays and dates named.

    An `end` before the `start` lies on the day after. The block is what the customer's clock shows: an hour
    that comes twice is quiet twice, one that is skipped never comes. A contact whose moment lies inside is
    removed; it is not put off to the end of the block, because the next decision can choose it again. Who
    decides at night for the morning says so: a decision is made for its own moment, `Context.at`. With `whom`
    the block is only for customers of whom that condition holds, or of whom it is not known.
    """

    start: str = "00:00"
    end: str = "24:00"
    weekdays: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()  # such as 2026-12-24
    channels: tuple[str, ...] = ()
    spares_service: bool = False
    whom: Condition | None = None
    name: str = "quiet_hours"

    def check(self, pointer: str) -> None:
        """Refuse times, weekdays and dates that are none."""
        for name in ("start", "end"):
            _try(clock_time, getattr(self, name), f"{pointer}.{name}", "must be a time such as 21:30")
        starts = clock_time(self.start)
        rule = f"must be before 24:00 and another time than the end, got {self.start} and {self.end}"
        is_block = starts < clock_time("24:00") and starts != clock_time(self.end)
        require(is_block, "contact policy", f"{pointer}.start", rule)
        for number, name in enumerate(self.weekdays):
            rule = f"must be one of {', '.join(WEEKDAYS)}, got {name!r}"
            require(name in WEEKDAYS, "contact policy", f"{pointer}.weekdays[{number}]", rule)
        for number, text in enumerate(self.dates):
            _try(day_number, text, f"{pointer}.dates[{number}]", "must be a date such as 2026-12-24")

    @property
    def lookback_days(self) -> float:
        """No contact before matters."""
        return 0.0

    def scopes(self, catalogue: Catalogue) -> tuple[Scope, ...]:
        """The channels that rest."""
        return (Scope.of(catalogue, self.channels, (), spares_service=self.spares_service),)

    def closed(self, look: Look, *scopes: Scope) -> BoolArray:
        """(B, C, T, P) contacts whose moment lies in the block."""
        return scopes[0].closed(self.is_quiet(look.local.days, look.local.clock))

    @property
    def text(self) -> str:
        """The block in words, such as "no contact on call from 21:00 to 08:00"."""
        on = f" on {'|'.join(self.channels)}" if self.channels else ""
        days = ", ".join((*self.weekdays, *self.dates))
        return f"no contact{on} from {self.start} to {self.end}{f' of {days}' if days else ''}"

    def told(self, shut: Shut, scopes: tuple[Scope, ...], catalogue: Catalogue) -> dict[str, str]:
        """What the customer's clock shows, and when it shows the end."""
        local = shut.look.local
        day, clock = (int(of[0, shut.timing]) for of in local)
        ends = self._ends(day, clock)
        until = "no end" if ends is None else _wall(*ends)
        return {"local time": _wall(day, clock), "quiet until": until}

    def _ends(self, day: int, clock: int) -> tuple[int, int] | None:
        """The local day and clock after the block, and after those that follow without a gap."""
        end = clock_time(self.end)
        for _ in range(_MOST_BLOCKS):
            day, clock = divmod(day * DAY + end + (DAY if clock >= end else 0), DAY)
            if not self.is_quiet(np.array(day), np.array(clock)):
                return day, clock
        return None

    def is_quiet(self, days: IntArray, clock: IntArray) -> BoolArray:
        """(...) whether local days since 1970 and times after midnight, in microseconds, are in the block."""
        start, end, begins = clock_time(self.start), clock_time(self.end), self._begins(days)
        if start < end:
            return begins & (clock >= start) & (clock < end)
        return (begins & (clock >= start)) | (self._begins(days - 1) & (clock < end))

    def _begins(self, days: IntArray) -> BoolArray:
        on_weekdays, dates = self._days
        begins: BoolArray = on_weekdays[(days + 3) % 7]  # 1970-01-01 was a Thursday
        return begins | np.isin(days, dates) if dates.size else begins

    @cached_property
    def _days(self) -> tuple[BoolArray, IntArray]:
        """(7,) the weekdays and (n,) the dates on which the block begins."""
        every_day = not self.weekdays and not self.dates
        on_weekdays = np.array([every_day or name in self.weekdays for name in WEEKDAYS])
        return on_weekdays, np.array([day_number(text) for text in self.dates], dtype=np.int64)


def _wall(day: int, clock: int) -> str:
    """A local time as it is read, to the minute."""
    return from_micros(day * DAY + clock).replace(tzinfo=None).isoformat(" ", "minutes")


def _try(read: object, text: str, pointer: str, rule: str) -> None:
    try:
        read(text)  # type: ignore[operator]
    except ValueError:
        raise InvalidConfig("contact policy", pointer, f"{rule}, got {text!r}") from None
