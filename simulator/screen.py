"""Who may do something today: the only pass over all customers of a day.

Each customer gets one Philox block a day. Its four words are held against bounds that are never below
the true probabilities; whoever passes is looked at closely, with the same words. So the many to whom
nothing happens cost a few operations each, and the result is exact (thinning: Lewis, Shedler 1979).
`screened` is the definition; `simulator.kernels` has the same loop for Numba.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nba.arrays import FloatArray, IntArray
from nba.randomness import Purpose, keyed_words
from simulator.behaviour import BehaviourLaw
from simulator.life_cycle import ONBOARDING, LifeCycleLaw
from simulator.population import Bytes
from simulator.state import Days, WorldState
from simulator.today import Today

BUYS, MOVES, HAPPENS, LOGS_IN = 1, 2, 4, 8  # flags
_ORGANIC, _LIFE, _EVENT, _LOGIN = range(4)  # words of the day's block
_WORDS = 4294967296.0
_CHUNK = 16_384  # customers, so that what is made of them stays in the cache


class Bounds(NamedTuple):
    """What the words of a day are held against, in units of words."""

    buys: FloatArray  # (29,) by pay day: times the customer's ceiling
    moves: FloatArray  # (8,) by stage
    happens: float
    logs_in: NDArray[np.uint32]  # (8, 256) by stage and digital index
    ripe: int  # who is onboarding and joined on this day or before moves on

    @staticmethod
    def of(now: Today, life: LifeCycleLaw, behaviour: BehaviourLaw) -> Bounds:
        """The bounds of a day."""
        return Bounds(
            buys=now.bound * _WORDS * (1.0 + 1e-9),
            moves=life.bound * _WORDS,
            happens=behaviour.bound * _WORDS,
            logs_in=(behaviour.login * _WORDS).astype(np.uint32),
            ripe=max(now.day + 1 - life.onboarding_days, -32_768),
        )


class Close(NamedTuple):
    """Customers whom the screen has let through for one mechanism, and their uniform for it."""

    rows: IntArray  # (n,)
    uniforms: FloatArray  # (n,)


class Screened(NamedTuple):
    """Who is looked at closely, and who was online."""

    buys: Close
    moves: Close
    happens: Close
    login: Days  # (N,) day of the last login, as it is tomorrow


def screened(state: WorldState, bounds: Bounds) -> Screened:
    """Who may buy, move on or have an event today, and the logins of the day."""
    return let_through(state, flags_numpy(state, bounds))


def let_through(state: WorldState, flags: Bytes) -> Screened:
    """Those to whom flags (N,) say that something may happen, with the uniforms of their words."""
    rows = np.flatnonzero((flags & (BUYS | MOVES | HAPPENS)) != 0)
    uniforms, found = Uniforms.of(keyed_words, state, rows), flags.take(rows)
    each = [np.flatnonzero((found & flag) != 0) for flag in (BUYS, MOVES, HAPPENS)]
    close = (Close(rows[some], part[some]) for some, part in zip(each, uniforms, strict=True))
    buys, moves, happens = close
    return Screened(buys, moves, happens, np.where(flags & LOGS_IN, np.int16(state.day + 1), state.login))


def flags_numpy(state: WorldState, bounds: Bounds) -> Bytes:
    """(N,) flags of what may happen to each customer today."""
    n, people = state.people.n_customers, state.people
    flags = np.empty(n, dtype=np.uint8)
    for start in range(0, n, _CHUNK):
        part = slice(start, start + _CHUNK)
        words = keyed_words(state.seed, Purpose.DAY, people.ids[part], state.day)
        stage = state.stage[part]
        found = (words[:, _ORGANIC] < state.ceiling[part] * bounds.buys[people.payday[part]]) * np.uint8(BUYS)
        moves = words[:, _LIFE] < bounds.moves[stage]
        moves |= (stage == ONBOARDING) & (state.joined[part] <= bounds.ripe)
        found |= moves * np.uint8(MOVES)
        found |= (words[:, _EVENT] < bounds.happens) * np.uint8(HAPPENS)
        found |= (words[:, _LOGIN] < bounds.logs_in[stage, people.digital[part]]) * np.uint8(LOGS_IN)
        flags[part] = found
    return flags


class Uniforms(NamedTuple):
    """The words of some customers' day as uniforms in (0, 1)."""

    buys: FloatArray  # (n,)
    moves: FloatArray
    happens: FloatArray

    @staticmethod
    def of(words_of: Callable[..., NDArray[np.uint32]], state: WorldState, rows: IntArray) -> Uniforms:
        """The same words that the screen has seen."""
        words = words_of(state.seed, Purpose.DAY, state.people.ids[rows], state.day)
        organic, life, event = (uniform(words[:, word]) for word in (_ORGANIC, _LIFE, _EVENT))
        return Uniforms(organic, life, event)


def uniform(words: NDArray[np.uint32]) -> FloatArray:
    """(n,) uniforms at the lower ends of the words' intervals: below a bound exactly if the word is."""
    scaled: FloatArray = words / _WORDS
    return scaled
