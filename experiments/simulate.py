"""Simulate one strategy and write its log to Parquet."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
import numpy as np
import typer

from experiments.executor import executor
from experiments.logs import DecisionLog, OutcomeLog, digest
from experiments.rollout import decision_id, rollout
from experiments.spec import Phase, check_strategies, load_experiment
from experiments.terminal import progress
from nba.arrays import IntArray
from nba.catalogue import Catalogue
from nba.errors import NBAError
from nba.snapshot import Snapshot
from simulator.world import World, load_world


class UnwritableFolderError(NBAError, OSError):
    """The folder for the results cannot be made."""


def run_simulation(
    world_name: str, experiment: str, strategy: str, phase: Phase, workers: int, out: Path, as_json: bool
) -> None:
    """What `nba simulate` does."""
    world = load_world(world_name)
    plan = load_experiment(experiment)
    spec = plan.spec(strategy, source=experiment)
    check_strategies(plan, world, experiment)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableFolderError(f"{out} cannot be made: {error.strerror}; name another --out.") from None
    snapshot = Snapshot.start(spec.strategy(world, phase.seed))
    begun = perf_counter()
    with (
        executor(workers) as where,
        progress(f"{strategy} in {world.config.name}", phase.customer_days) as report,
    ):
        run = rollout(world, snapshot, phase, where, on_customer_days=report)
    seconds = perf_counter() - begun
    _write(decision_columns(world, phase.seed, run.decisions), out / "decisions.parquet")
    _write(outcome_columns(world, phase.seed, run.outcomes), out / "outcomes.parquet")
    summary = {
        "customer_days": phase.customer_days,
        "seconds": round(seconds, 3),
        "digest": digest(run.decisions, run.outcomes),
        "decisions": int(run.decisions.number.size),
        "contacts": int((run.decisions.action > 0).sum()),
        "conversions": int(run.outcomes.customer.size),
    }
    if as_json:
        typer.echo(msgspec.json.encode(summary).decode())
    else:
        typer.echo("\n".join(f"{name}: {value}" for name, value in summary.items()))
        typer.echo(f"wrote {out / 'decisions.parquet'} and {out / 'outcomes.parquet'}")


def decision_columns(world: World, seed: int, log: DecisionLog) -> dict[str, Any]:
    """The decision log with names instead of rows, ready for a table."""
    catalogue = world.config.catalogue
    columns = log._asdict()
    number, action, day = columns.pop("number"), columns.pop("action"), columns.pop("day")
    return {
        "decision_id": [decision_id(seed, int(one)) for one in number],
        "date": world.date(0) + day.astype("timedelta64[D]"),
        "contact_date": world.date(0) + columns.pop("contact_day").astype("timedelta64[D]"),
        "action_id": np.array(catalogue.action_ids, dtype=object)[action],
        **{factor: _names(catalogue, factor, action) for factor in ("channel", "timing", "product")},
        **columns,
    }


def outcome_columns(world: World, seed: int, log: OutcomeLog) -> dict[str, Any]:
    """The outcome log with names instead of rows; decision_id is null for organic conversions."""
    columns = log._asdict()
    product, day, decision = columns.pop("product"), columns.pop("day"), columns.pop("decision")
    names = np.array([one.name for one in world.config.catalogue.products], dtype=object)
    return {
        "date": world.date(0) + day.astype("timedelta64[D]"),
        "product": names[product],
        "decision_id": [decision_id(seed, int(one)) if one >= 0 else None for one in decision],
        **columns,
    }


def _names(catalogue: Catalogue, factor: str, action: IntArray) -> Any:
    names = np.array([None, *(row.name for row in getattr(catalogue, f"{factor}s"))], dtype=object)
    return names[getattr(catalogue, f"{factor}_of")[action] + 1]


def _write(columns: dict[str, Any], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path)
