"""Choose half-lives: which pace of forgetting foresees the next day best (methods A7, prequential loss)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from msgspec import structs

from experiments.executor import Executor, Report, SerialExecutor
from experiments.rollout import Stretch, block_customers, run_stretch
from experiments.spec import Phase
from nba.arrays import join_rows, take_rows
from nba.catalogue import Catalogue
from nba.errors import InvalidConfig
from nba.features import FeatureSchema
from nba.feedback import RoundBatch
from nba.learning import Foresight, Judged, Loss, judged, prequential
from nba.posteriors import FactoredModel, Model
from nba.posteriors.forgetting import HalfLives
from nba.snapshot import Snapshot
from simulator.world import World

Setting: TypeAlias = float | HalfLives | None

SETTINGS: tuple[Setting, ...] = (None, 365.0, HalfLives(), 120.0, 30.0)


class Trial(NamedTuple):
    """Work for one task: one setting on all days. Settings share everything but the shares they keep."""

    model: Model
    catalogue: Catalogue
    schema: FeatureSchema
    days: Sequence[RoundBatch]
    loss: Loss
    step_days: float


def choose_half_lives(
    model: Model,
    catalogue: Catalogue,
    schema: FeatureSchema,
    days: Sequence[RoundBatch],
    *,
    settings: Sequence[Setting] = SETTINGS,
    loss: Loss = "poisson",
    step_days: float = 1.0,
    executor: Executor | None = None,
    on_days: Report | None = None,
) -> Judged:
    """Score every setting on the same days, in parallel; `best` counts in the order of `settings`.

    `step_days` is how much time each batch of `days` stands for; `on_days` hears of each that a setting has
    scored. Raises InvalidConfig without two settings,
    without a day, or for half-lives of blocks in a model that has none.
    """
    if len(settings) < 2 or not days:
        found = f"got {len(settings)} settings and {len(days)} days"
        raise InvalidConfig("half-lives", "settings", f"needs two settings to compare and a day, {found}")
    trials = [
        Trial(_forgetting(model, setting), catalogue, schema, days, loss, step_days) for setting in settings
    ]
    return judged((executor or SerialExecutor()).map(run_trial, trials, on_days))


def run_trial(trial: Trial, report: Report) -> Foresight:
    """Learn and score all days under one setting; a pure function of its argument."""
    prior = trial.model.prior(trial.catalogue, trial.schema)
    return prequential(prior, trial.days, trial.loss, step_days=trial.step_days, on_days=report)


def rounds_by_day(
    world: World,
    snapshot: Snapshot,
    phase: Phase,
    executor: Executor | None = None,
    on_customer_days: Report | None = None,
) -> list[RoundBatch]:
    """What a strategy that does not learn would have been taught, day by day from the first that taught."""
    block, ids = block_customers(world), np.arange(phase.customers)
    days = phase.days + phase.settle_days
    work = [
        Stretch(world, snapshot, phase.seed, customers, None, days, phase.days, True, True, False)
        for customers in np.split(ids, np.arange(block, phase.customers, block))
    ]
    results = (executor or SerialExecutor()).map(run_stretch, work, on_customer_days)
    keys = np.concatenate([result.round_keys for result in results])
    rounds = join_rows([result.rounds for result in results if result.rounds is not None])
    order = np.lexsort((keys[:, 2], keys[:, 1], keys[:, 0]))
    when = keys[order, 0]
    ends = np.searchsorted(when, np.arange(when.min(initial=1), when.max(initial=1)) + 1)
    return [take_rows(rounds, rows) for rows in np.split(order, ends)]


def _forgetting(model: Model, setting: Setting) -> Model:
    if isinstance(setting, HalfLives) and not isinstance(model, FactoredModel):
        rule = f"only a factored model has blocks, got {model.__struct_config__.tag}; give a number of days"
        raise InvalidConfig("half-lives", "settings", rule)
    return structs.replace(model, half_life_days=setting)
