"""The log that a target policy is judged on, and the refusal of logs that would make every figure wrong.

Shape letters: n rounds of a partition, A actions, K feature columns, G groups of actions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np

from nba.arrays import BoolArray, FloatArray, IntArray, KeyArray, check_shape
from nba.errors import NBAError
from nba.ope.terms import Range, covering
from nba.randomness import Purpose, keyed_uniforms

SUM_TOLERANCE = 1e-6  # methods E1
_SHARE_TOLERANCE = 1e-3  # of a propensity
FOLDS_RULE = (
    "all rounds fall into one fold, so no model is left that has not seen them: log more customers, "
    "or give each round a key of its own"
)
_NAMED_ROWS = 5
_CELLS, _FEWEST, _MOST = 2**17, 128, 8_192  # of a block: tables of a megabyte
_FOLD_BLOCK = 2**32 - 1  # of the bootstrap's random numbers: no replicate reaches it


class Fault(NamedTuple):
    """A rule that some rows of a log break."""

    column: str
    rule: str
    n_bad: int
    n: int  # rows of the log or the partition
    rows: tuple[int, ...]  # the first few

    def __str__(self) -> str:
        """A sentence with the count and the row numbers."""
        more = f" and {self.n_bad - len(self.rows)} more" if self.n_bad > len(self.rows) else ""
        named = ", ".join(map(str, self.rows))
        return f"{self.column}: {self.rule}; {self.n_bad} of {self.n} rows do not (rows {named}{more})."


def merged_faults(parts: Sequence[tuple[Fault, ...]], n: int) -> tuple[Fault, ...]:
    """The faults of a log of n rows from those of its partitions, in their order."""
    found: dict[tuple[str, str], Fault] = {}
    for fault in (one for part in parts for one in part):
        before = found.get((fault.column, fault.rule))
        n_bad, rows = (before.n_bad, before.rows) if before else (0, ())
        rows = (rows + fault.rows)[:_NAMED_ROWS]
        found[fault.column, fault.rule] = fault._replace(n_bad=n_bad + fault.n_bad, n=n, rows=rows)
    return tuple(found.values())


class BadLog(NBAError, ValueError):
    """A log or a target cannot be evaluated; `faults` are sentences with counts and row numbers."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        self.faults = faults
        super().__init__("The log is refused. " + " ".join(faults))

    def __reduce__(self) -> tuple[type[BadLog], tuple[tuple[str, ...]]]:
        """Pickle by its faults, so that it survives a trip through a Ray worker."""
        return BadLog, (self.faults,)


class LoggedRounds(NamedTuple):
    """Rounds of a log, or of one partition of it, as columns.

    `propensities` are the probabilities with which the logged actions were chosen. The logging policy's
    whole distribution is wanted by what weighs actions that were not chosen (blending, groups of actions,
    the betting sequence); its entries at the logged actions are the propensities. Without a column of
    eligible actions, whatever the logging distribution gives a probability is eligible. State the range of
    the rewards where it is known, such as (0, 1): intervals ask it about what has not been seen yet.
    """

    actions: IntArray  # (n,)
    rewards: FloatArray  # (n,)
    propensities: FloatArray  # (n,)
    clusters: KeyArray  # (n,) key below 2^56 of the customer, whose rounds are not independent
    logging: FloatArray | None = None  # (n, A)
    eligible: BoolArray | None = None  # (n, A)
    reward_range: Range | None = None  # of all rewards that there could be; the observed ones' if not given

    @property
    def n_rounds(self) -> int:
        """n, the number of rounds."""
        return int(self.actions.size)

    def take(self, rows: IntArray | BoolArray | slice) -> LoggedRounds:
        """Some of the rounds."""
        return LoggedRounds(
            self.actions[rows],
            self.rewards[rows],
            self.propensities[rows],
            self.clusters[rows],
            None if self.logging is None else self.logging[rows],
            None if self.eligible is None else self.eligible[rows],
            self.reward_range,
        )

    @property
    def possible_rewards(self) -> Range:
        """The range of rewards: the stated one, or what was observed."""
        return covering(self.rewards) if self.reward_range is None else self.reward_range

    def at(self, table: FloatArray) -> FloatArray:
        """(n,) entries of a table (n, A) at the logged actions."""
        picked: FloatArray = table[np.arange(self.n_rounds), self.actions]
        return picked

    def ratios(self, target: FloatArray) -> FloatArray:
        """(n,) importance weights: target (n, A) over logging probability of the logged actions."""
        return self.at(target) / self.propensities

    def all_ratios(self, target: FloatArray) -> FloatArray:
        """(n, A) importance weights of all actions; infinite where only the target has mass, else 0."""
        ratios = np.where(target > 0.0, np.inf, 0.0)
        return np.divide(target, self.whole_logging(), out=ratios, where=self.whole_logging() > 0.0)

    def whole_logging(self) -> FloatArray:
        """(n, A) the logging distribution; BadLog says what is missing where the log has none."""
        if self.logging is None:
            raise BadLog(
                ("logging: the log has propensities of the chosen actions only, and this estimator needs "
                 "those of all actions. Log the whole distribution or use ips, dr or a shrunk form.",)
            )  # fmt: skip
        return self.logging

    def support(self) -> BoolArray | None:
        """(n, A) actions that the logging policy may choose; None if the log does not tell."""
        return self.eligible if self.logging is None else self.logging > 0.0


def pooled(rounds: LoggedRounds, loggers: Sequence[FloatArray], logger: IntArray) -> LoggedRounds:
    """Rounds of several logging policies as if of their mixture, whose weights are smaller.

    loggers are what each policy would have given every pooled round (n, A), logger (n,) says which of
    them made a round. The balanced weight divides by sum_k n_k/n mu_k: no more than the weight of any
    single logger times n/n_k. Agarwal, Basu, Schnabel and Joachims (2017).
    """
    shares = np.bincount(logger, minlength=len(loggers)) / rounds.n_rounds
    mixture: FloatArray = np.zeros_like(loggers[0])
    for share, logging in zip(shares, loggers, strict=True):
        mixture += share * logging
    return rounds._replace(logging=mixture, propensities=rounds.at(mixture))


def folds_of(clusters: KeyArray, n_folds: int, seed: int) -> IntArray:
    """(n,) fold of each round: one per cluster and the same in every partition."""
    uniforms = keyed_uniforms(seed, Purpose.BOOTSTRAP, clusters, block=_FOLD_BLOCK)
    return np.floor(uniforms * n_folds).astype(np.int64)


def check_log(rounds: LoggedRounds, first_row: int = 0) -> None:
    """Raise BadLog with the counts and row numbers of every kind of fault; rows count from first_row.

    Refused are propensities outside (0, 1], rewards that are not finite, actions outside the table or
    not eligible, distributions that do not sum to one or disagree with the propensities, and probability
    on actions that are not eligible (methods E1).
    """
    refuse(log_faults(rounds, first_row))


def log_faults(rounds: LoggedRounds, first_row: int = 0) -> tuple[Fault, ...]:
    """What `check_log` refuses, to be merged over partitions; empty for a log without fault."""
    n = rounds.n_rounds
    for name in ("rewards", "propensities", "clusters"):
        check_shape(getattr(rounds, name), (n,), name)
    say = partial(fault_of, first_row=first_row)
    faults = [
        say("propensities", "must lie in (0, 1]", ~((rounds.propensities > 0) & (rounds.propensities <= 1))),
        say("rewards", "must be finite", ~np.isfinite(rounds.rewards)),
        _reward_fault(rounds, say),
        *_table_faults(rounds, say),
    ]
    return tuple(chain.from_iterable(faults))


def check_target(rounds: LoggedRounds, target: FloatArray, first_row: int = 0) -> None:
    """Raise BadLog unless target (n, A) holds distributions over the actions of the log."""
    refuse(target_faults(rounds, target, first_row))


def target_faults(rounds: LoggedRounds, target: FloatArray, first_row: int = 0) -> tuple[Fault, ...]:
    """What `check_target` refuses, to be merged over partitions."""
    check_shape(target, (rounds.n_rounds, None), "target")
    say = partial(fault_of, first_row=first_row)
    outside = (rounds.actions < 0) | (rounds.actions >= target.shape[1])
    faults = [
        say("actions", f"must lie in [0, {target.shape[1]}), the columns of the target", outside),
        *_distribution_faults("target", target, say),
    ]
    return tuple(chain.from_iterable(faults))


def blocks(n_rounds: int, n_actions: int) -> list[slice]:
    """Stretches of rounds whose tables fit a core's cache, and memory that need not be asked for anew."""
    step = min(max(_CELLS // max(n_actions, 1), _FEWEST), _MOST)
    return [slice(begin, begin + step) for begin in range(0, n_rounds, step)] or [slice(None)]


def table_ratios(above: FloatArray | float, below: FloatArray) -> FloatArray:
    """(n, A) quotients, 0 where `below` is 0; a masked division is slower, and seldom needed."""
    if below.min(initial=np.inf) > 0.0:
        ratios: FloatArray = above / below
        return ratios
    return np.divide(above, below, out=np.zeros_like(below), where=below > 0.0)


def on_eligible(rounds: LoggedRounds, target: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The target (n, A) as it would run on the eligible actions, and the (n,) mass it lost.

    A target that wants an action outside the eligible set is not identified there; what will run is the
    target renormalised (methods E1). A row that loses everything stays zero, and its mass is lost.
    """
    support = rounds.support()
    if support is None:
        return target, np.zeros(rounds.n_rounds)
    if support.all():
        return target, np.zeros(rounds.n_rounds)
    lost = np.einsum("na,na->n", target, ~support)
    # Rounding alone must not change a target that is supported: an A/A evaluation is exact.
    touched = lost > SUM_TOLERANCE
    if not touched.any():
        return np.where(support, target, 0.0) if lost.any() else target, np.zeros(rounds.n_rounds)
    kept = np.where(support, target, 0.0)
    mass = np.where(touched, kept.sum(axis=1), 1.0)
    return kept / np.where(mass > 0.0, mass, 1.0)[:, None], np.where(touched, lost, 0.0)


Say = Callable[[str, str, BoolArray], tuple[Fault, ...]]


def _reward_fault(rounds: LoggedRounds, say: Say) -> tuple[Fault, ...]:
    """Rewards outside the stated range."""
    low, high = rounds.possible_rewards
    return say("rewards", f"must lie in [{low}, {high}]", (rounds.rewards < low) | (rounds.rewards > high))


def _table_faults(rounds: LoggedRounds, say: Say) -> Iterator[tuple[Fault, ...]]:
    """Faults of the columns that hold one entry per action."""
    for name, table in (("logging", rounds.logging), ("eligible", rounds.eligible)):
        if table is None:
            continue
        check_shape(table, (rounds.n_rounds, None), name)
        outside = (rounds.actions < 0) | (rounds.actions >= table.shape[1])
        yield say("actions", f"must lie in [0, {table.shape[1]}), the columns of {name}", outside)
        if outside.any():
            return
    if rounds.eligible is not None:
        chosen = rounds.eligible[np.arange(rounds.n_rounds), rounds.actions]
        yield say("actions", "the chosen action must be eligible", ~chosen)
    if rounds.logging is not None:
        yield from _distribution_faults("logging", rounds.logging, say)
        # A rare action's weight is one over its propensity: that has to agree in what is told of it.
        allowed = np.minimum(SUM_TOLERANCE, _SHARE_TOLERANCE * rounds.propensities)
        apart = ~(np.abs(rounds.at(rounds.logging) - rounds.propensities) <= allowed)
        yield say("propensities", "must equal the logging distribution at the chosen action", apart)
        if rounds.eligible is not None:
            barred: BoolArray = np.logical_or.reduce((rounds.logging > 0.0) & ~rounds.eligible, axis=1)
            yield say("logging", "must be zero on actions that are not eligible", barred)


def _distribution_faults(name: str, table: FloatArray, say: Say) -> Iterator[tuple[Fault, ...]]:
    total = table @ np.ones(table.shape[1])
    apart = ~(np.abs(total - 1.0) <= SUM_TOLERANCE)
    if table.min(initial=0.0) >= 0.0 and not apart.any():  # then none is above 1 either
        return
    improper: BoolArray = np.logical_or.reduce(~((table >= 0.0) & (table <= 1.0)), axis=1)
    yield say(name, "probabilities must lie in [0, 1]", improper)
    yield say(name, "probabilities of a row must sum to 1", apart)


def fault_of(column: str, rule: str, bad: BoolArray, first_row: int = 0) -> tuple[Fault, ...]:
    """The fault of the rows (n,) that break a rule; empty if none does."""
    rows = np.flatnonzero(bad)
    named = tuple((rows[:_NAMED_ROWS] + first_row).tolist())
    return (Fault(column, rule, rows.size, bad.size, named),) if rows.size else ()


def refuse(faults: Sequence[Fault]) -> None:
    """Raise BadLog if there is any fault."""
    if faults:
        raise BadLog(tuple(map(str, faults)))
