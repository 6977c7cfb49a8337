"""Train a policy on a table of logged decisions: day by day in logical blocks, or row by row.

A day's rows are foretold before they are learnt, which is how well the policy would have known them. Where
no column says when rows were, the whole log is one batch. Shape letters: N rows, A actions.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from experiments.dataset import code_digest
from experiments.executor import Executor, Report, held
from experiments.inputs import file_digest
from experiments.tables.learn import Order, Plan
from experiments.tables.lessons import Lessons, Means, Score, losses
from experiments.tables.read import coded, told_rows
from experiments.training.blocks import even_edges, learnt_in_blocks, learnt_in_order, summed
from experiments.training.folder import TrainingFolder
from experiments.training.timed import TimedExecutor
from nba.arrays import AnyArray, FloatArray, IntArray
from nba.bundle import posterior_bytes, posterior_from_bytes
from nba.catalogue import NO_ACTION
from nba.errors import InvalidConfig, require
from nba.feedback import RoundBatch
from nba.posteriors import Posterior

_PART_ROWS = 4_096  # of online learning: a state may be kept after each


class LoggedTraining(NamedTuple):
    """What was asked for; `at` is the column of times, None for one batch."""

    order: Order
    at: str | None
    online: bool

    def settings(self) -> dict[str, str]:
        """Everything that the bundle follows from."""
        order = self.order
        return {
            "log_sha256": _digest(order.log),
            "columns": msgspec.json.encode([order.names, self.at, order.wish, order.form]).decode(),
            "policy": msgspec.json.encode(order.preset, order="sorted").decode(),
            "learning": "online" if self.online else "daily",
            "seed": str(order.seed),
            "code_sha256": code_digest(),
            "numpy": np.__version__,
        }


class LogBlocks(NamedTuple):
    """Rows of a log in blocks, each made into features where it is learnt."""

    lessons: Callable[[], Lessons]
    edges: IntArray

    def rounds(self, first: int, stop: int) -> RoundBatch:
        """The contacts among the rows of neighbouring blocks."""
        return self.contacts(first, stop)[0]

    def contacts(self, first: int, stop: int) -> tuple[RoundBatch, FloatArray]:
        """The same, with their rewards (n,) as the table has them."""
        lessons, rows = self.lessons(), slice(int(self.edges[first]), int(self.edges[stop]))
        rounds, contacted = lessons.rounds(rows, lessons.encoded.matrix(rows))
        return rounds, lessons.rewards[rows][contacted]


class Standing(NamedTuple):
    """A training between two batches."""

    posterior: Posterior
    batches: int  # that are done
    rows: int  # of them
    losses: FloatArray  # (3,) the model's, the constant's, and how many contacts they are of
    tally: Means


class Batches(NamedTuple):
    """How a log is cut: batch b holds rows edges[b] to edges[b + 1], `gaps[b]` days after the one before."""

    edges: IntArray  # (b + 1,)
    gaps: FloatArray  # (b,)


def train(
    plan: Plan, asked: LoggedTraining, run: TimedExecutor, folder: TrainingFolder, report: Report
) -> Standing:
    """Train to the end, from where an earlier process left it; `report` hears rows."""
    lessons, batches = plan.lessons, batches_of(plan, asked)
    standing = _resumed(plan, folder) or Standing(
        plan.snapshot.posterior, 0, 0, np.zeros(3), Means.none(lessons.catalogue.n_actions)
    )
    report(standing.rows)
    shared = held(lessons, run)
    for number in range(standing.batches, batches.gaps.size):
        rows = slice(int(batches.edges[number]), int(batches.edges[number + 1]))
        posterior: Posterior = standing.posterior.decayed(float(batches.gaps[number]))
        blocks = LogBlocks(shared, even_edges(rows.start, rows.stop))
        found = _foretold(posterior, blocks, standing.tally, run)
        if asked.online:
            rounds = lessons.rounds(rows, lessons.encoded.matrix(rows))[0]
            posterior = learnt_in_order(posterior, rounds, run)
        else:
            posterior = learnt_in_blocks(posterior, blocks, run)
        tally = _tallied(standing.tally, lessons, rows)
        standing = Standing(posterior, number + 1, rows.stop, standing.losses + found, tally)
        report(rows.stop - rows.start)
        folder.save(partial(_arrays, standing))
    return standing


def score_of(standing: Standing, lessons: Lessons) -> Score:
    """How well rows were foretold by what was known before their batch."""
    return Score.of(lessons, standing.losses[:2], int(standing.losses[2]))


def batches_of(plan: Plan, asked: LoggedTraining) -> Batches:
    """Days of the log; whole days pass between them. Online learning takes a few thousand rows at a time."""
    n_rows = plan.table.n_rows
    days = np.zeros(n_rows) if asked.at is None else days_of(plan.table, asked.at)
    first = np.flatnonzero(np.diff(days, prepend=days[0] - 1.0))
    gaps = np.diff(days[first], prepend=days[0])
    if not asked.online:
        return Batches(np.append(first, n_rows), gaps)
    starts = np.unique(np.append(first, np.arange(0, n_rows, _PART_ROWS)))
    passed = np.zeros(starts.size)
    passed[np.searchsorted(starts, first)] = gaps
    return Batches(np.append(starts, n_rows), passed)


def days_of(table: Any, name: str) -> FloatArray:
    """(N,) day of each row, from ISO 8601 dates or times in their order; others are an InvalidConfig."""
    codes, texts = coded(table.column(name, "--at"))
    require(
        bool((codes >= 0).all()), table.source, name, f"must hold a time, and {told_rows(codes < 0)} do not"
    )
    found = np.zeros(len(texts))
    for number, text in enumerate(texts):
        try:
            found[number] = datetime.fromisoformat(text).toordinal()
        except ValueError:
            bad = told_rows(codes == number)
            rule = f"must be dates or times as in ISO 8601, such as 2026-03-02; got {text!r} in {bad}"
            raise InvalidConfig(table.source, name, rule) from None
    days: FloatArray = found[codes]
    late = np.flatnonzero(np.diff(days) < 0.0) + 1
    rule = "must not fall: rows are learnt in their order, so sort the log by this column"
    if late.size:
        raise InvalidConfig(
            table.source, name, f"{rule}; row {late[0] + 1} is of an earlier day than the one before"
        )
    return days


def _foretold(posterior: Posterior, blocks: LogBlocks, tally: Means, run: Executor) -> FloatArray:
    """(3,) summed losses of a batch before it is learnt, and of how many contacts."""
    found: FloatArray = summed(partial(_losses, posterior, blocks, tally), blocks.edges, run)
    return found


def _losses(posterior: Posterior, blocks: LogBlocks, tally: Means, first: int, stop: int) -> FloatArray:
    rounds, rewards = blocks.contacts(first, stop)
    if not rounds.n_rows:
        return np.zeros(3)
    return np.append(losses(posterior, blocks.lessons(), rounds, rewards, tally), rounds.n_rows)


def _tallied(before: Means, lessons: Lessons, rows: slice) -> Means:
    """Mean rewards of actions, with those of some further rows."""
    actions, rewards = lessons.actions[rows], lessons.rewards[rows]
    contacted, tally = actions != NO_ACTION, Means(before.sums.copy(), before.counts.copy())
    tally.add(actions[contacted], rewards[contacted])
    return tally


def _arrays(standing: Standing) -> dict[str, AnyArray]:
    return {
        "posterior": np.frombuffer(posterior_bytes(standing.posterior), np.uint8),
        "done": np.array([standing.batches, standing.rows]),
        "losses": standing.losses,
        "sums": standing.tally.sums,
        "counts": standing.tally.counts,
    }


def _resumed(plan: Plan, folder: TrainingFolder) -> Standing | None:
    held_ = folder.state()
    if held_ is None:
        return None
    posterior = posterior_from_bytes(held_["posterior"].tobytes(), plan.snapshot.strategy)
    batches, rows = held_["done"].tolist()
    return Standing(posterior, batches, rows, held_["losses"], Means(held_["sums"], held_["counts"]))


def _digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        raise InvalidConfig(str(path), "", f"cannot be read: {error.strerror}") from None
