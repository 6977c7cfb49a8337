"""A day between two mornings: who buys, who moves on, what happens; the contacts of the day are booked."""

from __future__ import annotations

import numpy as np

from nba.arrays import FloatArray, IntArray, join_rows
from simulator.behaviour import COMPLAINT, Happening, events_of, happened
from simulator.capacity import closed, room
from simulator.hazards import ceilings
from simulator.laws import Laws
from simulator.life_cycle import moved
from simulator.purchases import bought, conversions
from simulator.screen import Screened
from simulator.state import Conversions, WorldState
from simulator.today import Today


def passed(
    laws: Laws, now: Today, state: WorldState, screened: Screened, complaining: IntArray
) -> tuple[WorldState, Conversions]:
    """The state on the next morning and the conversions of the day, given who may do something."""
    buys, moves, happens, login = screened
    sold = conversions(laws, now, state, *buys)
    events = events_of(laws, now, state, *happens)
    after, follow = bought(laws, state, sold)
    # Whose stage a purchase has just changed stays there today: the screen did not know of it.
    still = np.flatnonzero(after.stage.take(moves.rows) == state.stage.take(moves.rows))
    after = _moved(laws, after, moves.rows[still], moves.uniforms[still])._replace(login=login)
    events = join_rows([events, follow, _complaints(complaining)])
    after = happened(laws.behaviour, laws.hazards, after, events, state.day + 1)
    after = _morning(laws, now, after)
    changed = after.stage != state.stage
    for rows in (buys.rows, sold.customers, events.rows):  # of buys the bound may have become too wide
        changed[rows] = True
    return with_ceilings(laws, after, np.flatnonzero(changed)), sold


def _complaints(rows: IntArray) -> Happening:
    kinds = np.full(rows.size, COMPLAINT, dtype=np.uint8)
    return Happening(rows, kinds, np.zeros(rows.size, dtype=np.uint8))


def _moved(laws: Laws, state: WorldState, rows: IntArray, uniforms: FloatArray) -> WorldState:
    """With customers `rows` in their stage of tomorrow."""
    memory = laws.engine.remembered(state, rows, state.day + 1, laws.kernel, laws.spill)
    stage = state.stage.copy()
    stage[rows] = moved(laws.life, state, rows, memory, uniforms, laws.engine.move_logs)
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
