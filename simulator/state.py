"""The changing part of a world: arrays of customers on one day, and what happened that day."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nba.arrays import BoolArray, FloatArray, IntArray
from nba.catalogue import Catalogue
from simulator.config import HISTORY_DAYS
from simulator.population import Population

_LONG_AGO = -10_000
SmallArray: TypeAlias = NDArray[np.int8]


class Pending(NamedTuple):
    """Conversions that contacts will cause unless something comes first, by due day."""

    customers: IntArray  # (n,) row
    products: IntArray  # (n,)
    due: IntArray  # (n,) day


class WorldState(NamedTuple):
    """Customers at the start of a day."""

    seed: int
    day: int
    people: Population
    stage: IntArray  # (N,)
    consents: BoolArray  # (N, C)
    owned: BoolArray  # (N, P)
    fatigue: FloatArray  # (N, C, 2)
    engagement: FloatArray  # (N,) engaged contacts, halving every 15 days
    history: SmallArray  # (N, HISTORY_DAYS) channel + 1 of the contact decided on day d, at column d modulo
    planned: SmallArray  # (N, HISTORY_DAYS) days from that decision to its contact
    offered: IntArray  # (N, P) day of the last contact about each product
    pending: Pending


class Responses(NamedTuple):
    """What the contacts of one day brought, one row per decided customer."""

    contacted: BoolArray  # (B,)
    delivered: BoolArray  # (B,)
    engaged: BoolArray  # (B,)
    opted_out: BoolArray  # (B,) from the contact's channel
    complained: BoolArray  # (B,)
    waits: IntArray  # (B,) days from the decision to the contact
    due: IntArray  # (B,) day of the conversion that the contact would cause, -1 for none
    costs: FloatArray  # (B,) account currency: the contact itself
    losses: FloatArray  # (B,) account currency: value lost by opt-outs and complaints


class Conversions(NamedTuple):
    """Conversions of one day; `caused` is the truth, which attribution does not know."""

    customers: IntArray  # (n,) row
    products: IntArray  # (n,)
    caused: BoolArray  # (n,) by a contact


def first_state(seed: int, people: Population, catalogue: Catalogue) -> WorldState:
    """Everybody on day 0, before any contact."""
    n, (c, _, p) = people.n_customers, catalogue.shape
    none = np.zeros(0, dtype=np.int64)
    return WorldState(
        seed=seed,
        day=0,
        people=people,
        stage=people.initial_stage,
        consents=people.initial_consents,
        owned=people.initial_owned,
        fatigue=np.zeros((n, c, 2)),
        engagement=np.zeros(n),
        history=np.zeros((n, HISTORY_DAYS), dtype=np.int8),
        planned=np.zeros((n, HISTORY_DAYS), dtype=np.int8),
        offered=np.full((n, p), _LONG_AGO, dtype=np.int64),
        pending=Pending(none, none, none),
    )
