"""The report of an evaluation: one HTML page that needs nothing else, in a folder and in MLflow."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory

from experiments.evaluation.charts import charts
from experiments.evaluation.run import Found
from experiments.evaluation.told import arm_rows, found_json, segment_rows
from experiments.parquet import UnwritableFolderError
from experiments.store import artifact_folder, open_store
from experiments.terminal import say
from nba.ope import Report

EXPERIMENT = "evaluation"  # of MLflow
_SUPPORT = {
    "n": "rounds",
    "effective_n": "effective rounds: as many of equal weight would tell as much",
    "max_weight": "largest weight",
    "mean_weight": "mean weight: 1 if propensities are right",
    "lost_target_mass": "share of the target on actions that could not be chosen",
    "on_policy_mean": "what the log itself earned a round",
}


def publish(found: Found, out: Path | None, store: Path | None) -> None:
    """Write the report to a folder, and log it with its figures to an MLflow store."""
    if out is not None:
        write_report(found, out)
        say(f"report: {out / 'index.html'}")
    if store is not None:
        say(f"MLflow run: {log_report(found, store)} in {store}")


def write_report(found: Found, folder: Path) -> None:
    """index.html, and evaluation.json with what the page shows as numbers."""
    told = found_json(found) | {
        "target": found.order.targets[0],
        "segments": dict(segment_rows(found)),
        "arms": dict(arm_rows(found)),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "index.html").write_text(report_html(found), encoding="utf-8")
        (folder / "evaluation.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UnwritableFolderError(f"{folder} cannot be written: {error.strerror or error}") from None


def log_report(found: Found, store: Path) -> str:
    """A run of the experiment "evaluation" with all figures and the report; gives its id."""
    from mlflow.entities import Metric, Param

    assert found.report is not None
    client = open_store(store, create=True)
    known = client.get_experiment_by_name(EXPERIMENT)
    place = str(artifact_folder(store, EXPERIMENT))
    experiment = known.experiment_id if known else client.create_experiment(EXPERIMENT, place)
    now = int(time.time() * 1000)
    tags = {"nba.verdict": found.report.verdict, "mlflow.note.content": "\n\n".join(found.report.reasons)}
    run = str(client.create_run(experiment, now, tags, found.order.targets[0]).info.run_id)
    metrics = [Metric(key, value, now, 0) for key, value in _figures(found.report).items()]
    asked = found.order.asked._asdict() | {"log": str(found.order.log), "target": found.order.targets[0]}
    params = [Param(key, str(value)[:6_000]) for key, value in asked.items() if value]
    with TemporaryDirectory() as folder:
        write_report(found, Path(folder) / "report")
        try:
            client.log_batch(run, metrics, params)
            client.log_artifacts(run, folder)
        except BaseException:
            client.set_terminated(run, "FAILED")
            raise
    client.set_terminated(run)
    return run


def report_html(found: Found) -> str:
    """The whole page; the same evaluation gives the same bytes."""
    assert found.report is not None
    report, order = found.report, found.order
    templates = resources.files("experiments").joinpath("templates")
    shared = templates.joinpath("report.html").read_text(encoding="utf-8")
    style = shared[shared.index("<style>") : shared.index("</style>") + len("</style>")]
    return Template(templates.joinpath("evaluation.html").read_text(encoding="utf-8")).substitute(
        title=escape(f"Target {order.targets[0]} on {order.log.name}"),
        subtitle=escape(f"{report.n:,} rounds; reward {order.asked.reward}, action {order.asked.action}."),
        style=style,
        verdict=escape(report.verdict),
        reasons=_list(report.reasons) or "<p>Nothing speaks against it.</p>",
        support=_table(
            ("", "value"), [(name, f"{getattr(report, key):,.6g}") for key, name in _SUPPORT.items()]
        ),
        estimates=_estimates(report),
        charts="\n".join(chart.figure() for chart in charts(found)),
    )


def _figures(report: Report) -> dict[str, float]:
    """Metric -> value."""
    found = {f"support/{key}": float(getattr(report, key)) for key in _SUPPORT}
    for one in report.estimates:
        ends = {"value": one.value, "stderr": one.stderr, "ci_low": one.ci_low, "ci_high": one.ci_high}
        found |= {f"{one.estimator}/{key}": end for key, end in ends.items() if end is not None}
    return found


def _estimates(report: Report) -> str:
    if not report.estimates:
        return "<p>None is told: the log does not support one.</p>"
    rows = [
        (
            f"{one.estimator} (selected)" if one.estimator == report.selected else one.estimator,
            *(_cell(value) for value in (one.value, one.stderr, one.ci_low, one.ci_high)),
            one.method or "a model alone: its error is not known",
        )
        for one in report.estimates
    ]
    return _table(("estimator", "value", "standard error", "from", "to", "interval"), rows)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<table class="wide"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _list(sentences: Sequence[str]) -> str:
    return "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
