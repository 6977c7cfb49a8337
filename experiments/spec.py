"""An experiment as data: a world, who is simulated for how long, and the strategies to compare."""

from __future__ import annotations

import re
from typing import NamedTuple

from msgspec import Struct

from nba.allocation.sharing import AnySharing
from nba.apprentice import Apprentice, Decider, Tutored
from nba.arbitration import Arbitration
from nba.conditions import Tag
from nba.constraints import Rule
from nba.errors import InvalidConfig, require
from nba.longrun.waiting import Waiting
from nba.outcomes import RevenueModel, StageModel
from nba.policies import Policy
from nba.posteriors import Model
from nba.propensity import Floor
from nba.snapshot import Snapshot
from nba.strategy import Strategy
from simulator.files import load_toml
from simulator.world import World

CONTROL = "no-contact"
BUSINESS_AS_USUAL = "rules"
RANDOM = "random"
_LARGEST_SEED = 2**63 - 1
# Decisions are numbered by customer and day, and the customers of an evaluation follow those of a training.
MOST_CUSTOMERS = 10_000_000
DAY_BITS = 20
MOST_DAYS = 2**DAY_BITS - 1


class Phase(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many customers are simulated for how long, and how often learning is published (0: never).

    `settle_days` run after the last decision, so that delayed conversions of the last contacts count.
    """

    customers: int
    days: int
    seed: int
    publish_every_days: int = 0
    settle_days: int = 0

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name, least in (
            ("customers", 1),
            ("days", 1),
            ("seed", 0),
            ("publish_every_days", 0),
            ("settle_days", 0),
        ):
            if getattr(self, name) < least:
                raise InvalidConfig(
                    "experiment", name, f"must be at least {least}, got {getattr(self, name)}"
                )
        for name, value, most in (
            ("seed", self.seed, _LARGEST_SEED),
            ("customers", self.customers, MOST_CUSTOMERS),
            ("days", self.days + self.settle_days, MOST_DAYS),
        ):
            if value > most:
                raise InvalidConfig("experiment", name, f"must be at most {most}, got {value}")

    @property
    def customer_days(self) -> int:
        """Days simulated times customers."""
        return self.customers * (self.days + self.settle_days)

    @property
    def stretches(self) -> list[tuple[int, int]]:
        """Lengths of the stretches between two publications, and on how many days decisions are made."""
        if not self.publish_every_days:
            return [(self.days + self.settle_days, self.days)]
        step = self.publish_every_days
        lengths = [min(step, self.days - start) for start in range(0, self.days, step)]
        stretches = [(length, length) for length in lengths]
        return stretches + ([(self.settle_days, 0)] if self.settle_days else [])


class Imitation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Apprentice mode: another strategy decides, as it stands before any round, until it is mostly matched.

    The other fields are those of nba.apprentice.Apprentice.
    """

    imitates: str
    required_match: float = 0.7
    window_rounds: int = 2_000
    least_rounds: int = 2_000

    def __post_init__(self) -> None:
        """Check the numbers."""
        self.begun()

    def begun(self) -> Apprentice:
        """The apprentice on its first day."""
        return Apprentice(
            required_match=self.required_match,
            window_rounds=self.window_rounds,
            least_rounds=self.least_rounds,
        )


class Contender(NamedTuple):
    """All that a run begins with, as configuration: small enough to travel, what it grows to is not."""

    strategy: Strategy
    rules: Strategy | None = None  # that an apprentice imitates
    apprentice: Apprentice | None = None

    def start(self) -> Decider:
        """Who decides before any round."""
        learner = Snapshot.start(self.strategy)
        if self.rules is None or self.apprentice is None:
            return learner
        return Tutored(learner=learner, rules=Snapshot.start(self.rules), apprentice=self.apprentice)


class StrategySpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is a strategy's own; catalogue, schema and the bank's rules come from the world."""

    name: str
    model: Model
    policy: Policy
    tags: tuple[Tag, ...] = ()
    rules: tuple[Rule, ...] = ()
    arbitration: Arbitration = Arbitration()
    floor: Floor = Floor()
    stages: tuple[StageModel, ...] = ()
    revenue: RevenueModel | None = None
    allocation: AnySharing | None = None
    waiting: Waiting | None = None
    apprentice: Imitation | None = None
    description: str = ""

    def strategy(self, world: World, seed: int) -> Strategy:
        """The strategy in a world; `seed` keys its draws and decisions."""
        return Strategy(
            name=self.name,
            catalogue=world.config.catalogue,
            schema=world.config.schema,
            model=self.model,
            policy=self.policy,
            tags=(*world.config.contact.tags, *self.tags),
            rules=(*world.config.contact.rules, *self.rules),
            contact_policy=world.config.contact.policy,
            arbitration=self.arbitration,
            floor=self.floor,
            fatigue=world.kernel,
            stages=self.stages,
            revenue=self.revenue,
            allocation=self.allocation,
            waiting=self.waiting,
            seed=seed,
        )


class Experiment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Train every strategy in one phase, judge it on fresh customers in another."""

    name: str
    world: str
    train: Phase
    evaluate: Phase
    strategies: tuple[StrategySpec, ...]

    def __post_init__(self) -> None:
        """Check the strategies' names and that the control is there."""
        names = [spec.name for spec in self.strategies]
        if len(set(names)) != len(names):
            raise InvalidConfig("experiment", "strategies", f"names must be unique, got {names}")
        if CONTROL not in names:
            rule = f"one must be named {CONTROL!r}: incremental value is measured against it"
            raise InvalidConfig("experiment", "strategies", rule)
        for index, one in enumerate(self.strategies):
            if one.apprentice is not None:
                alone = "an apprentice decides for each customer alone; drop `allocation` or `apprentice`"
                require(one.allocation is None, "experiment", f"strategies[{index}].allocation", alone)
                self._check_apprentice(f"strategies[{index}].apprentice.imitates", one, one.apprentice)

    def _check_apprentice(self, where: str, spec: StrategySpec, given: Imitation) -> None:
        known = [one.name for one in self.strategies if one.apprentice is None and one.name != spec.name]
        rule = f"must be another strategy that is no apprentice: {', '.join(known)}; got {given.imitates!r}"
        require(given.imitates in known, "experiment", where, rule)

    def contender(self, spec: StrategySpec, world: World, seed: int) -> Contender:
        """A strategy of the experiment in a world, with the one that it imitates if it is an apprentice."""
        ours = spec.strategy(world, seed)
        if spec.apprentice is None:
            return Contender(ours)
        imitated = self.spec(spec.apprentice.imitates).strategy(world, seed)
        return Contender(ours, imitated, spec.apprentice.begun())

    def spec(self, name: str, source: str | None = None) -> StrategySpec:
        """The strategy of a name; `source` is the file that an error names."""
        for one in self.strategies:
            if one.name == name:
                return one
        known = ", ".join(one.name for one in self.strategies)
        rule = f"{name!r} is not a strategy of it; use one of {known}"
        raise InvalidConfig(source or self.name, "strategies", rule)


def check_strategies(experiment: Experiment, world: World, source: str) -> None:
    """Find out before any work what in a strategy the world does not know; `source` is the file to name."""
    n_bank = len(world.config.contact.rules)
    for index, spec in enumerate(experiment.strategies):
        try:
            spec.strategy(world, 0)
        except InvalidConfig as error:
            # The bank's rules come first; the file counts its own.
            where = re.sub(r"rules\[(\d+)\]", lambda hit: f"rules[{int(hit[1]) - n_bank}]", error.pointer)
            raise InvalidConfig(source, f"strategies[{index}].{where}", error.rule) from None


def load_experiment(name: str) -> Experiment:
    """A shipped experiment by name, or a TOML file by path."""
    return load_toml(name, "experiments", "specs", Experiment)
