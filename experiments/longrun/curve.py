"""How often to contact: value, opt-outs and reach of a strategy at every price of a contact, per segment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from experiments.compare import mean_interval
from experiments.longrun.cells import Cell, Ground, Played, difference, paired
from experiments.longrun.tune import Play, first_step
from experiments.results import Interval
from nba.arrays import FloatArray
from nba.errors import require
from nba.fatigue import FatiguePrice

UNDER, ON, OVER = "under-contacted", "on target", "over-contacted"
_MULTIPLES = (0.0, 0.5, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)  # of the mean gain of a contact without a price


class Point(Struct, frozen=True, kw_only=True):
    """One price of a contact, on all seeds; money in account currency per customer over the phase."""

    price: float | None  # per contact; None for the strategy's own
    contacts_per_week: float
    gain: Interval  # net value above silence, on the same customers with the same noise
    opt_outs: Interval  # channels closed per customer
    reach: Interval  # share of channels open at the start still open at the end; where there are any


class SegmentCurve(Struct, frozen=True, kw_only=True):
    """A segment's curve, most contacts first; labels compare the present with the best point.

    The best point is chosen on half of the seeds, `headroom` is its gain above the present on the others.
    Without headroom that is told from 0 the present counts as on target: nothing speaks against it.
    """

    segment: str
    customers: int
    present: Point
    points: tuple[Point, ...]
    best: int  # index into `points`
    headroom: Interval
    label: str
    customers_under: float  # shares of customers whom the best price contacts more often,
    customers_on: float  # as often
    customers_over: float  # and less often than at present


def frequency_curve(ground: Ground, seeds: Sequence[int], play: Play) -> tuple[SegmentCurve, ...]:
    """Curves of everybody and of every segment; needs two seeds, for the best point is judged on others."""
    require(len(seeds) >= 2, "frequency-curve", "seeds", f"must be at least two, got {len(seeds)}")
    own = ground.snapshot.strategy.arbitration.fatigue_price

    def at(price: FatiguePrice | None) -> list[Played]:
        return play([Cell(price, seed) for seed in seeds])

    silence, free = at(None), at(FatiguePrice())
    step = first_step(free, silence)
    prices = [round(multiple * step, 6) for multiple in _MULTIPLES]
    played = [free, *(at(FatiguePrice(otherwise=price)) for price in prices[1:])]
    present, weeks = at(own), ground.phase.days / 7.0
    return tuple(
        _curve(name, segment, prices, (silence, present, played), weeks)
        for name, segment in ground.groups
        if any(one.of(segment).any() for one in silence)
    )


def runs(n_seeds: int) -> int:
    """How many runs a curve asks for."""
    return n_seeds * (len(_MULTIPLES) + 2)


def _curve(
    name: str,
    segment: int | None,
    prices: Sequence[float],
    runs: tuple[list[Played], list[Played], list[list[Played]]],
    weeks: float,
) -> SegmentCurve:
    silence, present, played = runs
    half = len(silence) // 2
    gains = [paired(one[:half], silence[:half], segment).mean for one in played]
    best = int(np.argmax(gains))
    headroom = paired(played[best][half:], present[half:], segment)
    points = [_point(price, one, silence, segment, weeks) for price, one in zip(prices, played, strict=True)]
    now = _point(None, present, silence, segment, weeks)
    more = difference(played[best], present, "contacts", segment)
    fewer, same, oftener = _shares(played[best], present, segment)
    return SegmentCurve(
        segment=name,
        customers=sum(int(one.of(segment).sum()) for one in silence),
        present=now,
        points=tuple(points),
        best=best,
        headroom=headroom,
        label=ON if headroom.low <= 0 or more.mean == 0 else UNDER if more.mean > 0 else OVER,
        customers_under=oftener,
        customers_on=same,
        customers_over=fewer,
    )


def _point(
    price: float | None, played: list[Played], silence: list[Played], segment: int | None, weeks: float
) -> Point:
    contacts, opt_outs, reach = (_column(played, name, segment) for name in ("contacts", "opt_outs", "reach"))
    left = 1.0 - opt_outs[reach > 0] / reach[reach > 0]
    return Point(
        price=price,
        contacts_per_week=float(contacts.mean()) / weeks,
        gain=paired(played, silence, segment),
        opt_outs=mean_interval(opt_outs),
        reach=mean_interval(left) if left.size else Interval(mean=np.nan, low=np.nan, high=np.nan),
    )


def _shares(best: list[Played], present: list[Played], segment: int | None) -> tuple[float, float, float]:
    """Shares of customers with fewer, as many and more contacts at the best price than at present."""
    gaps = _column(best, "contacts", segment) - _column(present, "contacts", segment)
    return float((gaps < 0).mean()), float((gaps == 0).mean()), float((gaps > 0).mean())


def _column(played: list[Played], name: str, segment: int | None) -> FloatArray:
    """(n,) one column of a segment's customers under all seeds."""
    column: FloatArray = np.concatenate([getattr(one, name)[one.of(segment)] for one in played])
    return column
