"""Random words and the screen of a day: a Philox block a customer (nba.randomness, simulator.screen)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nba.arrays import IntArray
from nba.randomness import Purpose
from simulator.kernels.jit import inlined, jit
from simulator.life_cycle import ONBOARDING
from simulator.population import Bytes
from simulator.screen import BUYS, HAPPENS, LOGS_IN, MOVES, Bounds
from simulator.state import WorldState

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint32(0x9E3779B9), np.uint32(0xBB67AE85)
_SHIFT = np.uint64(32)
_CHUNK = 1024  # customers whose words stay in the cache
_TOP = np.uint64(0xFFFFFF)


def words(seed: int, purpose: int, ids: IntArray, day: int = 0, block: int = 0) -> NDArray[np.uint32]:
    """(n, 4) the words of nba.randomness.keyed_words."""
    found = np.empty((4, ids.size), dtype=np.uint32)
    _words(ids, *_key(seed, purpose), np.uint32(day), np.uint32(block), found)
    return found.T


def flags(state: WorldState, bounds: Bounds) -> Bytes:
    """(N,) the flags of screen.flags_numpy."""
    people, found = state.people, np.empty(state.people.n_customers, dtype=np.uint8)
    who = (people.ids, state.ceiling, people.payday, state.stage, people.digital, state.joined)
    _flags(who, bounds, *_key(state.seed, Purpose.DAY), np.uint32(state.day), found)
    return found


def _key(seed: int, purpose: int) -> tuple[np.uint32, np.uint32, np.uint32]:
    return np.uint32(int(purpose) << 24), np.uint32(seed & 0xFFFFFFFF), np.uint32((seed >> 32) & 0xFFFFFFFF)


@inlined
def _block(one: Any, top: Any, k0: Any, k1: Any, day: Any, block: Any) -> Any:
    """The four words of one key."""
    c0 = np.uint32(one)
    c1 = np.uint32((np.uint64(one) >> _SHIFT) & _TOP) | top
    c2, c3 = day, block
    for _ in range(10):
        left, right = np.uint64(c0) * _M0, np.uint64(c2) * _M1
        c0 = np.uint32(right >> _SHIFT) ^ c1 ^ k0
        c2 = np.uint32(left >> _SHIFT) ^ c3 ^ k1
        c1, c3 = np.uint32(right), np.uint32(left)
        k0, k1 = np.uint32(k0 + _W0), np.uint32(k1 + _W1)
    return c0, c1, c2, c3


@jit
def _words(ids: Any, top: Any, k0: Any, k1: Any, day: Any, block: Any, found: Any) -> None:
    for i in range(ids.size):
        found[0, i], found[1, i], found[2, i], found[3, i] = _block(ids[i], top, k0, k1, day, block)


@jit
def _flags(who: Any, bounds: Any, top: Any, k0: Any, k1: Any, day: Any, flags: Any) -> None:
    ids, ceiling, payday, stage, digital, joined = who
    buys, moves, happens, logs_in, ripe = bounds
    found = np.empty((4, _CHUNK), dtype=np.uint32)
    for start in range(0, ids.size, _CHUNK):  # words alone first: some are made at once
        stop = min(start + _CHUNK, ids.size)
        _words(ids[start:stop], top, k0, k1, day, np.uint32(0), found)
        for i in range(start, stop):
            k = i - start
            organic, life, event, login = found[0, k], found[1, k], found[2, k], found[3, k]
            where = stage[i]
            leaves = life < moves[where] or (where == ONBOARDING and joined[i] <= ripe)
            flag = np.uint8(organic < ceiling[i] * buys[payday[i]]) * np.uint8(BUYS)
            flag |= np.uint8(leaves) * np.uint8(MOVES)
            flag |= np.uint8(event < happens) * np.uint8(HAPPENS)
            flags[i] = flag | np.uint8(login < logs_in[where, digital[i]]) * np.uint8(LOGS_IN)
