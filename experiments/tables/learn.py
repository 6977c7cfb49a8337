"""The steps of `nba learn`: from a table of logged decisions to a policy bundle."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np
from msgspec import Struct

from experiments.dataset import write_json
from experiments.executor import Report
from experiments.tables.columns import Encoded, Reading, Wish, read_schema, unknown_texts
from experiments.tables.lessons import Fit, Lessons, Score, baseline_of, learn
from experiments.tables.outcomes import (
    Names,
    check_complete,
    check_names,
    complete_rows,
    read_actions,
    read_propensities,
    read_rewards,
    scale_of,
    silent_rows,
)
from experiments.tables.presets import Preset
from experiments.tables.read import Format, Table, read_table, told_rows
from nba.arrays import FloatArray
from nba.bundle import load_bundle, save_bundle
from nba.errors import InvalidConfig, require
from nba.features import Category, Flag
from nba.snapshot import Snapshot
from nba.strategy import Strategy

NOTES = "learnt.json"
Weighing: TypeAlias = Literal["none", "ipw"]
# What a model takes the reward for; all others are linear and take any number.
_PROBABILITY = ("logistic",)
_COUNT = ("hazard", "segment_rates")


class Order(NamedTuple):
    """What `nba learn` was asked for."""

    log: Path
    names: Names
    out: Path
    preset: Preset | None = None  # None goes on with a bundle
    continued: Path | None = None
    strength: float = 1.0  # how many rows a logged row counts as: kappa of a warm start
    weighing: Weighing = "none"
    most_weight: float = 20.0
    drop_incomplete: bool = False
    seed: int = 0
    wish: Wish = Wish()
    form: Format = Format()


class Notes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What lies beside a bundle, so that learning can go on: how rewards became numbers of the model."""

    logs: tuple[str, ...]
    rows: int
    reward: str
    scale: float
    no_contact: str | None
    baseline: tuple[float, ...]  # (K,) coefficients of the reward without contact


class Plan(NamedTuple):
    """Everything that was read before the first row is learnt from."""

    order: Order
    table: Table
    reading: Reading
    lessons: Lessons
    propensities: FloatArray | None
    snapshot: Snapshot  # to begin with
    notes: Notes
    dropped: int  # rows
    strange: dict[str, str]  # columns with texts that the schema does not know, and where


class Learnt(NamedTuple):
    """The snapshot that was written, and how well it foretold the rows."""

    plan: Plan
    snapshot: Snapshot
    score: Score
    fit: Fit
    seconds: float


class Start(NamedTuple):
    """Where learning begins."""

    snapshot: Snapshot
    reading: Reading
    scale: float
    baseline: FloatArray | None  # (K,), None if it has to be learnt
    notes: Notes | None  # of the bundle that goes on


def carry_out(plan: Plan, report: Report) -> Learnt:
    """Learn from what `prepare` has read, and write the bundle."""
    started = perf_counter()
    posterior, score, fit = learn(plan.snapshot.posterior, plan.lessons, report)
    snapshot = plan.snapshot.at(posterior, plan.snapshot.posterior_seq)
    save_bundle(snapshot, plan.order.out)
    write_json(plan.order.out / NOTES, plan.notes)
    return Learnt(plan, snapshot, score, fit, perf_counter() - started)


def prepare(order: Order) -> Plan:
    """Read everything; raises InvalidConfig or BundleError for whatever is wrong."""
    check_names(order.names)
    _check_numbers(order)
    names = order.names
    continued = None if order.continued is None else _continued(order, order.continued)
    table, dropped = _read(order)
    rewards = read_rewards(table, names.reward)
    propensities = read_propensities(table, names.propensity)
    start = _begun(order, table, rewards) if continued is None else _gone_on(table, names, *continued)
    strategy, schema = start.snapshot.strategy, start.reading.schema
    encoded = Encoded.of(table, schema)
    baseline = start.baseline
    if baseline is None:
        baseline = baseline_of(encoded, rewards, silent_rows(table, names))
    lessons = Lessons(
        encoded=encoded,
        catalogue=strategy.catalogue,
        actions=read_actions(table, names, start.scale, strategy.catalogue).actions,
        rewards=rewards,
        weights=_weights(order, propensities, strategy.catalogue.n_actions - 1, rewards.size),
        scale=start.scale,
        baseline=baseline,
        is_probability=_check_rewards(table, names, strategy, rewards, baseline),
    )
    notes = _notes(order, start, lessons)
    strange = unknown_texts(table, schema)
    return Plan(order, table, start.reading, lessons, propensities, start.snapshot, notes, dropped, strange)


def _begun(order: Order, table: Table, rewards: FloatArray) -> Start:
    """A new strategy: catalogue and schema as the table has them."""
    assert order.preset is not None
    reading = read_schema(table, (order.names.reward,), _wish(table, order), order.names.texts)
    scale = scale_of(rewards)
    strategy = Strategy(
        name=order.preset.name,
        catalogue=read_actions(table, order.names, scale).catalogue,
        schema=reading.schema,
        model=order.preset.model,
        policy=order.preset.policy,
        floor=order.preset.floor,
        silence=order.names.no_contact is not None,
        seed=order.seed,
    )
    return Start(Snapshot.start(strategy), reading, scale, None, None)


def _continued(order: Order, path: Path) -> tuple[Snapshot, Notes]:
    """The bundle to go on with; its notes must be there and of the same reward."""
    snapshot = load_bundle(path)
    rule = f"has no {NOTES}: `nba learn` goes on with bundles that it has written itself"
    require((path / NOTES).exists(), str(path), "", rule)
    notes = _read_notes(path / NOTES)
    for option, now, then in (
        ("--reward", order.names.reward, notes.reward),
        ("--no-contact", order.names.no_contact, notes.no_contact),
    ):
        require(now == then, str(path), option, f"the bundle was learnt with {then!r}, not {now!r}")
    return snapshot, notes


def _read_notes(path: Path) -> Notes:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Notes)
    except (OSError, msgspec.MsgspecError) as error:
        raise InvalidConfig(str(path), "", f"cannot be read: {error}") from None


def _gone_on(table: Table, names: Names, snapshot: Snapshot, notes: Notes) -> Start:
    """A bundle's strategy, whose schema the table has to fit."""
    schema, word = snapshot.strategy.schema, {Category: "category", Flag: "flag"}
    kinds = {column.name: word.get(type(column), "number") for column in schema.columns}
    told = {*kinds, *names.texts, names.reward, names.propensity}
    new = [name for name in table.columns if name not in told]
    reading = Reading(schema, kinds, dict.fromkeys(new, "is not a feature of the bundle"))
    return Start(snapshot, reading, notes.scale, np.array(notes.baseline), notes)


def _wish(table: Table, order: Order) -> Wish:
    """A propensity is no feature, though one may well tell it: chances are often set by segment."""
    chance, wish = order.names.propensity, order.wish
    rule = "cannot be a feature and the propensity"
    require(chance not in wish.only, table.source, "--features", f"{chance!r} {rule}")
    return wish._replace(leave=(*wish.leave, chance)) if chance and chance in table.columns else wish


def _notes(order: Order, start: Start, lessons: Lessons) -> Notes:
    before = start.notes
    return Notes(
        logs=(*(before.logs if before else ()), order.log.name),
        rows=(before.rows if before else 0) + lessons.actions.size,
        reward=order.names.reward,
        scale=start.scale,
        no_contact=order.names.no_contact,
        baseline=tuple(lessons.baseline.tolist()),
    )


def _check_numbers(order: Order) -> None:
    rule = f"must lie in (0, 1], got {order.strength}"
    require(0 < order.strength <= 1, "nba learn", "--strength", rule)
    rule = f"must be at least 1, got {order.most_weight}"
    require(1 <= order.most_weight < np.inf, "nba learn", "--most-weight", rule)
    rule = "inverse propensities need --propensity, a column or a number"
    require(order.weighing == "none" or bool(order.names.propensity), "nba learn", "--weights", rule)
    rule = "name a policy to begin with, or a bundle to go on with by --continue, not both"
    require((order.preset is None) != (order.continued is None), "nba learn", "--policy", rule)
    rule = "the bundle that learning goes on with has its features; leave these options away"
    require(order.continued is None or order.wish == Wish(), "nba learn", "--features", rule)


def _read(order: Order) -> tuple[Table, int]:
    """The complete rows of the log, and how many were dropped."""
    names = order.names
    table = read_table(order.log, names.texts, order.form)
    complete = complete_rows(table, names)
    if not order.drop_incomplete:
        check_complete(table, complete, names)
    require(bool(complete.any()), table.source, "", "no row has an action, a reward and a propensity")
    return (table if complete.all() else table.keep(complete)), int((~complete).sum())


def _check_rewards(
    table: Table, names: Names, strategy: Strategy, rewards: FloatArray, baseline: FloatArray
) -> bool:
    """Whether the model takes rewards for probabilities; raises if they cannot be what it takes them for."""
    kind = str(strategy.model.__struct_config__.tag)
    if kind in (*_PROBABILITY, *_COUNT):
        rule = f"the model {kind!r} cannot count rewards from what comes without contact"
        way_out = "take a linear model, or let no-contact be an action like others (no --no-contact)"
        require(not baseline.any(), table.source, "--no-contact", f"{rule}; {way_out}")
    allowed = np.isin(rewards, (0.0, 1.0)) if kind in _PROBABILITY else rewards >= 0
    if kind in (*_PROBABILITY, *_COUNT) and not allowed.all():
        wanted = "0 or 1" if kind in _PROBABILITY else "0 or more"
        rule = f"the model {kind!r} needs rewards of {wanted}; {told_rows(~allowed)} are not"
        raise InvalidConfig(table.source, names.reward, f"{rule}; take a linear model")
    return kind in _PROBABILITY


def _weights(order: Order, propensities: FloatArray | None, n_actions: int, n_rows: int) -> FloatArray:
    """(N,) strength, times the inverse propensity relative to even choice if asked for, at most so much."""
    weights = np.full(n_rows, order.strength)
    if order.weighing == "ipw" and propensities is not None:
        weights *= np.minimum(1.0 / (n_actions * propensities), order.most_weight)
    return weights
