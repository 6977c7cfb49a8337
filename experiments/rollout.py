"""Run a strategy on simulated customers, day by day, and learn from what comes back.

Customers are split into blocks of fixed size, whatever the number of workers. Each block runs some
days under a frozen snapshot and returns the rounds it taught; the rounds are sorted by (day,
customer, product) before they are added, so that the result does not depend on the sharding at all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from msgspec import structs

from experiments.executor import Executor, Report, SerialExecutor
from experiments.logs import DecisionLog, OutcomeLog, join_logs
from experiments.spec import DAY_BITS, Phase
from experiments.tallies import DayTally, Oracle, Totals, day_row
from nba.arrays import FloatArray, IntArray, KeyArray, join_rows, take_rows
from nba.context import ContextBatch
from nba.decision import DecisionBatch
from nba.exposure import OpenRounds, Taught, probe_products
from nba.feedback import ExposureSchedule, RoundBatch
from nba.randomness import decision_keys
from nba.snapshot import Snapshot
from nba.strategy import Strategy
from simulator.oracle import expected_values
from simulator.state import WorldState
from simulator.world import World

BLOCK_CUSTOMERS = 2_000


class Block(NamedTuple):
    """Some customers in the middle of a run."""

    state: WorldState
    ledger: OpenRounds
    totals: Totals


class Stretch(NamedTuple):
    """Work for one task: a block, its snapshot, and the days to run."""

    world: World
    snapshot: Snapshot
    block: Block
    days: int
    deciding: bool

    @property
    def bank(self) -> Strategy:
        """The strategy without its own rules: what the bank allows, by which regret is measured."""
        return structs.replace(self.snapshot.strategy, rules=self.world.config.contact.rules)


class StretchResult(NamedTuple):
    """What one task returns."""

    block: Block
    rounds: RoundBatch
    round_keys: IntArray  # (n, 3) day, customer, product
    daily: FloatArray  # (days, len(DAILY)) sums over the block
    decisions: DecisionLog
    outcomes: OutcomeLog


class Rollout(NamedTuple):
    """A finished run."""

    snapshot: Snapshot
    totals: Totals
    daily: FloatArray  # (days, len(DAILY)) sums over all customers
    decisions: DecisionLog
    outcomes: OutcomeLog


def rollout(
    world: World,
    snapshot: Snapshot,
    phase: Phase,
    executor: Executor | None = None,
    first_customer: int = 0,
    on_customer_days: Report | None = None,
) -> Rollout:
    """Run a phase; `on_customer_days` hears how many customer-days have just been simulated."""
    executor = executor or SerialExecutor()
    ids = np.arange(first_customer, first_customer + phase.customers)
    n_columns = world.config.schema.n_columns
    blocks = [
        Block(world.reset(phase.seed, part), OpenRounds.none(n_columns), Totals.zero(part.size))
        for part in np.split(ids, np.arange(BLOCK_CUSTOMERS, ids.size, BLOCK_CUSTOMERS))
    ]
    daily, decisions, outcomes = [], [], []
    for days, deciding in _stretches(phase):
        work = [Stretch(world, snapshot, block, days, deciding) for block in blocks]
        results = executor.map(run_stretch, work, on_customer_days)
        blocks = [result.block for result in results]
        daily.append(np.sum([result.daily for result in results], axis=0))
        decisions += [result.decisions for result in results]
        outcomes += [result.outcomes for result in results]
        if phase.publish_every_days:
            snapshot = _learn(snapshot, results, days)
    return Rollout(
        snapshot,
        join_rows([block.totals for block in blocks]),
        np.concatenate(daily),
        join_logs(decisions),
        join_logs(outcomes),
    )


def _stretches(phase: Phase) -> list[tuple[int, bool]]:
    """Lengths of the stretches between two publications, and whether decisions are made."""
    step = phase.publish_every_days or phase.days
    lengths = [min(step, phase.days - start) for start in range(0, phase.days, step)]
    stretches = [(length, True) for length in lengths]
    return stretches + ([(phase.settle_days, False)] if phase.settle_days else [])


def _learn(snapshot: Snapshot, results: list[StretchResult], days: int) -> Snapshot:
    """Forget for the days that have passed, then add what they taught."""
    keys = np.concatenate([result.round_keys for result in results])
    rounds = join_rows([result.rounds for result in results])
    order = np.lexsort((keys[:, 2], keys[:, 1], keys[:, 0]))
    older = snapshot.at(snapshot.posterior.decayed(days), snapshot.posterior_seq)
    return older.learn(take_rows(rounds, order), snapshot.posterior_seq + rounds.n_rows)


def run_stretch(work: Stretch, report: Report) -> StretchResult:
    """Run one block for some days: decide, respond, credit, watch; a pure function of its argument."""
    schedule = ExposureSchedule.of(work.world.config.catalogue)
    block, bank, taught, keys, daily = work.block, work.bank, [], [], []
    decisions, outcomes = [], []
    for _ in range(work.days):
        world, state = work.world, block.state
        day = _decided(work, state)
        responses = world.respond(state, day.rows, day.batch.actions)
        ledger, closed = block.ledger.opening(
            _opened(world, work.snapshot, block, day, responses.waits), state.day, schedule
        )
        after, conversions = world.advance(state, day.rows, day.batch.actions, responses)
        ledger, credited = ledger.credit(conversions.customers, conversions.products, state.day)
        ledger, watched = ledger.passing(state.day, schedule)
        taught += [closed.rounds, watched.rounds]
        keys += [_keys(state, part) for part in (closed, watched)]
        oracle = Oracle(expected_values(world, state, day.rows), bank.eligible(day.contexts).mask)
        tally = DayTally(day.rows, day.batch, responses, conversions, oracle)
        daily.append(day_row(world, tally))
        decisions.append(DecisionLog.of(state, day.numbers, tally))
        outcomes.append(OutcomeLog.of(world, state, conversions, credited))
        block = Block(after, ledger, block.totals.after(world, tally))
        report(block.totals.value.size)
    return StretchResult(
        block,
        join_rows(taught),
        np.concatenate(keys),
        np.array(daily),
        join_logs(decisions),
        join_logs(outcomes),
    )


class Decided(NamedTuple):
    """The decisions of one day."""

    rows: IntArray  # (B,)
    numbers: IntArray  # (B,) of the decisions, unique within a run
    keys: KeyArray  # (B,)
    contexts: ContextBatch
    batch: DecisionBatch


def decision_number(customers: IntArray, day: int) -> IntArray:
    """(B,) one integer per (customer, day): a customer has at most one decision a day."""
    return (customers << DAY_BITS) | day


def decision_id(seed: int, number: int) -> str:
    """The id of a simulated decision."""
    return f"sim-{seed}-{number >> DAY_BITS}-{number & ((1 << DAY_BITS) - 1)}"


def _decided(work: Stretch, state: WorldState) -> Decided:
    rows = work.world.due(state) if work.deciding else np.zeros(0, dtype=np.int64)
    contexts = work.world.observe(state, rows)
    numbers = decision_number(state.people.ids[rows], state.day)
    ids = np.array([decision_id(state.seed, int(number)) for number in numbers], dtype=object)
    return Decided(rows, numbers, decision_keys(list(ids)), contexts, work.snapshot.decide(contexts, ids))


def _opened(world: World, snapshot: Snapshot, block: Block, day: Decided, waits: IntArray) -> OpenRounds:
    """Contacts of the day, and for each no-contact decision a probe of one product nobody is asked about."""
    catalogue, actions, state = world.config.catalogue, day.batch.actions, block.state
    contacted = actions > 0
    probes = probe_products(day.keys, snapshot.strategy.seed, len(catalogue.products))
    products = np.where(contacted, catalogue.product_of[actions], probes)
    watched = block.ledger.holds(day.rows, products) | day.contexts.owned[np.arange(day.rows.size), products]
    new = OpenRounds(
        rounds=day.numbers,
        customers=day.rows,
        actions=actions,
        products=products,
        opened=state.day + waits,
        interval=np.zeros(day.rows.size, dtype=np.int64),
        conversions=np.zeros(day.rows.size),
        features=day.contexts.features,
    )
    return take_rows(new, contacted | ~watched)


def _keys(state: WorldState, taught: Taught) -> IntArray:
    """(n, 3) day, customer and product: the canonical order of rounds."""
    days = np.full(taught.customers.size, state.day, dtype=np.int64)
    return np.stack([days, state.people.ids[taught.customers], taught.rounds.products], axis=1)
