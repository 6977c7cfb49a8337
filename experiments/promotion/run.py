"""The steps of `nba promote`: fetch both policies, gather evidence, judge, write it down, and act on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, TypeAlias

import msgspec
import typer

from experiments.executor import executor
from experiments.inputs import Input
from experiments.promotion.evidence import Evidence
from experiments.promotion.from_world import Pair, check_fits, evidence_of_world, fresh_seeds, spent
from experiments.promotion.gates import Gates, load_gates
from experiments.promotion.judge import Judgement, judged
from experiments.promotion.judgement_run import log_judgement
from experiments.promotion.records import attempts, plain, put_in_place, reference_of, row, write
from experiments.registry import Change, Pulled, pull
from experiments.terminal import progress, say
from nba.bundle import load_bundle
from nba.errors import require
from simulator.world import load_world


class OfWorld(NamedTuple):
    """A world to judge by."""

    world: str
    seeds: int
    customers: int
    days: int
    settle_days: int


class OfLog(NamedTuple):
    """A log to judge by; its columns."""

    log: Path
    reward: str | None = None
    action: str = "action"
    propensity: str | None = None
    cluster: str = "customer"
    at: str = "at"


By: TypeAlias = OfWorld | OfLog


class Order(NamedTuple):
    """What is asked for."""

    candidate: str
    baseline: str
    store: Path
    gates: Path | None
    by: By
    workers: int = 1


class Done(NamedTuple):
    """What was found, and done about it."""

    judgement: Judgement
    change: Change | None  # None where it was refused


def carry_out(order: Order) -> Done:
    """Judge a candidate, write the verdict down, and promote it if it passed."""
    gates = load_gates(order.gates)
    with TemporaryDirectory(prefix="nba-promote-") as name:
        ours, theirs = (
            pull(order.store, reference_of(text), Path(name) / part)
            for part, text in (("candidate", order.candidate), ("baseline", order.baseline))
        )
        rule = f"is the baseline itself, version {theirs.policy.version}: there is nothing to prove"
        require(ours.policy.digest != theirs.policy.digest, order.candidate, "--candidate", rule)
        tried = attempts(order.store, ours.policy)
        attempt = tried + isinstance(order.by, OfWorld)
        evidence = _evidence(order, gates, ours, theirs, attempt)
    found = judged(evidence, gates, ours.policy.reference, theirs.policy.reference)
    write(order.store, ours.policy, theirs.policy, found, attempt)
    log_judgement(
        order.store, ours.policy, theirs.policy, found, attempt, _rests_on(order.by, found, attempt)
    )
    change = put_in_place(order.store, ours.policy, theirs.policy, found) if found.passed else None
    return Done(found, change)


def _evidence(order: Order, gates: Gates, ours: Pulled, theirs: Pulled, attempt: int) -> Evidence:
    """From the world or the log that is named."""
    by = order.by
    if isinstance(by, OfLog):
        from experiments.promotion.from_log import evidence_of_log

        return evidence_of_log(by, (ours.path, theirs.path), gates, order.workers)
    candidate, baseline = load_bundle(ours.path), load_bundle(theirs.path)
    world = load_world(by.world)
    pair = Pair(world, candidate, baseline, by.customers, by.days, by.settle_days, gates.elderly_age)
    check_fits(pair)
    seeds = fresh_seeds(ours.policy.digest, theirs.policy.digest, attempt, by.seeds)
    confidence = spent(gates.confidence, attempt)
    say(f"attempt {attempt} of {ours.policy.reference} by a world: {100.0 * confidence:.5g} % intervals")
    total = 2 * by.seeds * by.customers * (by.days + by.settle_days)
    with executor(order.workers) as where, progress("both policies", total) as report:
        return evidence_of_world(pair, seeds, gates, confidence, where, report)


def _rests_on(by: By, found: Judgement, attempt: int) -> Input:
    """What the judgement was made on."""
    profile = {"rounds": found.evidence.rounds, "days": found.evidence.days}
    if isinstance(by, OfLog):
        return Input.log(by.log, "promotion", profile)
    told = {name: value for name, value in by._asdict().items() if name != "world"}
    pair = {"candidate": found.candidate, "baseline": found.baseline, "attempt": attempt}
    return Input.simulated(Path(by.world).stem, "promotion", told | pair, profile)


def run_promotion(order: Order, as_json: bool) -> None:
    """What `nba promote` does."""
    done = carry_out(order)
    if as_json:
        told = plain(done.judgement) | {"change": msgspec.to_builtins(done.change)}
        typer.echo(msgspec.json.encode(told).decode())
    else:
        typer.echo("\n".join(_lines(done)))
    if done.change is None:
        typer.echo(f"error: {done.judgement.candidate} is not promoted.", err=True)
        raise typer.Exit(1)


def _lines(done: Done) -> Iterator[str]:
    """The gates as a table, then why it is refused, or what changed."""
    found = done.judgement
    evidence = found.evidence
    yield f"{found.candidate} against {found.baseline} on {evidence.source}"
    yield f"{100.0 * evidence.confidence:.5g} % intervals: {evidence.method}; {evidence.units:,} pairs"
    rows = [("gate", "passed", "figure", "interval", "limit", "unit"), *map(row, found.checks)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for cells in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
    yield from (f"- {reason}" for reason in found.reasons)
    yield from (f"note: {note}" for note in evidence.notes)
    if done.change is None:
        yield "refused: the champion stays"
        return
    yield f"promoted: champion is version {done.change.version}, before: version {done.change.previous}"
