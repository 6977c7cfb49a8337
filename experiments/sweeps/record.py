"""A compared sweep in MLflow: one flat run per strategy and world, and one that holds the report.

Runs are found again by the digest of what they hold: recording a sweep twice, or after it was interrupted,
adds what is missing and nothing else. Keys are the means and differences of the sweep's metrics, at most
twenty, and one series; everything finer is in the tables and the report of the summary.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import msgspec
import numpy as np

from experiments.inputs import Input, log_inputs
from experiments.kept import digest_of
from experiments.report_series import thinned
from experiments.spec import CONTROL
from experiments.store import open_store
from experiments.sweeps.compared import VALUE, Compared, Line
from experiments.sweeps.plan import Row
from experiments.sweeps.tables import TABLES, learning
from experiments.sweeps.told import verdict
from experiments.tracking import SERVER, experiment_of, git_revision, runs_link

SWEEP, STRATEGY, WORLD = "nba.sweep_id", "nba.policy", "nba.scenario"
ROLE, DIGEST = "nba.role", "nba.row_digest"
SUMMARY = "summary"
_MOST_METRICS = 8  # two keys each; with the ends of the value's difference and a series that makes 19
_NOTE, _NOTE_CHARACTERS = "mlflow.note.content", 8_000


class RecordedSweep(NamedTuple):
    """Where a sweep is in the store."""

    experiment_id: str
    sweep_id: str
    run_ids: dict[str, str]  # "strategy in world" -> run; the summary's under its own name
    added: int  # runs that were not there before
    name: str = ""  # of its experiment

    def compare_link(self, server: str = SERVER) -> str:
        """The page of MLflow that draws the runs beside each other."""
        return runs_link(server, self.experiment_id, self.sweep_id)

    def report_link(self, server: str = SERVER) -> str:
        """The page of MLflow that shows the report."""
        run = f"{server}/#/experiments/{self.experiment_id}/runs/{self.run_ids[SUMMARY]}"
        return f"{run}/artifacts/report/index.html"


def record_sweep(compared: Compared, page: str, store: Path) -> RecordedSweep:
    """Log what is not in the store yet, which is made if need be; `page` is the report's HTML."""
    client = open_store(store, create=True)
    note = verdict(compared)
    experiment_id = experiment_of(client, store, compared.name, note)
    known = _known(client, experiment_id, compared.id)
    found, added = {}, 0
    common = {SWEEP: compared.id} | ({"nba.git_sha": sha} if (sha := git_revision()) else {})
    # The best ones last: MLflow lists the newest run first.
    for line in reversed(compared.lines):
        name = f"{line.strategy} in {line.world}"
        tags = common | _tags(compared, line)
        if tags[DIGEST] not in known:
            known[tags[DIGEST]] = _log_line(client, experiment_id, compared, line, tags)
            added += 1
        found[name] = known[tags[DIGEST]]
    tags = common | {ROLE: SUMMARY, DIGEST: digest_of([compared.id, note], page.encode()), _NOTE: note}
    if tags[DIGEST] not in known:
        known[tags[DIGEST]] = _log_summary(client, experiment_id, compared, page, tags)
        added += 1
    summary = {SUMMARY: known[tags[DIGEST]]}
    return RecordedSweep(experiment_id, compared.id, found | summary, added, compared.name)


def newest_sweeps(client: Any) -> Iterator[RecordedSweep]:
    """The sweep that was recorded last, of every experiment that has one; its summary's run alone."""
    whole = f"tags.`{ROLE}` = '{SUMMARY}' AND attributes.status = 'FINISHED'"
    for one in client.search_experiments():
        order = ["attributes.end_time DESC"]
        for run in client.search_runs([one.experiment_id], whole, max_results=1, order_by=order):
            runs = {SUMMARY: str(run.info.run_id)}
            yield RecordedSweep(str(one.experiment_id), run.data.tags[SWEEP], runs, 0, one.name)


def _known(client: Any, experiment_id: str, sweep_id: str) -> dict[str, str]:
    """Finished runs of the sweep by the digest of what they hold; broken ones are deleted."""
    found = {}
    for run in _runs(client, experiment_id, sweep_id):
        if run.info.status == "FINISHED":
            found[run.data.tags.get(DIGEST, "")] = str(run.info.run_id)
        else:
            client.delete_run(run.info.run_id)
    return found


def _runs(client: Any, experiment_id: str, sweep_id: str) -> list[Any]:
    runs, token = [], None
    while True:
        some = client.search_runs([experiment_id], f"tags.`{SWEEP}` = '{sweep_id}'", page_token=token)
        runs += some
        token = some.token
        if not token:
            return runs


def _tags(compared: Compared, line: Line) -> dict[str, str]:
    runs = compared.runs[line.row]
    data = digest_of({str(seed): run.digest for seed, run in runs.items()})
    base = {str(seed): run.digest for seed, run in compared.runs[Row(compared.baseline, line.world)].items()}
    shown = digest_of([line, data, base])
    role = {CONTROL: "control", compared.baseline: "baseline"}.get(line.strategy, "challenger")
    tags = {STRATEGY: line.strategy, WORLD: line.world, ROLE: role, "nba.data_digest": data, DIGEST: shown}
    if line.gates:
        tags["nba.gates"] = "passed" if line.passed else "failed"
    return tags | ({"nba.stopped_by": line.stopped_by} if line.stopped_by is not None else {})


def _log_line(
    client: Any, experiment_id: str, compared: Compared, line: Line, tags: Mapping[str, str]
) -> str:
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    name = f"{line.strategy} in {line.world}"
    run_id = str(client.create_run(experiment_id, now, dict(tags), name).info.run_id)
    metrics = [Metric(key, value, now, 0) for key, value in metrics_of(line).items() if np.isfinite(value)]
    series = np.array([row["cumulative_net_value"] for row in learning(compared._replace(lines=(line,)))])
    points = thinned(series) if series.size else []
    metrics += [Metric("online/cumulative_net_value", value, now, day) for day, value in points]
    params = {"strategy": line.strategy, "world": line.world, "baseline": compared.baseline}
    params["seeds"] = ",".join(map(str, compared.runs[line.row]))

    def log() -> None:
        client.log_batch(run_id, metrics, [Param(*one) for one in params.items()])
        log_inputs(client, run_id, [_input(compared, line)])

    return _finished(client, run_id, log)


def _input(compared: Compared, line: Line) -> Input:
    """The customers of a row: those of its world, under its seeds."""
    runs = compared.runs[line.row]
    told = {"seeds": list(runs), "sweep": compared.id}
    return Input.simulated(line.world, "evaluation", told, {"seeds": len(runs)})


def metrics_of(line: Line) -> dict[str, float]:
    """Keys of a row: the mean of each metric, its difference to the baseline, and the ends of the value's."""
    names = list(line.figures)[:_MOST_METRICS]
    found = {f"final/{name}": line.figures[name].mean for name in names}
    found |= {f"difference/{name}": line.figures[name].difference.mean for name in names}
    if VALUE in line.figures:
        gap = line.figures[VALUE].difference
        found |= {"difference/net_value_low": gap.low, "difference/net_value_high": gap.high}
    return found


def _log_summary(
    client: Any, experiment_id: str, compared: Compared, page: str, tags: Mapping[str, str]
) -> str:
    note = {_NOTE: tags[_NOTE][:_NOTE_CHARACTERS]}
    made = client.create_run(experiment_id, int(time.time() * 1000), {**tags, **note}, f"sweep {compared.id}")
    run_id = str(made.info.run_id)

    def log() -> None:
        with TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "report").mkdir()
            (folder / "report" / "index.html").write_text(page, encoding="utf-8")
            (folder / "verdict.md").write_text(tags[_NOTE], encoding="utf-8")
            client.log_artifacts(run_id, str(folder))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pandas warns of MLflow's code
            for key, table in TABLES.items():
                rows = list(table(compared))
                if rows:
                    client.log_table(run_id, _columns(rows), f"tables/{key}.json")

    return _finished(client, run_id, log)


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Rows as columns of plain values, which MLflow's table viewer reads."""
    plain: list[dict[str, Any]] = msgspec.to_builtins(rows)
    return {name: [row[name] for row in plain] for name in plain[0]}


def _finished(client: Any, run_id: str, log: Any) -> str:
    """Log, and mark the run as finished, or as failed if it broke off."""
    try:
        log()
    except BaseException:
        client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id)
    return run_id
