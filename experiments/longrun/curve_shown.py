"""What `nba frequency-curve` prints and draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import typer

from experiments.longrun.curve import Point, SegmentCurve, frequency_curve, runs
from experiments.longrun.prepared import Order, player, prepared, where
from experiments.results import Interval
from experiments.world_report.written import write_page


def run_curve(order: Order, seeds: Sequence[int], out: Path | None, as_json: bool) -> None:
    """Play all points, print them, and draw them if there is a place to draw to."""
    with where(order) as executor:
        ground = prepared(order, executor)
        with player(ground, order, executor, runs(len(seeds)), "prices of a contact") as play:
            curves = frequency_curve(ground, seeds, play)
    if out is not None:
        write_page(out, drawing(curves))
    if as_json:
        found = {"strategy": order.strategy, "world": ground.world.config.name, "curves": curves}
        typer.echo(msgspec.json.encode(found).decode())
        return
    typer.echo("\n".join(line for curve in curves for line in lines(curve)))


def lines(curve: SegmentCurve) -> Iterator[str]:
    """One segment for people; intervals are 95 %."""
    yield f"{curve.segment}: {curve.label} ({curve.customers:,} customers)"
    yield f"{'price':>10}{'contacts/week':>15}{'value above silence':>30}{'opt-outs':>28}{'reach left':>26}"
    for number, point in enumerate(curve.points):
        yield _row(f"{point.price:.3g}", point) + ("  best" if number == curve.best else "")
    yield _row("present", curve.present)
    yield (
        f"best above present, on other seeds: {_interval(curve.headroom, 3)}; it contacts "
        f"{curve.customers_under:.0%} of the customers more often, {curve.customers_on:.0%} as often and "
        f"{curve.customers_over:.0%} less often\n"
    )


def drawing(curves: Sequence[SegmentCurve]) -> str:
    """Value above silence per customer against contacts per week, as an SVG file; a ring is the present."""
    from experiments.report_svg import legend, svg

    def draw(axes: Any) -> None:
        for curve in curves:
            points = sorted(curve.points, key=lambda point: point.contacts_per_week)
            often = [point.contacts_per_week for point in points]
            (line,) = axes.plot(often, [point.gain.mean for point in points], marker=".", label=curve.segment)
            low, high = ([getattr(point.gain, end) for point in points] for end in ("low", "high"))
            axes.fill_between(often, low, high, color=line.get_color(), alpha=0.12)
            now = curve.present
            axes.plot([now.contacts_per_week], [now.gain.mean], "o", mfc="none", ms=8, color=line.get_color())
        axes.set_xlabel("contacts per customer and week")
        axes.set_ylabel("value above silence per customer")
        legend(axes, len(curves))

    return svg("frequency", draw).replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)


def _row(name: str, point: Point) -> str:
    return (
        f"{name:>10}{point.contacts_per_week:>15.2f}{_interval(point.gain, 2):>30}"
        f"{_interval(point.opt_outs, 4):>28}{_interval(point.reach, 3):>26}"
    )


def _interval(one: Interval, digits: int) -> str:
    return f"{one.mean:.{digits}f} ({one.low:.{digits}f} to {one.high:.{digits}f})"
