"""The memory of customers, brought forward and written row by row (see simulator.memory)."""

from __future__ import annotations

from typing import Any

import numpy as np

from nba.arrays import FloatArray, IntArray
from nba.fatigue import FatigueKernel
from simulator.config import HISTORY_DAYS, LONGEST_WAIT_DAYS
from simulator.kernels.jit import from_half, halves, inlined, jit, to_half
from simulator.memory import LONGEST_FADE, Booking, Met, fading, flat, with_rows
from simulator.state import NO_OFFER, OFFER_SHIFT, Memory, WorldState

_ALL, _ONE = np.uint64(0xFFFFFFFFFFFFFFFF), np.uint64(1)


def remembered(
    state: WorldState, rows: IntArray, day: int, kernel: FatigueKernel, spill: FloatArray
) -> Memory:
    """The memory of memory.remembered: NumPy gathers, because it waits for several rows at once."""
    left, left_engagement = fading(kernel, spill.shape[0])
    contacts, offered = state.contacts.take(rows, axis=0), state.offered.take(rows, axis=0)
    counters = halves(flat(state.fatigue)).take(rows, axis=0)
    elapsed = day - state.touched.take(rows).astype(np.int64)
    fatigue = np.empty(counters.shape)
    _remembered(elapsed, counters, day, left, _wide(spill), (contacts, fatigue, offered))
    engagement = state.engagement.take(rows) * left_engagement.take(np.minimum(elapsed, LONGEST_FADE))
    return Memory(contacts, fatigue.reshape(*contacts.shape, 2), offered, engagement)


def booked(
    state: WorldState, today: Memory, new: Booking, kernel: FatigueKernel, spill: FloatArray
) -> WorldState:
    """The state of memory.booked."""
    left, left_engagement = fading(kernel, spill.shape[0])
    n, (channels, products) = new.rows.size, (spill.shape[0], state.offered.shape[1])
    contacts, offered = np.empty((n, channels), dtype=np.uint64), np.empty((n, products), dtype=np.uint8)
    fatigue = np.empty((n, 2 * channels), dtype=np.uint16)
    seen = (today.contacts, flat(today.fatigue), today.offered)
    _booked(seen, new, state.day, left[1], _wide(spill), (contacts, fatigue, offered))
    counters = with_rows(halves(flat(state.fatigue)), new.rows, fatigue)
    engagement, touched = state.engagement.copy(), state.touched.copy()
    engagement[new.rows] = today.engagement.take(new.among) * left_engagement[1] + new.engaged
    touched[new.rows] = state.day + 1
    return state._replace(
        contacts=with_rows(state.contacts, new.rows, contacts),
        fatigue=counters.view(np.float16).reshape(state.fatigue.shape),
        offered=with_rows(state.offered, new.rows, offered),
        engagement=engagement,
        touched=touched,
    )


def met(memory: Memory, among: IntArray, channels: IntArray) -> Met:
    """The fatigue of memory.met."""
    found = np.empty((3, among.size))
    _met(memory.fatigue, among, channels, found)
    return Met(*found)


def _wide(spill: FloatArray) -> FloatArray:
    """What a contact adds to both counters of every channel (C, 2C)."""
    return np.repeat(spill, 2, axis=1)


@jit
def _met(fatigue: Any, among: Any, channels: Any, found: Any) -> None:
    for n in range(among.size):
        m, channel, total = among[n], channels[n], 0.0
        for one in range(fatigue.shape[1]):
            total += fatigue[m, one, 1]
        found[0, n], found[1, n] = fatigue[m, channel, 0], fatigue[m, channel, 1]
        found[2, n] = total - fatigue[m, channel, 1]


@inlined
def _run(first: Any, length: Any) -> Any:
    """Bits of days, as in memory: a shift by 64 means nothing to a processor."""
    if length >= 64:
        return _ALL
    ones, turn = (_ONE << np.uint64(length)) - _ONE, np.uint64(first & 63)
    return (ones << turn) | (ones >> (np.uint64(64) - turn)) if turn else ones


@jit
def _remembered(elapsed: Any, counters: Any, day: Any, left: Any, spill: Any, memory: Any) -> None:
    """Bring dense rows forward: contacts and offers where they are, counters as fatigue."""
    contacts, fatigue, offered = memory
    for n in range(elapsed.size):
        passed = elapsed[n]
        then, faded = day - passed, min(passed, LONGEST_FADE)
        for cell in range(fatigue.shape[1]):
            fatigue[n, cell] = from_half(counters[n, cell]) * left[faded, cell]
        since, planned = _run(then, min(passed, LONGEST_WAIT_DAYS + 1)), np.uint64(0)
        for channel in range(contacts.shape[1]):
            planned |= contacts[n, channel] & since
        if planned:
            _add_made(fatigue[n], contacts[n], since, then, day, left, spill)
        remembered = ~_run(then - HISTORY_DAYS, passed)
        for channel in range(contacts.shape[1]):
            contacts[n, channel] &= remembered
        older = np.uint8(min(passed, NO_OFFER))
        youngest = np.uint8(NO_OFFER) - older
        for product in range(offered.shape[1]):
            offered[n, product] = min(offered[n, product], youngest) + older


@jit
def _add_made(fatigue: Any, contacts: Any, since: Any, then: Any, day: Any, left: Any, spill: Any) -> None:
    """Contacts made since the touch: the first day of every channel, then the second, and so on."""
    some, turn = True, 0
    while some:
        some = False
        for channel in range(contacts.size):
            made = contacts[channel] & since
            for _ in range(turn):
                made &= made - _ONE
            if made:
                some, place = True, _lowest(made)
                age = min(day - then - ((place - then) & 63), LONGEST_FADE)
                for cell in range(fatigue.size):
                    fatigue[cell] += spill[channel, cell] * left[age, cell]
        turn += 1


@inlined
def _lowest(mask: Any) -> Any:
    """Place of the lowest bit, the exponent of what it is worth."""
    lowest = np.float64(mask & (~mask + _ONE))
    return (lowest.view(np.int64) >> 52) - 1023


@jit
def _booked(seen: Any, new: Any, day: Any, share: Any, spill: Any, memory: Any) -> None:
    """Dense rows of the memory of tomorrow, with the new contacts."""
    among, _, channels, products, waits, _ = new
    old_contacts, old_fatigue, old_offered = seen
    contacts, fatigue, offered = memory
    today, remembered = _run(day, 1), ~_run(day - HISTORY_DAYS, 1)
    oldest = np.uint8(NO_OFFER - 1)
    sums = np.empty(share.size)
    for n in range(among.size):
        m = among[n]
        sums[:] = old_fatigue[m]
        if waits[n] == 0:
            _add(sums, spill[channels[n]])
        for channel in range(contacts.shape[1]):
            if old_contacts[m, channel] & today:
                _add(sums, spill[channel])
            contacts[n, channel] = old_contacts[m, channel] & remembered
        contacts[n, channels[n]] |= _run(day + waits[n], 1)
        for cell in range(sums.size):
            fatigue[n, cell] = to_half(sums[cell] * share[cell])
        for product in range(offered.shape[1]):
            offered[n, product] = min(old_offered[m, product], oldest) + np.uint8(1)
        offered[n, products[n]] = OFFER_SHIFT + 1 - waits[n]


@jit
def _add(sums: Any, spill: Any) -> None:
    for cell in range(sums.size):
        sums[cell] += spill[cell]
