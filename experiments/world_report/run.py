"""The whole report: what is simulated, in which order, and how far it has come."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
from msgspec import structs

from experiments.executor import Executor, Report, executor
from experiments.rollout import block_customers
from experiments.spec import Phase
from experiments.terminal import progress
from experiments.world_report.checks import all_checks
from experiments.world_report.figures import figures, queue
from experiments.world_report.mechanisms import MECHANISMS, Curves, crowd
from experiments.world_report.ranking import SETTLE_DAYS, n_rollouts, rank
from experiments.world_report.result import WorldReport
from experiments.world_report.samples import CARICATURES, Samples, compare_samples, random_strategy
from experiments.world_report.sources import Source, sources
from experiments.world_report.targets import Targets, compare_targets
from experiments.world_report.trace import Trace, trace
from simulator.calibrate.written import world_text
from simulator.world import World, load_world

_STEPS = 10_000  # of the progress bar
_SHARES = {
    "targets": 0.15,
    "samples": 0.15,
    "checks": 0.1,
    "ranking": 0.55,
    "mechanisms": 0.05,
}  # of the time


class Order(NamedTuple):
    """What `nba world report` was asked for."""

    world: str
    members: int
    customers: int
    days: int
    seed: int
    data: Path | None = None
    campaign: Path | None = None
    columns: Path | None = None
    workers: int = 1


def make_report(order: Order) -> WorldReport:
    """Simulate, compare, check and rank; progress is told on stderr."""
    begun, world = perf_counter(), load_world(order.world)
    phase = Phase(customers=order.customers, days=order.days, seed=order.seed)
    with executor(order.workers) as where, progress(f"world {world.config.name}", _STEPS) as told:
        targets = _targets(order, world, told)
        samples = _samples(order, world, phase, where, told)
        run = _trace(world, phase, told)
        settled = structs.replace(phase, settle_days=SETTLE_DAYS)
        n_runs = n_rollouts(world, order.members)
        rankings = rank(world, order.members, settled, where, _part(told, "ranking", n_runs))
        curves = _curves(world, phase, run, told)
    known = sources(world_text(order.world))
    return WorldReport(
        world=world.config.name,
        calibration=world.config.calibration,
        customers=order.customers,
        days=order.days,
        seed=order.seed,
        targets=targets,
        figures=figures(run),
        samples=samples,
        checks=all_checks(run),
        rankings=rankings,
        curves=curves,
        sources=_numbers(known),
        seconds=perf_counter() - begun,
    )


def _targets(order: Order, world: World, told: Report) -> Targets:
    part = _part(told, "targets", 1 + len(world.config.ensemble))
    return compare_targets(world, order.campaign, order.columns, part)


def _samples(order: Order, world: World, phase: Phase, where: Executor, told: Report) -> Samples:
    part = _part(told, "samples", (2 + len(CARICATURES)) * phase.customer_days)
    return compare_samples(world, phase, order.data, where, part)


def _trace(world: World, phase: Phase, told: Report) -> Trace:
    """States are kept, so at most one block of customers is looked at."""
    n = min(phase.customers, block_customers(world))
    part = _part(told, "checks", n * phase.days)
    return trace(world, random_strategy(world, phase.seed), phase.seed, np.arange(n), phase.days, part)


def _curves(world: World, phase: Phase, run: Trace, told: Report) -> tuple[Curves, ...]:
    part = _part(told, "mechanisms", len(MECHANISMS))
    of, drawn = crowd(world, phase.seed, phase.customers), []
    for mechanism in MECHANISMS:
        drawn.append(mechanism(of))
        part(1)
    over_the_week = queue(run)
    return (*drawn, *([over_the_week] if over_the_week else []))


def _numbers(known: dict[str, Source]) -> tuple[Source, ...]:
    """Fields that say how the world is; names, the calibration and its ensemble are no claims about it."""
    silent = ("calibration.", "ensemble.", "schema.", "mechanisms.")
    return tuple(one for name, one in known.items() if "." in name and not name.startswith(silent))


def _part(told: Report, name: str, total: int) -> Report:
    """A part of the bar, in steps of its own."""
    done, share = [0], _STEPS * _SHARES[name]

    def step(steps: int) -> None:
        before, done[0] = done[0], done[0] + steps
        told(int(share * done[0] / total) - int(share * before / total))

    return step
