"""What the commands on the long run share: their options, and a strategy that has learnt."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from experiments.compare import learns
from experiments.executor import Executor, Finishing, executor
from experiments.longrun.cells import Ground, check_folder, play
from experiments.longrun.tune import Play
from experiments.rollout import rollout
from experiments.spec import Phase, StrategySpec, load_experiment
from experiments.terminal import progress
from nba.errors import InvalidConfig, require
from nba.snapshot import Snapshot
from simulator.world import World, load_world


class Order(NamedTuple):
    """What a command was asked for; without a world that of the experiment."""

    experiment: str
    strategy: str
    world: str | World | None
    train: Phase
    judge: Phase  # its seed is replaced by each of those that are played
    cells: Path | None
    workers: int
    address: str | None  # of a Ray cluster


@contextmanager
def where(order: Order) -> Iterator[Finishing]:
    """The executor of an order; an address is that of the cluster that Ray joins."""
    if order.address is not None:
        os.environ["RAY_ADDRESS"] = order.address
    with executor(max(order.workers, 2) if order.address is not None else order.workers) as found:
        yield found


def unchanged(spec: StrategySpec) -> StrategySpec:
    """The strategy as it stands in the experiment."""
    return spec


def prepared(
    order: Order, executor: Executor, change: Callable[[StrategySpec], StrategySpec] = unchanged
) -> Ground:
    """Let the strategy, changed first, learn in the world, if it learns.

    With a price of its own it keeps it meanwhile.
    """
    check_folder(order.cells)
    plan = load_experiment(order.experiment)
    spec = change(plan.spec(order.strategy, source=order.experiment))
    world = order.world if isinstance(order.world, World) else load_world(order.world or plan.world)
    snapshot = _start(order, spec, world)
    if learns(spec):
        with progress(f"{spec.name} learns in {world.config.name}", order.train.customer_days) as report:
            trained = rollout(
                world, snapshot, order.train, executor, on_customer_days=report, with_oracle=False
            )
        snapshot = trained.snapshot.at(trained.snapshot.posterior, 0)
    return Ground(world, snapshot, order.judge)


@contextmanager
def player(ground: Ground, order: Order, executor: Finishing, runs: int, label: str) -> Iterator[Play]:
    """Plays cells with a bar over `runs` of them."""
    with progress(label, runs * ground.phase.customer_days) as report:
        yield lambda cells: play(ground, cells, executor, order.cells, report)


def _start(order: Order, spec: StrategySpec, world: World) -> Snapshot:
    require(
        spec.apprentice is None,
        order.experiment,
        f"strategies.{spec.name}",
        "is an apprentice; name the strategy itself, without `apprentice`",
    )
    try:
        return Snapshot.start(spec.strategy(world, order.train.seed))
    except InvalidConfig as error:
        raise InvalidConfig(order.experiment, f"strategies.{spec.name}.{error.pointer}", error.rule) from None
