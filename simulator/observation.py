"""What a bank knows of its customers on a day: the state as columns, without the hidden traits."""

from __future__ import annotations

import numpy as np

from nba.arrays import FloatArray, IntArray
from nba.context import ContextBatch
from simulator.config import HISTORY_DAYS, WorldConfig
from simulator.state import WorldState


def observe(config: WorldConfig, state: WorldState, rows: IntArray, date: np.datetime64) -> ContextBatch:
    """The contexts of customers `rows` (B,) on a date."""
    people = state.people
    columns: dict[str, FloatArray] = {name: column[rows] for name, column in people.seen.items()}
    columns["stage"] = state.stage[rows].astype(np.float64)
    columns["days_to_key_day"] = days_until(people.payday[rows], date).astype(np.float64)
    at = np.full(rows.size, date.astype("datetime64[s]"))
    fatigue = state.fatigue[rows]
    return ContextBatch(
        customer_ids=people.ids[rows].astype(object),
        at=at,
        features=config.schema.matrix(columns, fatigue, at),
        attributes=columns,
        consents=state.consents[rows],
        fatigue=fatigue,
        contact_counts=contact_counts(config, state, rows),
        owned=state.owned[rows],
        offer_age_days=(state.day - state.offered[rows]).astype(np.float64),
    )


def contact_counts(config: WorldConfig, state: WorldState, rows: IntArray) -> IntArray:
    """(B, W, C + 1) contacts in each window of the bank's contact policy, today excluded."""
    n_channels = len(config.catalogue.channels)
    windows = config.contact.policy.windows_days
    history = state.history[rows]
    ages = (
        state.day - np.arange(HISTORY_DAYS)
    ) % HISTORY_DAYS  # column d holds the contact made `ages` days ago
    ages[ages == 0] = HISTORY_DAYS  # today's column still holds what happened a whole round ago
    counts = np.zeros((rows.size, len(windows), n_channels + 1), dtype=np.int64)
    for number, days in enumerate(windows):
        recent = history[:, ages < days]
        for channel in range(n_channels):
            counts[:, number, channel] = (recent == channel + 1).sum(axis=1)
        counts[:, number, n_channels] = (recent > 0).sum(axis=1)
    return counts


def days_until(day_of_month: IntArray, date: np.datetime64) -> IntArray:
    """(B,) days from a date to the next day of the month (1 to 28) of each customer, 0 if it is today."""
    month = date.astype("datetime64[M]")
    today = int((date - month.astype("datetime64[D]")).astype(np.int64)) + 1
    length = int(((month + 1).astype("datetime64[D]") - month.astype("datetime64[D]")).astype(np.int64))
    ahead = day_of_month - today
    return np.where(ahead >= 0, ahead, ahead + length)
