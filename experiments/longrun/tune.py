"""Tune the price of a contact per segment in a world, by a search with common random numbers.

Tried first are parts and multiples of the level, and of the slope, that halve the contacts; the best is
then refined coordinate by coordinate. Small steps alone would find nothing: the best of many noisy draws lies
above a small price as often as above none. All segments try a step at once and each keeps what is believed to
be best for it: one run of all customers tells about every segment, because what one segment is charged does
not reach another (but through branch capacity).
Shape letters: S segments, C channels, N customers of all seeds, T tries.
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
# Parts of the level and of the slope that halve the contacts: level alone, slope alone, both; and how much.
_RAYS = ((1.0, 0.0), (0.0, 1.0), (0.5, 0.5))
_SHARES = (0.25, 0.5, 1.0, 2.0)
_DOUBLINGS = 16  # after which a price that does not halve contacts is given up


class Search(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long to search, and on which seeds; those that judge are others than those that choose."""

    rounds: int = 2
    seeds: tuple[int, ...] = (101, 102, 103, 104)
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
        tries = len(_RAYS) * len(_SHARES) + 2 * coordinates * self.rounds
        return 2 * _DOUBLINGS + len(self.seeds) * (2 + tries) + 3 * len(self.fresh_seeds)


class Prices(NamedTuple):
    """Levels and slopes of all segments."""

    table: FloatArray  # (S, 2, C) account currency per contact, and per unit of the long counter

    @staticmethod
    def none(n_segments: int, n_channels: int) -> Prices:
        """No price."""
        return Prices(np.zeros((n_segments, 2, n_channels)))

    def plus(self, ray: FloatArray) -> Prices:
        """With a level and a slope (2,) more, the same for all segments and channels."""
        return Prices(self.table + ray[:, None])

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


class Standing(NamedTuple):
    """Where a search stands: prices, and what customers came to under those of their own segment."""

    prices: Prices
    nets: FloatArray  # (N,) net value of the customers of all seeds, those of no segment left out
    segment: IntArray  # (N,)

    @staticmethod
    def of(prices: Prices, played: Sequence[Played]) -> Standing:
        """Everybody under these prices; where there is one segment, it is everybody's."""
        segment, nets = (np.concatenate([getattr(one, k) for one in played]) for k in ("segment", "net"))
        if len(prices.table) == 1:
            segment = np.zeros_like(segment)
        return Standing(prices, nets[segment >= 0], segment[segment >= 0])

    def best(self, tried: Sequence[Prices], nets: Sequence[FloatArray]) -> tuple[Standing, BoolArray]:
        """Each segment at what is believed best for it, and (S,) whether it moved; it stays where tied."""
        n_segments, every = len(self.prices.table), np.stack([self.nets, *nets])
        best = believed(every - self.nets, self.segment, n_segments).argmax(axis=0)
        tables = np.stack([self.prices.table, *(one.table for one in tried)])
        table = tables[best, np.arange(n_segments)]
        own = every[best[self.segment], np.arange(self.nets.size)]
        return Standing(Prices(table), own, self.segment), best > 0


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
    # Per customer on the seeds that it was tuned on: too good, for it was chosen there. None if it was not.
    tuning_gain: float | None

    @property
    def holds(self) -> bool:
        """Whether the price is told from no price, over everybody."""
        return self.verdicts[0].holds


def tune(ground: Ground, search: Search, play: Play) -> Tuned:
    """Search, and judge what was found on fresh seeds; `play` runs cells, in whatever way."""
    price, gain = searched(ground, search, play)
    return Tuned(price, judged(ground, price, search.fresh_seeds, play), gain)


def searched(ground: Ground, search: Search, play: Play) -> tuple[FatiguePrice, float]:
    """The price that was found, and its gain per customer above none, flattered, on `search.seeds`."""
    n_segments, n_channels = len(ground.segments), len(ground.world.config.catalogue.channels)
    start, silence = (_all(play, search.seeds, price) for price in (FatiguePrice(), None))
    unit = first_step(start, silence)
    here = begun = Standing.of(Prices.none(n_segments, n_channels), start)

    def tried(ways: Sequence[Prices]) -> list[FloatArray]:
        played = play([Cell(one.price(ground), seed) for one in ways for seed in search.seeds])
        n = len(search.seeds)
        return [Standing.of(way, played[k * n : (k + 1) * n]).nets for k, way in enumerate(ways)]

    scales = [
        _halving(ground, (start[0], search.seeds[0]), unit * np.array(axis), play) for axis in np.eye(2)
    ]
    rays = [here.prices.plus(share * np.array(ray) * scales) for ray in _RAYS for share in _SHARES]
    here, _ = here.best(rays, tried(rays))
    coordinates = _coordinates(n_channels, search.by_channel)
    steps = np.array([np.full(n_segments, 0.25 * scales[where[0, 0]]) for where in coordinates])
    for _ in range(search.rounds):
        for number, where in enumerate(coordinates):
            ways = [here.prices.moved(sign * steps[number], where) for sign in (1.0, -1.0)]
            here, moved = here.best(ways, tried(ways))
            steps[number] = np.where(moved, 2.0 * steps[number], 0.5 * steps[number])
    return here.prices.price(ground), float((here.nets - begun.nets).mean())


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


def believed(differences: FloatArray, segment: IntArray, n_segments: int) -> FloatArray:
    """(T, S) gain per customer of each of T tries (T, N), a segment's drawn towards everybody's.

    The weight of a segment's own mean is tau^2 / (tau^2 + its squared error), tau^2 the variance between
    segments beyond what errors explain (the moment estimator of Hedges 1983): of many noisy means the best
    is mostly luck, and what holds for everybody is then the better guess.
    """
    counts = np.bincount(segment, minlength=n_segments)
    known = counts >= 2
    sums, squares = (
        np.stack([np.bincount(segment, row, minlength=n_segments) for row in rows])
        for rows in (differences, differences**2)
    )
    common = np.broadcast_to(differences.mean(axis=1)[:, None], sums.shape)
    means = np.where(known, sums / np.maximum(counts, 1), common)
    spread = np.maximum(squares - counts * means**2, 0.0) / np.maximum(counts - 1, 1)
    errors = spread / np.maximum(counts, 1)
    if known.sum() < 2:
        return common.copy()
    between = means[:, known].var(axis=1, ddof=1) - errors[:, known].mean(axis=1)
    between = np.maximum(between, 0.0)[:, None]
    weight = np.divide(between, between + errors, out=np.zeros_like(means), where=between > 0)
    gains: FloatArray = common + weight * (means - common)
    return gains


def _halving(ground: Ground, free: tuple[Played, int], first: FloatArray, play: Play) -> float:
    """How much level or slope, whichever `first` (2,) has, halves the contacts of a run without a price.

    Contacts are told from one another by far fewer customers than net values are.
    """
    (unpriced, seed), ray = free, first
    none = Prices.none(len(ground.segments), len(ground.world.config.catalogue.channels))
    for _ in range(_DOUBLINGS):
        (played,) = play([Cell(none.plus(ray).price(ground), seed)])
        if played.contacts.sum() <= 0.5 * unpriced.contacts.sum():
            break
        ray = 2.0 * ray
    return float(ray.max())


def first_step(start: Sequence[Played], silence: Sequence[Played]) -> float:
    """Account currency: what a contact without a price gains or loses, whichever it is."""
    contacts = sum(float(one.contacts.sum()) for one in start)
    gain = sum(float((one.net - other.net).sum()) for one, other in zip(start, silence, strict=True))
    return max(abs(gain) / max(contacts, 1.0), _LEAST_STEP)


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
