"""What is judged: a target's words on the command line, and its distribution in every row of a log.

Shape letters: n rows, A actions of the log and the target.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np

from experiments.evaluation.ledger_target import OfLedger, ledger_target
from experiments.evaluation.lived import FILE as LIVED
from experiments.evaluation.lived import OfRun, run_target
from experiments.evaluation.names import ANY_OTHER, PREFIXED, Rows, prefixed
from experiments.evaluation.own import BODY
from experiments.evaluation.stored import Stored
from experiments.evaluation.survey import TRUTHS, floats_of
from experiments.tables.columns import IS_MISSING, Encoded
from experiments.tables.read import Table
from nba.arrays import FloatArray
from nba.bundle import load_bundle
from nba.catalogue import NO_ACTION
from nba.context import ContextBatch
from nba.errors import InvalidConfig, require
from nba.snapshot import Snapshot

_WORDS = "always:LABEL, uniform, logged, column:NAME, columns:PREFIX, or the path of a policy bundle"


class Always(NamedTuple):
    """One action, whoever it is."""

    label: str
    columns: tuple[str, ...] = ()
    is_whole: bool = True
    labels: tuple[str, ...] = ()

    def of(self, rows: Rows) -> FloatArray:
        """(n, A) probabilities."""
        target = np.zeros((rows.rounds.n_rounds, len(rows.labels)))
        target[:, rows.labels.index(self.label)] = 1.0
        return target


class Uniform(NamedTuple):
    """Every eligible action alike; every action of the log where no sets are logged."""

    columns: tuple[str, ...] = ()
    is_whole: bool = True
    labels: tuple[str, ...] = ()

    def of(self, rows: Rows) -> FloatArray:
        """(n, A) probabilities."""
        shape = rows.rounds.n_rounds, len(rows.labels)
        eligible = rows.rounds.eligible
        open_ = np.ones(shape) if eligible is None else eligible.astype(np.float64)
        open_[:, [label == ANY_OTHER for label in rows.labels]] = 0.0  # no action of the log
        even: FloatArray = open_ / np.maximum(open_.sum(axis=1, keepdims=True), 1.0)
        return even


class Logged(NamedTuple):
    """The logging policy itself: what comes out must be what came in."""

    is_whole: bool = False  # whether the log has its whole distribution
    columns: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    def of(self, rows: Rows) -> FloatArray:
        """(n, A) probabilities; of the chosen action, and all others together, if no more is known."""
        if self.is_whole and rows.rounds.logging is not None:  # not estimated in the first reading
            return rows.rounds.whole_logging()
        return _of_chosen(rows, rows.rounds.propensities)


class OfChosen(NamedTuple):
    """A column with the target's probability of the action that was chosen."""

    column: str
    is_whole: bool = False
    labels: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column."""
        return (self.column,)

    def of(self, rows: Rows) -> FloatArray:
        """(n, A) probabilities of the chosen action, and of all others together."""
        return _of_chosen(rows, floats_of(rows.table.columns[self.column]))


class OfAll(NamedTuple):
    """A column of probabilities for every action."""

    tables: dict[str, str]  # label -> column
    is_whole: bool = True

    @property
    def columns(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(self.tables.values())

    @property
    def labels(self) -> tuple[str, ...]:
        """The actions that have one."""
        return tuple(self.tables)

    def of(self, rows: Rows) -> FloatArray:
        """(n, A) probabilities, 0 for actions without a column."""
        return table_of(rows.table, self.tables, rows.labels)


class OfBundle(NamedTuple):
    """A policy bundle that was learnt from a table, asked about the rows of this one."""

    snapshot: Snapshot
    names: tuple[str, ...]  # (actions of the catalogue,) labels; no-contact first
    columns: tuple[str, ...]  # that the bundle wants to know
    is_whole: bool = True

    @property
    def labels(self) -> tuple[str, ...]:
        """The actions that it may choose."""
        return self.names if self.snapshot.strategy.silence else self.names[1:]

    def of(self, rows: Rows) -> FloatArray:
        """(n, A) probabilities, among the eligible actions where sets are logged."""
        place = {label: number for number, label in enumerate(rows.labels)}
        known = [(action, place[name]) for action, name in enumerate(self.names) if name in place]
        of_catalogue, of_log = (np.array(part) for part in zip(*known, strict=True))
        requested = None
        if rows.rounds.eligible is not None:
            requested = np.zeros((rows.rounds.n_rounds, len(self.names)), dtype=np.bool_)
            requested[:, of_catalogue] = rows.rounds.eligible[:, of_log]
        contexts = contexts_of(rows.table, self.snapshot)
        target = np.zeros((rows.rounds.n_rounds, len(rows.labels)))
        target[:, of_log] = self.snapshot.action_distribution(contexts, requested)[:, of_catalogue]
        return target


Target: TypeAlias = Always | Uniform | Logged | OfChosen | OfAll | OfBundle | OfLedger | OfRun


def target_of(text: str, log: Stored, labels: tuple[str, ...]) -> Target:
    """The target that words name; InvalidConfig says what is wrong with them."""
    word, _, rest = text.partition(":")
    if text == "uniform":
        return Uniform()
    if text == "logged":
        return Logged()
    if word == "column" and rest:
        return OfChosen(log.need(rest, "--target"))
    if text.startswith(PREFIXED) and rest:
        return OfAll(prefixed(log, rest, "--target"))
    if word == "always" and rest:
        return Always(_label(rest, log, labels))
    rule = f"{text!r} is neither a bundle's folder nor one of {_WORDS}"
    require(Path(text).is_dir(), log.source, "--target", rule)
    if log.is_own and LIVED in log.columns:
        return run_target(Path(text), log)
    is_ledger = BODY in log.columns and log.is_own
    return ledger_target(Path(text), log) if is_ledger else _bundle(Path(text), log, labels)


def _label(text: str, log: Stored, labels: tuple[str, ...]) -> str:
    """A label of the log, which may write the same in another way, such as 3.0 for 3 or True for true."""
    if text in labels:
        return text
    same = [label for label in labels if _is_same_number(label, text) or _is_same_truth(label, text)]
    near = get_close_matches(text, labels, n=3, cutoff=0.5) or labels[:12]
    rule = f"no row has the action {text!r}; did you mean {', '.join(map(repr, near))}?"
    require(len(same) == 1, log.source, "--target", rule)
    return same[0]


def _is_same_number(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return False


def _is_same_truth(one: str, other: str) -> bool:
    return one.lower() == other.lower() and one.lower() in TRUTHS


def table_of(table: Table, tables: dict[str, str], labels: tuple[str, ...]) -> FloatArray:
    """(n, A) numbers of the columns of labels; 0 where a label has none, NaN where a cell is empty."""
    found = np.zeros((table.n_rows, len(labels)))
    for place, label in enumerate(labels):
        if label in tables:
            found[:, place] = floats_of(table.columns[tables[label]])
    return found


def contexts_of(table: Table, snapshot: Snapshot) -> ContextBatch:
    """The rows of a table as contexts of a bundle that asks for no history."""
    strategy, n = snapshot.strategy, table.n_rows
    n_channels, _, n_products = strategy.catalogue.shape
    encoded = Encoded.of(table, strategy.schema)
    return ContextBatch(
        customer_ids=np.full(n, "", dtype=object),
        at=np.zeros(n, dtype="datetime64[s]"),
        features=encoded.matrix(),
        attributes=encoded.raw,
        consents=np.zeros((n, n_channels), dtype=np.bool_),
        fatigue=np.zeros((n, n_channels, 2)),
        contact_counts=np.zeros((n, len(strategy.contact_policy.windows_days), n_channels + 1), np.int64),
        owned=np.zeros((n, n_products), dtype=np.bool_),
        offer_age_days=np.full((n, n_products), np.inf),
    )


def _of_chosen(rows: Rows, chances: FloatArray) -> FloatArray:
    """(n, A) a probability of the chosen action; what is left goes to the last label, any other action."""
    target = np.zeros((rows.rounds.n_rounds, len(rows.labels)))
    target[:, -1] = 1.0 - chances
    target[np.arange(rows.rounds.n_rounds), rows.rounds.actions] = chances
    return target


def _bundle(path: Path, log: Stored, labels: tuple[str, ...]) -> OfBundle:
    snapshot = load_bundle(path)
    strategy = snapshot.strategy
    needs = strategy.schema.moments or bool(strategy.rules) or strategy.contact_policy.looks
    rule = (
        "asks for a customer's history (consents, contacts, fatigue), which a table does not hold; judge "
        "bundles of `nba learn`, or this one on the ledger of `nba serve`"
    )
    require(not needs and not log.is_own, str(path), "", rule)
    known: dict[str, str] = {label.replace("/", "|"): label for label in labels}
    ids = [one.removeprefix("any/any/") for one in strategy.catalogue.action_ids]
    ids[NO_ACTION] = _no_contact(path) or ids[NO_ACTION]
    names = tuple(known.get(one, known.get(one.replace("/", "|"), one)) for one in ids)
    if not {*names} & {*labels}:
        rule = f"knows none of the log's actions; it knows {', '.join(names[1:13])}"
        raise InvalidConfig(str(path), "--target", rule)
    return OfBundle(snapshot, names, asked_columns(path, snapshot, log))


def asked_columns(path: Path, snapshot: Snapshot, log: Stored) -> tuple[str, ...]:
    """The columns that a bundle asks for; flags of what is missing are made from the columns themselves."""
    wanted = [column.name for column in snapshot.strategy.schema.columns]
    names = (name if name in log.columns else name.removesuffix(IS_MISSING) for name in wanted)
    return tuple(log.need(name, f"the bundle {path}") for name in dict.fromkeys(names))


def _no_contact(path: Path) -> str | None:
    """What `nba learn` was told that no-contact is called."""
    try:
        notes = msgspec.json.decode((path / "learnt.json").read_bytes())
        label = notes.get("no_contact")
    except (OSError, msgspec.MsgspecError, AttributeError):
        return None
    return str(label) if label is not None else None
