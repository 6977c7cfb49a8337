"""The plots of the page, from its numbers: the same numbers give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.plots import Chart
from experiments.report_svg import COLOURS, GREY, legend, name_rows, svg
from experiments.world_report.check import Check
from experiments.world_report.mechanisms import Curves
from experiments.world_report.ranking import WANTED_TAU, Ranking
from experiments.world_report.samples import Samples
from experiments.world_report.targets import Targets
from experiments.world_report.two_samples import LEVEL, WANTED_AUC

_GOOD, _BAD = COLOURS[0], COLOURS[1]
_SMALL = 7.5  # points
_MOST_CELLS = 14  # members whose cells carry a number


def forest(found: Targets) -> Chart:
    """Every statistic of the table against the simulated ones, in standard errors of the table."""
    rows = found.rows

    def scaled(value: float, at: int) -> float:
        return (value - rows[at].observed) / rows[at].stderr

    def draw(axes: Any) -> None:
        axes.axvspan(-2, 2, color=GREY, alpha=0.18, linewidth=0)
        axes.axvline(0, color=GREY, linewidth=1)
        for at, row in enumerate(rows):
            colour = _GOOD if row.inside else _BAD
            axes.plot([scaled(row.low, at), scaled(row.high, at)], [at, at], color=colour, linewidth=1.4)
            face = colour if row.fitted else "white"
            axes.plot([scaled(row.median, at)], [at], "o", color=colour, markersize=4, markerfacecolor=face)
        name_rows(axes, [row.name for row in rows])
        axes.set_xlabel("simulated minus data, in its standard errors")

    off = [row.name for row in rows if not row.inside]
    return Chart(
        "targets",
        "Targets against simulated values",
        f"{found.inside} of {len(rows)} statistics are where the data are; off: {', '.join(off) or 'none'}.",
        "0 is the data, the grey band twice its standard error. Dots are medians over the ensemble, lines "
        "hold 95 % of it; hollow dots were not fitted. Orange: the data would be odd for this world.",
        svg("targets", draw, 0.9 + 0.17 * len(rows)),
    )


def two_sample(found: Samples) -> Chart:
    """The areas under the curve of all comparisons."""
    every = [*([found.real] if found.real else []), *found.self_tests]

    def draw(axes: Any) -> None:
        axes.axvline(0.5, color=GREY, linewidth=1)
        axes.axvline(WANTED_AUC, color=GREY, linewidth=1, linestyle="--")
        for at, one in enumerate(every):
            colour = _BAD if one.rejected else _GOOD
            for verdict, mark in zip(one.verdicts, "os", strict=True):
                label = verdict.classifier if at == 0 else None
                axes.plot([verdict.auc], [at], mark, color=colour, markersize=6, label=label)
        name_rows(axes, [_wrapped(one.name) for one in every])
        axes.set_xlabel("area under the curve on held-out rows")
        axes.margins(x=0.15)
        legend(axes, 2)

    told = "; ".join(f"{one.name} {one.auc:.3f} (p {one.p:.3f})" for one in every)
    return Chart(
        "samples",
        "Can a classifier tell them apart?",
        f"Areas under the curve: {told}.",
        "0.5: it cannot; the dashed line is the largest area wanted. Orange: the difference is more than "
        f"chance (exact p-values of both classifiers together, at most {LEVEL:g}).",
        svg("samples", draw, 1.2 + 0.5 * len(every)),
    )


def conservation(checks: Sequence[Check]) -> Chart:
    """How much each check has looked at."""

    def draw(axes: Any) -> None:
        for at, one in enumerate(checks):
            axes.barh(at, max(one.cases, 1), height=0.6, color=_BAD if one.violations else _GOOD)
            label = f"{one.violations:,} of {one.cases:,}"
            spot = (max(one.cases, 1), at)
            axes.annotate(label, spot, (4, 0), textcoords="offset points", va="center", fontsize=_SMALL)
        axes.set_xscale("log")
        axes.margins(x=0.25)
        name_rows(axes, [one.name for one in checks])
        axes.set_xlabel("cases looked at; violations of them beside the bar")

    broken = [one.name for one in checks if one.violations]
    return Chart(
        "conservation",
        "Checks and their cases",
        f"{len(checks)} checks, broken: {', '.join(broken) or 'none'}.",
        "A check that has looked at few cases says little. Orange: at least one violation.",
        svg("conservation", draw, 0.9 + 0.3 * len(checks)),
    )


def values_of(found: Ranking, key: str) -> Chart:
    """The net value of each policy over the versions of the world."""
    rows = found.policies

    def draw(axes: Any) -> None:
        for at, row in enumerate(rows):
            axes.plot([row.low, row.high], [at, at], color=COLOURS[0], linewidth=3, alpha=0.45)
            axes.plot([row.value], [at], "o", color=COLOURS[0], markersize=5)
        name_rows(axes, [row.name for row in rows])
        axes.set_xlabel("net value per customer")

    told = "; ".join(f"{row.name} {row.value:.2f} ({row.low:.2f} to {row.high:.2f})" for row in rows)
    return Chart(
        f"values-{key}",
        f"Values over {found.over}",
        f"Net value per customer: {told}.",
        f"Dots: the world's own numbers; bars: range over {len(found.members) - 1} {found.over}. "
        "Bars may overlap and the order still hold, because policies meet the same customers in each.",
        svg(f"values-{key}", draw, 1.0 + 0.34 * len(rows)),
    )


def agreement_of(found: Ranking, key: str) -> Chart:
    """Kendall's tau of every two versions."""
    table, n = np.array(found.agreement), len(found.members)

    def draw(axes: Any) -> None:
        axes.pcolormesh(table, cmap="RdYlBu", vmin=-1.0, vmax=1.0, edgecolors="white", linewidth=1)
        for one, other in np.ndindex(n, n) if n <= _MOST_CELLS else ():
            ink = "white" if abs(table[one, other]) > 0.75 else "#2b2f36"
            spot = (other + 0.5, one + 0.5)
            axes.annotate(f"{table[one, other]:.2f}", spot, ha="center", va="center", fontsize=7, color=ink)
        axes.set_yticks(np.arange(n) + 0.5, found.members, fontsize=_SMALL)
        axes.set_xticks([])
        axes.invert_yaxis()
        axes.grid(False)

    return Chart(
        f"agreement-{key}",
        "Agreement of their rankings",
        f"Kendall's tau of every two of {n} rankings, smallest {table.min():.2f}.",
        f"Kendall's tau of every two rankings: 1 the same order, 0 none, -1 the reverse; {WANTED_TAU} is "
        "wanted with the mean ranking.",
        svg(f"agreement-{key}", draw, 1.0 + 0.27 * n),
    )


def curves(one: Curves) -> Chart:
    """A mechanism at work."""
    n = len(one.x)

    def draw(axes: Any) -> None:
        width = 0.8 / max(len(one.lines), 1)
        for number, (name, line) in enumerate(one.lines.items()):
            colour = COLOURS[number % len(COLOURS)]
            if one.bars:
                axes.bar(np.arange(n) + (number + 0.5) * width - 0.4, line, width, color=colour, label=name)
            else:
                axes.plot(one.x, line, color=colour, label=name)
        if one.bars:
            axes.set_xticks(range(n), one.x, fontsize=_SMALL)
            axes.grid(False, axis="x")
        axes.set_xlabel(one.x_label)
        axes.set_ylabel(one.y_label)
        legend(axes, len(one.lines))

    ends = "; ".join(f"{name} {line[0]:.3g} to {line[-1]:.3g}" for name, line in one.lines.items())
    height = 3.0 + 0.2 * -(-len(one.lines) // 3)
    told = f"{one.y_label}, first to last: {ends}."
    return Chart(one.key, one.title, told, one.caption, svg(one.key, draw, height))


def _wrapped(name: str) -> str:
    """A long name on two lines."""
    words, half = name.split(), len(name) / 2
    first = 0
    while first < len(words) and len(" ".join(words[: first + 1])) <= half + 3:
        first += 1
    return " ".join(words[:first]) + "\n" + " ".join(words[first:]) if len(name) > 24 else name
