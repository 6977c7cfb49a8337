"""What follows a contact: the days since it that a bank sees, and a channel that takes up its silence."""

from __future__ import annotations

import numpy as np

from nba.arrays import BoolArray, FloatArray, IntArray
from nba.since import Since
from simulator.contact_history import placed
from simulator.laws import Laws
from simulator.memory import Masks, remembered
from simulator.response import ContactLaw
from simulator.state import LONG_AGO, WorldState


def last_contacts(contacts: Masks, today: int) -> FloatArray:
    """(B, C) day of the last contact before today in masks (B, C), -inf where the history has none."""
    customer, channel, day = placed(contacts, today)
    last, made = np.full(contacts.shape, -np.inf), day < today
    np.maximum.at(last, (customer[made], channel[made]), day[made])
    return last


def days_since(laws: Laws, state: WorldState, rows: IntArray, column: Since) -> FloatArray:
    """(B,) days of a `Since` column, NaN where unknown.

    Of outcomes a bank sees the last interest online here, and the family that it was about: interest in
    another family since makes the older one unknown.
    """
    catalogue = laws.config.catalogue
    masks = remembered(state, rows, state.day, laws.kernel, laws.spill).contacts
    contacts, interest = last_contacts(masks, state.day), state.lead_day[rows].astype(np.float64)
    interest = np.where((interest == LONG_AGO) | (interest > state.day), -np.inf, interest)
    families = laws.hazards.family[[catalogue.level("product", name) for name in column.products]]
    wanted = np.isin(state.lead[rows], families + 1) | (families.size == 0)

    def last(channels: tuple[str, ...], shown: FloatArray | None) -> FloatArray:
        made = contacts[:, [catalogue.level("channel", name) for name in channels]]
        seen = np.full(rows.size, -np.inf) if shown is None else shown
        latest: FloatArray = np.maximum(made.max(axis=1, initial=-np.inf), seen)
        return latest

    about = np.where(wanted, interest, -np.inf)
    begun = last(column.contacts, about if column.outcomes else None)
    over = last(column.unless_contacts, interest if column.unless_outcomes else None) >= begun
    return np.where(over | (begun == -np.inf), np.nan, state.day - begun)


def taken_up(
    law: ContactLaw,
    state: WorldState,
    rows: IntArray,
    contacts: Masks,
    among: IntArray,
    channels: IntArray,
    waits: IntArray,
) -> BoolArray:
    """Contacts that take up another channel's silence: `among` (customer of `rows`), channel, wait broadcast.

    The last digital contact of masks (B, C) has brought no interest online, lies as many days back as the
    law asks for, and the channel has not been used since.
    """
    _, first, until = law.follow_up
    last = last_contacts(contacts, state.day)
    digital = last[:, law.is_digital].max(axis=1, initial=-np.inf)
    open_since = np.where(state.lead_day[rows] < digital, digital, -np.inf)[among]
    since = state.day + waits - open_since
    takes: BoolArray = (since >= first) & (since <= until) & (last[among, channels] < open_since)
    return takes
