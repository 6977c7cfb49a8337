"""The changing part of a world: arrays of customers on one day, and what happened that day.

Everything is as small as it is precise, about 190 bytes a customer with 7 channels and 20 products.
What fades (fatigue, engagement, ages) is kept as it was on the day a customer was last touched and is
brought forward when it is read: see simulator.memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nba.arrays import BoolArray, FloatArray, IntArray
from simulator.population import Bytes, FirstDay, Halves, Population

Days: TypeAlias = NDArray[np.int16]
LONG_AGO = -10_000
NO_OFFER = 255
OFFER_SHIFT = 31  # an offer planned w days ahead has age -w


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
    stage: Bytes  # (N,) index in STAGES
    joined: Days  # (N,) day on which the customer came, negative for those who were there on day 0
    consents: NDArray[np.uint16]  # (N,) one bit per channel
    owned: NDArray[np.uint32]  # (N,) one bit per product
    touched: Days  # (N,) day on which the next four were last brought forward
    contacts: NDArray[np.uint64]  # (N, C) bit d mod 64 for a contact on day d, made or planned
    fatigue: Halves  # (N, C, 2) short and long counters
    offered: Bytes  # (N, P) days since an offer of each product plus OFFER_SHIFT, NO_OFFER if long ago
    engagement: Halves  # (N,) contacts engaged with, halving every 15 days
    login: Days  # (N,) day of the last login
    event: Bytes  # (N,) last key event, index in EVENTS
    event_product: Bytes  # (N,) what it was about
    event_day: Days  # (N,)
    balance: Halves  # (N,) balance trend on the day of the event, halving every 30 days
    lead: Bytes  # (N,) family the customer looked for online, plus 1; 0 for none
    lead_day: Days  # (N,)
    human: Days  # (N,) day of the last contact by a person
    complaint: Days  # (N,) day of the last complaint
    bought: Bytes  # (N,) family last bought, plus 1; 0 for none
    bought_day: Days  # (N,)
    ceiling: NDArray[np.float32]  # (N,) bound of the organic hazard, calendar and market aside
    pending: Pending
    book: NDArray[np.float32]  # (branches, pools, HORIZON) minutes taken, see simulator.capacity
    queue: NDArray[np.float32]  # (branches, pools) share of the coming week that is taken

    @property
    def n_bytes(self) -> int:
        """Memory of everything held for the customers."""
        parts = (*self, *self.people, *self.pending)
        return sum(part.nbytes for part in parts if isinstance(part, np.ndarray))


class Memory(NamedTuple):
    """The fading part of some customers on one day (see simulator.memory)."""

    contacts: NDArray[np.uint64]  # (B, C)
    fatigue: FloatArray  # (B, C, 2)
    offered: Bytes  # (B, P)
    engagement: FloatArray  # (B,)


class Responses(NamedTuple):
    """What the contacts of one day brought, one row per decided customer."""

    contacted: BoolArray  # (B,) decided and not refused
    refused: BoolArray  # (B,) by the platform's cap, or because nobody has time
    delivered: BoolArray  # (B,)
    seen: BoolArray  # (B,)
    engaged: BoolArray  # (B,)
    opted_out: BoolArray  # (B,) from the contact's channel
    complained: BoolArray  # (B,)
    waits: IntArray  # (B,) days from the decision to the contact
    queued: IntArray  # (B,) of these, days of waiting for a person
    due: IntArray  # (B,) day of the conversion that the contact would cause, -1 for none
    costs: FloatArray  # (B,) account currency: the contact itself
    losses: FloatArray  # (B,) account currency: value lost by opt-outs and complaints
    book: NDArray[np.float32]  # appointments with those of the day
    memory: Memory  # of the customers with a contact, refused or not, as it met them


class Conversions(NamedTuple):
    """Conversions of one day; `caused` is the truth, which attribution does not know."""

    customers: IntArray  # (n,) row
    products: IntArray  # (n,)
    caused: BoolArray  # (n,) by a contact
    amounts: FloatArray  # (n,) account currency


def bits(flags: BoolArray) -> NDArray[np.uint64]:
    """(N,) masks of flags (N, k)."""
    weights = np.uint64(1) << np.arange(flags.shape[1], dtype=np.uint64)
    masks: NDArray[np.uint64] = (flags * weights).sum(axis=1, dtype=np.uint64)
    return masks


def flags(masks: NDArray[np.uint16] | NDArray[np.uint32], width: int) -> BoolArray:
    """(N, width) flags of masks (N,)."""
    places = np.arange(width, dtype=np.uint32)
    is_set: BoolArray = (masks.astype(np.uint32)[:, None] >> places) & np.uint32(1) > 0
    return is_set


def first_state(
    seed: int, people: Population, first: FirstDay, branches_pools_days: tuple[int, int, int]
) -> WorldState:
    """Everybody on day 0, before any contact."""
    n, c, p = people.n_customers, people.preference.shape[1], first.owned.shape[1]
    none = np.zeros(0, dtype=np.int64)

    def long_ago() -> Days:
        return np.full(n, LONG_AGO, dtype=np.int16)

    def zeros(kind: type[np.generic], *shape: int) -> NDArray[Any]:
        return np.zeros((n, *shape), dtype=kind)

    return WorldState(
        seed=seed,
        day=0,
        people=people,
        stage=first.stage,
        joined=(-first.tenure_days).astype(np.int16),
        consents=bits(first.consents).astype(np.uint16),
        owned=bits(first.owned).astype(np.uint32),
        touched=zeros(np.int16),
        contacts=zeros(np.uint64, c),
        fatigue=zeros(np.float16, c, 2),
        offered=np.full((n, p), NO_OFFER, dtype=np.uint8),
        engagement=zeros(np.float16),
        login=np.full(n, -1, dtype=np.int16),
        event=zeros(np.uint8),
        event_product=zeros(np.uint8),
        event_day=long_ago(),
        balance=zeros(np.float16),
        lead=zeros(np.uint8),
        lead_day=long_ago(),
        human=long_ago(),
        complaint=long_ago(),
        bought=zeros(np.uint8),
        bought_day=long_ago(),
        ceiling=zeros(np.float32),
        pending=Pending(none, none, none),
        book=np.zeros(branches_pools_days, dtype=np.float32),
        queue=np.zeros(branches_pools_days[:2], dtype=np.float32),
    )
