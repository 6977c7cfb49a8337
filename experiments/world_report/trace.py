"""A simulated log with the states it came from, for those who want to check the one against the other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from experiments.executor import Report
from experiments.logs import DecisionLog, Logs, OutcomeLog, join
from experiments.rollout import decision_id, decision_number
from experiments.tallies import DayTally, Oracle
from experiments.world_report.formulas import Masses, lifted_masses, organic_chances
from nba.arrays import AnyArray, Float32Array, FloatArray, IntArray
from nba.context import ContextBatch
from nba.snapshot import Snapshot
from nba.strategy import Strategy
from simulator.capacity import HORIZON
from simulator.state import Responses, WorldState
from simulator.world import World


class Morning(NamedTuple):
    """What the state of a morning says, copied."""

    stage: AnyArray  # (N,)
    owned: AnyArray  # (N,) masks
    consents: AnyArray  # (N,) masks


class Trace(NamedTuple):
    """One run: D days, N customers (row i is customer ids[i]), n decisions, m contacts that were seen."""

    world: World
    ids: IntArray  # (N,)
    joined: IntArray  # (N,) on the first morning
    decisions: DecisionLog
    outcomes: OutcomeLog
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

    logs: Logs
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
    decisions, outcomes = join([day.logs for day in kept])
    mornings = [day.morning for day in kept] + [_morning(state)]
    stage, owned, consents = (np.stack(part) for part in zip(*mornings, strict=True))
    return Trace(
        world=world,
        ids=customers,
        joined=first.joined.astype(np.int64),
        decisions=decisions,
        outcomes=outcomes,
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
    numbers = decision_number(state.people.ids[rows], state.day)
    ids = np.array([decision_id(state.seed, number) for number in numbers.tolist()], dtype=object)
    batch = snapshot.decide(contexts, ids)
    responses = world.respond(state, rows, batch.actions)
    after, sold = world.advance(state, rows, batch.actions, responses)
    silent = Oracle.silent(rows.size)
    tally = DayTally(rows, world.timing_types(state, rows), batch, responses, sold, silent)
    nobody = np.full(sold.customers.size, -1, dtype=np.int64)
    day = _Day(
        logs=Logs(DecisionLog.of(state, numbers, tally), OutcomeLog.of(world, state, sold, nobody)),
        fatigue=contexts.fatigue.astype(np.float32),
        masses=_masses(world, state, rows, batch.actions, responses, contexts),
        morning=_morning(state),
        minutes=responses.book[:, :, state.day % HORIZON].copy(),
        organic=organic_chances(world, state, sold.customers[sold.caused]),
    )
    return day, after


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
