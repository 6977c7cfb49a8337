"""A sweep as data: worlds, strategies with grids or random search, seeds, horizon, metrics and gates."""

from __future__ import annotations

from math import exp, inf, log
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
from msgspec import Meta, Struct

from experiments.spec import CONTROL, Phase
from experiments.sweeps.measures import USUAL
from nba.errors import InvalidConfig, require
from simulator.files import load_toml

AtLeastOne: TypeAlias = Annotated[int, Meta(ge=1)]
NotNegative: TypeAlias = Annotated[int, Meta(ge=0)]
# The noise of judging is of other seeds than that of training: a world's market depends on the seed.
JUDGING = 2**40


class Horizon(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many customers are simulated for how long: an experiment's phase, whose seed is the cell's."""

    customers: AtLeastOne
    days: AtLeastOne
    publish_every_days: NotNegative = 0
    settle_days: NotNegative = 0

    def phase(self, seed: int) -> Phase:
        """The phase under a seed."""
        return Phase(
            customers=self.customers,
            days=self.days,
            publish_every_days=self.publish_every_days,
            settle_days=self.settle_days,
            seed=seed,
        )


class Interval(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a setting is searched: evenly between two numbers, or evenly in their logarithms."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        """Check the ends."""
        rule = f"low must be below high, and both finite, got {self.low} and {self.high}"
        require(-inf < self.low < self.high < inf, "search", "over", rule)
        require(self.low > 0 or not self.log, "search", "over", f"low must be > 0 for log, got {self.low}")

    def at(self, share: float) -> float | int:
        """The number at a share of the way."""
        if self.log:
            value = exp(log(self.low) + share * (log(self.high) - log(self.low)))
        else:
            value = self.low + share * (self.high - self.low)
        return round(value) if self.whole else value


class Search(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Random search: `draws` settings, each of `over` drawn by itself. Bergstra and Bengio (2012)."""

    draws: AtLeastOne
    over: dict[str, Interval]
    seed: NotNegative = 0

    def settings(self) -> list[dict[str, Any]]:
        """The drawn settings; more draws keep the first ones."""
        shares = np.random.default_rng(self.seed).random((self.draws, len(self.over)))
        named = list(self.over.items())
        return [
            {name: one.at(float(at)) for (name, one), at in zip(named, row, strict=True)} for row in shares
        ]


class EarlyStopping(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Give a strategy no further seeds in a world where another is surely better, looked at in a rhythm.

    The chance that the best strategy of any world is ever stopped is at most 1 - confidence.
    """

    metric: str = "net_value"
    confidence: Annotated[float, Meta(gt=0.5, lt=1.0)] = 0.95
    every_seeds: AtLeastOne = 2


class Gate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What must hold of the difference to the baseline, by the end of its interval that is against it."""

    metric: str
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        """Check that there is exactly one bound."""
        is_one = (self.at_least is None) != (self.at_most is None)
        require(is_one, "gates", self.metric, "needs either at_least or at_most")


class Sweep(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that `nba sweep` runs; strategies are tables as in an experiment, with `grid` or `search`."""

    name: str
    worlds: tuple[str, ...]
    strategies: tuple[dict[str, Any], ...]
    train: Horizon
    evaluate: Horizon
    seeds: tuple[NotNegative, ...] | AtLeastOne = 5
    seeds_per_cell: AtLeastOne = 1
    baseline: str = CONTROL
    metrics: tuple[str, ...] = USUAL
    gates: tuple[Gate, ...] = ()
    early_stopping: EarlyStopping | None = None
    oracle: bool = True  # the myopic oracle's view, for regret and calibration; about doubles the time

    def __post_init__(self) -> None:
        """Check names and numbers that stand for themselves."""
        for field in ("worlds", "strategies", "metrics"):
            require(bool(getattr(self, field)), "sweep", field, "must not be empty")
        for field in ("worlds", "metrics", "all_seeds"):
            named = getattr(self, field)
            require(len(set(named)) == len(named), "sweep", field, f"must be unique, got {list(named)}")
        require(max(self.all_seeds, default=0) < JUDGING, "sweep", "seeds", f"must be below {JUDGING}")
        require(bool(self.all_seeds), "sweep", "seeds", "must not be empty")
        rule = "judging learns nothing; publish_every_days belongs to [train]"
        require(not self.evaluate.publish_every_days, "sweep", "evaluate.publish_every_days", rule)
        asked = [f"gates[{n}].metric" for n in range(len(self.gates))]
        asked += ["early_stopping.metric"] if self.early_stopping else []
        names = [gate.metric for gate in self.gates]
        names += [self.early_stopping.metric] if self.early_stopping else []
        for where, name in zip(asked, names, strict=True):
            rule = f"{name!r} is not among metrics: {', '.join(self.metrics)}"
            require(name in self.metrics, "sweep", where, rule)

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds themselves: a number stands for 1 to that number."""
        return tuple(range(1, self.seeds + 1)) if isinstance(self.seeds, int) else self.seeds

    @property
    def seed_blocks(self) -> list[tuple[int, ...]]:
        """Seeds as they are run together in one cell."""
        seeds, size = self.all_seeds, self.seeds_per_cell
        return [seeds[start : start + size] for start in range(0, len(seeds), size)]


def load_sweep(path: str) -> Sweep:
    """A shipped sweep by name, or a TOML file by path; what is wrong names the file."""
    try:
        return load_toml(path, "experiments", "specs/sweeps", Sweep)
    except InvalidConfig as error:
        if error.source == path:
            raise
        raise InvalidConfig(path, error.pointer, error.rule) from None


def folder_of(path: str) -> Path:
    """Where a sweep's file lies: its own modules are looked for there first."""
    return Path(path).parent if path.endswith(".toml") else Path()
