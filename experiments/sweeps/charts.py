"""Charts of a compared sweep, one set per world, as SVG for a page and as Matplotlib axes for a notebook."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.plots import Chart
from experiments.report_svg import COLOURS, GREY, Draw, legend, name_rows, svg
from experiments.spec import CONTROL
from experiments.sweeps.compared import HARM, VALUE, Compared, Figure, Line
from experiments.sweeps.measures import METRICS
from experiments.sweeps.tables import Record, calibrations, learning, mixes, segments

_COLUMNS = 2  # of legends: names of variants are long


class Drawing(NamedTuple):
    """One chart of a world before it is drawn."""

    key: str
    title: str
    caption: str
    draw: Draw
    height: float = 3.3


def charts(compared: Compared) -> Iterator[Chart]:
    """All charts of all worlds; the same sweep gives the same bytes."""
    for number, world in enumerate(compared.worlds):
        for one in drawings(compared, world):
            key = f"{one.key}-{number}"
            title = f"{one.title}, {world}"
            yield Chart(key, title, f"{title}. {one.caption}", one.caption, svg(key, one.draw, one.height))


def drawings(compared: Compared, world: str) -> Iterator[Drawing]:
    """The charts of a world that there is something to draw for."""
    lines = compared.of_world(world)
    first = VALUE if VALUE in compared.metrics else next(iter(compared.metrics))
    yield _differences(compared, lines, first)
    yield _front(compared, lines)
    for one in (_curves(compared, world), _mix(compared, world), _calibration(compared, world)):
        if one is not None:
            yield one
    for name in ("fatigue", "cost", HARM):
        if name in compared.metrics:
            yield _bars(compared, lines, name)
    fair = _fairness(compared, world)
    if fair is not None:
        yield fair


def colours_of(compared: Compared) -> dict[str, str]:
    """Each strategy's colour, the same in every world."""
    names = sorted({line.strategy for line in compared.lines} - {CONTROL})
    return {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)} | {CONTROL: GREY}


def _whiskers(axes: Any, figures: Sequence[Figure], names: Sequence[str], colours: dict[str, str]) -> None:
    for place, (figure, name) in enumerate(zip(figures, names, strict=True)):
        gap = figure.difference
        if np.isfinite([gap.low, gap.high]).all():
            axes.plot([gap.low, gap.high], [place, place], color=colours[name], solid_capstyle="butt")
        if np.isfinite(gap.mean):
            axes.plot([gap.mean], [place], "o", color=colours[name], markersize=6)


def _differences(compared: Compared, lines: Sequence[Line], metric: str) -> Drawing:
    shown = [line for line in lines if line.strategy != compared.baseline]
    names, colours = [line.strategy for line in shown], colours_of(compared)

    def draw(axes: Any) -> None:
        _whiskers(axes, [line.figures[metric] for line in shown], names, colours)
        axes.axvline(0, color=GREY, linewidth=1)
        name_rows(axes, names)
        axes.set_xlabel(f"{metric.replace('_', ' ')} above {compared.baseline}")
        axes.margins(x=0.1)

    caption = (
        f"{compared.metrics[metric].meaning} Paired difference to {compared.baseline}, with 95 % intervals: "
        "the same customers with the same noise. Where a whisker crosses zero, chance may explain it."
    )
    return Drawing("difference", "Difference to the baseline", caption, draw, 1.0 + 0.42 * len(names))


def _front(compared: Compared, lines: Sequence[Line]) -> Drawing:
    colours = colours_of(compared)

    def spot(line: Line) -> tuple[float, float]:
        runs = compared.runs[line.row].values()
        harm, value = (
            float(np.mean([np.mean(METRICS[name].measure(run)) for run in runs])) for name in (HARM, VALUE)
        )
        return harm, value

    def draw(axes: Any) -> None:
        front = sorted(spot(line) for line in lines if line.on_front)
        axes.plot(*zip(*front, strict=True), color=GREY, linewidth=1, drawstyle="steps-post")
        for line in lines:
            size = 9 if line.on_front else 6
            axes.plot(*spot(line), "o", color=colours[line.strategy], markersize=size, label=line.strategy)
        axes.set_xlabel("opt-outs per customer")
        axes.set_ylabel("net value per customer")
        axes.margins(0.12)
        legend(axes, _COLUMNS)

    caption = "Up and left is better. Large dots are the front: nobody has more value and fewer opt-outs."
    return Drawing("front", "Value against opt-outs", caption, draw, _with_legend(3.2, len(lines)))


def _curves(compared: Compared, world: str) -> Drawing | None:
    rows = [row for row in learning(compared) if row["world"] == world]
    if not rows:
        return None

    def draw(axes: Any) -> None:
        _by_strategy(axes, compared, rows, "day", ("cumulative_net_value", "-"))
        axes.set_xlabel("training day")
        axes.set_ylabel("net value per customer so far")

    caption = "What learning costs or earns while it goes on; mean over seeds, organic conversions included."
    return Drawing("learning", "Learning curves", caption, draw, _with_legend(3.0, _n_strategies(rows)))


def _calibration(compared: Compared, world: str) -> Drawing | None:
    rows = [row for row in calibrations(compared) if row["world"] == world]
    if not rows:
        return None

    def draw(axes: Any) -> None:
        ends = [row[key] for row in rows for key in ("believed", "true")]
        axes.plot([min(ends), max(ends)], [min(ends), max(ends)], color=GREY, linewidth=1)
        _by_strategy(axes, compared, rows, "believed", ("true", "o-"))
        axes.set_xlabel("value that was expected")
        axes.set_ylabel("true expected value")

    caption = "Tenths of customers by the value expected of their contacts; calibrated on the grey line."
    return Drawing("calibration", "Calibration", caption, draw, _with_legend(3.2, _n_strategies(rows)))


def _by_strategy(
    axes: Any, compared: Compared, rows: Sequence[Record], x: str, shown: tuple[str, str]
) -> None:
    colours, (y, style) = colours_of(compared), shown
    names = list(dict.fromkeys(row["strategy"] for row in rows))
    for name in names:
        mine = [row for row in rows if row["strategy"] == name]
        spots = [row[x] for row in mine], [row[y] for row in mine]
        axes.plot(*spots, style, color=colours[name], label=name, markersize=4)
    legend(axes, _COLUMNS)


def _mix(compared: Compared, world: str) -> Drawing | None:
    rows = [row for row in mixes(compared) if row["world"] == world and row["factor"] == "channel"]
    names = list(dict.fromkeys(row["strategy"] for row in rows))
    levels = list(dict.fromkeys(row["level"] for row in rows))

    def draw(axes: Any) -> None:
        left = np.zeros(len(names))
        for number, level in enumerate(levels):
            widths = np.array([row["share"] for row in rows if row["level"] == level])
            colour = GREY if level == levels[-1] else COLOURS[number % len(COLOURS)]
            bars = {"left": 100 * left, "height": 0.62, "color": colour, "label": level}
            axes.barh(np.arange(len(names)), 100 * widths, **bars)
            left = left + widths
        name_rows(axes, names)
        axes.set_xlim(0, 100)
        axes.set_xlabel("% of decisions")
        legend(axes, _COLUMNS)

    caption = "Shares of decisions by channel, silence among them."
    return Drawing("mix", "Action mix", caption, draw, _with_legend(1.0 + 0.34 * len(names), len(levels)))


def _bars(compared: Compared, lines: Sequence[Line], metric: str) -> Drawing:
    colours, known = colours_of(compared), compared.metrics[metric]

    def draw(axes: Any) -> None:
        for place, line in enumerate(lines):
            figure = line.figures[metric]
            axes.barh(place, figure.mean, height=0.62, color=colours[line.strategy])
            if np.isfinite([figure.low, figure.high]).all():
                axes.plot([figure.low, figure.high], [place, place], color="#2b2f36", linewidth=1)
        name_rows(axes, [line.strategy for line in lines])
        axes.set_xlabel(f"{metric.replace('_', ' ')}, {known.unit}")

    caption = " ".join([known.meaning, known.trap]).strip()
    title = metric.replace("_", "-").capitalize()
    return Drawing(metric, title, caption, draw, 0.9 + 0.36 * len(lines))


def _fairness(compared: Compared, world: str) -> Drawing | None:
    rows = [row for row in segments(compared) if row["world"] == world]
    rows = [row for row in rows if row["strategy"] not in (CONTROL, compared.baseline)]
    names = list(dict.fromkeys(row["segment"] for row in rows))
    if len(names) < 2:
        return None

    def draw(axes: Any) -> None:
        colours, strategies = colours_of(compared), list(dict.fromkeys(row["strategy"] for row in rows))
        for number, strategy in enumerate(strategies):
            mine = [row for row in rows if row["strategy"] == strategy]
            shift = (number - (len(strategies) - 1) / 2) * 0.7 / len(strategies)
            places = [names.index(row["segment"]) + shift for row in mine]
            for place, row in zip(places, mine, strict=True):
                ends = [row["difference_low"], row["difference_high"]]
                if np.isfinite(ends).all():
                    axes.plot(ends, [place, place], color=colours[strategy], linewidth=1)
            gains = [row["difference"] for row in mine]
            axes.plot(gains, places, "o", color=colours[strategy], label=strategy, markersize=4)
        axes.axvline(0, color=GREY, linewidth=1)
        name_rows(axes, names)
        axes.set_xlabel(f"net value above {compared.baseline}, per customer of the segment")
        legend(axes, _COLUMNS)

    caption = "Who gains: parity of contact is not parity of benefit. Intervals are of one segment each."
    height = 1.0 + len(names) * max(0.45, 0.12 * _n_strategies(rows))
    return Drawing("segments", "By segment", caption, draw, _with_legend(height, _n_strategies(rows)))


def _n_strategies(rows: Sequence[Record]) -> int:
    return len({row["strategy"] for row in rows})


def _with_legend(height: float, n_entries: int) -> float:
    return height + 0.22 * -(-n_entries // _COLUMNS)
