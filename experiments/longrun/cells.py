"""One strategy under many prices of a contact: each played on the same customers with the same noise.

What was played is kept in a folder under the digest of everything that it follows from, so that a search that
was interrupted takes up where it stopped. Shape letters: N customers, S segments, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from msgspec import structs

from experiments.compare import mean_interval
from experiments.executor import Finishing, Report
from experiments.kept import Shelf, digest_of, npz_bytes, npz_read, run_missing
from experiments.logs import MemorySink
from experiments.results import Interval
from experiments.rollout import stream
from experiments.spec import MOST_CUSTOMERS, Phase
from nba.arrays import BoolArray, FloatArray, IntArray
from nba.bundle import posterior_bytes
from nba.errors import InvalidConfig
from nba.fatigue import FatiguePrice
from nba.policies import NoContact
from nba.snapshot import Snapshot
from simulator.world import World

EVERYBODY = "everybody"


class Ground(NamedTuple):
    """What all cells share: a strategy that has learnt, and customers whom it has never met."""

    world: World
    snapshot: Snapshot
    phase: Phase  # without a rhythm of publication: beliefs are frozen

    @property
    def segments(self) -> tuple[str, ...]:
        """(S,) names; a world without segments has one, of everybody."""
        schema = self.world.config.schema
        return (EVERYBODY,) if schema.segment is None else schema.segments

    @property
    def groups(self) -> list[tuple[str, int | None]]:
        """Names and indices of everybody, and of each segment if there are several."""
        named = list(enumerate(self.segments)) if len(self.segments) > 1 else []
        return [("all", None), *((name, number) for number, name in named)]


class Cell(NamedTuple):
    """One price under the noise of one seed; no price is silence."""

    price: FatiguePrice | None
    seed: int


class Played(NamedTuple):
    """What came of it, per customer."""

    segment: IntArray  # (N,) index, -1 for none
    # (N,) account currency over the phase, less modelled losses by opt-outs and complaints, and less luck
    # with contacts, which has mean 0 and is noise (simulator.oracle.luck).
    net: FloatArray
    contacts: FloatArray  # (N,)
    opt_outs: FloatArray  # (N,) channels closed
    reach: FloatArray  # (N,) channels open at the start

    def of(self, segment: int | None) -> BoolArray:
        """(N,) the customers of a segment, all of them for None."""
        everybody: BoolArray = np.ones(self.net.size, dtype=np.bool_)
        return everybody if segment is None else self.segment == segment


def play(
    ground: Ground,
    cells: Sequence[Cell],
    executor: Finishing,
    folder: Path | None = None,
    on_customer_days: Report | None = None,
) -> list[Played]:
    """What each cell comes to, in their order; those found in the folder are read and not played again."""
    task, report = partial(play_one, ground), on_customer_days
    if folder is None:
        return executor.map(task, cells, report)
    common, shelf = _digest(ground), Shelf(folder, ".npz", _read, lambda played: npz_bytes(played._asdict()))
    names = [digest_of([common, repr(cell.price), cell.seed]) for cell in cells]
    todo, each = dict(zip(names, cells, strict=True)), ground.phase.customer_days

    def on_result(name: str, played: Played, was_kept: bool) -> None:
        if was_kept and report is not None:
            report(each)

    kept = run_missing(executor, task, todo, shelf, report, on_result)
    return [kept[name] for name in names]


def play_one(ground: Ground, cell: Cell, report: Report) -> Played:
    """One cell; a pure function of its arguments."""
    snapshot, phase = under(ground.snapshot, cell.price), structs.replace(ground.phase, seed=cell.seed)
    totals = stream(
        ground.world,
        snapshot,
        phase,
        MemorySink(),
        first_customer=MOST_CUSTOMERS,
        on_customer_days=report,
        with_oracle=False,
        with_luck=True,
    ).totals
    ids = np.arange(MOST_CUSTOMERS, MOST_CUSTOMERS + phase.customers)
    state = ground.world.reset(cell.seed, ids)
    seen = ground.world.observe(state, np.arange(phase.customers))
    codes = seen.features[:, ground.world.config.schema.segment_columns]
    segment = np.where(codes.any(axis=1), codes.argmax(axis=1), -1)
    reach = seen.consents.sum(axis=1).astype(np.float64)
    return Played(segment, totals.net - totals.luck, totals.contacts, totals.opt_outs, reach)


def under(snapshot: Snapshot, price: FatiguePrice | None) -> Snapshot:
    """The snapshot at a price of contact instead of its own; without one it contacts nobody."""
    strategy = snapshot.strategy
    if price is None:
        return structs.replace(snapshot, strategy=structs.replace(strategy, policy=NoContact()))
    arbitration = structs.replace(strategy.arbitration, fatigue_price=price)
    return structs.replace(snapshot, strategy=structs.replace(strategy, arbitration=arbitration))


def paired(one: Sequence[Played], other: Sequence[Played], segment: int | None = None) -> Interval:
    """Net value per customer of one above the other, on the same customers under the same seeds.

    Customers count as independent, which those of a branch with a full day are not quite.
    """
    return difference(one, other, "net", segment)


def difference(one: Sequence[Played], other: Sequence[Played], column: str, segment: int | None) -> Interval:
    """The same for any column of Played; NaN where the segment has nobody."""
    gaps = [
        (getattr(mine, column) - getattr(its, column))[mine.of(segment)]
        for mine, its in zip(one, other, strict=True)
    ]
    together = np.concatenate(gaps)
    return mean_interval(together) if together.size else Interval(mean=np.nan, low=np.nan, high=np.nan)


def check_folder(folder: Path | None) -> None:
    """Make the folder of what was played, or say that it cannot be written."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidConfig(str(folder), "--cells", f"cannot be written: {error.strerror}") from None


def _digest(ground: Ground) -> str:
    """Of world, strategy with all that it has learnt, and phase; the seed and the price are a cell's own.

    Told by `repr`, which names every field: what JSON leaves out as a default depends on whether the value
    came from a file, from a pickle or from the class.
    """
    snapshot, parts = ground.snapshot, sha256()
    phase = structs.replace(ground.phase, seed=0)
    for part in (ground.world.config, snapshot.strategy, snapshot.prices.tolist(), phase):
        parts.update(repr(part).encode())
    parts.update(posterior_bytes(snapshot.posterior, snapshot.outcomes))
    return parts.hexdigest()


def _read(data: bytes) -> Played:
    stored = npz_read(data)
    return Played(*(stored[name] for name in Played._fields))
