"""The page of a trial: what the arms differ by, the sequence over time and the uplift curve, in one file."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from importlib import resources
from string import Template
from typing import Any

import numpy as np

from experiments.plots import Chart
from experiments.report_svg import COLOURS, GREY, legend, name_rows, svg
from experiments.trials.lines import lines
from experiments.trials.told import Shown, Told
from nba.ope.intervals import CONFIDENCE
from nba.trials import LiftSequence, Uplift


def page_html(shown: Shown, source: str, outcome: str) -> str:
    """The whole page."""
    template = resources.files("experiments").joinpath("templates", "trial.html").read_text(encoding="utf-8")
    told = shown.told
    return Template(template).substitute(
        title=escape(f"Trial: {outcome} in {source}"),
        subtitle=escape(f"{told.customers:,} customers, against the arm {told.control!r}"),
        lines="".join(f"<p>{escape(line.strip())}</p>" for line in lines(told)),
        charts="".join(chart.figure() for chart in _charts(shown, outcome)),
    )


def _charts(shown: Shown, outcome: str) -> Iterator[Chart]:
    yield _differences(shown.told, outcome)
    for number, (arm, sequence) in enumerate(shown.sequences.items()):
        if np.isfinite(sequence.highs).any():
            yield _over_time(f"sequence-{number}", arm, sequence, shown, outcome)
    if shown.uplift is not None and shown.told.uplift is not None:
        yield _qini(shown.told.uplift.arm, shown.uplift, outcome)


def _differences(told: Told, outcome: str) -> Chart:
    """Interval and difference of every arm."""

    def draw(axes: Any) -> None:
        for row, one in enumerate(told.lifts):
            axes.plot([one.ci_low, one.ci_high], [row, row], color=COLOURS[0])
            axes.plot([one.difference], [row], "o", color=COLOURS[0])
        axes.axvline(0.0, color=GREY, linewidth=1.0)
        name_rows(axes, [one.arm for one in told.lifts])
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel(f"{outcome} per customer, arm less {told.control}")

    caption = f"Intervals that hold together with {100 * told.confidence:g} %; to be read once, at the end."
    height = 1.3 + 0.4 * len(told.lifts)
    return Chart(
        "differences", "Differences", "Differences with intervals", caption, svg("differences", draw, height)
    )


def _over_time(key: str, arm: str, sequence: LiftSequence, shown: Shown, outcome: str) -> Chart:
    """The sequence, and what a fixed-size interval would have said at each look."""
    looks = np.arange(1, len(shown.days) + 1)
    told = np.isfinite(sequence.highs)

    def draw(axes: Any) -> None:
        some = looks[told]
        axes.fill_between(some, sequence.lows[told], sequence.highs[told], color=COLOURS[0], alpha=0.18)
        axes.plot(some, sequence.differences[told], color=COLOURS[0], label="difference, with its sequence")
        for ends in (sequence.naive_lows, sequence.naive_highs):
            label = "interval that may be read once" if ends is sequence.naive_lows else None
            axes.plot(some, ends[told], ":", color=COLOURS[1], linewidth=1.2, label=label)
        axes.axhline(0.0, color=GREY, linewidth=1.0)
        axes.set_xlabel(f"days since {shown.days[0]}, counting that one")
        axes.set_ylabel(f"{outcome} per customer")
        legend(axes, 2)

    caption = "Once the band leaves the grey line there is a difference, whenever one looked."
    return Chart(key, f"{arm} over time", f"Confidence sequence of {arm}", caption, svg(key, draw))


def _qini(arm: str, found: Uplift, outcome: str) -> Chart:
    """The gain of treating the best share of customers."""

    def draw(axes: Any) -> None:
        reach = 1.96 * found.stderrs
        axes.fill_between(
            found.shares, found.gains - reach, found.gains + reach, color=COLOURS[0], alpha=0.18
        )
        axes.plot(found.shares, found.gains, color=COLOURS[0], label="by the score")
        axes.plot([0.0, 1.0], [0.0, found.total.value], "--", color=GREY, label="in any order")
        axes.set_xlabel("share of customers treated, best first")
        axes.set_ylabel(f"gain in {outcome} per customer of all")
        legend(axes, 2)

    caption = (
        f"Qini {found.qini.value:.4g} +- {found.qini.stderr:.2g}, the area between the lines; the band is "
        f"{100 * CONFIDENCE:g} % at each share by itself."
    )
    return Chart("qini", f"Whom {arm} changes", f"Uplift curve of {arm}", caption, svg("qini", draw))
