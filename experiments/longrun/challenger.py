"""What `nba fit-q` does: log a strategy's lives, fit Q to them, and judge it by the log and by living."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import process_time
from typing import NamedTuple

import msgspec
import numpy as np
import typer
from msgspec import Struct, structs

from experiments.compare import Z95, mean_interval
from experiments.longrun.journeys import Journeys, Span, by, journeys
from experiments.longrun.log_verdict import LogVerdict, returns, verdict
from experiments.results import Interval
from experiments.spec import CONTROL, MOST_CUSTOMERS, StrategySpec, load_experiment
from experiments.terminal import say
from nba.bundle import save_bundle
from nba.errors import InvalidConfig, require
from nba.longrun import FittedQ, Steps, fit_q
from nba.ope.fitted_q import QDiverged
from nba.ope.terms import Estimate
from nba.posteriors import FittedAdvantages, FittedQModel
from nba.since import follow_up_columns
from nba.snapshot import Snapshot
from simulator.config import WorldConfig, only
from simulator.response import personal
from simulator.world import World, load_world


class FitOrder(NamedTuple):
    """What the command was asked for."""

    experiment: str
    strategy: str
    behaviour: str
    world: str | None
    channels: str | None  # names with commas; without them all
    timings: str | None
    products: str | None
    follow_ups: bool  # models see unanswered contacts and open interest
    log: Span
    judged: int  # customers, with the same days
    corrected: int


class Verdict(Struct, frozen=True, kw_only=True):
    """What was found; money is account currency per customer, intervals are 95 %."""

    strategy: str
    behaviour: str
    world: str
    decisions: int  # in the log
    sweeps: int
    changed: float
    fit_seconds: float  # CPU
    above_silence: Interval  # lived, over whole lives
    above_behaviour: Interval
    contacts: float
    behaviour_contacts: float
    opt_outs: float
    behaviour_opt_outs: float
    lived: Interval  # discounted from the first decision on: what the log's verdicts estimate
    by_fitted_q: Interval | None  # None where fitted Q evaluation does not settle
    by_doubly_robust: Interval | None
    corrected: int


def run_fit(order: FitOrder, out: Path | None, as_json: bool) -> None:
    """Log, fit, judge, write the bundle and tell."""
    snapshot, found = fitted_and_judged(order)
    if out is not None:
        save_bundle(snapshot, out)
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    typer.echo("\n".join([*_told(found), *([f"bundle written to {out}"] if out is not None else [])]))


def fitted_and_judged(order: FitOrder) -> tuple[Snapshot, Verdict]:
    """The strategy with its Q, and what it is worth to customers whom it has not met."""
    plan = load_experiment(order.experiment)
    world = narrowed(load_world(order.world or plan.world), order)
    spec, behaviour, silence = (
        plan.spec(name, source=order.experiment) for name in (order.strategy, order.behaviour, CONTROL)
    )
    start, who, nobody = (_start(order, one, world) for one in (spec, behaviour, silence))
    say(f"{behaviour.name} lives with {order.log.customers:,} customers in {world.config.name}")
    log, begun = journeys(world, by(who), order.log), process_time()
    steps = log.steps()
    say(f"{spec.name} learns from {steps.actions.size:,} decisions")
    snapshot, fit = learnt(start, steps)
    seconds = process_time() - begun
    span = structs.replace(
        order.log, customers=order.judged, first_customer=MOST_CUSTOMERS, seed=order.log.seed + 1
    )
    say(f"judged on {order.judged:,} others")
    ours, silent = (journeys(world, by(one), span) for one in (snapshot, nobody))
    fresh = journeys(world, by(who), span, targets=[snapshot])
    model = snapshot.strategy.model
    assert isinstance(model, FittedQModel)
    discount = float(model.discount ** steps.days.mean())
    made = (world.config.name, int(steps.actions.size), fit, seconds)
    return snapshot, _verdict(order, made, (ours, silent, fresh), discount)


def learnt(start: Snapshot, steps: Steps) -> tuple[Snapshot, FittedQ]:
    """A strategy of the model fitted_q after journeys."""
    model, prior = start.strategy.model, start.posterior
    assert isinstance(model, FittedQModel) and isinstance(prior, FittedAdvantages)
    fit = fit_q(model, prior, start.strategy.catalogue.costs, steps, np.random.default_rng(model.seed))
    return start.at(fit.posterior, 0), fit


def narrowed(world: World, order: FitOrder) -> World:
    """The world with the named channels, timings and products only, and with what the models are to see."""
    names = (order.channels, order.timings, order.products)
    catalogue = world.config.catalogue
    kept = [
        catalogue.names(factor) if one is None else tuple(name.strip() for name in one.split(","))
        for factor, one in zip(("channel", "timing", "product"), names, strict=True)
    ]
    config = world.config if all(one is None for one in names) else only(world.config, *kept)
    return World(with_follow_ups(config) if order.follow_ups else config)


def with_follow_ups(config: WorldConfig) -> WorldConfig:
    """The world whose models also see what sequences hang on, beside what they see already."""
    schema, catalogue = config.schema, config.catalogue
    speaks = personal(config)
    people = tuple(name for name, one in zip(catalogue.names("channel"), speaks, strict=True) if one)
    known = {column.name for column in schema.columns}
    more = tuple(one for one in follow_up_columns(catalogue, people) if one.name not in known)
    return structs.replace(config, schema=structs.replace(schema, columns=(*schema.columns, *more)))


def _start(order: FitOrder, spec: StrategySpec, world: World) -> Snapshot:
    where = f"strategies.{spec.name}"
    require(spec.apprentice is None, order.experiment, where, "is an apprentice; name the strategy itself")
    if spec.name == order.strategy:
        rule = (
            f"must be of the type fitted_q, got {spec.model.__struct_config__.tag}; `nba train` learns others"
        )
        require(isinstance(spec.model, FittedQModel), order.experiment, f"{where}.model", rule)
    try:
        return Snapshot.start(spec.strategy(world, order.log.seed))
    except InvalidConfig as error:
        raise InvalidConfig(order.experiment, f"{where}.{error.pointer}", error.rule) from None


def _verdict(
    order: FitOrder,
    made: tuple[str, int, FittedQ, float],
    lived: tuple[Journeys, Journeys, Journeys],
    discount: float,
) -> Verdict:
    """What the lives say, and the log of the behaviour's; `discount` is per decision."""
    (world, decisions, fit, seconds), (ours, silence, behaviour) = made, lived
    told = _by_log(behaviour, discount, order.corrected)
    return Verdict(
        strategy=order.strategy,
        behaviour=order.behaviour,
        world=world,
        decisions=decisions,
        sweeps=fit.n_sweeps,
        changed=fit.changed,
        fit_seconds=seconds,
        above_silence=mean_interval(ours.net - silence.net),
        above_behaviour=mean_interval(ours.net - behaviour.net),
        contacts=float(ours.contacts.mean()),
        behaviour_contacts=float(behaviour.contacts.mean()),
        opt_outs=float(ours.opt_outs.mean()),
        behaviour_opt_outs=float(behaviour.opt_outs.mean()),
        lived=mean_interval(returns(ours, discount)),
        by_fitted_q=None if told is None else _interval(told.fitted_q),
        by_doubly_robust=None if told is None else _interval(told.doubly_robust),
        corrected=order.corrected,
    )


def _by_log(log: Journeys, discount: float, corrected: int) -> LogVerdict | None:
    try:
        return verdict(log, 0, discount, corrected)
    except QDiverged as error:
        say(f"the log gives no verdict: {error}")
        return None


def _interval(one: Estimate) -> Interval:
    half = Z95 * one.stderr
    return Interval(mean=one.value, low=one.value - half, high=one.value + half)


def _told(found: Verdict) -> Iterator[str]:
    """For people."""
    yield (
        f"{found.strategy} in {found.world}, from {found.decisions:,} decisions of {found.behaviour}: "
        f"settled after {found.sweeps} sweeps, {found.fit_seconds:.1f} s"
    )
    yield "net value per customer, 95 % intervals, on customers and noise that it has not met:"
    for name, gain in (("silence", found.above_silence), (found.behaviour, found.above_behaviour)):
        yield f"  above {name}: {_shown(gain)}"
    yield (
        f"  contacts {found.behaviour_contacts:.2f} -> {found.contacts:.2f}; "
        f"opt-outs {found.behaviour_opt_outs:.4f} -> {found.opt_outs:.4f}"
    )
    yield f"discounted from the first decision on: lived {_shown(found.lived)}"
    if found.by_fitted_q is not None and found.by_doubly_robust is not None:
        yield f"  by the log of {found.behaviour}, fitted Q evaluation: {_shown(found.by_fitted_q)}"
        first = f"doubly robust over the first {found.corrected} decisions"
        yield f"  by the log of {found.behaviour}, {first}: {_shown(found.by_doubly_robust)}"


def _shown(one: Interval) -> str:
    return f"{one.mean:+.3f} ({one.low:+.3f} to {one.high:+.3f})"
