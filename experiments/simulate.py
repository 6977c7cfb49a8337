"""Simulate one strategy and write its log to a folder of Parquet parts.

Without learning a part is some customers from the first day to the last, simulated and written by one
task: memory holds a part per worker, whatever the size of the run, and a run that was killed goes on with
the parts that are missing. With learning a part is a stretch of days of all customers, whose states stay
in memory between two publications; such a run starts again from the first day.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import msgspec
import typer
from msgspec import structs

from experiments.compare import learns
from experiments.dataset import TABLES, Manifest, Part, RunFolder, Settings, opened
from experiments.executor import Executor, Report, executor
from experiments.logs import Logs
from experiments.results import Apprenticed
from experiments.rollout import block_customers, rollout, stream
from experiments.spec import Contender, Phase, check_strategies, load_experiment
from experiments.terminal import progress, say
from nba.arrays import FloatArray
from simulator.world import World, load_world

ROWS_PER_PART = 500_000  # decisions at most, unless a single block has more
_LEAST_PARTS = 16  # so that workers share the work evenly


class Run(NamedTuple):
    """What is simulated, and where it is kept."""

    folder: RunFolder
    world: World
    contender: Contender  # not its snapshot, which is a thousand times larger and follows from it
    phase: Phase
    with_oracle: bool


class PartWork(NamedTuple):
    """One part without learning: customers of their own."""

    run: Run
    number: int
    first_customer: int
    customers: int


class PartDone(NamedTuple):
    """A written part, and the largest memory of the process that wrote it."""

    part: Part
    process: int
    peak_mb: float


class PartSink:
    """Writes every stretch of a run as a part."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.parts: list[Part] = []

    def add(self, logs: Logs, daily: FloatArray) -> None:
        """Write the next part."""
        self.parts.append(self._run.folder.write(len(self.parts), self._run.world, logs, daily))


def run_simulation(
    world_name: str,
    experiment: str,
    strategy: str,
    phase: Phase,
    workers: int,
    out: Path,
    as_json: bool,
    with_oracle: bool = False,
) -> None:
    """What `nba simulate` does."""
    world = load_world(world_name)
    plan = load_experiment(experiment)
    spec = plan.spec(strategy, source=experiment)
    check_strategies(plan, world, experiment)
    if not learns(spec):
        phase = structs.replace(phase, publish_every_days=0)
    ours, begun = plan.contender(spec, world, phase.seed), perf_counter()
    with opened(out, Settings.of(world, ours, phase, with_oracle)) as folder:
        run = Run(folder, world, ours, phase, with_oracle)
        manifest, peaks = folder.manifest(), {os.getpid(): peak_mb()}
        if manifest is None:
            manifest, peaks = _simulated(run, workers)
    summary = {
        "customer_days": phase.customer_days,
        "seconds": round(perf_counter() - begun, 3),
        "digest": manifest.digest,
        **{name: round(manifest.sums[name]) for name in ("decisions", "contacts", "conversions")},
        "parts": len(manifest.parts),
        "megabytes": round(sum(sum(part.bytes.values()) for part in manifest.parts) / 1e6, 1),
        "peak_mb": round(sum(peaks.values()), 1),
        **({"apprentice": manifest.apprenticed} if manifest.apprenticed else {}),
    }
    if as_json:
        typer.echo(msgspec.json.encode(summary).decode())
        return
    typer.echo("\n".join(f"{name}: {value}" for name, value in summary.items() if name != "apprentice"))
    if manifest.apprenticed:
        typer.echo(manifest.apprenticed.sentence(strategy))
    typer.echo(f"wrote {' and '.join(str(out / table) for table in TABLES)}")


def _simulated(run: Run, workers: int) -> tuple[Manifest, dict[int, float]]:
    """Simulate what is missing; also the largest memory of the processes that wrote it."""
    learning = run.phase.publish_every_days > 0
    works = [] if learning else part_works(run)
    kept = {work.number: part for work in works if (part := run.folder.part(work.number)) is not None}
    missing = [work for work in works if work.number not in kept]
    if kept:
        say(f"{run.folder.path} holds {len(kept)} of {len(works)} parts: going on with the others")
    left = run.phase.customers - sum(work.customers for work in works if work.number in kept)
    label = f"{run.contender.strategy.name} in {run.world.config.name}"
    with (
        executor(workers if learning or len(missing) > 1 else 1) as where,
        progress(label, left * (run.phase.days + run.phase.settle_days)) as report,
    ):
        if learning:
            (parts, apprenticed), done = _learning(run, where, report), []
        else:
            done = where.map(run_part, missing, report)
            written = {work.number: one.part for work, one in zip(missing, done, strict=True)}
            parts, apprenticed = [part for _, part in sorted((kept | written).items())], None
    peaks = {one.process: one.peak_mb for one in sorted(done, key=lambda one: one.peak_mb)}
    return run.folder.finish(parts, apprenticed), peaks | {os.getpid(): peak_mb()}


def _learning(run: Run, where: Executor, report: Report) -> tuple[list[Part], Apprenticed | None]:
    sink = PartSink(run)
    end = stream(
        run.world,
        run.contender.start(),
        run.phase,
        sink,
        executor=where,
        on_customer_days=report,
        with_oracle=run.with_oracle,
    )
    return sink.parts, Apprenticed.of(end.apprenticeship)


def part_works(run: Run) -> list[PartWork]:
    """The customers of every part, in whole blocks; they follow from world and phase alone."""
    phase, block = run.phase, block_customers(run.world)
    n_blocks = -(-phase.customers // block)
    rows_per_block = block * phase.days / run.world.config.decide_every_days
    blocks = max(1, min(int(ROWS_PER_PART / rows_per_block), n_blocks // _LEAST_PARTS))
    starts = range(0, phase.customers, blocks * block)
    return [
        PartWork(run, number, start, min(blocks * block, phase.customers - start))
        for number, start in enumerate(starts)
    ]


def run_part(work: PartWork, report: Report) -> PartDone:
    """Simulate the customers of a part and write it."""
    run = work.run
    found = rollout(
        run.world,
        run.contender.start(),
        structs.replace(run.phase, customers=work.customers),
        first_customer=work.first_customer,
        on_customer_days=report,
        with_oracle=run.with_oracle,
    )
    part = run.folder.write(work.number, run.world, Logs(found.decisions, found.outcomes), found.daily)
    return PartDone(part, os.getpid(), peak_mb())


def peak_mb() -> float:
    """The largest resident memory that this process has had, in megabytes; Linux counts in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
