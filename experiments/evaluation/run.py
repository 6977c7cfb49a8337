"""The steps of `nba evaluate` and `nba compare-policies`: survey, check and learn, judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from experiments.evaluation.estimators import Log, estimators_of, families, followed
from experiments.evaluation.names import ANY_OTHER, Asked, Names
from experiments.evaluation.own import is_ledger, is_run, stored_ledger, stored_run
from experiments.evaluation.passes import (
    Judged,
    Learnt,
    Lesson,
    compare,
    joined_sample,
    judge,
    learn,
    predictions,
)
from experiments.evaluation.rewards import RIDGE, Predictions, check_kind
from experiments.evaluation.rounds import NO_SEGMENT, OTHER, Coder, Estimated, knows_logging
from experiments.evaluation.stored import Stored, stored
from experiments.evaluation.survey import Survey, eligible_sets, surveyed
from experiments.evaluation.targets import Logged, target_of
from experiments.executor import Executor, executor
from experiments.executor import Report as Progress
from experiments.tables.columns import Reading
from experiments.tables.read import Format
from experiments.terminal import progress, say
from nba.errors import require
from nba.ope import Floors, Range, Report, Settings
from nba.ope.compare import Compared, Comparison, Match
from nba.ope.estimators import Estimator
from nba.ope.logged import Fault, folds_of
from nba.ope.propensities import ChoiceModel
from nba.ope.reward_models import N_FOLDS

_SAMPLE_ROWS = 50_000  # of which the logging policy is estimated
_MOST_SEGMENTS = 20
_MOST_AGAIN = 0.05  # share of rounds by customers seen before, from where on customers are drawn, not rounds
_REPLICATES = 1_000  # methods E3
_MOST_ERROR, _MOST_Z = 0.1, 5.0  # of estimated propensities against what was chosen


class Order(NamedTuple):
    """What is asked for."""

    log: Path
    asked: Asked
    targets: tuple[str, ...]
    estimators: tuple[str, ...] = ()
    reward_range: Range | None = None
    confidence: float = 0.95
    n_replicates: int | None = None  # None: as many as it takes where customers come back, else none
    seed: int = 0
    workers: int = 1
    floors: Floors = Floors()
    form: Format = Format()
    reward_model: str = RIDGE
    tuned: bool = False  # whether SLOPE++ chooses thresholds and strengths
    ready: Stored | None = None  # the log in parts, where it has been read before
    planned_rounds: int | None = None  # at which a sequence is narrowest; without it the log's own number


class Prepared(NamedTuple):
    """A log that has been checked, and what was learnt from it before it is judged."""

    coder: Coder
    survey: Survey
    reading: Reading
    estimators: tuple[Estimator, ...]
    learnt: Learnt
    models: Predictions
    n_replicates: int


class Found(NamedTuple):
    """What was found; of a log with faults nothing but these."""

    order: Order
    n: int
    faults: tuple[Fault, ...]
    report: Report | None = None
    prepared: Prepared | None = None
    judged: Judged | None = None


class Difference(NamedTuple):
    """What a comparison found; of a log with faults nothing but these."""

    order: Order
    n: int
    faults: tuple[Fault, ...]
    compared: Compared | None = None


def evaluate(order: Order) -> Found:
    """Judge one target; raises InvalidConfig for what is asked wrongly, and tells faults of the log."""
    with _begun(order) as (log, executor_):
        prepared = _prepared(order, log, executor_)
        if prepared.learnt.faults:
            return Found(order, log.n_rows, prepared.learnt.faults)
        settings = Settings(
            estimators=prepared.estimators,
            floors=order.floors,
            confidence=order.confidence,
            n_replicates=prepared.n_replicates,
            seed=order.seed,
            propensities_estimated=prepared.coder.estimated is not None,
            labels=prepared.coder.labels,
        )
        place = followed(prepared.estimators)
        with progress("judge", log.n_rows) as report:
            judged = judge(prepared.coder, prepared.models, settings, place, executor_, report)
    if order.tuned:
        judged = judged._replace(evaluation=judged.evaluation.tuned(families(prepared.estimators)))
    return Found(order, log.n_rows, (), _calibrated(judged), prepared, judged)


def difference(order: Order) -> Difference:
    """Judge two targets against each other; as `evaluate`."""
    with _begun(order) as (log, executor_):
        prepared = _prepared(order, log, executor_)
        if prepared.learnt.faults:
            return Difference(order, log.n_rows, prepared.learnt.faults)
        match = Match(
            estimator=prepared.estimators[followed(prepared.estimators) or 0],
            floors=order.floors,
            confidence=order.confidence,
            planned_rounds=order.planned_rounds or log.n_rows,
            n_replicates=prepared.n_replicates,
            seed=order.seed,
            propensities_estimated=prepared.coder.estimated is not None,
            labels=prepared.coder.labels,
        )
        with progress("judge", log.n_rows) as report:
            parts = compare(prepared.coder, prepared.models, match, executor_, report)
    total: Comparison = parts[0]
    for part in parts[1:]:
        total = total + part
    return Difference(order, log.n_rows, (), total.report())


@contextmanager
def _begun(order: Order) -> Iterator[tuple[Stored, Executor]]:
    """The log in parts, and where they are worked on."""
    guess = order.log.stat().st_size // 40 + 1 if order.log.is_file() else 1
    with TemporaryDirectory(prefix="nba-") as scratch:
        with progress("read", guess) as report:
            log = order.ready or in_parts(order, Path(scratch), report)
        with executor(order.workers) as executor_:
            yield log, executor_


def in_parts(order: Order, scratch: Path, report: Progress) -> Stored:
    """Any of the logs that can be judged, in parts."""
    if is_run(order.log):
        return stored_run(order.log, scratch, report)
    if is_ledger(order.log):
        return stored_ledger(order.log, scratch, report)
    return stored(order.log, order.form, scratch, report)


def _prepared(order: Order, log: Stored, executor_: Executor) -> Prepared:
    """Everything before the judging."""
    names = order.asked.found(log)
    check_kind(order.reward_model)
    with progress("survey", log.n_rows) as report:
        survey = surveyed(log, names, executor_, report)
    coder, reading = _coder(order, log, names, survey)
    say(f"{log.n_rows:,} rounds, {len(coder.labels)} actions")
    groups = survey.groups_of(coder.labels) if names.groups else ()
    knows = knows_logging(names, coder.labels)
    known = Log(coder.is_whole, knows, not names.chances.are_known, groups)
    estimators = estimators_of(order.estimators, known, tuned=order.tuned)
    models = tuple(sorted({one.model for one in estimators} - {""}))
    sampled = 0.0 if names.chances.are_known else min(_SAMPLE_ROWS / log.n_rows, 1.0)
    with progress("learn", log.n_rows) as report:
        lesson = Lesson(models, order.reward_model, sampled, order.seed)
        learnt = learn(coder, lesson, executor_, report)
    if not learnt.faults and sampled:
        say(
            "warning: the log has no propensities; they are estimated from what was chosen, a poor substitute"
        )
        coder = coder._replace(estimated=_estimated(coder, learnt, order.seed))
    possible = coder.reward_range or Range(survey.low, survey.high)
    n_replicates = order.n_replicates
    if n_replicates is None:
        n_replicates = _REPLICATES if learnt.returning.share > _MOST_AGAIN else 0
    found = Predictions({}, possible, order.seed)
    if not learnt.faults:
        found = predictions(learnt, lesson, len(coder.labels), possible)
    return Prepared(coder, survey, reading, estimators, learnt, found, n_replicates)


def _coder(order: Order, log: Stored, names: Names, survey: Survey) -> tuple[Coder, Reading]:
    """How rows become rounds: all labels of the log, of its eligible sets and of the targets."""
    labels = survey.ordered_labels()
    sets = eligible_sets(survey.sets, labels)
    told = [label for one in sets.values() for label in one] + list(names.chances.tables or {})
    labels = tuple(dict.fromkeys([*labels, *sorted(told)]))
    targets = [target_of(text, log, labels) for text in order.targets]
    labels = tuple(dict.fromkeys([*labels, *(label for target in targets for label in target.labels)]))
    whole = knows_logging(names, labels)
    targets = [Logged(whole) if isinstance(target, Logged) else target for target in targets]
    if not all(target.is_whole for target in targets):
        labels = (*labels, ANY_OTHER)
    reading = survey.reading(names)
    possible = order.reward_range or survey.range
    segments = _segments(survey.segments) if names.segment is not None else ()
    return Coder(log, names, labels, sets, segments, reading.schema, tuple(targets), possible), reading


def _segments(counts: Counter[str]) -> tuple[str, ...]:
    """The segments with most rows; the others are one."""
    return (*sorted(name for name, _ in counts.most_common(_MOST_SEGMENTS)), OTHER, NO_SEGMENT)


def _estimated(coder: Coder, learnt: Learnt, seed: int) -> Estimated:
    """Models of the logging policy on a sample of customers, each without one fold."""
    sample = joined_sample(learnt)
    folds, model, found = folds_of(sample.clusters, N_FOLDS, seed), ChoiceModel(), []
    for fold in range(N_FOLDS):
        seen = folds != fold
        rule = "too few customers to estimate propensities by; log them, or name a column: --propensity"
        require(bool(seen.any()), coder.log.source, "--cluster", rule)
        found.append(model.fit(sample.features[seen], sample.actions[seen], sample.eligible[seen]))
    return Estimated(np.array(found), seed)


def _calibrated(judged: Judged) -> Report:
    """The report, which refuses where estimated propensities do not foretell what was chosen."""
    report, calibration = judged.evaluation.report(), judged.calibration
    if calibration is None:
        return report
    worst = float(np.nanmax(np.abs(calibration.z), initial=0.0))
    if calibration.error <= _MOST_ERROR or worst <= _MOST_Z:
        return report
    reason = (
        f"estimated propensities are off by {100.0 * calibration.error:.0f} % on average (at most "
        f"{100.0 * _MOST_ERROR:.0f} %), by {worst:.1f} standard errors in the worst bin: the features do not "
        "tell how actions were chosen; name more of them, or log the propensities."
    )
    return Report(
        n=report.n,
        effective_n=report.effective_n,
        max_weight=report.max_weight,
        mean_weight=report.mean_weight,
        lost_target_mass=report.lost_target_mass,
        on_policy_mean=report.on_policy_mean,
        estimates=(),
        selected=None,
        verdict="refused",
        reasons=(reason, *report.reasons),
    )
