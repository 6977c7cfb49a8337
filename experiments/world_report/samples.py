"""Which samples are compared: a bank's log with the world, and the world with itself and its caricatures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct, structs

from experiments.executor import Executor, Report
from experiments.rollout import block_customers, rollout
from experiments.spec import Phase
from experiments.world_report.two_samples import WANTED_AUC, Comparison, compare_weeks
from experiments.world_report.weeks import Weeks, customer_weeks, read_weeks
from nba.arrays import IntArray
from nba.policies import RandomEligible
from nba.posteriors import SegmentRatesModel
from nba.snapshot import Snapshot
from nba.strategy import Strategy
from simulator.config import WorldConfig
from simulator.world import World


class SampleWork(NamedTuple):
    """One sample to simulate."""

    world: World
    phase: Phase
    first_customer: int


class Samples(Struct, frozen=True, kw_only=True):
    """All comparisons; `real` is None without a log."""

    real: Comparison | None
    self_tests: tuple[Comparison, ...]
    data: str = ""

    @property
    def has_power(self) -> bool:
        """Tell whether the test finds no difference where there is none, and one where there is."""
        return all(one.as_expected for one in self.self_tests)

    @property
    def passes(self) -> bool:
        """Tell whether the world's weeks look like the bank's, as far as that was asked."""
        return self.has_power and (self.real is None or self.real.auc <= WANTED_AUC)


def random_strategy(world: World, seed: int) -> Strategy:
    """Any eligible action with the same probability: it visits every corner of a world."""
    return Strategy(
        name="random",
        catalogue=world.config.catalogue,
        schema=world.config.schema,
        model=SegmentRatesModel(),
        policy=RandomEligible(),
        tags=world.config.contact.tags,
        rules=world.config.contact.rules,
        contact_policy=world.config.contact.policy,
        fatigue=world.kernel,
        seed=seed,
    )


def compare_samples(
    world: World, phase: Phase, data: Path | None, where: Executor, report: Report
) -> Samples:
    """Simulate all samples under the same strategy and compare them.

    The other customers of the self-test live in branches of their own under the same seed: another seed
    would also mean another market, which is a real difference.
    """
    real = None if data is None else read_weeks(data, world.config.catalogue)
    worlds = [World(one.make(world.config)) for one in CARICATURES]
    apart = -(-phase.customers // block_customers(world)) * block_customers(world)
    works = [SampleWork(world, phase, 0), SampleWork(world, phase, apart)]
    works += [SampleWork(one, phase, apart) for one in worlds]
    own, others, *caricatures = where.map(sample, works, report)
    tests = [compare_weeks("the world and other customers of it", own, others, phase.seed, "same")]
    for one, weeks in zip(CARICATURES, caricatures, strict=True):
        tests.append(compare_weeks(f"the world and {one.name}", own, weeks, phase.seed, one.expected))
    found = None
    if real is not None and data is not None:
        found = compare_weeks("the bank's log and the world", real, own, phase.seed, matched=True)
    return Samples(real=found, self_tests=tuple(tests), data=data.name if data else "")


def sample(work: SampleWork, report: Report) -> Weeks:
    """The customer-weeks of a random strategy."""
    world, phase, first = work
    run = rollout(
        world,
        Snapshot.start(random_strategy(world, phase.seed)),
        phase,
        first_customer=first,
        on_customer_days=report,
        with_oracle=False,
    )
    customers: IntArray = np.arange(first, first + phase.customers)
    return customer_weeks(run.decisions, run.outcomes, world.config.catalogue, customers, phase.days)


def _response(config: WorldConfig, **changes: Any) -> WorldConfig:
    return structs.replace(config, response=structs.replace(config.response, **changes))


def _unread(config: WorldConfig) -> WorldConfig:
    """Messages that are opened half as often."""
    half = tuple(0.5 * chance for chance in config.response.seen)
    return _response(config, seen=half)


def _untiring(config: WorldConfig) -> WorldConfig:
    """Nobody ever tires, and so nobody engages less with the tenth contact than with the first."""
    return _response(config, short_fatigue=0.0, long_fatigue=0.0, cross_fatigue=0.0)


def _eager(config: WorldConfig) -> WorldConfig:
    """Customers buy twice as much of their own accord."""
    return _response(config, organic=tuple(2.0 * rate for rate in config.response.organic))


class Caricature(NamedTuple):
    """A world that is wrong on purpose; what is expected is empty where the size decides."""

    name: str
    make: Callable[[WorldConfig], WorldConfig]
    expected: str = ""


CARICATURES = (
    Caricature("one where half as many messages are opened", _unread, "different"),
    Caricature("one without contact fatigue", _untiring),
    Caricature("one with twice the organic sales", _eager),
)
