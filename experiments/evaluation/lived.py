"""A simulated run lived again: the contexts of its decisions, in which other policies can be asked.

A run's folder holds what was decided and what came of it, and not what was known of customers: that follows
from the world, the seed and the contacts that were made. So every day is lived again with the logged actions,
and its contexts are kept beside the rows. What customers do is checked against the log on the way.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from experiments.dataset import Settings, digest_of_world, read_json
from experiments.evaluation.names import Rows
from experiments.evaluation.own import stored_run
from experiments.evaluation.stored import Stored, of_files
from experiments.evaluation.survey import floats_of
from experiments.executor import Report
from experiments.happenings import Happenings
from experiments.rollout import block_customers, cohorts_of
from experiments.tables.read import Format, Table
from nba.arrays import AnyArray, FloatArray, IntArray
from nba.bundle import load_bundle
from nba.context import ContextBatch
from nba.errors import InvalidConfig, require
from nba.snapshot import Snapshot
from simulator.world import World, load_world

FILE, ROW = "lived_file", "lived_row"
_CHECKED = ("refused", "delivered", "seen", "engaged", "opted_out", "complained")


class OfRun(NamedTuple):
    """A policy bundle, asked in the contexts of a run."""

    snapshot: Snapshot
    scratch: Path
    columns: tuple[str, ...] = (FILE, ROW)
    is_whole: bool = True

    @property
    def labels(self) -> tuple[str, ...]:
        """All actions of its catalogue."""
        return self.snapshot.strategy.catalogue.action_ids

    def of(self, rows: Rows) -> FloatArray:
        """(n, A) probabilities."""
        place = {label: number for number, label in enumerate(rows.labels)}
        target = np.zeros((rows.rounds.n_rounds, len(rows.labels)))
        where = np.array([place[label] for label in self.labels])
        for mine, contexts in lived_contexts(rows.table, self.scratch):
            target[np.ix_(mine, where)] = self.snapshot.action_distribution(contexts)
        return target


def run_target(path: Path, log: Stored) -> OfRun:
    """The bundle in a folder, asked where the run was lived again."""
    return OfRun(load_bundle(path), log.parts[0].path.parent)


def lived_contexts(table: Table, scratch: Path) -> Iterator[tuple[IntArray, ContextBatch]]:
    """Rows (m,) of a table, day by day, and their contexts."""
    files, places = (floats_of(table.columns[name]).astype(np.int64) for name in (FILE, ROW))
    for file in np.unique(files).tolist():
        mine = np.flatnonzero(files == file)
        # Our own file, of this very process or the one that began it.
        contexts: ContextBatch = pickle.loads(_place(scratch, file).read_bytes())
        yield mine, contexts.take(places[mine])


def relived_run(path: Path, scratch: Path, bundles: Sequence[Snapshot], report: Report) -> Stored:
    """The run as `stored_run` has it, by customers and days, with times, ages and contexts of the bundles.

    Raises InvalidConfig where the world is not the one that the run was made in, or a bundle was made for
    another one.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    world, settings = _world(path, bundles), read_json(path / "run.json", Settings)
    files = [part.path for part in stored_run(path, scratch, lambda rows: None).parts]
    log = pa.concat_tables(
        [pq.read_table(file) for file in dict.fromkeys(files)], promote_options="permissive"
    )
    log = log.append_column("net_value", log["reward"])
    log = log.sort_by([("customer", "ascending"), ("date", "ascending")])
    customers = log["customer"].to_numpy()
    written = []
    for number, cohort in enumerate(cohorts_of(block_customers(world), 0, settings.phase.customers)):
        first, stop = np.searchsorted(customers, [cohort[0], cohort[-1] + 1])
        mine = log.slice(first, stop - first).sort_by([("date", "ascending"), ("customer", "ascending")])
        run = _Run(path, world, settings, cohort, mine, bundles)
        for name, column in run.lived(scratch, number).items():
            mine = mine.append_column(name, pa.array(column))
        written.append(scratch / f"lived-{number}.parquet")
        pq.write_table(mine, written[-1], row_group_size=65_536)
        report(mine.num_rows)
    return of_files(str(path), written, Format())._replace(is_own=True)


class _Run(NamedTuple):
    """Some customers of a run, from its first day to its last decision."""

    path: Path
    world: World
    settings: Settings
    customers: IntArray
    log: Any  # their decisions by day and customer
    bundles: Sequence[Snapshot]

    def lived(self, scratch: Path, number: int) -> dict[str, AnyArray]:
        """Live again; contexts go into files, and these columns beside the decisions."""
        n_rows, catalogue = self.log.num_rows, self.world.config.catalogue
        days = (self.log["date"].to_numpy().astype("datetime64[D]") - self.world.date(0)).astype(np.int64)
        names = {name: row for row, name in enumerate(catalogue.action_ids)}
        actions = np.array([names[name] for name in self.log["action"].cast("string").to_pylist()], np.int64)
        found = {"at": np.full(n_rows, "", dtype="U25"), FILE: np.zeros(n_rows), ROW: np.zeros(n_rows)}
        if "age" in {column.name for column in self.world.config.schema.columns}:
            found["age"] = np.full(n_rows, np.nan)
        state = self.world.reset(self.settings.phase.seed, self.customers)
        happenings = Happenings.of(self.bundles, catalogue)
        for day in range(self.settings.phase.days):
            mine = slice(*np.searchsorted(days, [day, day + 1]))
            rows = self.world.due(state)
            contexts = happenings.onto(self.world.observe(state, rows), rows, day)
            self._check(mine, day, "customer", self.customers[rows])
            file = number * self.settings.phase.days + day
            _place(scratch, file).write_bytes(pickle.dumps(contexts))
            found["at"][mine] = np.char.add(np.datetime_as_string(contexts.at, unit="s"), "+00:00")
            found[FILE][mine], found[ROW][mine] = file, np.arange(rows.size)
            if "age" in found:
                found["age"][mine] = contexts.attributes["age"]
            responses = self.world.respond(state, rows, actions[mine])
            for name in _CHECKED:
                self._check(mine, day, name, getattr(responses, name))
            state, sold = self.world.advance(state, rows, actions[mine], responses)
            happenings = happenings.after(rows, actions[mine], responses, sold, day)
        return found

    def _check(self, mine: slice, day: int, name: str, again: AnyArray) -> None:
        there = self.log[name].to_numpy()[mine]
        rule = (
            f"day {day} of {self.world.config.name} has other customers or answers when it is lived again: "
            "the log was made or changed by something else; simulate it anew"
        )
        require(np.array_equal(there, again), str(self.path), name, rule)


def _world(path: Path, bundles: Sequence[Snapshot]) -> World:
    """The world of a run, if it still is the same and the bundles speak of it."""
    settings = read_json(path / "run.json", Settings)
    world = load_world(settings.world)
    rule = f"the world {settings.world} has changed since, or it is another one; simulate the run anew"
    require(digest_of_world(world) == settings.world_sha256, str(path), "world", rule)
    for one in bundles:
        for part in ("catalogue", "schema"):
            same = msgspec.json.encode(getattr(one.strategy, part)) == msgspec.json.encode(
                getattr(world.config, part)
            )
            rule = f"{one.strategy.name} was made for another {part} than that of {settings.world}"
            if not same:
                raise InvalidConfig(str(path), part, rule)
    return world


def _place(scratch: Path, file: int) -> Path:
    return scratch / f"lived-{file}.contexts"
