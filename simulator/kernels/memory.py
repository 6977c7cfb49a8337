"""The memory of customers, brought forward and written row by row (see simulator.memory)."""

from __future__ import annotations

from typing import Any

import numpy as np

from nba.arrays import FloatArray, IntArray
from nba.fatigue import FatigueKernel
from simulator.config import HISTORY_DAYS, LONGEST_WAIT_DAYS
from simulator.kernels.jit import from_half, halves, inlined, jit, to_half
from simulator.memory import LONGEST_FADE, Booking, fading, flat
from simulator.state import NO_OFFER, OFFER_SHIFT, Memory, WorldState

_ALL, _ONE = np.uint64(0xFFFFFFFFFFFFFFFF), np.uint64(1)


def remembered(
    state: WorldState, rows: IntArray, day: int, kernel: FatigueKernel, spill: FloatArray
) -> Memory:
    """The memory of memory.remembered."""
    left, left_engagement = fading(kernel, spill.shape[0])
    contacts = np.empty((rows.size, spill.shape[0]), dtype=np.uint64)
    offered = np.empty((rows.size, state.offered.shape[1]), dtype=np.uint8)
    fatigue, elapsed = np.empty((rows.size, left.shape[1])), np.empty(rows.size, dtype=np.int64)
    kept = (state.touched, state.contacts, halves(flat(state.fatigue)), state.offered)
    _remembered(kept, rows, day, left, spill, (contacts, fatigue, offered, elapsed))
    engagement = state.engagement[rows] * left_engagement[np.minimum(elapsed, LONGEST_FADE)]
    return Memory(contacts, fatigue.reshape(*contacts.shape, 2), offered, engagement)


def booked(
    state: WorldState, today: Memory, new: Booking, kernel: FatigueKernel, spill: FloatArray
) -> WorldState:
    """The state of memory.booked."""
    left, left_engagement = fading(kernel, spill.shape[0])
    contacts, fatigue, offered = state.contacts.copy(), state.fatigue.copy(), state.offered.copy()
    engagement, touched = state.engagement.copy(), state.touched.copy()
    seen = (today.contacts, flat(today.fatigue), today.offered)
    _booked(seen, new, state.day, left[1], spill, (contacts, halves(flat(fatigue)), offered))
    engagement[new.rows] = today.engagement[new.among] * left_engagement[1] + new.engaged
    touched[new.rows] = state.day + 1
    return state._replace(
        contacts=contacts, fatigue=fatigue, offered=offered, engagement=engagement, touched=touched
    )


@inlined
def _run(first: Any, length: Any) -> Any:
    """Bits of days, as in memory: a shift by 64 means nothing to a processor."""
    if length >= 64:
        return _ALL
    ones, turn = (_ONE << np.uint64(length)) - _ONE, np.uint64(first & 63)
    return (ones << turn) | (ones >> (np.uint64(64) - turn)) if turn else ones


@jit
def _remembered(kept: Any, rows: Any, day: Any, left: Any, spill: Any, memory: Any) -> None:
    touched, all_contacts, all_fatigue, all_offered = kept
    contacts, fatigue, offered, elapsed = memory
    for n in range(rows.size):
        i = rows[n]
        then = np.int64(touched[i])
        passed = day - then
        elapsed[n], faded = passed, min(passed, LONGEST_FADE)
        for cell in range(fatigue.shape[1]):
            fatigue[n, cell] = from_half(all_fatigue[i, cell]) * left[faded, cell]
        forgotten = _run(then - HISTORY_DAYS, passed)
        since, planned = _run(then, min(passed, LONGEST_WAIT_DAYS + 1)), np.uint64(0)
        for channel in range(contacts.shape[1]):
            planned |= all_contacts[i, channel] & since
            contacts[n, channel] = all_contacts[i, channel] & ~forgotten
        if planned:
            _add_made(fatigue[n], all_contacts[i], since, then, day, left, spill)
        older = np.uint8(min(passed, NO_OFFER))
        youngest = np.uint8(NO_OFFER) - older
        for product in range(offered.shape[1]):
            offered[n, product] = min(all_offered[i, product], youngest) + older


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
                some, place = True, 0
                while not (made >> np.uint64(place)) & _ONE:
                    place += 1
                age = min(day - then - ((place - then) & 63), LONGEST_FADE)
                for cell in range(fatigue.size):
                    fatigue[cell] += spill[channel, cell // 2] * left[age, cell]
        turn += 1


@jit
def _booked(seen: Any, new: Any, day: Any, share: Any, spill: Any, state: Any) -> None:
    old_contacts, old_fatigue, old_offered = seen
    contacts, fatigue, offered = state
    today, forgotten = _run(day, 1), _run(day - HISTORY_DAYS, 1)
    sums = np.empty(share.size)
    for n in range(new.rows.size):
        m, i = new.among[n], new.rows[n]
        sums[:] = old_fatigue[m]
        if new.waits[n] == 0:
            _add(sums, spill[new.channels[n]])
        for channel in range(contacts.shape[1]):
            if old_contacts[m, channel] & today:
                _add(sums, spill[channel])
            contacts[i, channel] = old_contacts[m, channel] & ~forgotten
        contacts[i, new.channels[n]] |= _run(day + new.waits[n], 1)
        for cell in range(sums.size):
            fatigue[i, cell] = to_half(sums[cell] * share[cell])
        for product in range(offered.shape[1]):
            offered[i, product] = min(old_offered[m, product], NO_OFFER - 1) + 1
        offered[i, new.products[n]] = OFFER_SHIFT + 1 - new.waits[n]


@jit
def _add(sums: Any, spill: Any) -> None:
    for cell in range(sums.size):
        sums[cell] += spill[cell // 2]
