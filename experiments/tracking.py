"""What an experiment found, written to MLflow: one flat run per strategy, logged in batches by the driver.

The runs of one experiment result share the tag `nba.sweep_id`. Metric keys are few, because MLflow draws
one chart for each: `online/` are series over training days, `evaluation/` over evaluation days, `final/`,
`cost/` and `guard/` single numbers. Everything finer is in the report and the tables. MLflow itself writes
absolute artifact paths into its database (see experiments.store); nothing written here holds one.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from urllib.parse import quote
from uuid import uuid4

import msgspec
from msgspec import structs

from experiments.inputs import Input, log_inputs
from experiments.registry import GATE, add_version, next_version, save_policy_model
from experiments.report_files import write_files
from experiments.report_series import evaluation_series, thinned, training_series
from experiments.results import ExperimentResult, LeaderboardRow, StrategyResult
from experiments.spec import CONTROL
from experiments.store import artifact_folder, open_store
from nba.bundle import bundle_digest, save_bundle
from nba.errors import NBAError

SERVER = "http://127.0.0.1:5000"  # where `mlflow server` listens unless told otherwise
_SWEEP, _STRATEGY, _SCENARIO, _ROLE = "nba.sweep_id", "nba.policy", "nba.scenario", "nba.role"
_NOTE, _NOTE_CHARACTERS = "mlflow.note.content", 8_000
_PARAM_CHARACTERS = 6_000
_COSTS = {"cost_per_customer": "cost/per_customer"}


class UnknownExperimentError(NBAError, LookupError):
    """No finished result of this experiment is in the store."""


class Recorded(NamedTuple):
    """Where a result is in the store."""

    experiment_id: str
    run_ids: dict[str, str]  # strategy -> run
    registered_version: int  # of the model nba-policy
    alias: str  # that the version got: champion if there was none, else challenger
    sweep_id: str

    def compare_link(self, server: str = SERVER) -> str:
        """The page of MLflow that draws this result's runs beside each other, and no older ones."""
        return runs_link(server, self.experiment_id, self.sweep_id)

    def report_link(self, strategy: str, server: str = SERVER) -> str:
        """The page of MLflow that shows the report."""
        run = f"{server}/#/experiments/{self.experiment_id}/runs/{self.run_ids[strategy]}"
        return f"{run}/artifacts/report/index.html"


def runs_link(server: str, experiment_id: str, sweep_id: str) -> str:
    """The page of MLflow that draws the runs of a sweep beside each other."""
    runs = quote(f"tags.`{_SWEEP}` = '{sweep_id}'")
    return f"{server}/#/experiments/{experiment_id}/runs?compareRunsMode=CHART&searchFilter={runs}"


def record(result: ExperimentResult, store: Path) -> Recorded:
    """Log a result to the store, which is made if need be, and register its champion."""
    client = open_store(store, create=True)
    experiment_id = experiment_of(client, store, result.experiment.name, result.verdict)
    sweep = uuid4().hex[:12]
    common = _common_tags(result) | {_SWEEP: sweep}
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_files(result, folder / "shared")
        run_ids = {}
        # The best one last: MLflow lists the newest run first, and draws only the first ten.
        for number, one in enumerate(reversed(result.results)):
            own = folder / str(number)
            # A bundle carries the version it will be registered as; 0 stands for never registered.
            version = next_version(client) if one.spec.name == result.champion else 0
            bundle = save_bundle(structs.replace(one.snapshot, version=version), own / "bundle")
            digest = bundle_digest(bundle)
            tags = common | _strategy_tags(result, one) | {"nba.bundle_digest": digest}
            run_id = _log_run(client, experiment_id, (result, one), tags, (folder / "shared", own))
            if one.spec.name == result.champion:
                model = _log_model(client, experiment_id, run_id, one, own / "bundle")
                change = add_version(client, model, run_id, tags | _gate_tags(one))
            run_ids[one.spec.name] = run_id
    return Recorded(experiment_id, run_ids, change.version, change.alias, sweep)


def search(store: Path, experiment: str | None = None) -> list[dict[str, Any]]:
    """The newest leaderboard of one experiment, or of each one, best strategy first.

    A row holds the fields of LeaderboardRow and `experiment`, `experiment_id`, `sweep_id`, `run_id`, `role`.
    """
    client = open_store(store)
    known = [one for one in client.search_experiments() if _newest_sweep(client, one.experiment_id)]
    chosen = [one for one in known if experiment in (None, one.name)]
    if not chosen:
        names = ", ".join(sorted(one.name for one in known)) or "none yet"
        raise UnknownExperimentError(
            f"{store} holds no result of {experiment or 'any experiment'}; it has: {names}."
        )
    return [row for one in chosen for row in _leaderboard(client, one)]


def metric_of(field: str) -> str:
    """The metric key of a leaderboard field."""
    return _COSTS.get(field, f"final/{field}")


def experiment_of(client: Any, store: Path, name: str, verdict: str) -> str:
    """Make the experiment or find it again, and describe it with the verdict."""
    found = client.get_experiment_by_name(name)
    if found is None:
        location = artifact_folder(store, name)
        location.mkdir(parents=True, exist_ok=True)
        experiment_id = str(client.create_experiment(name, str(location)))
    else:
        experiment_id = str(found.experiment_id)
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(experiment_id)
    # Without the kind MLflow opens classic experiments on its empty page for language models.
    client.set_experiment_tag(experiment_id, "mlflow.experimentKind", "custom_model_development")
    client.set_experiment_tag(experiment_id, _NOTE, verdict[:_NOTE_CHARACTERS])
    return experiment_id


def _log_run(
    client: Any,
    experiment_id: str,
    found: tuple[ExperimentResult, StrategyResult],
    tags: dict[str, str],
    folders: tuple[Path, ...],
) -> str:
    """One run: everything in one batch, then its files; a run that breaks off is marked as failed."""
    from mlflow.entities import Metric, Param

    result, one = found
    now = int(time.time() * 1000)
    note = {_NOTE: f"{one.spec.description}\n\n{result.verdict}".strip()[:_NOTE_CHARACTERS]}
    run_id = str(client.create_run(experiment_id, now, tags | note, one.spec.name).info.run_id)
    metrics = [Metric(key, value, now, step) for key, step, value in _metrics(result, one)]
    params = [Param(key, value[:_PARAM_CHARACTERS]) for key, value in _params(result, one).items()]
    try:
        client.log_batch(run_id, metrics, params)
        log_inputs(client, run_id, list(_inputs(result, one)))
        for folder in folders:
            client.log_artifacts(run_id, str(folder))
    except BaseException:
        client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id)
    return run_id


def _metrics(result: ExperimentResult, one: StrategyResult) -> list[tuple[str, int, float]]:
    """(key, step, value): at most twenty keys; the steps of a series are days."""
    row = msgspec.structs.asdict(one.row)
    numbers = {metric_of(field): value for field, value in row.items() if field != "strategy"}
    numbers |= {
        "cost/train_seconds": one.train_seconds,
        "guard/min_propensity": one.min_propensity,
        "guard/constraint_violations": float(one.constraint_violations),
    }
    series = training_series(one) | evaluation_series(one, result.result(CONTROL))
    points = [(key, day, value) for key, values in series.items() for day, value in thinned(values)]
    return points + [(key, 0, float(value)) for key, value in numbers.items()]


def _inputs(result: ExperimentResult, one: StrategyResult) -> Iterator[Input]:
    """The simulated customers that it was trained and judged on; the same digest is the same customers."""
    phases = {"training": result.experiment.train, "evaluation": result.experiment.evaluate}
    for context, phase in phases.items():
        if context == "evaluation" or one.customers_trained:
            size = {"customers": phase.customers, "customer_days": phase.customer_days}
            told = {
                name: value
                for name, value in msgspec.to_builtins(phase).items()
                if name != "publish_every_days"
            }
            yield Input.simulated(result.world, context, told, size)


def _params(result: ExperimentResult, one: StrategyResult) -> dict[str, str]:
    """Settings as flat text: the strategy's own, and the two phases'."""
    spec = msgspec.to_builtins(one.spec)
    shown = {"strategy": one.spec.name, "world": result.world}
    for part in ("policy", "model"):
        shown[part] = spec[part].pop("type", "")
    nested = {name: spec[name] for name in ("policy", "model", "floor", "arbitration", "rules")}
    for phase in ("train", "evaluate"):
        nested[phase] = msgspec.to_builtins(getattr(result.experiment, phase))
    return shown | _flat(nested, "")


def _flat(value: Any, prefix: str) -> dict[str, str]:
    if isinstance(value, dict):
        parts = [_flat(part, f"{prefix}.{name}" if prefix else name) for name, part in value.items()]
        return {key: text for part in parts for key, text in part.items()}
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return {prefix: text} if text not in ("[]", "") else {}


def _common_tags(result: ExperimentResult) -> dict[str, str]:
    settings = msgspec.json.encode(result.experiment)
    tags = {
        _SCENARIO: result.world,
        "nba.experiment": result.experiment.name,
        "nba.experiment_digest": sha256(settings).hexdigest(),
    }
    revision = git_revision()
    return tags | ({"nba.git_sha": revision} if revision else {})


def _strategy_tags(result: ExperimentResult, one: StrategyResult) -> dict[str, str]:
    name = one.spec.name
    role = "champion" if name == result.champion else "control" if name == CONTROL else "challenger"
    data = sha256(one.training_daily.tobytes() + one.evaluation_daily.tobytes()).hexdigest()
    tags = {_STRATEGY: name, _ROLE: role, "nba.data_digest": data}
    return tags | ({"nba.apprentice": one.apprenticed.sentence(name)} if one.apprenticed else {})


def _gate_tags(winner: StrategyResult) -> dict[str, str]:
    """The gate: worth more than no contact beyond chance, without breaking a limit."""
    row = winner.row
    passed = row.incremental_ci_low > 0 and winner.constraint_violations == 0
    numbers = ("incremental_value", "incremental_ci_low", "incremental_ci_high")
    return {GATE: "passed" if passed else "failed"} | {
        f"nba.{name}": repr(getattr(row, name)) for name in numbers
    }


def git_revision() -> str:
    """The commit of this code, with -dirty if it was changed since; empty outside a checkout of it."""
    here = Path(__file__).parent
    base = ["git", "-C", str(here)]
    try:
        tracked = subprocess.run([*base, "ls-files", "--error-unmatch", "__init__.py"], capture_output=True)
        if tracked.returncode != 0:
            return ""
        command = [*base, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:  # no git here
        return ""


def _log_model(client: Any, experiment_id: str, run_id: str, winner: StrategyResult, bundle: Path) -> Any:
    """The champion as a logged model of its run; MLflow's fluent calls would change global state."""
    from mlflow.entities import LoggedModelOutput

    tags = {_STRATEGY: winner.spec.name}
    made = client.create_logged_model(experiment_id, "policy", run_id, tags, model_type="next-best-action")
    folder = save_policy_model(bundle, winner.snapshot.strategy.schema, bundle.parent / "model")
    client.log_model_artifacts(made.model_id, str(folder))
    client.finalize_logged_model(made.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(made.model_id, 0)])
    return made


def _newest_sweep(client: Any, experiment_id: str) -> str | None:
    order = ["attributes.end_time DESC"]
    # The champion is logged last: where it is finished, the whole sweep is.
    finished = f"tags.`{_SWEEP}` != '' AND tags.`{_ROLE}` = 'champion' AND attributes.status = 'FINISHED'"
    runs = client.search_runs([experiment_id], finished, max_results=1, order_by=order)
    return str(runs[0].data.tags[_SWEEP]) if runs else None


def _leaderboard(client: Any, experiment: Any) -> list[dict[str, Any]]:
    sweep = _newest_sweep(client, experiment.experiment_id)
    rows = []
    for run in client.search_runs([experiment.experiment_id], f"tags.`{_SWEEP}` = '{sweep}'"):
        fields = [field for field in LeaderboardRow.__struct_fields__ if field != "strategy"]
        row = {field: run.data.metrics.get(metric_of(field)) for field in fields}
        where = {"experiment": experiment.name, "experiment_id": experiment.experiment_id, "sweep_id": sweep}
        who = {"strategy": run.data.tags[_STRATEGY], "run_id": run.info.run_id, "role": run.data.tags[_ROLE]}
        rows.append(who | row | where)
    return sorted(rows, key=lambda row: -row["net_value_per_customer"])
