"""A day between two mornings: who buys, who moves on, what happens; the contacts of the day are booked."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.arrays import FloatArray, IntArray, join_rows
from simulator.behaviour import COMPLAINT, Happening, events_of, happened
from simulator.capacity import closed, room
from simulator.hazards import ceilings
from simulator.laws import Laws
from simulator.life_cycle import moved
from simulator.population import Bytes
from simulator.purchases import bought, conversions
from simulator.screen import BUYS, HAPPENS, LOGS_IN, MOVES, Uniforms
from simulator.state import Conversions, WorldState
from simulator.today import Today


class _Close(NamedTuple):
    """Customers whom the screen has let through for one mechanism, and their uniform for it."""

    rows: IntArray  # (n,)
    uniforms: FloatArray  # (n,)


def passed(
    laws: Laws, now: Today, state: WorldState, flags: Bytes, complaining: IntArray
) -> tuple[WorldState, Conversions]:
    """The state on the next morning and the conversions of the day, given who may do something (N,)."""
    buys, moves, happens = _looked_at(laws, state, flags)
    sold = conversions(laws, now, state, *buys)
    events = events_of(laws, now, state, *happens)
    after, follow = bought(laws, state, sold)
    # Whose stage a purchase has just changed stays there today: the screen did not know of it.
    still = after.stage[moves.rows] == state.stage[moves.rows]
    after = _moved(laws, after, moves.rows[still], moves.uniforms[still])
    events = join_rows([events, follow, _complaints(complaining)])
    after = happened(laws.behaviour, laws.hazards, after, events, state.day + 1)
    login = np.where(flags & LOGS_IN, np.int16(state.day + 1), after.login)
    after = _morning(laws, now, after._replace(login=login))
    changed = after.stage != state.stage
    for rows in (buys.rows, sold.customers, events.rows):  # of buys the bound may have become too wide
        changed[rows] = True
    return with_ceilings(laws, after, np.flatnonzero(changed)), sold


def _looked_at(laws: Laws, state: WorldState, flags: Bytes) -> tuple[_Close, _Close, _Close]:
    """Who may buy, move on, or have an event."""
    rows = np.flatnonzero(flags & (BUYS | MOVES | HAPPENS))
    uniforms, found = Uniforms.of(laws.engine.words, state, rows), flags[rows]
    buys, moves, happens = (np.flatnonzero(found & flag) for flag in (BUYS, MOVES, HAPPENS))
    return (
        _Close(rows[buys], uniforms.buys[buys]),
        _Close(rows[moves], uniforms.moves[moves]),
        _Close(rows[happens], uniforms.happens[happens]),
    )


def _complaints(rows: IntArray) -> Happening:
    kinds = np.full(rows.size, COMPLAINT, dtype=np.uint8)
    return Happening(rows, kinds, np.zeros(rows.size, dtype=np.uint8))


def _moved(laws: Laws, state: WorldState, rows: IntArray, uniforms: FloatArray) -> WorldState:
    """With customers `rows` in their stage of tomorrow."""
    memory = laws.engine.remembered(state, rows, state.day + 1, laws.kernel, laws.spill)
    stage = state.stage.copy()
    stage[rows] = moved(laws.life, state, rows, memory, uniforms)
    return state._replace(stage=stage)


def _morning(laws: Laws, now: Today, state: WorldState) -> WorldState:
    """The morning after: today's appointments are over."""
    state = state._replace(day=state.day + 1)
    if laws.capacity.is_off:
        return state
    book = closed(state.book, now.day)
    queue = 1.0 - room(book, laws.capacity, state.day, int(now.weekday[1]))
    return state._replace(book=book, queue=queue.astype(np.float32))


def with_ceilings(laws: Laws, state: WorldState, rows: IntArray) -> WorldState:
    """With the bounds of customers `rows` as they are now."""
    ceiling = state.ceiling.copy()
    ceiling[rows] = ceilings(laws.hazards, state, rows, laws.engine.ceiling_logs)
    return state._replace(ceiling=ceiling)
