"""Human capacity as an appointment book: minutes of people, taken per branch, pool and day.

A pool is a kind of people (relationship managers, tellers, agents), the same number of minutes in every
branch on every working day. Contacts that need somebody ask for a day and get the first one with room
left; nobody is served above capacity, and who would have to wait too long is refused. The book takes the
minutes that were really used: in a simulation the outcome is known when the contact is booked, so a call
that nobody answers takes its `unanswered_minutes` and no more. Minutes are whole numbers, whose sums
are exact: results do not depend on the order of rows nor on how branches are spread over shards.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
from msgspec import Struct

from nba.arrays import BoolArray, Float32Array, FloatArray, IntArray, KeyArray, check_shape
from nba.errors import require
from nba.timing import SATURDAY

Serve: TypeAlias = Callable[[IntArray, IntArray, IntArray, IntArray, int], IntArray]
Book = Float32Array  # (branches, pools, HORIZON) minutes taken; day d has the slot d mod HORIZON

HORIZON = 64  # days that a book reaches ahead, today included
LONGEST_QUEUE_DAYS = 32  # with the 31 days that a contact may be planned ahead, as far as a book reaches
_DAYS_SHOWN = 7
_DAYS_OF_WEEK = 7
_MOST_MINUTES = 100_000  # a day of a pool; sums stay far below 2^24, up to which float32 counts exactly


class CapacityConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is needed for a contact, for how long, and how much of them there is; nobody by default.

    By channel, in the order of the catalogue: whole `minutes` of a contact, whole `unanswered_minutes` of
    one that nobody answers, and the pool that serves it ("" if none). By pool: whole `daily_minutes` in
    each branch. `waiting_conversion` is a factor on the lift, `waiting_complaint` one on the complaint
    hazard of a contact that came later than wanted.
    """

    minutes: tuple[float, ...] = ()
    unanswered_minutes: tuple[float, ...] = ()
    pool_of: tuple[str, ...] = ()
    daily_minutes: dict[str, float] = {}
    works_weekends: dict[str, bool] = {}
    longest_queue_days: int = 10
    waiting_conversion: float = 1.0
    waiting_complaint: float = 1.0

    def __post_init__(self) -> None:
        """Check ranges, names of pools, and that a day of a pool is long enough for its contacts."""
        self._check_numbers()
        self._check_pools()

    def _check_numbers(self) -> None:
        for name in ("minutes", "unanswered_minutes"):
            for channel, value in enumerate(getattr(self, name)):
                _whole_minutes(f"{name}[{channel}]", value)
        for pool, value in self.daily_minutes.items():
            _whole_minutes(f"daily_minutes.{pool}", value)
        days = self.longest_queue_days
        rule = f"must be 0..{LONGEST_QUEUE_DAYS}, got {days}"
        require(0 <= days <= LONGEST_QUEUE_DAYS, "world", "capacity.longest_queue_days", rule)
        for name in ("waiting_conversion", "waiting_complaint"):
            value = getattr(self, name)
            rule = f"must be finite and >= 0, got {value}"
            require(0 <= value < np.inf, "world", f"capacity.{name}", rule)

    def _check_pools(self) -> None:
        known = sorted(self.daily_minutes)
        unknown = sorted(self.works_weekends.keys() - self.daily_minutes.keys())
        rule = f"names {unknown}, which must be pools of daily_minutes: {known}"
        require(not unknown, "world", "capacity.works_weekends", rule)
        self.check_channels(len(self.pool_of))
        for channel, pool in enumerate(self.pool_of):
            longest = max(self.minutes[channel], self.unanswered_minutes[channel])
            rule = f"must be one of the pools {known}, or empty for no pool, got {pool!r}"
            require(pool in {"", *known}, "world", f"capacity.pool_of[{channel}]", rule)
            rule = f"needs a pool, because the channel takes {longest} minutes"
            require(pool != "" or longest == 0, "world", f"capacity.pool_of[{channel}]", rule)
            day = self.daily_minutes.get(pool, 0.0)
            # A pool of nobody is a question that one may ask; a day that is too short is a mistake.
            rule = f"must fit into a day of {pool!r}: {day} minutes, got {longest}"
            require(day == 0 or longest <= day, "world", f"capacity.minutes[{channel}]", rule)

    def check_channels(self, n_channels: int) -> None:
        """Raise InvalidConfig unless the tables by channel have `n_channels` entries, or none if off."""
        for name in ("pool_of", "minutes", "unanswered_minutes"):
            length = len(getattr(self, name))
            rule = f"needs one entry for each of {n_channels} channels, got {length}"
            require(self.is_off or length == n_channels, "world", f"capacity.{name}", rule)

    @property
    def is_off(self) -> bool:
        """Tell a world in which nobody needs anybody."""
        return not self.pool_of

    @property
    def pools(self) -> tuple[str, ...]:
        """Names of the pools, in the order of the second axis of a book."""
        return tuple(self.daily_minutes)


class Appointments(NamedTuple):
    """The book with some more requests in it, and what became of each."""

    book: Book
    waits: IntArray  # (n,) days from today to the contact, queue included; as wanted if refused
    refused: BoolArray  # (n,) no room in time


class _Queue(NamedTuple):
    """Requests that need somebody, one after the other."""

    rows: IntArray  # (m,) where they stand in the caller's arrays
    desks: IntArray  # (m,) branch x pool
    minutes: IntArray  # (m,) above 0


def empty_book(config: CapacityConfig, n_branches: int) -> Book:
    """A book with nothing in it."""
    return np.zeros((n_branches, len(config.pools), HORIZON), dtype=np.float32)


def minutes_used(config: CapacityConfig, channels: IntArray, answered: BoolArray) -> IntArray:
    """(n,) minutes that contacts on `channels` (n,) take, `answered` (n,) or not."""
    if config.is_off:
        return np.zeros(channels.size, dtype=np.int64)
    minutes, unanswered = np.array(config.minutes), np.array(config.unanswered_minutes)
    return np.where(answered, minutes[channels], unanswered[channels]).astype(np.int64)


def appoint(
    config: CapacityConfig,
    book: Book,
    day: int,
    weekday: int,
    branches: IntArray,
    channels: IntArray,
    wanted_waits: IntArray,
    minutes: IntArray,
    order: KeyArray | FloatArray,
    serve: Serve | None = None,
) -> Appointments:
    """Book requests (n,) on `day`, a `weekday` (Monday 0), at rows `branches` of the book.

    Requests are served one after the other by `order`, which must differ inside a branch. Each gets the
    first day from its wanted one on that has its minutes left in its branch and pool: a short contact may
    fill a gap that was too short for an earlier one. A day on which the pool is closed has no minutes. It
    is refused after `longest_queue_days`, or at the end of the book. Who needs no minutes is never
    refused and comes when wanted.
    """
    check_shape(book, (None, len(config.pools), HORIZON), "book")
    waits, refused = wanted_waits.astype(np.int64), np.zeros(wanted_waits.size, dtype=np.bool_)
    rows, desks, length = _queue(config, branches, channels, minutes, order)
    free = _free(config, book, day, weekday)
    # A desk's days go on after the end of the book, with no minutes.
    left = np.zeros((*free.shape[:2], HORIZON + config.longest_queue_days + 1), dtype=np.int64)
    left[:, :, :HORIZON] = free
    cells, width = left.reshape(-1), left.shape[2]
    wanted = desks * width + np.minimum(waits[rows], HORIZON)
    queued = (serve or served)(cells, desks, wanted, length, config.longest_queue_days + 1)
    refused[rows] = queued < 0
    waits[rows] += np.maximum(queued, 0)
    taken = np.roll(free - left[:, :, :HORIZON], day, axis=2)
    return Appointments((book + taken).astype(np.float32), waits, refused)


def served(cells: IntArray, desks: IntArray, wanted: IntArray, minutes: IntArray, n_days: int) -> IntArray:
    """(m,) days that each request waits, -1 if refused; takes the minutes from `cells`, desk by day.

    Requests (m,) come one after the other to `desks`, want a cell each of their desk and take the first of
    `n_days` from there that has their minutes left. Desks know nothing of each other, so the first of
    every desk are served together, then the second, and so on.
    """
    # Numbers of 16 bits are sorted in linear time.
    few = desks.astype(np.min_scalar_type(int(desks.max(initial=0))))
    by_desk = np.argsort(few, kind="stable")
    turns = np.arange(desks.size) - np.searchsorted(desks[by_desk], desks[by_desk])
    in_turn, ends = by_desk[np.argsort(turns)], np.append(0, np.cumsum(np.bincount(turns)))
    first, sizes, days = wanted[in_turn], minutes[in_turn], np.empty(wanted.size, dtype=np.int64)
    choices = first[:, None] + np.arange(n_days)
    for begin, end in pairwise(ends):
        choice, size = choices[begin:end], sizes[begin:end]
        possible = cells.take(choice) >= size[:, None]
        found, queued = possible.any(axis=1), possible.argmax(axis=1)
        days[in_turn[begin:end]] = np.where(found, queued, -1)
        cells[first[begin:end] + queued] -= size * found
    return days


def given_back(
    config: CapacityConfig,
    book: Book,
    days: IntArray,
    branches: IntArray,
    channels: IntArray,
    minutes: IntArray,
) -> Book:
    """The book without appointments (n,) on `days` that will not be kept."""
    pools = _pool_numbers(config)[channels]
    kept = np.flatnonzero(pools >= 0)
    after = book.copy()
    np.subtract.at(after, (branches[kept], pools[kept], days[kept] % HORIZON), minutes[kept])
    return after


def closed(book: Book, day: int) -> Book:
    """The book after `day`: its minutes are over, and the slot is free for HORIZON days later."""
    after = book.copy()
    after[:, :, day % HORIZON] = 0.0
    return after


def room(book: Book, config: CapacityConfig, day: int, weekday: int) -> FloatArray:
    """(branches, pools) share of the coming seven days, today first, that is free; 0 of a closed pool."""
    minutes = _open_minutes(config, weekday, _DAYS_SHOWN).sum(axis=1)
    free = _free(config, book, day, weekday, _DAYS_SHOWN).sum(axis=2)
    return np.asarray(free / np.maximum(minutes, 1), dtype=np.float64)


def _open_minutes(config: CapacityConfig, weekday: int, n_days: int) -> IntArray:
    """(pools, n_days) minutes of each pool in a branch, today first."""
    is_weekend = (weekday + np.arange(n_days)) % _DAYS_OF_WEEK >= SATURDAY
    rows = [
        np.where(is_weekend & (not config.works_weekends.get(pool, False)), 0.0, minutes)
        for pool, minutes in config.daily_minutes.items()
    ]
    return np.array(rows).reshape(-1, n_days).astype(np.int64)


def _free(config: CapacityConfig, book: Book, day: int, weekday: int, n_days: int = HORIZON) -> IntArray:
    """(branches, pools, n_days) minutes left, today first."""
    taken = book.take((day + np.arange(n_days)) % HORIZON, axis=2)
    return _open_minutes(config, weekday, n_days) - taken.astype(np.int64)


def _queue(
    config: CapacityConfig,
    branches: IntArray,
    channels: IntArray,
    minutes: IntArray,
    order: KeyArray | FloatArray,
) -> _Queue:
    """The requests that need somebody, by `order`."""
    if config.is_off:
        return _Queue(*np.zeros((3, 0), dtype=np.int64))
    pools = _pool_numbers(config)[channels]
    rows = np.flatnonzero((pools >= 0) & (minutes > 0))
    rows = rows.take(np.argsort(order.take(rows)))
    desks = branches.take(rows) * len(config.pools) + pools.take(rows)
    return _Queue(rows, desks, np.ceil(minutes.take(rows)).astype(np.int64))


def _pool_numbers(config: CapacityConfig) -> IntArray:
    """(C,) place of each channel's pool in a book, -1 for none."""
    numbers = {pool: number for number, pool in enumerate(config.pools)}
    return np.array([numbers.get(pool, -1) for pool in config.pool_of], dtype=np.int64)


def _whole_minutes(pointer: str, value: float) -> None:
    rule = f"must be a whole number of minutes in [0, {_MOST_MINUTES}], got {value}"
    is_whole = 0 <= value <= _MOST_MINUTES and float(value).is_integer()
    require(is_whole, "world", f"capacity.{pointer}", rule)
