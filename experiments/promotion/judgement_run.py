"""Each judgement as a flat run of MLflow's experiment "promotions": its figures as metrics, what it rests on.

The runs of candidates hold as many metrics as a page draws well, so judgements have runs of their own, which
MLflow draws beside each other. Every difference has two keys, its figure and the end that its gate is held
against; the value has both ends.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from math import isfinite
from pathlib import Path

import msgspec

from experiments.inputs import Input, log_inputs
from experiments.promotion.evidence import GUARDS, LATENCY, VALUE
from experiments.promotion.judge import Judgement
from experiments.promotion.records import ATTEMPTS, FOLDER, markdown, tags_of
from experiments.registry import PolicyVersion
from experiments.store import open_store
from experiments.tracking import experiment_of

EXPERIMENT, ROLE = "promotions", "judgement"
_NOTE = "Candidates against champions, one run for each judgement. Nothing is promoted by a point estimate."


def log_judgement(
    store: Path,
    candidate: PolicyVersion,
    baseline: PolicyVersion,
    found: Judgement,
    attempt: int,
    rests_on: Input,
) -> str:
    """Write a judgement as a run, whatever it is; gives the run's id."""
    from mlflow.entities import Metric, Param

    client, now = open_store(store), int(time.time() * 1000)
    tags = {
        "nba.role": ROLE,
        "nba.policy": candidate.strategy,
        "mlflow.note.content": "\n".join(markdown(found)),
    }
    name = f"{candidate.reference} against {baseline.reference}"
    experiment = experiment_of(client, store, EXPERIMENT, _NOTE)
    made = client.create_run(
        experiment, now, tags | tags_of(found, baseline) | {ATTEMPTS: str(attempt)}, name
    )
    run_id = str(made.info.run_id)
    metrics = [Metric(key, value, now, 0) for key, value in metrics_of(found).items()]
    params = {"candidate": candidate.reference, "baseline": baseline.reference}
    params |= {"source": found.evidence.source, "method": found.evidence.method}
    try:
        client.log_batch(run_id, metrics, [Param(*one) for one in params.items()])
        log_inputs(client, run_id, [rests_on])
        client.log_text(run_id, msgspec.json.encode(found).decode(), f"{FOLDER}/verdict.json")
    except BaseException:
        client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id)
    return run_id


def metrics_of(found: Judgement) -> dict[str, float]:
    """At most twenty figures by key; one that is not told, or not finite, is left out."""
    return {f"promotion/{key}": value for key, value in _figures(found) if isfinite(value)}


def _figures(found: Judgement) -> Iterator[tuple[str, float]]:
    evidence = found.evidence
    told = {**evidence.differences, LATENCY: evidence.latency_ms}
    for name in (VALUE, *GUARDS, LATENCY):
        measured = told.get(name)
        if measured is not None:
            yield name, measured.value
            if name == VALUE:
                yield f"{name}_low", measured.low
            yield f"{name}_high", measured.high
    yield "days", evidence.days
    yield "rounds", float(evidence.rounds)
    yield "passed", float(found.passed)
    yield "gates_failed", float(len(found.reasons))
