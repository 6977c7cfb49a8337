"""Logs of a simulated run as columns: decisions with their propensities, and outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple, Protocol, Self, TypeVar

import numpy as np

from experiments.tallies import DayTally
from nba.arrays import BoolArray, FloatArray, IntArray, join_rows, take_rows
from simulator.state import Conversions, WorldState
from simulator.world import World


class DecisionLog(NamedTuple):
    """One row per decision, with what is needed to evaluate another strategy on it."""

    number: IntArray  # (n,) unique in the run
    customer: IntArray  # (n,)
    day: IntArray  # (n,)
    contact_day: IntArray  # (n,) day on which the contact is made, of the decision without one
    action: IntArray  # (n,)
    timing_type: IntArray  # (n,) what brought the customer up, index in simulator.config.TIMING_TYPES
    propensity: FloatArray  # (n,)
    no_contact_propensity: FloatArray  # (n,)
    expected_value: FloatArray  # (n,)
    n_eligible: IntArray  # (n,)
    refused: BoolArray  # (n,) the contact was decided and not made: a platform's cap, or nobody had time
    queued_days: IntArray  # (n,) of waiting for a person, until the day of the contact
    delivered: BoolArray  # (n,)
    seen: BoolArray  # (n,)
    engaged: BoolArray  # (n,)
    opted_out: BoolArray  # (n,)
    complained: BoolArray  # (n,)
    cost: FloatArray  # (n,)
    loss: FloatArray  # (n,)

    @classmethod
    def of(cls, state: WorldState, numbers: IntArray, day: DayTally) -> Self:
        """The decisions of one day."""
        choices, answers = day.choices, day.responses
        return cls(
            number=numbers,
            customer=state.people.ids[day.rows],
            day=np.full(day.rows.size, state.day, dtype=np.int64),
            contact_day=state.day + answers.waits,
            action=choices.actions,
            timing_type=day.timing_types,
            propensity=choices.propensities,
            no_contact_propensity=choices.no_contact_propensities.copy(),  # a view would keep the tables
            expected_value=choices.expected_values,
            n_eligible=choices.n_eligible,
            refused=answers.refused,
            queued_days=answers.queued,
            delivered=answers.delivered,
            seen=answers.seen,
            engaged=answers.engaged,
            opted_out=answers.opted_out,
            complained=answers.complained,
            cost=answers.costs,
            loss=answers.losses,
        )


class OutcomeLog(NamedTuple):
    """One row per conversion; `decision` is the credited decision, -1 if organic."""

    customer: IntArray  # (n,)
    day: IntArray  # (n,)
    product: IntArray  # (n,)
    value: FloatArray  # (n,) the product's margin, account currency
    amount: FloatArray  # (n,) what the conversion brought, account currency
    decision: IntArray  # (n,)
    caused: BoolArray  # (n,) the truth: did a contact cause it?

    @classmethod
    def of(cls, world: World, state: WorldState, conversions: Conversions, credited: IntArray) -> Self:
        """The conversions of one day."""
        margins = world.config.catalogue.margins
        return cls(
            customer=state.people.ids[conversions.customers],
            day=np.full(conversions.customers.size, state.day, dtype=np.int64),
            product=conversions.products,
            value=margins[conversions.products],
            amount=conversions.amounts,
            decision=credited,
            caused=conversions.caused,
        )


class Logs(NamedTuple):
    """What some customers did in some days."""

    decisions: DecisionLog
    outcomes: OutcomeLog


Log = TypeVar("Log", DecisionLog, OutcomeLog)


class LogSink(Protocol):
    """Where a run's logs go: stretch after stretch, each whole and in its canonical order."""

    def add(self, logs: Logs, daily: FloatArray) -> None:
        """Take the logs of the next stretch, and its daily sums (days, len(DAILY))."""
        ...


class MemorySink:
    """Keeps everything, for runs that are looked at when they are over."""

    def __init__(self) -> None:
        self._kept: list[Logs] = []

    def add(self, logs: Logs, daily: FloatArray) -> None:
        """Keep the logs of a stretch."""
        self._kept.append(logs)

    def logs(self) -> Logs:
        """All rows by day and customer."""
        return join(self._kept)


def join(parts: Sequence[Logs]) -> Logs:
    """The logs of different customers or days as one, by day and customer (at least one part)."""
    decisions, outcomes = zip(*parts, strict=True)
    return Logs(join_logs(decisions), join_logs(outcomes))


def join_logs(parts: Sequence[Log]) -> Log:
    """All rows by day and customer, whatever the order and the cut of the parts (at least one)."""
    joined = join_rows(parts)
    return take_rows(joined, np.lexsort((joined.customer, joined.day)))


def digest(decisions: DecisionLog, outcomes: OutcomeLog) -> str:
    """SHA-256 over every column of both logs, in their canonical order.

    Amounts count where they are not the margins: where they are, `value` has said everything, and a world
    whose amounts do not vary keeps the digests from before there were any.
    """
    running = sha256()
    for log in (decisions, outcomes):
        for name, column in log._asdict().items():
            if name == "amount" and np.array_equal(column, outcomes.value):
                continue
            running.update(name.encode())
            running.update(np.ascontiguousarray(column).data)
    return running.hexdigest()
