"""Train a strategy on simulated customers, whose contacts are its own: decide, hear, learn, publish.

Customers are simulated in tasks of whole branches, as many as keep the workers busy; what they taught is put
in order, and learnt in logical blocks of customers. So neither workers nor nodes nor a restart change a bit.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import msgspec
import numpy as np

from experiments.dataset import Settings
from experiments.executor import Report
from experiments.logs import Logs
from experiments.publication import Learning, Lesson, Teach, check_teachable, fitted_decider
from experiments.rollout import (
    BLOCK_CUSTOMERS,
    Block,
    Stretch,
    StretchResult,
    cohorts_of,
    lesson_of,
    run_block,
)
from experiments.spec import Contender, Phase
from experiments.tallies import DAILY
from experiments.training.blocks import N_BLOCKS, HeldBlocks, learnt_in_blocks, learnt_in_order
from experiments.training.folder import TrainingFolder
from experiments.training.timed import TimedExecutor
from experiments.training.trees import arrays_of, with_arrays
from nba.apprentice import Decider
from nba.arrays import AnyArray, FloatArray, IntArray, take_rows
from nba.bundle import outcomes_from_bytes, posterior_bytes, posterior_from_bytes
from nba.errors import require
from nba.snapshot import Snapshot
from simulator.world import World

_TASKS_PER_WORKER = 4  # so that nobody waits long for the last one


class SimulatedTraining(NamedTuple):
    """What is trained, where, for how long and in which way."""

    world: World
    contender: Contender
    phase: Phase  # `publish_every_days` is the length of a batch
    online: bool  # fold round by round, instead of a batch at a time in blocks

    def settings(self) -> dict[str, str]:
        """Everything that the bundle follows from."""
        found = Settings.of(self.world, self.contender, self.phase, oracle=False)
        plain = {
            name: getattr(found, name) for name in found.__struct_fields__ if name not in ("phase", "oracle")
        }
        phase = msgspec.json.encode(self.phase, order="sorted").decode()
        return plain | {"phase": phase, "learning": "online" if self.online else "daily"}


class Standing(NamedTuple):
    """A training between two batches."""

    learning: Learning
    cohorts: tuple[IntArray, ...]  # customers of each task
    blocks: tuple[Block | None, ...]  # where they stand
    batches: int  # that are done
    daily: FloatArray  # (days, len(DAILY)) sums over all customers


def train(
    asked: SimulatedTraining, run: TimedExecutor, workers: int, folder: TrainingFolder, report: Report
) -> Standing:
    """Train to the end, from where an earlier process left it; `report` hears customer-days."""
    standing = _resumed(asked, run, folder, report) or _begun(asked, run, workers)
    stretches = asked.phase.stretches
    while standing.batches < len(stretches):
        standing = _after_batch(asked, standing, run, report)
        if standing.batches < len(stretches):
            folder.save(partial(_arrays, standing))
    return standing


def _begun(asked: SimulatedTraining, run: TimedExecutor, workers: int) -> Standing:
    start = asked.contender.start()
    rule = "an apprentice is trained among others: name its experiment alone, without --strategy"
    require(isinstance(start, Snapshot), f"strategy {start.strategy.name}", "apprentice", rule)
    check_teachable(start)
    size = _task_customers(asked, workers)
    cohorts = tuple(cohorts_of(size, 0, asked.phase.customers))
    return Standing(Learning.start(start, run), cohorts, (None,) * len(cohorts), 0, np.zeros((0, len(DAILY))))


def _task_customers(asked: SimulatedTraining, workers: int) -> int:
    """Whole branches, because their customers feel each other; larger tasks waste less on each day."""
    branch = asked.world.config.population.branch_customers
    wanted = min(BLOCK_CUSTOMERS, -(-asked.phase.customers // (_TASKS_PER_WORKER * workers)))
    return -(-wanted // branch) * branch


def _after_batch(
    asked: SimulatedTraining, standing: Standing, run: TimedExecutor, report: Report
) -> Standing:
    """Decide and hear for some days under what was published, then learn of them."""
    number, learning = standing.batches, standing.learning
    common = _stretch(asked, number, learning.decides)
    work = list(zip(standing.cohorts, standing.blocks, strict=True))
    results = run.map(partial(_run_block, common), work, report)
    teach = _teacher(asked, run)
    return Standing(
        learning.after(lesson_of(results, common.days), run, teach),
        standing.cohorts,
        tuple(result.block for result in results),
        number + 1,
        np.concatenate([standing.daily, np.sum([result.daily for result in results], axis=0)]),
    )


def _stretch(asked: SimulatedTraining, number: int, decides: Decider) -> Stretch:
    days, deciding = asked.phase.stretches[number]
    is_last = number + 1 == len(asked.phase.stretches)
    nobody = np.zeros(0, dtype=np.int64)
    return Stretch(asked.world, decides, asked.phase.seed, nobody, None, days, deciding, is_last, True, False)


def _run_block(common: Stretch, work: tuple[IntArray, Block | None], report: Report) -> StretchResult:
    """The task; nobody reads its logs, and so they do not travel."""
    found = run_block(common, work, report)
    none = slice(0)
    return found._replace(
        logs=Logs(take_rows(found.logs.decisions, none), take_rows(found.logs.outcomes, none))
    )


def _teacher(asked: SimulatedTraining, run: TimedExecutor) -> Teach:
    """How a snapshot learns what a batch taught."""

    def teach(decider: Decider, lesson: Lesson, seq: int) -> Decider:
        assert isinstance(decider, Snapshot) and lesson.customers is not None
        if asked.online:
            posterior = learnt_in_order(decider.posterior, lesson.rounds, run)
        else:
            blocks = lesson.customers * N_BLOCKS // asked.phase.customers
            posterior = learnt_in_blocks(decider.posterior, HeldBlocks.of(lesson.rounds, blocks), run)
        outcomes = decider.outcomes
        return decider.at(
            posterior, seq, outcomes if lesson.aftermath is None else outcomes.learn(lesson.aftermath)
        )

    return teach


# --- Where it stands, as arrays --------------------------------------------------------------------


def _arrays(standing: Standing) -> dict[str, AnyArray]:
    learning = standing.learning
    found = {"batches": np.asarray(standing.batches), "daily": standing.daily}
    found["task_customers"] = np.array([cohort.size for cohort in standing.cohorts])
    found["learning"] = np.array([learning.rounds, learning.published_at])
    is_published = learning.knows is learning.decides
    for name, one in (("knows", learning.knows), *(() if is_published else (("decides", learning.decides),))):
        found[f"{name}.posterior"] = np.frombuffer(posterior_bytes(one.posterior, one.outcomes), np.uint8)
        found[f"{name}.seq"] = np.asarray(one.posterior_seq)
    return found | dict(arrays_of(standing.blocks, "blocks"))


def _resumed(
    asked: SimulatedTraining, run: TimedExecutor, folder: TrainingFolder, report: Report
) -> Standing | None:
    """Where an earlier process left it; the tasks stay those that it cut, whatever the workers are now."""
    held = folder.state()
    if held is None:
        return None
    start, number = asked.contender.start(), int(held["batches"])
    assert isinstance(start, Snapshot)
    sizes = held["task_customers"]
    cohorts = tuple(np.split(np.arange(asked.phase.customers), np.cumsum(sizes)[:-1]))
    knows = _snapshot(start, held, "knows")
    decides = _snapshot(start, held, "decides") if "decides.seq" in held else knows
    rounds, published_at = held["learning"].tolist()
    days = held["daily"].shape[0]
    ready = fitted_decider(decides, run)
    learning = Learning(ready, ready if decides is knows else knows, rounds, published_at, days)
    common = _stretch(asked, number, learning.decides)
    first = tuple(common._replace(customers=cohort).begun() for cohort in cohorts)
    report(days * asked.phase.customers)
    return Standing(learning, cohorts, with_arrays(first, held, "blocks"), number, held["daily"])


def _snapshot(start: Snapshot, held: dict[str, AnyArray], name: str) -> Snapshot:
    data, strategy = held[f"{name}.posterior"].tobytes(), start.strategy
    outcomes = outcomes_from_bytes(data, strategy)
    return start.at(posterior_from_bytes(data, strategy), int(held[f"{name}.seq"]), outcomes)
