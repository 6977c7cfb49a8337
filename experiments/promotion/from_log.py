"""Evidence from a log: both policies judged off-policy on the same rounds, metric by metric.

The difference of two targets on one log is doubly robust and paired by round; its ends are those of a
confidence sequence, so that the same log may be judged again whenever it has grown. What a policy changes
in its customers over time is not in it: contexts are those that the logging policy led to (methods E4).
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from experiments.evaluation.lived import FILE as LIVED
from experiments.evaluation.lived import ROW as LIVED_ROW
from experiments.evaluation.lived import lived_contexts, relived_run
from experiments.evaluation.names import Asked
from experiments.evaluation.own import BODY, Body, is_run
from experiments.evaluation.run import Difference, Order, difference, evaluate, in_parts
from experiments.evaluation.stored import Stored
from experiments.evaluation.targets import asked_columns, contexts_of
from experiments.promotion.evidence import METRICS, VALUE, Evidence, Measured
from experiments.promotion.gates import MONTH_DAYS, Gates
from experiments.promotion.latency import TIMED, latency
from experiments.promotion.log_columns import Extended, Wanted, extended, first_rows
from experiments.terminal import progress
from nba.bundle import load_bundle
from nba.context import ContextBatch
from nba.ope import Range
from nba.snapshot import Snapshot

if TYPE_CHECKING:
    from experiments.promotion.run import OfLog

_PER_THOUSAND = ("opt_outs", "complaints", "elderly_gap")
_NOTE = "Judged in the contexts that the log's policy led to; what the candidate changes in them is open."


class Judging(NamedTuple):
    """A log that is ready, both bundles, and how they are judged."""

    order: Order
    ready: Extended
    gates: Gates

    def scale(self, name: str) -> float:
        """From a round to a customer (1,000 of them for harms) and 30 days."""
        seen = self.ready.seen
        per_customer = self.ready.log.n_rows / max(seen.customers, 1)
        return per_customer * MONTH_DAYS / seen.days * (1_000.0 if name in _PER_THOUSAND else 1.0)


def evidence_of_log(by: OfLog, bundles: tuple[Path, Path], gates: Gates, workers: int) -> Evidence:
    """Judge the first bundle against the second; InvalidConfig where the log cannot tell of them."""
    candidate, baseline = map(load_bundle, bundles)
    asked = Asked(VALUE, by.action, by.propensity, cluster=by.cluster)
    order = Order(
        by.log,
        asked,
        tuple(map(str, bundles)),
        confidence=gates.confidence,
        workers=workers,
        floors=gates.floors,
        planned_rounds=gates.planned_rounds,
    )
    with TemporaryDirectory(prefix="nba-promote-") as name:
        with progress("read", max(by.log.stat().st_size // 40, 1) if by.log.is_file() else 1) as report:
            scratch, policies = Path(name), (candidate, baseline)
            of_run = is_run(by.log)
            log = (
                relived_run(by.log, scratch, policies, report) if of_run else in_parts(order, scratch, report)
            )
        costs = dict(
            zip(
                candidate.strategy.catalogue.action_ids,
                candidate.strategy.catalogue.costs.tolist(),
                strict=True,
            )
        )
        # The reward of a run is less its costs and losses already.
        reward = by.reward or ("net_value" if of_run else "reward")
        wanted = Wanted(reward, by.action, by.cluster, by.at, gates.elderly_age, costs)
        ready = extended(log, wanted, Path(name))
        timed = latency(candidate, _contexts(log, bundles[0], candidate), gates.confidence)
        return judged_by(Judging(order._replace(ready=ready.log), ready, gates), timed)


def judged_by(judging: Judging, timed: Measured) -> Evidence:
    """The evidence of a log that is ready."""
    found = {metric: _difference(judging, metric) for metric in judging.ready.columns}
    return _gathered(judging, found, timed, _audit(judging))


def _difference(judging: Judging, name: str) -> Difference:
    """One metric of both policies."""
    order = judging.order
    asked = order.asked._replace(reward=judging.ready.columns[name])
    possible = Range(0.0, 1.0) if name in ("opt_outs", "complaints") else None
    return difference(order._replace(asked=asked, reward_range=possible))


def _audit(judging: Judging) -> tuple[str, ...]:
    """What speaks against the log's propensities: how often actions were chosen, and should have been."""
    order = judging.order
    asked = order.asked._replace(reward=judging.ready.columns[VALUE])
    found = evaluate(order._replace(asked=asked, targets=("logged",), estimators=("ips",)))
    if found.judged is None or found.prepared is None:
        return tuple(map(str, found.faults))
    coder = found.prepared.coder
    if coder.estimated is not None:
        return ("the log has no propensities, and estimated ones prove nothing; log them.",)
    return found.judged.evaluation.support.arms.faults(judging.gates.false_alarm, coder.labels)


def _gathered(
    judging: Judging, found: dict[str, Difference], timed: Measured, audit: tuple[str, ...]
) -> Evidence:
    """All metrics together."""
    ready, gates, value = judging.ready, judging.gates, found[VALUE]
    missing, differences = dict(ready.missing), dict[str, Measured | None]()
    for name in METRICS:
        differences[name] = _measured(judging, name, found[name]) if name in found else None
        if differences[name] is None and name not in missing:
            missing[name] = _why_not(found[name])
    compared = value.compared
    weak = compared is not None and compared.verdict == "weak"
    told = (_why_not(value),) if differences[VALUE] is None else compared.reasons if weak and compared else ()
    return Evidence(
        kind="log",
        source=f"log {Path(ready.log.source).name}",  # it is kept in a store, which names no folder
        method="confidence sequence of the paired doubly robust difference",
        confidence=gates.confidence,
        units=ready.log.n_rows if compared is None else compared.n,
        differences=differences,
        latency_ms=timed,
        days=ready.seen.days,
        rounds=ready.log.n_rows,
        missing=missing,
        support=() if weak and gates.weak_support else told,
        audit=audit,
        notes=(_NOTE, *(told if weak and gates.weak_support else ())),
    )


def _measured(judging: Judging, name: str, found: Difference) -> Measured | None:
    """A difference in the units of the gates; None where it is refused, or nothing ever happened."""
    compared = found.compared
    if compared is None or compared.difference is None or judging.ready.seen.days <= 0.0:
        return None
    if name != VALUE and name != "cost" and not compared.stderr:
        return None
    ends = (compared.difference, compared.sequence_low, compared.sequence_high, compared.stderr)
    value, low, high, stderr = (judging.scale(name) * float(end or 0.0) for end in ends)
    return Measured(value=value, low=low, high=high, stderr=stderr)


def _why_not(found: Difference) -> str:
    """Why a metric has no figure."""
    if found.compared is None:
        return "the log is refused. " + " ".join(map(str, found.faults))
    if found.compared.difference is not None:
        return (
            "no round of the log has one where the policies differ, so nothing bounds how many there would be"
        )
    return " ".join(found.compared.reasons)


def _contexts(log: Stored, path: Path, candidate: Snapshot) -> ContextBatch:
    """The contexts of the first rounds: as a ledger keeps them, or the columns that a bundle asks for."""
    if log.is_own and LIVED in log.columns:
        table = first_rows(log, [LIVED, LIVED_ROW], (), TIMED)
        return next(lived_contexts(table, log.parts[0].path.parent))[1]
    if BODY in log.columns and log.is_own:
        table = first_rows(log, [BODY], (BODY,), TIMED)
        bodies = [msgspec.json.decode(text, type=Body) for text in table.columns[BODY].to_pylist()]
        return candidate.strategy.encode([body.context for body in bodies])
    names = list(asked_columns(path, candidate, log))
    return contexts_of(first_rows(log, names, (), TIMED), candidate)
