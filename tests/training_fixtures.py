"""Small trainings for the tests: a bank of few actions, and a table of ten days."""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from small import small_world
from tables_fixtures import log_frame, written

from experiments.spec import Contender, Phase, StrategySpec
from experiments.tables.outcomes import Names
from experiments.training import blocks
from experiments.training.logged import LoggedTraining
from experiments.training.run import Place, logged_training
from experiments.training.simulated import SimulatedTraining
from nba.policies import ThompsonSampling
from nba.posteriors import FactoredModel, Model
from simulator.world import World

PHASE = Phase(customers=60, days=5, seed=4, publish_every_days=2, settle_days=2)
LINEAR = FactoredModel(half_life_days=30.0)
NO_FEATURES = ("customer", "channel", "product", "revenue", "chance")


@cache
def town(branch: int = 10) -> World:
    """The bank with few actions, in small branches, so that there are several tasks."""
    return small_world(population={"branch_customers": branch})


def in_town(
    online: bool = False,
    model: Model = LINEAR,
    phase: Phase = PHASE,
    **parts: Any,
) -> SimulatedTraining:
    """A training on the simulator; `parts` are further fields of the strategy."""
    spec = StrategySpec(name="pupil", model=model, policy=ThompsonSampling(n_draws=16), **parts)
    world = town()
    return SimulatedTraining(world, Contender(spec.strategy(world, 3)), phase, online)


def dated(folder: Path, n: int = 900, days: int = 5) -> Path:
    """A log whose rows are of some days, in their order."""
    frame = log_frame(n)
    frame["date"] = [(date(2026, 3, 1) + timedelta(days=row * days // n)).isoformat() for row in range(n)]
    return written(folder, frame, "dated.csv")


def on_table(
    log: Path, out: Path, online: bool = False, at: str | None = "date", policy: str = "linucb"
) -> LoggedTraining:
    """A training on a table of `tables_fixtures.log_frame`."""
    names = Names("bought", "action", no_contact=None)
    left = NO_FEATURES if at else (*NO_FEATURES, "date")
    return logged_training(log, names, policy, out, at, left, (), 0, online)


def place(out: Path, workers: int = 1) -> Place:
    """Every state is kept."""
    return Place(out, workers, save_seconds=0.0)


def cut_finely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many leaves and tasks also where there are few rows."""
    monkeypatch.setattr(blocks, "LEAST_ROWS", 4)
    monkeypatch.setattr(blocks, "least_rows", lambda posterior, of: 1)
