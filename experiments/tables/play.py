"""The steps of `nba bandit-test`: from a table with a label to the rewards of several seeds."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

from experiments.executor import Report, executor
from experiments.tables.bandit import Game, Run, play
from experiments.tables.columns import Encoded, Reading, Wish, read_schema
from experiments.tables.outcomes import Names, read_actions
from experiments.tables.presets import Preset
from experiments.tables.read import Format, Table, is_missing, read_table, told_rows
from nba.errors import require
from nba.posteriors import Model

# Models whose posteriors learn a row and are published in microseconds; others get a batch of rows at a time.
_ROW_BY_ROW = ("online", "segment_rates")
_BATCH = 50


class Order(NamedTuple):
    """What `nba bandit-test` was asked for."""

    data: Path
    label: str
    preset: Preset
    seeds: int = 3
    first_seed: int = 0
    epochs: int = 1
    rounds: int | None = None
    batch: int | None = None  # rounds by one belief; without it 1 where that is cheap
    workers: int = 1
    wish: Wish = Wish()
    form: Format = Format()


class Setup(NamedTuple):
    """A game and how its table was read."""

    order: Order
    table: Table
    reading: Reading
    game: Game


class Played(NamedTuple):
    """A game and the run of every seed."""

    setup: Setup
    runs: list[Run]


def prepare(order: Order) -> Setup:
    """Read the table and lay the game out; raises InvalidConfig for whatever is wrong with either."""
    table = read_table(order.data, (order.label,), order.form)
    unlabelled = is_missing(table.column(order.label, "--label"))
    rule = f"{told_rows(unlabelled)} have no label; fill them in or take them out"
    require(not unlabelled.any(), table.source, order.label, rule)
    logged = read_actions(table, Names(reward=order.label, action=order.label), scale=1.0)
    n_labels = logged.catalogue.n_actions - 1
    require(
        n_labels > 1, table.source, order.label, "all rows have the same label: there is nothing to choose"
    )
    rule = f"{n_labels:,} different labels in {table.n_rows:,} rows: name a column of classes"
    require(2 * n_labels <= table.n_rows, table.source, order.label, rule)
    reading = read_schema(table, (order.label,), order.wish)
    rounds = min(order.epochs * table.n_rows, order.rounds or order.epochs * table.n_rows)
    game = Game(
        catalogue=logged.catalogue,
        schema=reading.schema,
        features=Encoded.of(table, reading.schema).matrix(),
        labels=logged.actions,
        model=order.preset.model,
        policy=order.preset.policy,
        floor=order.preset.floor,
        rounds=rounds,
        batch=order.batch or _usual_batch(order.preset.model),
    )
    return Setup(order, table, reading, game)


def carry_out(setup: Setup, on_steps: Report) -> Played:
    """Play every seed, on as many processes as there are workers."""
    order = setup.order
    seeds = range(order.first_seed, order.first_seed + order.seeds)
    with executor(order.workers) as run:
        return Played(setup, run.map(partial(play, setup.game), seeds, on_steps))


def _usual_batch(model: Model) -> int:
    return 1 if model.__struct_config__.tag in _ROW_BY_ROW else _BATCH
