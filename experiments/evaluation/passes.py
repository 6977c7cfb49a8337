"""What is done with the rows of a log, part by part: check and learn, then judge. Sums that merge.

A model is fitted to all parts before the first is judged, so the log is read three times (a look at its
columns comes first) and never held. Each part is a task, and sums are added in the order of the parts:
the result does not depend on the workers, to the last bit.
"""

from __future__ import annotations

from functools import partial, reduce
from operator import add
from typing import NamedTuple

import numpy as np

from experiments.evaluation.rewards import (
    RIDGE,
    Predictions,
    Rewarded,
    from_rows,
    from_sums,
    share_of,
)
from experiments.evaluation.rounds import Coded, Coder
from experiments.evaluation.stored import Part
from experiments.executor import Executor, Report
from nba.arrays import BoolArray, FloatArray, IntArray, KeyArray, join_rows, take_rows
from nba.errors import require
from nba.ope import Evaluation, Moments, Range, Ridge, Settings, mrdr_weights
from nba.ope.compare import Comparison, Match
from nba.ope.doubts import Returning
from nba.ope.logged import Fault, folds_of, merged_faults, on_eligible
from nba.ope.pieces import MRDR_MODEL, REWARD_MODEL
from nba.ope.propensities import Calibration
from nba.ope.reward_models import N_FOLDS, RewardRows, RewardSums
from nba.randomness import Purpose, keyed_uniforms

_MOST_CELLS = 2**27  # of the sums of a reward model: a gigabyte
_SAMPLE_BLOCK = 2**32 - 2  # of random numbers that no bootstrap and no fold reaches


class Chosen(NamedTuple):
    """Rounds to learn the logging policy from."""

    features: FloatArray  # (m, K)
    actions: IntArray  # (m,)
    clusters: KeyArray  # (m,)
    eligible: BoolArray  # (m, A)


class Learnt(NamedTuple):
    """What a first reading of the rounds tells; it merges."""

    faults: tuple[Fault, ...]
    sums: dict[str, RewardSums]  # per reward model
    returning: Returning
    chosen: tuple[Chosen, ...]  # a sample, where the logging policy has to be estimated
    rewarded: tuple[Rewarded, ...]  # a sample, where rewards are learnt from rows and not from sums

    def __add__(self, other: object) -> Learnt:
        """The sums of both parts."""
        if not isinstance(other, Learnt):
            return NotImplemented
        # Where a part has faults nothing will be judged, and there are no sums.
        sums = {name: self.sums[name] + other.sums[name] for name in self.sums if name in other.sums}
        faults, chosen = self.faults + other.faults, self.chosen + other.chosen
        returning, rewarded = self.returning + other.returning, self.rewarded + other.rewarded
        return Learnt(faults, sums, returning, chosen, rewarded)


class Lesson(NamedTuple):
    """What is to be learnt, and from which shares of the customers."""

    models: tuple[str, ...]  # names of reward models
    kind: str  # of reward models
    sampled: float  # for the logging policy
    seed: int


class Judged(NamedTuple):
    """What the rounds say of a target; it merges."""

    evaluation: Evaluation
    segments: FloatArray  # (S, 6) rounds, sums of w, w^2, lost mass and reward, and the largest w
    path: tuple[Moments, ...]  # of stretches of rounds, for the sequence
    calibration: Calibration | None  # of estimated propensities

    def __add__(self, other: object) -> Judged:
        """The sums of both parts."""
        if not isinstance(other, Judged):
            return NotImplemented
        segments = self.segments + other.segments
        segments[:, 5] = np.maximum(self.segments[:, 5], other.segments[:, 5])
        both = self.calibration is not None and other.calibration is not None
        calibration = self.calibration + other.calibration if both else None  # type: ignore[operator]
        return Judged(self.evaluation + other.evaluation, segments, self.path + other.path, calibration)


def learn(coder: Coder, lesson: Lesson, executor: Executor, report: Report) -> Learnt:
    """Check all rounds, and add up what the models need; faults are those of the whole log."""
    k = coder.schema.n_columns if coder.schema.columns else 1
    cells = len(lesson.models) * N_FOLDS * len(coder.labels) * k * k if lesson.kind == RIDGE else 0
    rule = f"make a reward model of {k} columns for {len(coder.labels)} actions; name fewer"
    require(cells <= _MOST_CELLS, coder.log.source, "--features", rule)
    found = reduce(add, executor.map(partial(_learnt, coder, lesson), coder.log.parts, report))
    return found._replace(faults=merged_faults([found.faults], coder.log.n_rows))


def predictions(learnt: Learnt, lesson: Lesson, n_actions: int, possible: Range) -> Predictions:
    """The models that leave out one fold each."""
    if lesson.kind == RIDGE or not lesson.models:
        return Predictions(from_sums(learnt.sums), possible, lesson.seed)
    found = from_rows(lesson.kind, lesson.models, learnt.rewarded, n_actions, lesson.seed)
    return Predictions(found, possible, lesson.seed)


def judge(
    coder: Coder,
    models: Predictions,
    settings: Settings,
    followed: int | None,
    executor: Executor,
    report: Report,
) -> Judged:
    """Add up what all rounds say of the coder's only target; `followed` is the sequence's estimator."""
    task = partial(_judged, coder, models, settings, followed)
    return reduce(add, executor.map(task, coder.log.parts, report))


def compare(
    coder: Coder, models: Predictions, match: Match, executor: Executor, report: Report
) -> tuple[Comparison, ...]:
    """What stretches of rounds say of the coder's two targets, in their order."""
    task = partial(_compared, coder, models, match)
    return sum(executor.map(task, coder.log.parts, report), start=())


def _learnt(coder: Coder, lesson: Lesson, part: Part, report: Report) -> Learnt:
    found = []
    for rows in coder.read(part):
        models = () if rows.faults else lesson.models
        by_sums = models if lesson.kind == RIDGE else ()
        sums = {name: _sums(coder, name, rows, lesson.seed) for name in by_sums}
        rewarded = (_rewarded(coder, rows, lesson),) if models and not by_sums else ()
        chosen = (_sampled(coder, rows, lesson),) if lesson.sampled else ()
        found.append(Learnt(rows.faults, sums, Returning.of(rows.rounds.clusters), chosen, rewarded))
        report(rows.rounds.n_rounds)
    return reduce(add, found)


def _sums(coder: Coder, name: str, rows: Coded, seed: int) -> RewardSums:
    folds = folds_of(rows.rounds.clusters, N_FOLDS, seed)
    weighted = RewardRows.of(rows.features, rows.rounds, _weights(name, rows))
    return Ridge().sums(weighted, folds, (N_FOLDS, len(coder.labels)))


def _weights(name: str, rows: Coded) -> FloatArray:
    """(n,) what each round counts for a model."""
    if name == MRDR_MODEL:
        return mrdr_weights(rows.rounds, rows.targets[0])
    return np.ones(rows.rounds.n_rounds)


def _rewarded(coder: Coder, rows: Coded, lesson: Lesson) -> Rewarded:
    """The rounds of a share of the customers."""
    rounds, shape = rows.rounds, (rows.features.shape[1], len(coder.labels))
    weights = np.column_stack([_weights(name, rows) for name in lesson.models])
    every = Rewarded(rows.features, rounds.actions, rounds.rewards, weights, rounds.clusters)
    drawn = keyed_uniforms(lesson.seed, Purpose.BOOTSTRAP, rounds.clusters, block=_SAMPLE_BLOCK)
    return take_rows(every, drawn < share_of(coder.log.n_rows, shape))


def _sampled(coder: Coder, rows: Coded, lesson: Lesson) -> Chosen:
    """The rounds of a share of the customers."""
    rounds = rows.rounds
    eligible = rounds.eligible
    if eligible is None:
        eligible = np.ones((rounds.n_rounds, len(coder.labels)), dtype=np.bool_)
    drawn = keyed_uniforms(lesson.seed, Purpose.BOOTSTRAP, rounds.clusters, block=_SAMPLE_BLOCK)
    every = Chosen(rows.features, rounds.actions, rounds.clusters, eligible)
    return take_rows(every, drawn < lesson.sampled)


def joined_sample(learnt: Learnt) -> Chosen:
    """The sampled rounds of all parts."""
    return join_rows(learnt.chosen)


def _judged(
    coder: Coder, models: Predictions, settings: Settings, followed: int | None, part: Part, report: Report
) -> Judged:
    found = []
    for rows in coder.read(part):
        rounds, (target,) = rows.rounds, rows.targets
        summed = Evaluation.of(settings, rounds, target, models.of(rows), rows.first_row)
        calibration = None
        if coder.estimated is not None and rounds.logging is not None:
            calibration = Calibration.of(rounds.logging, rounds.actions, rounds.eligible)
        segments = _segments(coder, rows, target)
        path = () if followed is None else (summed.moments[followed],)
        found.append(Judged(summed, segments, path, calibration))
        report(rounds.n_rounds)
    return reduce(add, found)


def _segments(coder: Coder, rows: Coded, target: FloatArray) -> FloatArray:
    """(S, 6) sums of one stretch by segment."""
    able, lost = on_eligible(rows.rounds, target)
    ratios, size = rows.rounds.ratios(able), max(len(coder.segments), 1)
    columns = (None, ratios, ratios * ratios, lost, rows.rounds.rewards)
    sums = [np.bincount(rows.segments, column, size) for column in columns]
    largest = np.zeros(size)
    np.maximum.at(largest, rows.segments, ratios)
    return np.column_stack([*sums, largest]).astype(np.float64)


def _compared(
    coder: Coder, models: Predictions, match: Match, part: Part, report: Report
) -> tuple[Comparison, ...]:
    found = []
    for rows in coder.read(part):
        predicted = models.of(rows).get(match.estimator.model or REWARD_MODEL)
        one, two = rows.targets
        found.append(Comparison.of(match, rows.rounds, (one, two), predicted, rows.first_row))
        report(rows.rounds.n_rounds)
    return tuple(found)
