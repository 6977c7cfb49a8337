"""Logs of a simulated run as columns: decisions with their propensities, and outcomes."""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple, Self, TypeVar

import numpy as np

from experiments.tallies import DayTally
from nba.arrays import BoolArray, FloatArray, IntArray, join_rows, take_rows
from simulator.state import Conversions, WorldState
from simulator.world import World


class DecisionLog(NamedTuple):
    """One row per decision, with what is needed to evaluate another strategy on it."""

    number: IntArray  # unique in the run
    customer: IntArray
    day: IntArray
    contact_day: IntArray  # day on which the contact is made, of the decision without one
    action: IntArray
    propensity: FloatArray
    no_contact_propensity: FloatArray
    expected_value: FloatArray
    n_eligible: IntArray
    delivered: BoolArray
    engaged: BoolArray
    opted_out: BoolArray
    complained: BoolArray
    cost: FloatArray
    loss: FloatArray

    @classmethod
    def of(cls, state: WorldState, numbers: IntArray, day: DayTally) -> Self:
        """The decisions of one day."""
        batch, seen, index = day.batch, day.responses, np.arange(day.rows.size)
        return cls(
            number=numbers,
            customer=state.people.ids[day.rows],
            day=np.full(day.rows.size, state.day, dtype=np.int64),
            contact_day=state.day + seen.waits,
            action=batch.actions,
            propensity=batch.propensities,
            no_contact_propensity=batch.distribution[:, 0],
            expected_value=batch.expected_values[index, batch.actions],
            n_eligible=batch.eligible.sum(axis=1).astype(np.int64),
            delivered=seen.delivered,
            engaged=seen.engaged,
            opted_out=seen.opted_out,
            complained=seen.complained,
            cost=seen.costs,
            loss=seen.losses,
        )


class OutcomeLog(NamedTuple):
    """One row per conversion; `decision` is the credited decision, -1 if organic."""

    customer: IntArray
    day: IntArray
    product: IntArray
    value: FloatArray
    decision: IntArray
    caused: BoolArray  # the truth: did a contact cause it?

    @classmethod
    def of(cls, world: World, state: WorldState, conversions: Conversions, credited: IntArray) -> Self:
        """The conversions of one day."""
        margins = world.config.catalogue.margins
        return cls(
            customer=state.people.ids[conversions.customers],
            day=np.full(conversions.customers.size, state.day, dtype=np.int64),
            product=conversions.products,
            value=margins[conversions.products],
            decision=credited,
            caused=conversions.caused,
        )


Log = TypeVar("Log", DecisionLog, OutcomeLog)


def join_logs(parts: list[Log]) -> Log:
    """All rows by day and customer, whatever the order and the cut of the parts (at least one)."""
    joined = join_rows(parts)
    return take_rows(joined, np.lexsort((joined.customer, joined.day)))


def digest(decisions: DecisionLog, outcomes: OutcomeLog) -> str:
    """SHA-256 over every column of both logs, in their canonical order."""
    running = sha256()
    for log in (decisions, outcomes):
        for name, column in zip(log._fields, log, strict=True):
            running.update(name.encode())
            running.update(np.ascontiguousarray(column).tobytes())
    return running.hexdigest()
