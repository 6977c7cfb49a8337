"""From rows of a log to rounds that can be judged, and what is wrong with them by rule and row.

Shape letters: n rows, A actions, K columns of the feature matrix, F folds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from experiments.evaluation.ledger_target import OfLedger
from experiments.evaluation.names import Names, Rows
from experiments.evaluation.own import BODY
from experiments.evaluation.stored import Part, Stored
from experiments.evaluation.survey import floats_of, without
from experiments.evaluation.targets import Target, table_of
from experiments.tables.columns import Encoded
from experiments.tables.read import Table, coded, is_missing, is_numeric, numbers
from nba.arrays import BoolArray, FloatArray, IntArray, KeyArray
from nba.features import FeatureSchema
from nba.ope import LoggedRounds, Range
from nba.ope.logged import Fault, fault_of, folds_of, log_faults, target_faults
from nba.ope.propensities import softmax

OTHER, NO_SEGMENT = "(other)", "(missing)"
_CELLS = 2**21  # of a table (rows, actions) at a time
_LOOKS = 50  # of a sequence over a log
_LEAST_ROWS, _MOST_ROWS = 1_024, 65_536


class Estimated(NamedTuple):
    """Models of the logging policy, one per fold, that saw no round of the fold."""

    coefficients: FloatArray  # (F, A, K)
    seed: int

    def distribution(self, features: FloatArray, clusters: KeyArray, eligible: BoolArray) -> FloatArray:
        """(n, A) logging distributions of rounds with features (n, K) and eligible actions (n, A)."""
        folds = folds_of(clusters, self.coefficients.shape[0], self.seed)
        found = np.zeros(eligible.shape)
        for fold in range(self.coefficients.shape[0]):
            rows = folds == fold
            found[rows] = softmax(features[rows] @ self.coefficients[fold].T, eligible[rows])
        return found


class Coded(NamedTuple):
    """Some rows of a log."""

    rounds: LoggedRounds
    targets: tuple[FloatArray, ...]  # (n, A) each
    features: FloatArray  # (n, K)
    segments: IntArray  # (n,) rows of `Coder.segments`
    faults: tuple[Fault, ...]
    first_row: int


class Coder(NamedTuple):
    """How the rows of a log become rounds; one and the same for all parts."""

    log: Stored
    names: Names
    labels: tuple[str, ...]  # (A,)
    sets: dict[str, tuple[str, ...]]  # eligible set as it is written -> labels
    segments: tuple[str, ...]
    schema: FeatureSchema
    targets: tuple[Target, ...]
    reward_range: Range | None
    estimated: Estimated | None = None

    @property
    def is_whole(self) -> bool:
        """Whether all targets are known of all actions; else weights of the chosen ones are all there is."""
        return all(target.is_whole for target in self.targets)

    @property
    def n_rows(self) -> int:
        """Rows at a time: few enough for the memory, and for a sequence to be looked at."""
        most = min(max(_CELLS // len(self.labels), _LEAST_ROWS), _MOST_ROWS)
        return min(max(self.log.n_rows // _LOOKS, _LEAST_ROWS), most)

    def read(self, part: Part) -> Iterator[Coded]:
        """The rounds of a part, some at a time."""
        wanted = [name for target in self.targets for name in target.columns]
        columns = tuple(dict.fromkeys([*self.names.columns, *wanted]))
        texts = (*self.names.texts, BODY)
        for first, table in self.log.read(part, columns, texts, self.n_rows):
            yield self._coded(table, first)

    def _coded(self, table: Table, first: int) -> Coded:
        actions, unnamed = self._actions(table)
        clusters = self._clusters(table, first)
        features, infinite = self._features(table, first)
        eligible, unset = self._eligible(table)
        logging = self._logging(table, features, clusters, eligible)
        rewards, texts = self._rewards(table)
        rounds = LoggedRounds(
            actions=actions,
            rewards=rewards,
            propensities=self._propensities(table, logging, actions),
            clusters=clusters,
            logging=logging,
            eligible=eligible,
            reward_range=self.reward_range,
        )
        faults = (
            *fault_of(self.names.action, "must hold a label", unnamed, first),
            *fault_of(f"{self.names.eligible}", "must name the actions that could be chosen", unset, first),
            *fault_of(self.names.reward, "must hold numbers, or true and false", texts, first),
            *self._nobody(table, first),
            *infinite,
            *(fault._replace(column=self._named(fault.column)) for fault in log_faults(rounds, first)),
        )
        targets = tuple(target.of(Rows(table, rounds, self.labels)) for target in self.targets)
        if not faults:  # else a target that is made of the log would be told to be wrong as well
            faults = tuple(fault for target in targets for fault in target_faults(rounds, target, first))
            faults += self._replayed(table, rounds, targets, first)
        if not self.is_whole:  # what could be chosen was checked, and says nothing of a part of a target
            rounds = rounds._replace(logging=None, eligible=None)
        return Coded(rounds, targets, features, self._segments(table), faults, first)

    def _replayed(
        self, table: Table, rounds: LoggedRounds, targets: tuple[FloatArray, ...], first: int
    ) -> tuple[Fault, ...]:
        """Propensities of a ledger that its own bundle does not give again."""
        found: tuple[Fault, ...] = ()
        for target, given in zip(self.targets, targets, strict=True):
            if isinstance(target, OfLedger):
                strays = target.strays(table, rounds.at(given), rounds.propensities)
                found += fault_of(
                    "propensities", "must be what the ledger's bundle gives again", strays, first
                )
        return found

    def _named(self, column: str) -> str:
        """What the log calls a column of rounds."""
        names = {
            "rewards": self.names.reward,
            "propensities": self.names.chances.column,
            "actions": self.names.action,
            "eligible": self.names.eligible,
        }
        found = names.get(column)
        return column if found is None else f"{column} (column {found!r})"

    def _actions(self, table: Table) -> tuple[IntArray, BoolArray]:
        """(n,) places of the labels, and whether there is none."""
        codes, texts = coded(table.columns[self.names.action])
        place = {label: number for number, label in enumerate(self.labels)}
        actions = np.array([place[text] for text in texts] + [0])[codes]
        return actions, codes < 0

    def _rewards(self, table: Table) -> tuple[FloatArray, BoolArray]:
        """(n,) rewards, and the rows (n,) that hold a text that is none, whose reward stands for nothing."""
        column = table.columns[self.names.reward]
        rewards = floats_of(column)
        texts: BoolArray = np.isnan(rewards) & ~is_missing(column)
        low = 0.0 if self.reward_range is None else self.reward_range.low
        return np.where(texts, low, rewards), texts

    def _clusters(self, table: Table, first: int) -> KeyArray:
        """(n,) keys below 2^56: of the customer, or of the row where nobody says who it was."""
        if self.names.cluster is None:
            return np.arange(first, first + table.n_rows, dtype=np.uint64)
        from pandas.util import hash_array

        codes, texts = coded(table.columns[self.names.cluster])
        keys = hash_array(np.array([*texts, ""], dtype=object), categorize=False) >> np.uint64(8)
        found: KeyArray = keys[codes]
        return found

    def _nobody(self, table: Table, first: int) -> tuple[Fault, ...]:
        """Rows without a customer, who would all be taken for one."""
        name = self.names.cluster
        missing = None if name is None else is_missing(table.columns[name])
        return () if missing is None else fault_of(str(name), "must name the customer", missing, first)

    def _features(self, table: Table, first: int) -> tuple[FloatArray, tuple[Fault, ...]]:
        """(n, K) feature matrix, the intercept first; infinite numbers are faults."""
        faults: tuple[Fault, ...] = ()
        if not self.schema.columns:
            return np.ones((table.n_rows, 1)), faults
        columns = dict(table.columns)
        for name in self.names.features:
            if is_numeric(columns[name]) and (infinite := np.isinf(numbers(columns[name]))).any():
                faults += fault_of(name, "must be finite, or empty where it is not known", infinite, first)
                columns[name] = without(columns[name], infinite)
        return Encoded.of(table._replace(columns=columns), self.schema).matrix(), faults

    def _eligible(self, table: Table) -> tuple[BoolArray | None, BoolArray]:
        """(n, A) actions that could be chosen, if that is logged; and the rows (n,) that do not say."""
        if self.names.eligible is None:
            return None, np.zeros(table.n_rows, dtype=np.bool_)
        codes, texts = coded(table.columns[self.names.eligible])
        place = {label: number for number, label in enumerate(self.labels)}
        known = np.zeros((len(texts) + 1, len(self.labels)), dtype=np.bool_)
        for row, text in enumerate(texts):
            known[row, [place[label] for label in self.sets[text]]] = True
        eligible = known[codes]
        return eligible, ~np.logical_or.reduce(eligible, axis=1)

    def _logging(
        self, table: Table, features: FloatArray, clusters: KeyArray, eligible: BoolArray | None
    ) -> FloatArray | None:
        """(n, A) the logging policy's distribution, where the log has it or it was estimated."""
        chances, shape = self.names.chances, (table.n_rows, len(self.labels))
        if chances.tables is not None:
            return table_of(table, chances.tables, self.labels)
        if self.estimated is not None:
            open_ = np.ones(shape, dtype=np.bool_) if eligible is None else eligible.copy()
            open_[~open_.any(axis=1)] = True  # told as a fault of its own
            return self.estimated.distribution(features, clusters, open_)
        if _is_even(self.names, self.labels):
            return np.full(shape, 1.0 / len(self.labels))
        return None

    def _propensities(self, table: Table, logging: FloatArray | None, actions: IntArray) -> FloatArray:
        """(n,) of the chosen actions; 1 as long as a log without any has none estimated."""
        chances = self.names.chances
        if chances.column is not None:
            return floats_of(table.columns[chances.column])
        if logging is not None:
            picked: FloatArray = logging[np.arange(actions.size), actions]
            return picked
        return np.full(table.n_rows, 1.0 if chances.value is None else chances.value)

    def _segments(self, table: Table) -> IntArray:
        """(n,) rows of `segments`, the rare ones together."""
        if self.names.segment is None:
            return np.zeros(table.n_rows, dtype=np.int64)
        codes, texts = coded(table.columns[self.names.segment])
        place = {name: number for number, name in enumerate(self.segments)}
        rare = place.get(OTHER, 0)
        return np.array([place.get(text, rare) for text in texts] + [place.get(NO_SEGMENT, rare)])[codes]


def knows_logging(names: Names, labels: tuple[str, ...]) -> bool:
    """Whether a log has its whole policy: by columns, by an estimate, or because all actions were alike."""
    chances = names.chances
    return chances.tables is not None or not chances.are_known or _is_even(names, labels)


def _is_even(names: Names, labels: tuple[str, ...]) -> bool:
    """Whether one propensity for all rows is that of all actions alike."""
    value = names.chances.value
    return value is not None and names.eligible is None and abs(value * len(labels) - 1.0) < 1e-6
