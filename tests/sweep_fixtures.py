"""Small sweeps for tests: the known worlds `clickbait` and `fatigue-toy`, a few customers, a few days."""

from __future__ import annotations

from pathlib import Path

from experiments.executor import SerialExecutor
from experiments.sweeps.plan import Plan, load_plan
from experiments.sweeps.run import Swept, run_sweep

HORIZONS = """
[train]
customers = 30
days = 4
publish_every_days = 4
[evaluate]
customers = 40
days = 5
settle_days = 1
"""
STRATEGIES = """
[[strategies]]
name = "no-contact"
model = { type = "segment_rates" }
policy = { type = "no_contact" }
[[strategies]]
name = "random"
model = { type = "segment_rates" }
policy = { type = "random_eligible" }
[[strategies]]
name = "thompson"
model = { type = "factored" }
policy = { type = "thompson" }
"""
HEAD = 'name = "small"\nworlds = ["clickbait"]\nseeds = 3\nbaseline = "random"\n'


def written(folder: Path, head: str = HEAD, strategies: str = STRATEGIES, more: str = "") -> str:
    """The path of a sweep's file."""
    path = folder / "sweep.toml"
    path.write_text(head + HORIZONS + more + strategies)
    return str(path)


def plan_in(folder: Path, head: str = HEAD, strategies: str = STRATEGIES, more: str = "") -> Plan:
    """A small plan."""
    return load_plan(written(folder, head, strategies, more))


def swept_in(folder: Path, plan: Plan) -> Swept:
    """It, run in this process."""
    return run_sweep(plan, folder, SerialExecutor())
