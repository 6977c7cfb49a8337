"""The steps of `nba train` for one policy: read what is asked, train, write the bundle, tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import msgspec
import typer
from msgspec import structs

from experiments.compare import learns
from experiments.dataset import write_json
from experiments.executor import Finishing, executor
from experiments.spec import Phase, check_strategies, load_experiment
from experiments.tables.columns import Wish
from experiments.tables.learn import NOTES, Order, prepare
from experiments.tables.outcomes import Names
from experiments.tables.presets import load_preset
from experiments.terminal import progress, say
from experiments.training import logged, simulated
from experiments.training.blocks import N_BLOCKS
from experiments.training.folder import SAVE_SECONDS, Trained, training_folder
from experiments.training.logged import LoggedTraining
from experiments.training.simulated import SimulatedTraining
from experiments.training.timed import TimedExecutor
from nba.bundle import load_bundle
from nba.errors import require
from nba.snapshot import Snapshot
from simulator.world import load_world

Clock = Callable[[], float]  # seconds that only rise


class Place(NamedTuple):
    """Where is trained, and where the bundle goes."""

    out: Path
    workers: int = 1
    address: str | None = None
    clock: Clock = perf_counter
    save_seconds: float = SAVE_SECONDS


class Sizes(NamedTuple):
    """What replaces an experiment's own phase of training; None leaves it."""

    world: str | None = None
    customers: int | None = None
    days: int | None = None
    seed: int | None = None
    every_days: int = 1


def simulated_training(
    experiment: str, strategy: str, sizes: Sizes, online: bool, scale: float = 1.0
) -> SimulatedTraining:
    """What is asked for; InvalidConfig where the experiment does not have it, or nothing can be learnt."""
    plan = load_experiment(experiment)
    world = load_world(sizes.world or plan.world)
    spec = plan.spec(strategy, source=experiment)
    if sizes.world is None:  # else the others need not fit into the world, and this one says so itself
        check_strategies(plan, world, experiment)
    rule = f"{strategy!r} learns nothing, whatever it meets; name another strategy"
    require(learns(spec), experiment, "strategies", rule)
    train = structs.replace(plan.train, customers=max(2, round(plan.train.customers * scale)))
    given = {name: getattr(sizes, name) for name in ("customers", "days", "seed")}
    changed = {name: value for name, value in given.items() if value is not None}
    phase: Phase = structs.replace(train, publish_every_days=sizes.every_days, **changed)
    return SimulatedTraining(world, plan.contender(spec, world, phase.seed), phase, online)


def logged_training(
    log: Path,
    names: Names,
    policy: str,
    out: Path,
    at: str | None,
    leave_out: tuple[str, ...],
    changes: tuple[str, ...],
    seed: int,
    online: bool,
) -> LoggedTraining:
    """What is asked for; the column of times is no feature."""
    wish = Wish(leave=(*leave_out, *([at] if at else [])))
    order = Order(log, names, out, load_preset(policy, changes), seed=seed, wish=wish)
    return LoggedTraining(order, at, online)


def train_simulated(asked: SimulatedTraining, place: Place) -> Trained:
    """Train on the simulator, or say what an earlier process has found in this folder."""
    with training_folder(place.out, asked.settings(), place.clock, place.save_seconds) as folder:
        found = folder.trained()
        if found is not None:
            return found
        phase, world = asked.phase, asked.world.config.name
        label = f"training {asked.contender.strategy.name} in {world}"
        with executor(place.workers, place.address) as inner, progress(label, phase.customer_days) as report:
            run, n_workers, begun = TimedExecutor(inner), workers_of(place, inner), place.clock()
            done = simulated.train(asked, run, n_workers, folder, report)
            seconds = place.clock() - begun
        snapshot = done.learning.snapshot
        figures: dict[str, Any] = {
            "source": f"world {world}",
            "strategy": snapshot.strategy.name,
            "learning": "online" if asked.online else "daily",
            "customer_days": phase.customer_days,
            "rounds": done.learning.rounds,
        }
        figures |= dict(
            zip(("decisions", "contacts", "conversions"), done.daily.sum(axis=0).tolist(), strict=False)
        )
        return folder.finish(
            served(snapshot), figures | _costs(run, n_workers, seconds, done.batches, asked.online)
        )


def train_logged(asked: LoggedTraining, place: Place) -> Trained:
    """Train on a log, or say what an earlier process has found in this folder."""
    settings = asked.settings()
    plan = prepare(asked.order)
    with training_folder(place.out, settings, place.clock, place.save_seconds) as folder:
        found = folder.trained()
        if found is not None:
            return found
        label = f"training on {asked.order.log.name}"
        with executor(place.workers, place.address) as inner, progress(label, plan.table.n_rows) as report:
            run, n_workers, begun = TimedExecutor(inner), workers_of(place, inner), place.clock()
            done = logged.train(plan, asked, run, folder, report)
            seconds = place.clock() - begun
        score = logged.score_of(done, plan.lessons)
        snapshot = plan.snapshot.at(done.posterior, 0)
        figures = {
            "source": f"log {asked.order.log.name}",
            "strategy": snapshot.strategy.name,
            "learning": "online" if asked.online else "daily",
            "rows": plan.table.n_rows,
            "rounds": snapshot.posterior.rounds,
            "prequential": score._asdict() | {"gain": score.gain},
        }
        write_json(place.out / NOTES, plan.notes)  # so that `nba learn --continue` can go on
        return folder.finish(snapshot, figures | _costs(run, n_workers, seconds, done.batches, asked.online))


def served(snapshot: Snapshot) -> Snapshot:
    """As a service begins with it: in a log of its own, at position 0."""
    return snapshot.at(snapshot.posterior, 0)


def workers_of(place: Place, inner: Finishing) -> int:
    """How many tasks can run at a time; of a cluster, as many as it has CPUs."""
    if place.address is None:
        return place.workers
    import ray

    return max(int(ray.cluster_resources().get("CPU", 1)), 1)


def _costs(run: TimedExecutor, workers: int, seconds: float, batches: int, online: bool) -> dict[str, Any]:
    """What the training took in this process and its workers; what an earlier process took is not in it."""
    return {
        "batches": batches,
        "blocks": 1 if online else N_BLOCKS,
        "workers": workers,
        "seconds": round(seconds, 3),
        "task_seconds": round(run.spent.wall, 3),
        "task_cpu_seconds": round(run.spent.cpu, 3),
        "scaling_efficiency": round(run.spent.wall / (workers * seconds), 3) if seconds > 0 else 0.0,
    }


def tell(found: Trained, out: Path, as_json: bool) -> None:
    """What was trained, for people or machines."""
    if as_json:
        told = found.figures | {"digest": found.digest, "out": str(out)}
        typer.echo(msgspec.json.encode(told).decode())
        return
    typer.echo("\n".join(_lines(found, out)))


def _lines(found: Trained, out: Path) -> Iterator[str]:
    told = found.figures
    count = "customer-days" if "customer_days" in told else "rows"
    size = told[count.replace("-", "_")]
    yield f"trained   {told['strategy']} on {told['source']}: {size:,} {count}, {told['rounds']:,.1f} rounds"
    if "prequential" in told:
        score = told["prequential"]
        yield (
            f"foretold  each batch before learning it: {score['measure']} {score['model']:.5g}, by action "
            f"means so far {score['constant']:.5g} ({100 * score['gain']:.1f} % less)"
        )
    else:
        yield f"met       {told['contacts']:,.0f} contacts, {told['conversions']:,.0f} conversions"
    how = "row by row" if told["learning"] == "online" else f"in {told['blocks']} logical blocks a batch"
    yield f"learnt    {told['batches']} batches, {how}"
    spent = f"{told['task_seconds']:.1f} s in tasks ({told['task_cpu_seconds']:.1f} s of CPU)"
    share = f"scaling efficiency {told['scaling_efficiency']:.0%}"
    yield f"took      {told['seconds']:.1f} s on {told['workers']} workers, {spent}: {share}"
    yield f"wrote     {out}, digest {found.digest[:16]}; serve it: nba serve --bundle {out}"


def resumed_note(out: Path) -> None:
    """Tell where a training goes on, so that nobody wonders at a short one."""
    if (out / "trained.json").exists():
        say(f"{out} holds what such a training has found: nothing to do")
        load_bundle(out)
    elif (out / "state.npz").exists():
        say(f"{out} holds a training that was interrupted: going on where it stood")
