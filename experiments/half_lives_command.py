"""The command `nba half-lives`: simulate days, score half-lives on them, and say what to write down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import typer
from msgspec import Struct, structs

from experiments.executor import executor
from experiments.half_lives import SETTINGS, Setting, choose_half_lives, rounds_by_day
from experiments.spec import Phase, StrategySpec, check_strategies, load_experiment
from experiments.terminal import progress
from nba.errors import InvalidConfig, require
from nba.posteriors import FactoredModel, Model
from nba.posteriors.forgetting import HalfLives
from nba.snapshot import Snapshot
from simulator.world import load_world

NEVER, BLOCKS = "never", "blocks"
_SURE = 2.0  # standard errors above the best that tell a setting from it


class Order(NamedTuple):
    """What `nba half-lives` was asked for."""

    experiment: str
    strategy: str
    phase: Phase
    half_lives: Sequence[str] = ()  # as written; none for the usual ones


class Scored(Struct, frozen=True, kw_only=True):
    """One half-life; losses are nats per round, prequential: each day is foretold before it is learnt."""

    half_life: str
    loss: float
    above_best: float
    standard_error: float  # of `above_best`, over days

    @property
    def ties(self) -> bool:
        """Whether it cannot be told from the best."""
        return self.above_best <= _SURE * self.standard_error


class Chosen(Struct, frozen=True, kw_only=True):
    """What was found; `toml` is for the strategy in the experiment's file."""

    strategy: str
    world: str
    days: int
    rounds: int
    best: str
    scored: tuple[Scored, ...]
    toml: str


def run_half_lives(order: Order, workers: int, as_json: bool) -> None:
    """What `nba half-lives` does."""
    found = chosen(order, workers)
    typer.echo(msgspec.json.encode(found).decode() if as_json else "\n".join(lines(found)))


def chosen(order: Order, workers: int) -> Chosen:
    """Simulate the strategy as it stands before any round, then score every half-life on the same days."""
    plan = load_experiment(order.experiment)
    spec, world = plan.spec(order.strategy, source=order.experiment), load_world(plan.world)
    check_strategies(plan, world, order.experiment)
    settings = settings_of(order.half_lives, spec)
    snapshot = Snapshot.start(spec.strategy(world, order.phase.seed))
    with executor(workers) as where:
        with progress(f"{spec.name} in {world.config.name}", order.phase.customer_days) as report:
            days = rounds_by_day(world, snapshot, order.phase, where, report)
        catalogue, schema = world.config.catalogue, world.config.schema
        with progress(f"scoring {len(settings)} half-lives", len(settings) * len(days)) as report:
            judged = choose_half_lives(
                spec.model, catalogue, schema, days, settings=settings, executor=where, on_days=report
            )
    names = [_name(one) for one in settings]
    columns = zip(names, judged.means.tolist(), judged.excess.tolist(), judged.errors.tolist(), strict=True)
    rows = (Scored(half_life=n, loss=m, above_best=x, standard_error=e) for n, m, x, e in columns)
    return Chosen(
        strategy=spec.name,
        world=world.config.name,
        days=len(days),
        rounds=sum(day.n_rows for day in days),
        best=names[judged.best],
        scored=tuple(rows),
        toml=snippet(structs.replace(spec.model, half_life_days=settings[judged.best])),
    )


def settings_of(words: Sequence[str], spec: StrategySpec) -> list[Setting]:
    """The half-lives to compare; raises InvalidConfig for a word that is none."""
    has_blocks = isinstance(spec.model, FactoredModel)
    if "half_life_days" not in spec.model.__struct_fields__:
        raise InvalidConfig("nba half-lives", spec.name, "its model does not forget; name another strategy")
    if not words:
        return [one for one in SETTINGS if has_blocks or not isinstance(one, HalfLives)]
    return [_setting(word) for word in words]


def _setting(word: str) -> Setting:
    if word in (NEVER, BLOCKS):
        return None if word == NEVER else HalfLives()
    try:
        days = float(word)
    except ValueError:
        days = -1.0
    rule = f"must be a number of days above 0, {NEVER} or {BLOCKS}, got {word!r}"
    require(0 < days < float("inf"), "nba half-lives", "--half-life", rule)
    return days


def _name(setting: Setting) -> str:
    if setting is None or isinstance(setting, HalfLives):
        return NEVER if setting is None else BLOCKS
    return f"{setting:g} days"


def lines(found: Chosen) -> Iterator[str]:
    """The same for people."""
    yield f"{found.strategy} in {found.world}: {found.rounds:,} rows taught on {found.days} days"
    yield f"{'half-life':<12}{'loss per round':>16}{'above the best':>16}{'standard error':>16}"
    for one in found.scored:
        yield f"{one.half_life:<12}{one.loss:>16.6f}{one.above_best:>16.6f}{one.standard_error:>16.6f}"
    ties = [one.half_life for one in found.scored if one.ties and one.half_life != found.best]
    untold = f"; not told from it by {_SURE:g} standard errors: {', '.join(ties)}" if ties else ""
    yield f"foresees best: {found.best}{untold}"
    yield "\nFor the strategy in the experiment's file:\n"
    yield found.toml


def snippet(model: Model) -> str:
    """The line of a strategy's model, with what differs from the defaults."""
    plain, usual = (msgspec.to_builtins(one) for one in (model, type(model)()))
    told = {name: value for name, value in plain.items() if name == "type" or value != usual.get(name)}
    return f"model = {_inline(told)}"


def _inline(value: Any) -> str:
    """A value as TOML in one line; what is None is left out, as TOML has no word for it."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_inline(v)}" for k, v in value.items() if v is not None) + " }"
    return msgspec.json.encode(value).decode()  # numbers, texts and lists of them read the same in both
