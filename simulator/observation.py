"""What a bank knows of its customers on a day: the state as columns, without the hidden traits."""

from __future__ import annotations

import numpy as np

from nba.arrays import FloatArray, IntArray
from nba.context import ContextBatch
from simulator.config import HISTORY_DAYS, WorldConfig
from simulator.state import WorldState


def columns(
    config: WorldConfig, state: WorldState, rows: IntArray, date: np.datetime64
) -> dict[str, FloatArray]:
    """Raw attribute columns (B,) of customers `rows` on a date."""
    seen = {name: column[rows] for name, column in state.people.seen.items()}
    seen["stage"] = state.stage[rows].astype(np.float64)
    seen["days_to_key_day"] = days_until(state.people.payday[rows], date).astype(np.float64)
    return seen


def observe(config: WorldConfig, state: WorldState, rows: IntArray, date: np.datetime64) -> ContextBatch:
    """The contexts of customers `rows` (B,) on a date."""
    seen = columns(config, state, rows, date)
    at = np.full(rows.size, date.astype("datetime64[s]"))
    fatigue = state.fatigue[rows]
    return ContextBatch(
        customer_ids=state.people.ids[rows].astype(object),
        at=at,
        features=config.schema.matrix(seen, fatigue, at),
        attributes=seen,
        consents=state.consents[rows],
        fatigue=fatigue,
        contact_counts=contact_counts(config, state, rows),
        owned=state.owned[rows],
        offer_age_days=np.maximum(state.day - state.offered[rows], 0).astype(np.float64),
    )


def contact_counts(config: WorldConfig, state: WorldState, rows: IntArray) -> IntArray:
    """(B, W, C + 1) contacts in each window of the bank's contact policy, today's decision excluded.

    A planned contact counts as made today until it is made (see Strategy._history).
    """
    n_channels = len(config.catalogue.channels)
    windows = config.contact.policy.windows_days
    history = state.history[rows]
    decided = (state.day - np.arange(HISTORY_DAYS)) % HISTORY_DAYS  # days since the decision in column d
    decided[decided == 0] = HISTORY_DAYS  # today's column still holds what happened a whole round ago
    ages = np.maximum(decided - state.planned[rows], 0)
    counts = np.zeros((rows.size, len(windows), n_channels + 1), dtype=np.int64)
    for number, days in enumerate(windows):
        recent = np.where(ages < days, history, 0)
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
