"""A simulated log with the states it came from, for those who want to check the one against the other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from experiments.executor import Report
from experiments.world_report.formulas import Masses, lifted_masses, organic_chances
from nba.arrays import AnyArray, BoolArray, Float32Array, FloatArray, IntArray, join_rows
from nba.context import ContextBatch
from nba.snapshot import Snapshot
from nba.strategy import Strategy
from simulator.capacity import HORIZON
from simulator.state import Conversions, Responses, WorldState
from simulator.world import World


class Decisions(NamedTuple):
    """One row per decision, by day and customer; what was not delivered was not seen."""

    customer: IntArray  # (n,)
    day: IntArray  # (n,)
    contact_day: IntArray  # (n,) day on which the contact is made, of the decision without one
    action: IntArray  # (n,)
    timing_type: IntArray  # (n,) index in simulator.config.TIMING_TYPES
    refused: BoolArray  # (n,) decided and not made
    queued_days: IntArray  # (n,) of waiting for a person
    delivered: BoolArray  # (n,)
    seen: BoolArray  # (n,)
    engaged: BoolArray  # (n,)
    opted_out: BoolArray  # (n,)
    complained: BoolArray  # (n,)
    cost: FloatArray  # (n,) account currency
    loss: FloatArray  # (n,)


class Sales(NamedTuple):
    """One row per conversion."""

    customer: IntArray  # (n,)
    day: IntArray  # (n,)
    product: IntArray  # (n,)
    amount: FloatArray  # (n,) account currency
    caused: BoolArray  # (n,) by a contact: the truth


class Morning(NamedTuple):
    """What the state of a morning says, copied."""

    stage: AnyArray  # (N,)
    owned: AnyArray  # (N,) masks
    consents: AnyArray  # (N,) masks


class Trace(NamedTuple):
    """One run: D days, N customers (row i is customer ids[i]), n decisions, m contacts that were seen."""

    world: World
    seed: int
    ids: IntArray  # (N,)
    joined: IntArray  # (N,) on the first morning
    wealth: AnyArray  # (N,) tier
    decisions: Decisions
    sales: Sales
    fatigue: Float32Array  # (n, C, 2) counters that each decision met, as the state has them
    masses: Masses  # (m,)
    stage: AnyArray  # (D + 1, N) every morning
    owned: AnyArray  # (D + 1, N)
    consents: AnyArray  # (D + 1, N)
    minutes: Float32Array  # (D, branches, pools) of people on the day, from the appointment book
    organic: FloatArray  # (D, 2, families) expected organic conversions and their variance

    @property
    def n_days(self) -> int:
        """D."""
        return len(self.minutes)


class _Day(NamedTuple):
    """What is kept of one day."""

    decisions: Decisions
    sales: Sales
    fatigue: Float32Array
    masses: Masses
    morning: Morning
    minutes: Float32Array
    organic: FloatArray


def trace(
    world: World, strategy: Strategy, seed: int, customers: IntArray, days: int, report: Report
) -> Trace:
    """Run a strategy that does not learn and keep the states."""
    snapshot, state = Snapshot.start(strategy), world.reset(seed, customers)
    first, kept = state, []
    for _ in range(days):
        day, state = _passed(world, snapshot, state)
        kept.append(day)
        report(customers.size)
    mornings = [day.morning for day in kept] + [_morning(state)]
    stage, owned, consents = (np.stack(part) for part in zip(*mornings, strict=True))
    return Trace(
        world=world,
        seed=seed,
        ids=customers,
        joined=first.joined.astype(np.int64),
        wealth=first.people.wealth,
        decisions=join_rows([day.decisions for day in kept]),
        sales=join_rows([day.sales for day in kept]),
        fatigue=np.concatenate([day.fatigue for day in kept]),
        masses=Masses(*map(np.concatenate, zip(*(day.masses for day in kept), strict=True))),
        stage=stage,
        owned=owned,
        consents=consents,
        minutes=np.stack([day.minutes for day in kept]),
        organic=np.stack([day.organic for day in kept]),
    )


def _passed(world: World, snapshot: Snapshot, state: WorldState) -> tuple[_Day, WorldState]:
    """One day: decide, respond, and look at everything before it is over."""
    rows = world.due(state)
    contexts = world.observe(state, rows)
    ids = np.array([f"{state.day}-{one}" for one in state.people.ids[rows].tolist()], dtype=object)
    actions = snapshot.decide(contexts, ids).actions
    responses = world.respond(state, rows, actions)
    after, sold = world.advance(state, rows, actions, responses)
    day = _Day(
        decisions=_decisions(world, state, rows, actions, responses),
        sales=_sales(state, sold),
        fatigue=contexts.fatigue.astype(np.float32),
        masses=_masses(world, state, rows, actions, responses, contexts),
        morning=_morning(state),
        minutes=responses.book[:, :, state.day % HORIZON].copy(),
        organic=organic_chances(world, state, sold.customers[sold.caused]),
    )
    return day, after


def _decisions(
    world: World, state: WorldState, rows: IntArray, actions: IntArray, responses: Responses
) -> Decisions:
    return Decisions(
        customer=state.people.ids[rows],
        day=np.full(rows.size, state.day, dtype=np.int64),
        contact_day=state.day + responses.waits,
        action=actions,
        timing_type=world.timing_types(state, rows),
        refused=responses.refused,
        queued_days=responses.queued,
        delivered=responses.delivered,
        seen=responses.seen,
        engaged=responses.engaged,
        opted_out=responses.opted_out,
        complained=responses.complained,
        cost=responses.costs,
        loss=responses.losses,
    )


def _sales(state: WorldState, sold: Conversions) -> Sales:
    return Sales(
        customer=state.people.ids[sold.customers],
        day=np.full(sold.customers.size, state.day, dtype=np.int64),
        product=sold.products,
        amount=sold.amounts,
        caused=sold.caused,
    )


def _morning(state: WorldState) -> Morning:
    return Morning(state.stage, state.owned, state.consents)


def _masses(
    world: World,
    state: WorldState,
    rows: IntArray,
    actions: IntArray,
    responses: Responses,
    contexts: ContextBatch,
) -> Masses:
    """The lifted hazards of the contacts that were seen."""
    seen = np.flatnonzero(responses.seen)
    channels = world.config.catalogue.channel_of[actions[seen]]
    return lifted_masses(
        world,
        state,
        rows[seen],
        actions[seen],
        waits=responses.waits[seen],
        long=contexts.fatigue[seen, channels, 1],
        engaged=responses.engaged[seen],
        late=responses.queued[seen] > 0,
    )
