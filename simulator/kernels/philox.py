"""Random words and the screen of a day: a Philox block a customer (nba.randomness, simulator.screen)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nba.arrays import IntArray
from nba.randomness import Purpose
from simulator.kernels.jit import inlined, jit
from simulator.life_cycle import ONBOARDING
from simulator.screen import BUYS, HAPPENS, MOVES, Bounds, Close, Screened
from simulator.state import WorldState

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint32(0x9E3779B9), np.uint32(0xBB67AE85)
_SHIFT = np.uint64(32)
_CHUNK = 1024  # customers whose words stay in the cache
_TOP = np.uint64(0xFFFFFF)
_WORDS = 4294967296.0


def words(seed: int, purpose: int, ids: IntArray, day: int = 0, block: int = 0) -> NDArray[np.uint32]:
    """(n, 4) the words of nba.randomness.keyed_words."""
    found = np.empty((4, ids.size), dtype=np.uint32)
    _words(ids, *_key(seed, purpose), np.uint32(day), np.uint32(block), found)
    return found.T


def screened(state: WorldState, bounds: Bounds) -> Screened:
    """Who passes the screen of screen.screened."""
    people, n = state.people, state.people.n_customers
    who = (people.ids, state.ceiling, people.payday, state.stage, people.digital, state.joined)
    rows, uniforms = np.empty((3, n + 1), dtype=np.int64), np.empty((3, n + 1))
    login = np.empty_like(state.login)
    key = (*_key(state.seed, Purpose.DAY), np.uint32(state.day))
    counts = _screened(who, bounds, key, state.login, login, rows, uniforms)
    buys, moves, happens = (Close(rows[one, :n], uniforms[one, :n]) for one, n in enumerate(counts))
    return Screened(buys, moves, happens, login)


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
def _screened(who: Any, bounds: Any, key: Any, before: Any, login: Any, rows: Any, uniforms: Any) -> Any:
    """How many may buy, move on and have an event: so many of the rows (3, N + 1) and uniforms are theirs.

    Nothing branches: everybody is written down, and the next one over those who do not count.
    """
    ids, ceiling, payday, stage, digital, joined = who
    top, k0, k1, day = key
    words, flags = np.empty((4, _CHUNK), dtype=np.uint32), np.empty(_CHUNK, dtype=np.uint8)
    close, counts = np.empty(_CHUNK, dtype=np.int64), np.zeros(3, dtype=np.int64)
    for start in range(0, ids.size, _CHUNK):  # words alone first: some are made at once
        part = slice(start, min(start + _CHUNK, ids.size))
        _words(ids[part], top, k0, k1, day, np.uint32(0), words)
        whose = (ceiling[part], payday[part], stage[part], digital[part], joined[part])
        n = _flags(whose, bounds, words, day, before[part], login[part], close, flags)
        for one in range(n):
            k = close[one]
            for what in range(3):
                at = counts[what]
                rows[what, at], uniforms[what, at] = start + k, words[what, k] / _WORDS
                counts[what] = at + ((flags[one] >> what) & 1)
    return counts


@jit
def _flags(
    who: Any, bounds: Any, words: Any, day: Any, before: Any, login: Any, close: Any, flags: Any
) -> Any:
    """How many of some customers have flags, which and whom; and the logins of all."""
    ceiling, payday, stage, digital, joined = who
    buys, moves, happens, logs_in, ripe = bounds
    organic, life, event, online = words
    tomorrow, n = np.int16(day + 1), 0
    for k in range(stage.size):
        where = stage[k]
        leaves = (life[k] < moves[where]) | ((where == ONBOARDING) & (joined[k] <= ripe))
        flag = np.uint8(organic[k] < ceiling[k] * buys[payday[k]]) * np.uint8(BUYS)
        flag |= np.uint8(leaves) * np.uint8(MOVES)
        flag |= np.uint8(event[k] < happens) * np.uint8(HAPPENS)
        login[k] = tomorrow if online[k] < logs_in[where, digital[k]] else before[k]
        close[n], flags[n] = k, flag
        n += flag != 0
    return n
