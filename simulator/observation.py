"""What a bank knows of its customers on a day: the state as columns, without the hidden traits."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from nba.arrays import AnyArray, BoolArray, FloatArray, IntArray
from nba.context import ContextBatch
from nba.timing import waits_days
from simulator.behaviour import timing_types, until_birthday
from simulator.contact_history import contact_history, placed
from simulator.follow_up import days_since
from simulator.hazards import ACQUISITION
from simulator.laws import Laws
from simulator.life_cycle import CHURNED, balance_trend
from simulator.memory import contacts_in_window, remembered
from simulator.population import DIGITAL_LEVELS, SILVER_AGE, STEPS
from simulator.state import NO_OFFER, OFFER_SHIFT, WorldState, flags
from simulator.today import Today

_LONGEST_SINCE_DAYS = 365.0  # what is longer ago counts as a year
_MORNING, _EVENING, _WEEKEND = 0, 2, 3  # activity classes that the bank has names for

Column = Callable[[Laws, Today, WorldState, IntArray], AnyArray]


def columns(
    laws: Laws, now: Today, state: WorldState, rows: IntArray, names: Iterable[str]
) -> dict[str, FloatArray]:
    """Raw attribute columns (B,) of customers `rows` on a day, those of OBSERVED that are named."""
    return {name: _COLUMNS[name](laws, now, state, rows).astype(np.float64) for name in names}


def waits(laws: Laws, now: Today, state: WorldState, rows: IntArray) -> IntArray:
    """(B, T) days until a contact of each timing would be made."""
    waited_for = (timing.waits_for for timing in laws.config.catalogue.timings)
    names = {name for name in waited_for if name in _COLUMNS}
    at = np.full(rows.size, now.date.astype("datetime64[s]"))
    return waits_days(laws.config.catalogue, at, columns(laws, now, state, rows, names))


def chosen_waits(laws: Laws, now: Today, state: WorldState, rows: IntArray, timings: IntArray) -> IntArray:
    """(k,) the wait of one timing for each of customers `rows` (k,), as in `waits`."""
    return waits(laws, now, state, rows)[np.arange(rows.size), timings]


def observe(laws: Laws, now: Today, state: WorldState, rows: IntArray) -> ContextBatch:
    """The contexts of customers `rows` (B,) on a day."""
    schema, policy = laws.config.schema, laws.config.contact.policy
    since = {column.name: days_since(laws, state, rows, column) for column in schema.since}
    shown = [column.name for column in schema.columns if column.name not in since]
    seen = columns(laws, now, state, rows, shown) | since
    at = np.full(rows.size, now.date.astype("datetime64[s]"))
    memory = remembered(state, rows, state.day, laws.kernel, laws.spill)
    counts = [contacts_in_window(memory.contacts, state.day, days) for days in policy.windows_days]
    n_channels, n_products = state.people.preference.shape[1], laws.delays.size
    by_channel = np.array(counts, dtype=np.int64).reshape(len(counts), rows.size, n_channels)
    by_channel = by_channel.transpose(1, 0, 2)
    asks = policy.needs_history
    ages = np.maximum(memory.offered.astype(np.float64) - OFFER_SHIFT, 0.0)
    return ContextBatch(
        customer_ids=state.people.ids[rows].astype(object),
        at=at,
        features=schema.matrix(seen, memory.fatigue, at),
        attributes=seen,
        consents=flags(state.consents[rows], n_channels),
        fatigue=memory.fatigue,
        contact_counts=np.concatenate([by_channel, by_channel.sum(axis=2, keepdims=True)], axis=2),
        owned=flags(state.owned[rows], n_products),
        offer_age_days=np.where(memory.offered == NO_OFFER, np.inf, ages),
        history=contact_history(laws, now, state, rows, memory.contacts) if asks else None,
    )


def _since(name: str) -> Column:
    """Days since a day that the state keeps, at most a year; what is still to come is not known."""

    def column(laws: Laws, now: Today, state: WorldState, rows: IntArray) -> FloatArray:
        days = state.day - getattr(state, name)[rows].astype(np.float64)
        return np.where(days < 0.0, _LONGEST_SINCE_DAYS, np.minimum(days, _LONGEST_SINCE_DAYS))

    return column


def _interest(number: int) -> Column:
    return lambda laws, now, state, rows: state.people.seen_interests[rows, number] / STEPS


def _activity(code: int) -> Column:
    return lambda laws, now, state, rows: state.people.seen_receptivity[rows] == code


def _is_customer(laws: Laws, now: Today, state: WorldState, rows: IntArray) -> BoolArray:
    stage = state.stage[rows]
    is_one: BoolArray = (stage != ACQUISITION) & (stage != CHURNED)
    return is_one


def _queue(laws: Laws, now: Today, state: WorldState, rows: IntArray) -> FloatArray:
    """Share of the coming week that is taken in the branch's busiest pool."""
    size = laws.config.population.branch_customers
    branches = state.people.ids[rows] // size - state.people.ids[0] // size
    busiest: FloatArray = state.queue[branches].max(axis=1, initial=0.0)
    return busiest


def _has_lead(laws: Laws, now: Today, state: WorldState, rows: IntArray) -> BoolArray:
    since = state.day - state.lead_day[rows].astype(np.int64)
    has: BoolArray = (state.lead[rows] > 0) & (since >= 0) & (since < laws.contact.hand_off[1])
    return has


def _unanswered(laws: Laws, now: Today, state: WorldState, rows: IntArray) -> FloatArray:
    """Days since the last digital contact if nothing was looked for online since, else a year."""
    contacts = remembered(state, rows, state.day, laws.kernel, laws.spill).contacts
    customer, channel, day = placed(contacts, state.day)
    made = laws.contact.is_digital.take(channel) & (day < state.day)
    last = np.full(rows.size, -np.inf)
    np.maximum.at(last, customer[made], day[made])
    answered = (state.lead[rows] > 0) & (state.lead_day[rows] >= last)
    return np.where(answered, _LONGEST_SINCE_DAYS, np.minimum(state.day - last, _LONGEST_SINCE_DAYS))


def _branch(laws: Laws, now: Today, state: WorldState, rows: IntArray) -> IntArray:
    return state.people.ids[rows] // laws.config.population.branch_customers


def _manager(laws: Laws, now: Today, state: WorldState, rows: IntArray) -> IntArray:
    """Number of the customer's relationship manager in the bank, -1 for none."""
    people = laws.config.population
    number = _branch(laws, now, state, rows) * people.managers_per_branch
    number = number + state.people.ids[rows] % people.managers_per_branch
    return np.where(state.people.wealth[rows] >= people.managed_from_tier, number, -1)


def _until_key_day(laws: Laws, now: Today, state: WorldState, rows: IntArray) -> FloatArray:
    payday = now.until_payday.take(state.people.payday.take(rows))
    key_day: FloatArray = np.minimum(payday, until_birthday(state, rows, now))
    return key_day


_COLUMNS: dict[str, Column] = {
    "age": lambda laws, now, state, rows: state.people.age[rows],
    "is_60_plus": lambda laws, now, state, rows: state.people.age[rows] >= SILVER_AGE,
    "wealth_tier": lambda laws, now, state, rows: state.people.wealth[rows],
    "digital_index": lambda laws, now, state, rows: state.people.digital[rows] / DIGITAL_LEVELS,
    "tenure_years": lambda laws, now, state, rows: (state.day - state.joined[rows].astype(np.float64)) / 365,
    "segment": lambda laws, now, state, rows: state.people.segment[rows],
    "stage": lambda laws, now, state, rows: state.stage[rows],
    "is_customer": _is_customer,
    "branch": _branch,
    "manager": _manager,
    "has_manager": lambda laws, now, state, rows: _manager(laws, now, state, rows) >= 0,
    **{
        f"interest_{name}": _interest(number)
        for number, name in enumerate(("saving", "investing", "borrowing", "daily"))
    },
    "has_app": lambda laws, now, state, rows: state.people.has_app[rows],
    "digital_engagement": lambda laws, now, state, rows: state.people.seen_preference[rows, 0] / STEPS,
    "human_engagement": lambda laws, now, state, rows: state.people.seen_preference[rows, 1] / STEPS,
    "recent_engagement": lambda laws, now, state, rows: (
        remembered(state, rows, state.day, laws.kernel, laws.spill).engagement
    ),
    "active_mornings": _activity(_MORNING),
    "active_evenings": _activity(_EVENING),
    "active_weekends": _activity(_WEEKEND),
    "risk_class": lambda laws, now, state, rows: state.people.risk[rows],
    "days_to_key_day": _until_key_day,
    "days_since_login": _since("login"),
    "days_since_complaint": _since("complaint"),
    "days_since_purchase": _since("bought_day"),
    "days_unanswered": _unanswered,
    "last_event": lambda laws, now, state, rows: state.event[rows],
    "days_since_event": _since("event_day"),
    "timing_type": lambda laws, now, state, rows: timing_types(laws.behaviour, now, state, rows),
    "balance_trend": lambda laws, now, state, rows: balance_trend(state, rows, state.day),
    "has_lead": _has_lead,
    "queue": _queue,
}
