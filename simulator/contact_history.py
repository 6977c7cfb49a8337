"""The contacts of a simulated history with their days, as a contact policy asks for them."""

from __future__ import annotations

import numpy as np

from nba.arrays import BoolArray, IntArray
from nba.constraints.local_time import DAY
from nba.context import ContactHistory
from simulator.config import HISTORY_DAYS
from simulator.laws import Laws
from simulator.memory import Masks, remembered
from simulator.state import WorldState
from simulator.today import Today

_ROUND = 64  # days that the bits of a mask stand for


def contact_history(
    laws: Laws, now: Today, state: WorldState, rows: IntArray, contacts: Masks
) -> ContactHistory:
    """The history of customers `rows` (B,), from their masks (B, C) and those of their households.

    What was offered is not kept with a contact: products are those that are in no catalogue.
    """
    size = laws.config.population.household_customers
    homes = state.people.ids[rows] // size
    own, channel, day = placed(contacts, state.day)
    others = np.zeros(own.size, dtype=np.bool_)
    if size > 1:
        mates, beside = _mates(state, rows, homes, size)
        masks = remembered(state, mates, state.day, laws.kernel, laws.spill).contacts
        mate, mate_channel, mate_day = placed(masks, state.day)
        own, others = np.concatenate([own, beside[mate]]), np.repeat([False, True], [own.size, mate.size])
        channel, day = np.concatenate([channel, mate_channel]), np.concatenate([day, mate_day])
    column, width = _columns(own, rows.size)
    table = np.zeros((3, rows.size, width), dtype=np.int64)
    table[1] = -1
    table[:, own, column] = (day - state.day) * DAY, channel, others
    today = int(now.date.astype("datetime64[us]").astype(np.int64))
    names = np.full(rows.size, None, dtype=object)
    return ContactHistory(
        now=np.full(rows.size, today),
        at=today + table[0],
        channel=table[1],
        product=np.full(table[0].shape, -1),
        refused=np.zeros(table[0].shape, dtype=np.bool_),
        others=table[2].astype(np.bool_),
        zones=names,
        households=homes.astype(object) if size > 1 else names,
    )


def placed(contacts: Masks, today: int) -> tuple[IntArray, IntArray, IntArray]:
    """(n,) customer, channel and day of each contact in masks (B, C)."""
    bytes_ = contacts.astype("<u8")[..., None].view(np.uint8)
    customer, channel, bit = np.nonzero(np.unpackbits(bytes_, axis=-1, bitorder="little"))
    first = today - HISTORY_DAYS
    return customer, channel, first + (bit - first) % _ROUND


def _mates(state: WorldState, rows: IntArray, homes: IntArray, size: int) -> tuple[IntArray, IntArray]:
    """(m,) rows of the other members of households; (m,) places in `rows` (B,) of those they live with."""
    members = (homes * size)[:, None] + np.arange(size) - state.people.ids[0]
    is_there: BoolArray = (members >= 0) & (members < state.people.ids.size) & (members != rows[:, None])
    beside = np.nonzero(is_there)[0]
    return members[is_there], beside


def _columns(own: IntArray, n_rows: int) -> tuple[IntArray, int]:
    """(n,) a place for each contact in the row of its customer, and the width that this takes."""
    counts = np.bincount(own, minlength=n_rows)
    order = np.argsort(own, kind="stable")
    place = np.empty_like(own)
    place[order] = np.arange(own.size) - np.repeat(np.cumsum(counts) - counts, counts)
    return place, int(counts.max(initial=0))
