"""What fades: contacts, fatigue and engagement, kept as of a customer's last touch and brought forward.

A customer who is left alone costs nothing. Whoever is read or contacted on a later day gets the decay of
all days in between at once (methods C1: lazy, at read), and with it the fatigue of contacts that were
planned ahead and made since. Contacts are one bit a day and channel, day modulo 64: 32 days back and 31
ahead of the touch are kept.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nba.arrays import BoolArray, FloatArray, IntArray
from nba.fatigue import FatigueKernel
from simulator.config import HISTORY_DAYS, LONGEST_WAIT_DAYS
from simulator.state import NO_OFFER, OFFER_SHIFT, Memory, WorldState

Masks: TypeAlias = NDArray[np.uint64]
ENGAGEMENT_HALF_LIFE_DAYS = 15.0  # assumed
_ROUND = 64
_ONE = np.uint64(1)
LONGEST_FADE = 1024  # days after which nothing is left of any counter worth the name


def remembered(
    state: WorldState, rows: IntArray, day: int, kernel: FatigueKernel, spill: FloatArray
) -> Memory:
    """The memory of customers `rows` (B,) at the start of a day not before their last touch."""
    touched = state.touched[rows].astype(np.int64)
    elapsed = day - touched
    faded = np.minimum(elapsed, LONGEST_FADE)
    left, left_engagement = fading(kernel, spill.shape[0])
    contacts, over = state.contacts.take(rows, axis=0), _run(touched, elapsed)
    fatigue = flat(state.fatigue).take(rows, axis=0) * left.take(faded, axis=0)
    # Later bits are of contacts before the touch: nothing is planned further ahead.
    since = contacts & _run(touched, np.minimum(elapsed, LONGEST_WAIT_DAYS + 1))[:, None]
    if since.any():
        _add_made(fatigue, since, touched, day, left, np.repeat(spill, 2, axis=1))
    # The bits that the days over had HISTORY_DAYS earlier are free again.
    return Memory(
        contacts & ~_turned(over, np.uint64(_ROUND - HISTORY_DAYS))[:, None],
        fatigue.reshape(*contacts.shape, 2),
        _aged(state.offered.take(rows, axis=0), elapsed),
        state.engagement[rows] * left_engagement[faded],
    )


class Met(NamedTuple):
    """The fatigue that contacts meet."""

    short: FloatArray  # (m,) counter of the channel
    long: FloatArray  # (m,)
    other: FloatArray  # (m,) sum of the other channels' long counters


def met(memory: Memory, among: IntArray, channels: IntArray) -> Met:
    """What contacts on `channels` (m,) with those at rows `among` (m,) of a memory meet."""
    cells = 2 * (among * memory.fatigue.shape[1] + channels)
    short, long = memory.fatigue.take(cells), memory.fatigue.take(cells + 1)
    return Met(short, long, across(memory.fatigue).take(among) - long)


class Booking(NamedTuple):
    """Contacts of a day, made or planned, of customers who are among those remembered."""

    among: IntArray  # (B,) row of the memory
    rows: IntArray  # (B,) of the customer
    channels: IntArray  # (B,)
    products: IntArray  # (B,)
    waits: IntArray  # (B,) days ahead
    engaged: BoolArray  # (B,)


def booked(
    state: WorldState, today: Memory, new: Booking, kernel: FatigueKernel, spill: FloatArray
) -> WorldState:
    """The state with new contacts, in the memory of tomorrow morning."""
    memory = Memory(
        today.contacts.take(new.among, axis=0),
        today.fatigue.take(new.among, axis=0),
        today.offered.take(new.among, axis=0),
        today.engagement.take(new.among),
    )
    after = tomorrow(memory, new.channels, new.waits, state.day, kernel, spill)
    after.offered[np.arange(new.rows.size), new.products] = OFFER_SHIFT + 1 - new.waits
    return kept(state, new.rows, after._replace(engagement=after.engagement + new.engaged), state.day + 1)


def tomorrow(
    memory: Memory, channels: IntArray, waits: IntArray, day: int, kernel: FatigueKernel, spill: FloatArray
) -> Memory:
    """The memory (B) of the next morning, with one more contact each, made or planned `waits` days ahead."""
    n, width = memory.contacts.shape
    adds = np.zeros((width + 1, 2 * width))  # the last row is that of no contact
    adds[:width] = np.repeat(spill, 2, axis=1)
    fatigue = flat(memory.fatigue) + adds.take(np.where(waits == 0, channels, width), axis=0)
    planned = np.flatnonzero(memory.contacts & day_bit(np.array([day])))
    _add(fatigue, planned // width, adds.take(planned % width, axis=0))
    contacts = memory.contacts.copy()
    contacts.reshape(-1)[np.arange(n) * width + channels] |= day_bit(day + waits)
    contacts &= ~day_bit(np.array([day - HISTORY_DAYS]))
    left, left_engagement = fading(kernel, width)
    fatigue *= left[1]
    return Memory(
        contacts,
        fatigue.reshape(memory.fatigue.shape),
        _aged(memory.offered, np.ones(n, dtype=np.int64)),
        memory.engagement * left_engagement[1],
    )


def kept(state: WorldState, rows: IntArray, memory: Memory, day: int) -> WorldState:
    """The state with the memory of customers `rows` as of a day."""
    engagement, touched = state.engagement.copy(), state.touched.copy()
    engagement[rows], touched[rows] = memory.engagement, day
    fatigue = with_rows(flat(state.fatigue), rows, flat(memory.fatigue).astype(np.float16))
    return state._replace(
        contacts=with_rows(state.contacts, rows, memory.contacts),
        fatigue=fatigue.reshape(state.fatigue.shape),
        offered=with_rows(state.offered, rows, memory.offered),
        engagement=engagement,
        touched=touched,
    )


def with_rows(whole: NDArray[Any], rows: IntArray, parts: NDArray[Any]) -> NDArray[Any]:
    """A copy of (N, k) numbers with other rows (n, k) of their type, each written as one block of bytes."""
    after, block = whole.copy(), np.dtype((np.void, whole.itemsize * whole.shape[1]))
    after.view(block)[rows] = parts.view(block)
    return after


def day_bit(days: IntArray) -> Masks:
    """(B,) the bit of each day."""
    bit: Masks = _ONE << (days % _ROUND).astype(np.uint64)
    return bit


def days_ahead(day: int) -> np.uint64:
    """The bits of a day and of those to which contacts may be planned on it."""
    ahead: np.uint64 = _run(np.array([day]), np.array([LONGEST_WAIT_DAYS + 1]))[0]
    return ahead


def contacts_in_window(contacts: Masks, day: int, days: int) -> NDArray[np.uint8]:
    """(B, C) contacts in the window of `days` days that ends today.

    A planned contact counts as made today until it is made (see Strategy._history).
    """
    first = np.array([day - days + 1])
    counts: NDArray[np.uint8] = np.bitwise_count(
        contacts & _run(first, np.array([days + LONGEST_WAIT_DAYS]))[0]
    )
    return counts


def _run(first: IntArray, length: IntArray) -> Masks:
    """(B,) bits of `length` days from day `first` on; a shift by a whole round leaves nothing."""
    return _turned((_ONE << length.astype(np.uint64)) - _ONE, (first % _ROUND).astype(np.uint64))


def _turned(masks: Masks, days: Masks | np.uint64) -> Masks:
    """Masks (B,) of days that lie 0 <= `days` <= 64 days later."""
    turned: Masks = (masks << days) | (masks >> (np.uint64(_ROUND) - days))
    return turned


def _add_made(
    fatigue: FloatArray, since: Masks, touched: IntArray, day: int, left: FloatArray, spill: FloatArray
) -> None:
    """Add to fatigue (B, 2C) the contacts made since the touch, planned before it."""
    width = since.shape[1]
    places = np.flatnonzero(since)
    rows, channels, masks = places // width, places % width, since.reshape(-1)[places]
    while rows.size:
        place = np.bitwise_count(~masks & (masks - _ONE)).astype(np.int64)  # of the lowest bit
        age = day - touched[rows] - (place - touched[rows]) % _ROUND
        share = left.take(np.minimum(age, LONGEST_FADE), axis=0)
        _add(fatigue, rows, spill.take(channels, axis=0) * share)
        masks &= masks - _ONE
        more = masks != 0
        rows, channels, masks = rows[more], channels[more], masks[more]


def _add(fatigue: FloatArray, rows: IntArray, more: FloatArray) -> None:
    """Add `more` (n, 2C) to fatigue (B, 2C), row by row; the same row may come again."""
    width = fatigue.shape[1]
    places = rows[:, None] * width + np.arange(width)
    np.add.at(fatigue.reshape(-1), places.reshape(-1), more.reshape(-1))  # fast on one axis only


def _aged(offered: NDArray[np.uint8], elapsed: IntArray) -> NDArray[np.uint8]:
    """Ages (B, P) of offers, which stop at NO_OFFER and so stay bytes."""
    older = np.minimum(elapsed, NO_OFFER).astype(np.uint8)[:, None]
    aged: NDArray[np.uint8] = np.minimum(offered, np.uint8(NO_OFFER) - older) + older
    return aged


def across(fatigue: FloatArray) -> FloatArray:
    """(B,) sum of the long counters of fatigue (B, C, 2) over channels; NumPy is slow on short axes."""
    total = np.zeros(fatigue.shape[0])
    for channel in range(fatigue.shape[1]):
        total += fatigue[:, channel, 1]
    return total


def flat(pairs: NDArray[Any]) -> NDArray[Any]:
    """Short and long counters (B, C, 2) as one axis (B, 2C): NumPy is slow on short last axes."""
    return pairs.reshape(pairs.shape[0], 2 * pairs.shape[1])


@cache
def fading(kernel: FatigueKernel, n_channels: int) -> tuple[FloatArray, FloatArray]:
    """Shares of the fatigue counters (days, 2C) and of engagement (days,) left after each number of days."""
    days = np.arange(LONGEST_FADE + 1.0)
    return np.tile(kernel.recovery(days), (1, n_channels)), np.exp2(-days / ENGAGEMENT_HALF_LIFE_DAYS)
