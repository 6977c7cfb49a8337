"""Finished sweeps in a folder: what `nba compare --sweep ID` finds again, from ID.json and the cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from experiments.dataset import write_json
from experiments.sweeps.cells import Failure, shelf
from experiments.sweeps.config import Sweep
from experiments.sweeps.custom import Sources
from experiments.sweeps.plan import Plan, Row
from experiments.sweeps.played import Played
from experiments.sweeps.run import CELLS, Failed, Stopped, Swept
from nba.errors import InvalidConfig, NBAError, require


class UnknownSweepError(NBAError, LookupError):
    """No finished sweep of this id is in the folder."""


class KeptRow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One strategy in one world: the digests of its cells, and when it was stopped."""

    strategy: str
    world: str
    cells: tuple[str, ...]
    seeds: tuple[int, ...]  # under which it was run
    stopped_by: str | None


class KeptFailure(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cell that could not be run."""

    strategy: str
    world: str
    seeds: tuple[int, ...]
    error: str
    traceback: str


class KeptSweep(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a finished sweep writes down; the cells hold the rest."""

    id: str
    source: str
    sweep: Sweep
    sources: Sources
    strategies: dict[str, dict[str, Any]]
    rows: tuple[KeptRow, ...]
    failures: tuple[KeptFailure, ...]


def keep(swept: Swept, folder: Path) -> Path:
    """Write ID.json."""
    plan = swept.plan
    rows = [
        KeptRow(
            strategy=row.strategy,
            world=row.world,
            cells=digests,
            seeds=tuple(swept.runs[row]),
            stopped_by=swept.stopped[row].by if row in swept.stopped else None,
        )
        for row, digests in plan.digests.items()
    ]
    failures = [
        KeptFailure(
            strategy=one.row.strategy,
            world=one.row.world,
            seeds=one.seeds,
            error=one.failure.error,
            traceback=one.failure.traceback,
        )
        for one in swept.failures
    ]
    kept = KeptSweep(
        id=plan.id,
        source=Path(plan.source).name,
        sweep=plan.sweep,
        sources=plan.sources,
        strategies=plan.tables,
        rows=tuple(rows),
        failures=tuple(failures),
    )
    path = folder / f"{plan.id}.json"
    write_json(path, kept)
    return path


def kept_sweep(folder: Path, sweep_id: str) -> Swept:
    """A finished sweep, read again; `sweep_id` may be the first digits of one, or a name that is unique."""
    kept = _described(folder, sweep_id)
    runs = {Row(one.strategy, one.world): _runs(kept.sweep, one, folder) for one in kept.rows}
    stopped = {
        Row(one.strategy, one.world): Stopped(len(one.seeds), one.stopped_by)
        for one in kept.rows
        if one.stopped_by is not None
    }
    digests = {Row(one.strategy, one.world): one.cells for one in kept.rows}
    worlds: dict[str, Any] = {one.world: one.world for one in kept.rows}
    plan = Plan(kept.sweep, kept.source, kept.sources, kept.strategies, worlds, digests)
    failures = [
        Failed(Row(one.strategy, one.world), one.seeds, Failure(error=one.error, traceback=one.traceback))
        for one in kept.failures
    ]
    return Swept(plan, runs, stopped, tuple(failures), 0, len(set(sum(digests.values(), ()))))


def _runs(sweep: Sweep, row: KeptRow, folder: Path) -> dict[int, Played]:
    """The runs of a row by their seeds."""
    cells = shelf(folder / CELLS)
    runs: dict[int, Played] = {}
    for seeds, name in zip(sweep.seed_blocks, row.cells, strict=True):
        if not set(seeds) <= set(row.seeds):
            continue
        found = cells.get(name)
        rule = f"the cell {name} of {row.strategy} in {row.world} is gone; run `nba sweep` again"
        require(found is not None, str(folder / CELLS), "", rule)
        runs |= dict(zip(seeds, found.runs if found else (), strict=True))
    return runs


def _described(folder: Path, sweep_id: str) -> KeptSweep:
    known = {}
    for path in sorted(folder.glob("*.json")):
        try:
            known[path.stem] = msgspec.json.decode(path.read_bytes(), type=KeptSweep)
        except (OSError, msgspec.MsgspecError) as error:
            raise InvalidConfig(str(path), "", f"is no sweep ({error}); move it elsewhere") from None
    hits = [one for key, one in known.items() if key.startswith(sweep_id) or one.sweep.name == sweep_id]
    if len(hits) == 1:
        return hits[0]
    told = ", ".join(f"{key} ({one.sweep.name})" for key, one in known.items()) or "none yet"
    what = "several sweeps match" if hits else "no finished sweep is"
    way_out = "`nba sweep` makes one; --sweeps names another folder"
    raise UnknownSweepError(f"{folder}: {what} {sweep_id!r}; it has: {told}. {way_out}.")
