"""Run a strategy on simulated customers, day by day, and learn from what comes back.

Customers are split into blocks of fixed size, whatever the number of workers. Each block runs some
days under a frozen snapshot and returns the rounds it taught; the rounds are sorted by (day,
customer, product) before they are added, so that the result does not depend on the sharding at all.

A run that learns keeps the state of all its customers between two publications. One that does not
takes every block from the first day to the last in one task, and forgets the block when it is done.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from experiments.aftermath import Observed, PlannedContacts
from experiments.choices import Chooser, Decided, decision_id, decision_number
from experiments.executor import Executor, Report, SerialExecutor
from experiments.happenings import Happenings
from experiments.logs import DecisionLog, Logs, LogSink, MemorySink, OutcomeLog, join
from experiments.publication import Apprenticeship, Learning, Lesson, check_teachable
from experiments.spec import Phase
from experiments.tallies import DayTally, Totals, day_row
from nba.apprentice import Comparison, Decider, Tutored
from nba.arrays import FloatArray, IntArray, join_rows, take_rows
from nba.exposure import OpenRounds, Taught, probe_products
from nba.feedback import ExposureSchedule, RoundBatch
from nba.randomness import decision_keys
from nba.snapshot import Snapshot
from simulator.state import Responses, WorldState
from simulator.world import World

BLOCK_CUSTOMERS = 2_000


class Block(NamedTuple):
    """Some customers in the middle of a run."""

    state: WorldState
    ledger: OpenRounds
    planned: PlannedContacts
    happenings: Happenings
    totals: Totals


class Stretch(NamedTuple):
    """Work for one task: customers, and some days under one snapshot."""

    world: World
    snapshot: Decider
    seed: int
    customers: IntArray  # (N,) ids
    block: Block | None  # where the customers stand; None on the first day
    days: int
    deciding_days: int  # the first of them; afterwards conversions only come in
    is_last: bool
    learns: bool
    with_oracle: bool
    with_luck: bool = False

    @property
    def chooser(self) -> Chooser:
        """Who decides."""
        return Chooser(self.world, self.snapshot, self.with_oracle)

    def begun(self) -> Block:
        """The block at the beginning of the stretch."""
        if self.block is not None:
            return self.block
        # Without learning nobody asks what a round was like, only whom a conversion is credited to.
        n_columns = self.world.config.schema.n_columns if self.learns else 0
        state = self.world.reset(self.seed, self.customers)
        ledger, planned = OpenRounds.none(n_columns), PlannedContacts.none(n_columns)
        happenings = Happenings.none(self.snapshot, self.world.config.catalogue)
        return Block(state, ledger, planned, happenings, Totals.zero(self.customers.size))

    @property
    def observes(self) -> bool:
        """Whether anybody learns from stages of contacts and amounts of conversions."""
        return self.learns and bool(self.snapshot.outcomes)


class StretchResult(NamedTuple):
    """What one task returns; the block of a finished run is gone, and rounds are there if they teach."""

    block: Block | None
    totals: Totals
    rounds: RoundBatch | None
    round_keys: IntArray  # (n, 3) day, customer, product
    observed: Observed | None  # of stages and amounts, if anybody learns from them
    daily: FloatArray  # (days, len(DAILY)) sums over the block
    logs: Logs
    compared: Comparison | None = None  # by an apprentice; its `decisions` are their numbers


class Finished(NamedTuple):
    """The end of a run whose logs went into a sink."""

    snapshot: Snapshot  # with all that was learnt, by an apprentice if there is one
    totals: Totals
    daily: FloatArray  # (days, len(DAILY)) sums over all customers
    apprenticeship: Apprenticeship | None = None


class Rollout(NamedTuple):
    """A finished run with its logs."""

    snapshot: Snapshot
    totals: Totals
    daily: FloatArray  # (days, len(DAILY)) sums over all customers
    decisions: DecisionLog
    outcomes: OutcomeLog
    apprenticeship: Apprenticeship | None = None


def rollout(
    world: World,
    snapshot: Decider,
    phase: Phase,
    executor: Executor | None = None,
    first_customer: int = 0,
    on_customer_days: Report | None = None,
    with_oracle: bool = True,
    fitting: Executor | None = None,
) -> Rollout:
    """Run a phase; `on_customer_days` hears how many customer-days have just been simulated.

    What has to be fitted before it is published is fitted by `fitting`, without it by `executor`.
    The oracle's view of every decision costs about as much as the decision; without it regret is unknown.
    """
    sink = MemorySink()
    end = stream(
        world,
        snapshot,
        phase,
        sink,
        executor=executor,
        first_customer=first_customer,
        on_customer_days=on_customer_days,
        with_oracle=with_oracle,
        fitting=fitting,
    )
    return Rollout(end.snapshot, end.totals, end.daily, *sink.logs(), end.apprenticeship)


def stream(
    world: World,
    snapshot: Decider,
    phase: Phase,
    sink: LogSink,
    *,
    executor: Executor | None = None,
    first_customer: int = 0,
    on_customer_days: Report | None = None,
    with_oracle: bool = True,
    fitting: Executor | None = None,
    with_luck: bool = False,
) -> Finished:
    """Run a phase as `rollout` does, and give the logs of every stretch to a sink when it is over."""
    executor = executor or SerialExecutor()
    cohorts = cohorts_of(block_customers(world), first_customer, phase.customers)
    blocks: list[Block | None] = [None] * len(cohorts)
    totals, daily, stretches, learns = [], [], phase.stretches, phase.publish_every_days > 0
    fitting = fitting or executor
    if learns:
        check_teachable(snapshot)
    learning = Learning.start(snapshot, fitting)
    for number, (days, deciding) in enumerate(stretches, start=1):
        is_last = number == len(stretches)
        nobody = np.zeros(0, dtype=np.int64)
        flags = (is_last, learns, with_oracle, with_luck)
        common = Stretch(world, learning.decides, phase.seed, nobody, None, days, deciding, *flags)
        work = list(zip(cohorts, blocks, strict=True))
        results = executor.map(partial(run_block, common), work, on_customer_days)
        blocks, totals = [result.block for result in results], [result.totals for result in results]
        daily.append(np.sum([result.daily for result in results], axis=0))
        if learns:
            learning = learning.after(lesson_of(results, days), fitting)
        sink.add(join([result.logs for result in results]), daily[-1])
    return Finished(learning.snapshot, join_rows(totals), np.concatenate(daily), learning.apprenticeship)


def block_customers(world: World) -> int:
    """Customers of a block: whole branches, because customers of a branch feel each other."""
    branch = world.config.population.branch_customers
    return -(-BLOCK_CUSTOMERS // branch) * branch


def cohorts_of(block: int, first: int, customers: int) -> list[IntArray]:
    """The customers of each block; a block begins where a branch does."""
    ids = np.arange(first, first + customers)
    return np.split(ids, np.arange(block - first % block, customers, block))


def lesson_of(results: list[StretchResult], days: int) -> Lesson:
    """What all blocks have taught."""
    keys = np.concatenate([result.round_keys for result in results])
    rounds = join_rows([result.rounds for result in results if result.rounds is not None])
    observed = [result.observed for result in results if result.observed is not None]
    return Lesson.of(days, keys, rounds, [result.compared for result in results], observed)


def run_block(common: Stretch, block: tuple[IntArray, Block | None], report: Report) -> StretchResult:
    """A stretch that differs from the others in its customers only: world and snapshot are shared."""
    return run_stretch(common._replace(customers=block[0], block=block[1]), report)


def run_stretch(work: Stretch, report: Report) -> StretchResult:
    """Run one block for some days: decide, respond, credit, watch; a pure function of its argument."""
    schedule = ExposureSchedule.of(work.world.config.catalogue)
    block, taught, keys, observed, daily, logs, compared = work.begun(), [], [], [], [], [], []
    for number in range(work.days):
        world, state = work.world, block.state
        day = _decided(work, block, is_deciding=number < work.deciding_days)
        compared += _compared(work, day)
        responses = world.respond(state, day.rows, day.choices.actions)
        opened = _opened(work, block, day, responses)
        ledger, closed = block.ledger.opening(opened, state.day, schedule)
        after, conversions = world.advance(state, day.rows, day.choices.actions, responses)
        planned = block.planned
        if work.observes:
            planned, told = planned.after(state, day, responses, ledger, conversions, world.config.catalogue)
            observed.append(told)
        ledger, credited = ledger.credit(conversions.customers, conversions.products, state.day)
        ledger, watched = ledger.passing(state.day, schedule)
        if work.learns:
            taught += [closed.rounds, watched.rounds]
            keys += [_keys(state, part) for part in (closed, watched)]
        tally = DayTally.of(world, state, day, responses, conversions, work.with_luck)
        daily.append(day_row(tally))
        outcomes = OutcomeLog.of(world, state, conversions, credited)
        logs.append(Logs(DecisionLog.of(state, day.numbers, tally), outcomes))
        answered = day.rows, day.choices.actions, responses
        happenings = block.happenings.after(*answered, conversions, state.day)
        block = Block(after, ledger, planned, happenings, block.totals.after(tally))
        report(block.totals.value.size)
    return StretchResult(
        None if work.is_last else block,
        block.totals,
        join_rows(taught) if work.learns else None,
        np.concatenate(keys) if work.learns else np.zeros((0, 3), dtype=np.int64),
        Observed.joined(observed) if observed else None,
        np.array(daily),
        join(logs),
        join_rows(compared) if compared else None,
    )


def _decided(work: Stretch, block: Block, is_deciding: bool) -> Decided:
    state = block.state
    rows = work.world.due(state) if is_deciding else np.zeros(0, dtype=np.int64)
    contexts = block.happenings.onto(work.world.observe(state, rows), rows, state.day)
    numbers = decision_number(state.people.ids[rows], state.day)
    ids = np.array([decision_id(state.seed, number) for number in numbers.tolist()], dtype=object)
    # Only rounds that teach are probed by their keys.
    keys = decision_keys(ids) if work.learns else np.zeros(0, dtype=np.uint64)
    return Decided(rows, numbers, keys, ids, contexts, work.chooser.choose(state, rows, contexts, ids))


def _compared(work: Stretch, day: Decided) -> list[Comparison]:
    """The day's decisions beside what an apprentice would have done; nothing once it is in charge."""
    if not isinstance(work.snapshot, Tutored) or not work.learns or work.snapshot.apprentice.in_charge:
        return []
    found = work.snapshot.compare(day.contexts, day.ids, day.choices.tables)
    return [found._replace(decisions=day.numbers[found.decisions])]


def _opened(work: Stretch, block: Block, day: Decided, seen: Responses) -> OpenRounds:
    """Contacts of the day, and for each no-contact decision a probe of one product nobody is asked about.

    A contact that was refused was never made: nothing is credited to it and it teaches nothing.
    """
    catalogue, actions = work.world.config.catalogue, day.choices.actions
    new = OpenRounds(
        rounds=day.numbers,
        customers=day.rows,
        actions=actions,
        products=catalogue.product_of[actions],
        opened=block.state.day + seen.waits,
        interval=np.zeros(day.rows.size, dtype=np.int64),
        conversions=np.zeros(day.rows.size),
        features=day.contexts.features[:, : block.ledger.features.shape[1]],
    )
    if not work.learns:
        return take_rows(new, seen.contacted)
    contacted = actions > 0
    probes = probe_products(day.keys, work.snapshot.strategy.seed, len(catalogue.products))
    products = np.where(contacted, new.products, probes)
    watched = block.ledger.holds(day.rows, products) | day.contexts.owned[np.arange(day.rows.size), products]
    return take_rows(new._replace(products=products), np.where(contacted, seen.contacted, ~watched))


def _keys(state: WorldState, taught: Taught) -> IntArray:
    """(n, 3) day, customer and product: the canonical order of rounds."""
    days = np.full(taught.customers.size, state.day, dtype=np.int64)
    return np.stack([days, state.people.ids[taught.customers], taught.rounds.products], axis=1)
