"""Tune the price of a contact per segment in a world, by coordinate search with common random numbers.

All segments try a step at once and each keeps it only if its own customers gained: one run of all customers
tells about every segment, because what one segment is charged does not reach another (but through branch
capacity). Shape letters: S segments, C channels, D coordinates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from msgspec import Struct

from experiments.longrun.cells import Cell, Ground, Played, difference, paired
from experiments.results import Interval
from nba.arrays import BoolArray, FloatArray, IntArray
from nba.catalogue import Catalogue
from nba.errors import require
from nba.fatigue import FatiguePrice, SegmentPrice

Play: TypeAlias = Callable[[Sequence[Cell]], list[Played]]
_LEAST_STEP = 1e-3  # account currency


class Search(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long to search, and on which seeds; those that judge are others than those that choose."""

    rounds: int = 4
    seeds: tuple[int, ...] = (101, 102)
    fresh_seeds: tuple[int, ...] = (201, 202, 203, 204)
    by_channel: bool = False  # a level and a slope per channel, not one of each for all

    def __post_init__(self) -> None:
        """Check the numbers."""
        require(self.rounds >= 1, "tune-fatigue", "rounds", f"must be >= 1, got {self.rounds}")
        for name in ("seeds", "fresh_seeds"):
            require(len(getattr(self, name)) >= 1, "tune-fatigue", name, "must name at least one seed")
        common = sorted(set(self.seeds) & set(self.fresh_seeds))
        rule = f"must not be seeds that prices are tuned on, got {common} in both"
        require(not common, "tune-fatigue", "fresh_seeds", rule)

    def runs(self, n_channels: int) -> int:
        """How many runs it asks for at most."""
        coordinates = 2 * (n_channels if self.by_channel else 1)
        return len(self.seeds) * (2 + 2 * coordinates * self.rounds) + 3 * len(self.fresh_seeds)


class Prices(NamedTuple):
    """Levels and slopes of all segments."""

    table: FloatArray  # (S, 2, C) account currency per contact, and per unit of the long counter

    @staticmethod
    def none(n_segments: int, n_channels: int) -> Prices:
        """No price."""
        return Prices(np.zeros((n_segments, 2, n_channels)))

    def moved(self, steps: FloatArray, where: IntArray) -> Prices:
        """By steps (S,) in both rows and columns `where` (2, k): kind and channel; never below 0."""
        table = self.table.copy()
        table[:, where[0], where[1]] = np.maximum(table[:, where[0], where[1]] + steps[:, None], 0.0)
        return Prices(table)

    def price(self, ground: Ground) -> FatiguePrice:
        """As configuration; a customer of no segment pays the mean over segments."""
        catalogue = ground.world.config.catalogue
        common = _segment(self.table.mean(axis=0), catalogue)
        if len(ground.segments) == 1:
            return FatiguePrice(**common)
        named = zip(ground.segments, self.table, strict=True)
        segments = {name: SegmentPrice(**_segment(row, catalogue)) for name, row in named}
        return FatiguePrice(**common, segments=segments)


class SegmentVerdict(Struct, frozen=True, kw_only=True):
    """What the tuned price is worth above no price, per customer, on seeds that it was not tuned on."""

    segment: str
    customers: int
    gain: Interval  # account currency over the phase
    above_silence: Interval  # the same above contacting nobody, which a price can also come to
    opt_outs: Interval  # closed channels more per customer
    contacts: float  # per customer under the tuned price
    contacts_unpriced: float

    @property
    def holds(self) -> bool:
        """Whether the whole interval of the gain lies above zero."""
        return self.gain.low > 0


class Tuned(NamedTuple):
    """The end of a search."""

    price: FatiguePrice
    verdicts: tuple[SegmentVerdict, ...]  # everybody first
    tuning_gain: float  # per customer on the seeds that it was tuned on: too good, the best was chosen there

    @property
    def holds(self) -> bool:
        """Whether the price is told from no price, over everybody."""
        return self.verdicts[0].holds


def tune(ground: Ground, search: Search, play: Play) -> Tuned:
    """Search from no price; `play` runs cells, in whatever way."""
    n_segments, n_channels = len(ground.segments), len(ground.world.config.catalogue.channels)
    prices = Prices.none(n_segments, n_channels)
    start, silence = (_all(play, search.seeds, price) for price in (FatiguePrice(), None))
    worth = by_segment(start, n_segments)
    begun = worth.copy()
    coordinates = _coordinates(n_channels, search.by_channel)
    steps = np.full((len(coordinates), n_segments), first_step(start, silence))
    for _ in range(search.rounds):
        for number, where in enumerate(coordinates):
            tried = [prices.moved(sign * steps[number], where) for sign in (1.0, -1.0)]
            cells = [Cell(one.price(ground), seed) for one in tried for seed in search.seeds]
            played, n = play(cells), len(search.seeds)
            up, down = (by_segment(part, n_segments) for part in (played[:n], played[n:]))
            prices, worth, moved = _kept(prices, tried, worth, (up, down))
            steps[number] = np.where(moved, 2.0 * steps[number], 0.5 * steps[number])
    shares = np.bincount(start[0].segment[start[0].segment >= 0], minlength=n_segments) / start[0].net.size
    return Tuned(
        prices.price(ground),
        judged(ground, prices.price(ground), search.fresh_seeds, play),
        float(np.nansum((worth - begun) * shares)),
    )


def judged(
    ground: Ground, price: FatiguePrice, seeds: Sequence[int], play: Play
) -> tuple[SegmentVerdict, ...]:
    """A price against none on some seeds: everybody, then each segment that has anybody."""
    priced, unpriced, silence = (_all(play, seeds, one) for one in (price, FatiguePrice(), None))
    verdicts = []
    for name, segment in ground.groups:
        rows = [one.of(segment) for one in priced]
        if not sum(int(row.sum()) for row in rows):
            continue
        verdicts.append(
            SegmentVerdict(
                segment=name,
                customers=sum(int(row.sum()) for row in rows),
                gain=paired(priced, unpriced, segment),
                above_silence=paired(priced, silence, segment),
                opt_outs=difference(priced, unpriced, "opt_outs", segment),
                contacts=_mean(priced, rows),
                contacts_unpriced=_mean(unpriced, rows),
            )
        )
    return tuple(verdicts)


def by_segment(played: Sequence[Played], n_segments: int) -> FloatArray:
    """(S,) net value per customer over all seeds; NaN where a segment has nobody."""
    rows = np.concatenate([one.segment for one in played])
    nets = np.concatenate([one.net for one in played])[rows >= 0]
    totals = np.bincount(rows[rows >= 0], nets, minlength=n_segments)
    counts = np.bincount(rows[rows >= 0], minlength=n_segments).astype(np.float64)
    means: FloatArray = np.divide(totals, counts, out=np.full(n_segments, np.nan), where=counts > 0)
    return means


def first_step(start: Sequence[Played], silence: Sequence[Played]) -> float:
    """Account currency: what a contact without a price gains or loses, whichever it is."""
    contacts = sum(float(one.contacts.sum()) for one in start)
    gain = sum(float((one.net - other.net).sum()) for one, other in zip(start, silence, strict=True))
    return max(abs(gain) / max(contacts, 1.0), _LEAST_STEP)


def _kept(
    prices: Prices, tried: list[Prices], worth: FloatArray, found: tuple[FloatArray, FloatArray]
) -> tuple[Prices, FloatArray, BoolArray]:
    """Each segment's best of staying, going up and going down; staying where nothing is better."""
    ways = np.stack([worth, *found])
    best = np.where(np.isnan(worth), 0, np.argmax(np.nan_to_num(ways, nan=-np.inf), axis=0))
    tables = np.stack([prices.table, *(one.table for one in tried)])
    rows = np.arange(best.size)
    return Prices(tables[best, rows]), ways[best, rows], best > 0


def _coordinates(n_channels: int, by_channel: bool) -> list[IntArray]:
    """Which entries of a segment's (2, C) table move together: of all channels, or of each."""
    channels = np.arange(n_channels)
    groups = [channels[:, None], channels[:, None]] if by_channel else [channels[None], channels[None]]
    return [
        np.stack([np.full_like(group, kind), group]) for kind, rows in enumerate(groups) for group in rows
    ]


def _all(play: Play, seeds: Sequence[int], price: FatiguePrice | None) -> list[Played]:
    return play([Cell(price, seed) for seed in seeds])


def _mean(played: Sequence[Played], rows: Sequence[BoolArray]) -> float:
    return float(np.concatenate([one.contacts[row] for one, row in zip(played, rows, strict=True)]).mean())


def _segment(row: FloatArray, catalogue: Catalogue) -> dict[str, Any]:
    """A (2, C) table as the fields of a price: in one number where all channels cost the same."""
    fields: dict[str, Any] = {}
    for (table, scalar), values in zip(
        (("levels", "otherwise"), ("slopes", "slope")), row.tolist(), strict=True
    ):
        fields[scalar] = round(max(values), 6)
        if len(set(values)) > 1:
            named = zip(catalogue.channels, values, strict=True)
            fields[table] = {channel.name: round(value, 6) for channel, value in named}
    return fields
