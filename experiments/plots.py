"""Charts of a result as SVG for a page: same result, same bytes; real text; no reference to a host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np

from experiments.report_series import evaluation_series, net_value, regret_share
from experiments.report_svg import COLOURS, GREY, legend, name_rows, svg
from experiments.results import ExperimentResult, StrategyResult
from experiments.spec import CONTROL
from nba.arrays import FloatArray

_MOST_LEVELS = 8


class Chart(NamedTuple):
    """One figure of the report."""

    key: str  # unique in the page
    title: str
    alt: str  # what somebody who does not see it should know
    caption: str
    svg: str

    def figure(self, below: str = "") -> str:
        """The HTML of the figure; `below` is HTML that belongs to it."""
        labelled = self.svg.replace("<svg", f'<svg role="img" aria-label="{escape(self.alt)}"', 1)
        return (
            f'<figure id="{self.key}"><h3>{escape(self.title)}</h3>{labelled}'
            f"<figcaption>{escape(self.caption)}</figcaption>{below}</figure>"
        )


def charts(result: ExperimentResult) -> list[Chart]:
    """All figures, in the order of the report."""
    colours = colours_of(result)
    found = [_incremental(result, colours), _judged(result, colours), _contacts(result, colours)]
    learners = [one for one in result.results if one.training_daily.shape[0]]
    if learners:
        found += [_learnt(learners, colours), _regret(learners, colours)]
    found.append(_harm(result, colours))
    for factor, of in (("channel", "decisions"), ("product", "contacts"), ("timing", "contacts")):
        found.append(_mix(result, factor, of))
    return found


def colours_of(result: ExperimentResult) -> dict[str, str]:
    """Each strategy's colour, by its place in the experiment, whoever wins."""
    names = [spec.name for spec in result.experiment.strategies if spec.name != CONTROL]
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}
    return colours | {CONTROL: GREY}


def _incremental(result: ExperimentResult, colours: Mapping[str, str]) -> Chart:
    rows = [one.row for one in result.results]

    def draw(axes: Any) -> None:
        for place, row in enumerate(rows):
            colour = colours[row.strategy]
            low, high = row.incremental_ci_low, row.incremental_ci_high
            axes.plot([low, high], [place, place], color=colour, solid_capstyle="butt")
            axes.plot(
                [low, low, np.nan, high, high], place + 0.12 * np.array([-1, 1, 0, -1, 1]), color=colour
            )
            axes.plot([row.incremental_value], [place], "o", color=colour, markersize=6)
            label = f"{row.incremental_value:+.2f}"
            spot = (row.incremental_value, place)
            axes.annotate(label, spot, (0, 8), textcoords="offset points", ha="center", fontsize=8.5)
        axes.axvline(0, color=GREY, linewidth=1)
        name_rows(axes, [row.strategy for row in rows])
        axes.set_xlabel("value above no contact, per customer")
        axes.margins(x=0.1)

    told = [
        f"{row.strategy} {row.incremental_value:+.2f} "
        f"({row.incremental_ci_low:+.2f} to {row.incremental_ci_high:+.2f})"
        for row in rows
    ]
    return Chart(
        "incremental",
        "Incremental value",
        f"Incremental value per customer with 95 % intervals: {'; '.join(told)}.",
        "Net value above no contact on the same customers. Dots are means, whiskers 95 % intervals: where "
        "one crosses zero, chance may explain the difference.",
        svg("incremental", draw, 0.8 + 0.42 * len(rows)),
    )


def _judged(result: ExperimentResult, colours: Mapping[str, str]) -> Chart:
    control = result.result(CONTROL)
    lines = {
        one.spec.name: evaluation_series(one, control)["evaluation/incremental_value"]
        for one in result.results
        if one.spec.name != CONTROL
    }
    return Chart(
        "judged",
        "How the value builds up",
        f"Incremental value so far over the evaluation days; at the end: {_ends(lines, '{:+.2f}')}.",
        "Incremental value so far, per evaluation customer. Contacts cost at once and pay later, so lines "
        "may dip first; after the last decision only delayed conversions are counted.",
        svg("judged", lambda axes: _lines(axes, lines, colours, "value above no contact")),
    )


def _learnt(learners: Sequence[StrategyResult], colours: Mapping[str, str]) -> Chart:
    lines = {
        one.spec.name: np.cumsum(net_value(one.training_daily)) / one.customers_trained for one in learners
    }
    return Chart(
        "learnt",
        "Net value while learning",
        f"Cumulative net value per customer over the training days; at the end: {_ends(lines, '{:.2f}')}.",
        "Cumulative net value per training customer, conversions that needed no contact included: what "
        "learning costs or earns while it goes on.",
        svg("learnt", lambda axes: _lines(axes, lines, colours, "net value per customer")),
    )


def _regret(learners: Sequence[StrategyResult], colours: Mapping[str, str]) -> Chart:
    lines = {one.spec.name: 100 * regret_share(one.training_daily) for one in learners}
    return Chart(
        "regret",
        "Regret while learning",
        f"Share of the oracle's value missed, last seven training days: {_ends(lines, '{:.0f} %')}.",
        "Share of the value of the best allowed action at each decision that was left on the table, over "
        "the last seven days. The oracle knows every customer's response but does not plan ahead.",
        svg("regret", lambda axes: _lines(axes, lines, colours, "regret, %")),
    )


def _contacts(result: ExperimentResult, colours: Mapping[str, str]) -> Chart:
    rows = [one.row for one in result.results]

    def draw(axes: Any) -> None:
        for row in rows:
            spot = (row.contacts_per_customer, row.incremental_value)
            axes.plot(*spot, "o", color=colours[row.strategy], markersize=8, label=row.strategy)
        axes.axhline(0, color=GREY, linewidth=1)
        axes.set_xlabel("contacts per customer")
        axes.set_ylabel("value above no contact")
        axes.margins(0.12)
        legend(axes, len(rows))

    told = [
        f"{row.strategy} {row.contacts_per_customer:.2f} for {row.incremental_value:+.2f}" for row in rows
    ]
    return Chart(
        "contacts",
        "Contacts and value",
        f"Contacts per customer and incremental value: {'; '.join(told)}.",
        "Up is better, left is quieter: a strategy above and left of another earns more with fewer contacts.",
        svg("contacts", draw, 3.4),
    )


def _harm(result: ExperimentResult, colours: Mapping[str, str]) -> Chart:
    rows = [one.row for one in result.results]

    def draw(axes: Any) -> None:
        for place, row in enumerate(rows):
            axes.barh(place, 100 * row.opt_out_rate, height=0.62, color=colours[row.strategy])
            label = f"{100 * row.opt_out_rate:.1f}"
            spot = (100 * row.opt_out_rate, place)
            axes.annotate(label, spot, (4, 0), textcoords="offset points", va="center", fontsize=8.5)
        name_rows(axes, [row.strategy for row in rows])
        axes.set_xlabel("opt-outs per 100 customers")
        axes.margins(x=0.1)

    told = [
        f"{row.strategy} {100 * row.opt_out_rate:.1f} and {row.complaints_per_1k:.1f} complaints per 1,000"
        for row in rows
    ]
    return Chart(
        "harm",
        "Opt-outs",
        f"Opt-outs per 100 customers: {'; '.join(told)}.",
        "Consents for a channel that customers withdrew after a contact, in the evaluation. Their modelled "
        "loss is part of the net value.",
        svg("harm", draw, 0.8 + 0.36 * len(rows)),
    )


def _mix(result: ExperimentResult, factor: str, of: str) -> Chart:
    """Stacked shares of a factor's levels, one bar per strategy that has any."""
    mixes = {one.spec.name: getattr(one, f"{factor}_mix") for one in result.results}
    mixes = {name: mix for name, mix in mixes.items() if sum(mix.values()) > 0}
    shares = _largest(mixes)

    def draw(axes: Any) -> None:
        left = np.zeros(len(mixes))
        for number, (level, widths) in enumerate(shares.items()):
            colour = GREY if level in (CONTROL, "other") else COLOURS[number % len(COLOURS)]
            axes.barh(
                np.arange(len(mixes)), 100 * widths, left=100 * left, height=0.62, color=colour, label=level
            )
            left = left + widths
        name_rows(axes, list(mixes))
        axes.set_xlim(0, 100)
        axes.set_xlabel(f"% of {of}")
        axes.grid(False, axis="y")
        legend(axes, len(shares))

    told = []
    for name, mix in mixes.items():
        top = sorted(mix, key=lambda level: -mix[level])[:3]
        told.append(f"{name}: " + ", ".join(f"{level} {100 * mix[level]:.0f} %" for level in top))
    return Chart(
        f"{factor}-mix",
        f"{factor.capitalize()} mix",
        f"Shares of {of} by {factor}, the largest per strategy. {'; '.join(told)}.",
        f"Shares of {of} by {factor} in the evaluation"
        + (", silence among them." if of == "decisions" else "."),
        svg(f"{factor}-mix", draw, 1.0 + 0.34 * len(mixes) + 0.22 * -(-len(shares) // 3)),
    )


def _largest(mixes: Mapping[str, Mapping[str, float]]) -> dict[str, FloatArray]:
    """Level to its share in every mix; the levels that are small in all of them together as "other"."""
    levels = list(dict.fromkeys(level for mix in mixes.values() for level in mix))
    shares = {level: np.array([mix.get(level, 0.0) for mix in mixes.values()]) for level in levels}
    by_size = sorted(levels, key=lambda level: -shares[level].sum())
    kept = [level for level in levels if level in by_size[:_MOST_LEVELS] and shares[level].sum() > 0]
    rest = np.sum([shares[level] for level in levels if level not in kept], axis=0)
    return {level: shares[level] for level in kept} | ({"other": rest} if np.sum(rest) > 0 else {})


def _lines(axes: Any, lines: Mapping[str, FloatArray], colours: Mapping[str, str], label: str) -> None:
    for name, values in lines.items():
        axes.plot(np.arange(1, values.size + 1), values, color=colours[name], label=name)
    axes.set_xlabel("day")
    axes.set_ylabel(label)
    legend(axes, len(lines))


def _ends(lines: Mapping[str, FloatArray], form: str) -> str:
    return "; ".join(f"{name} {form.format(values[-1])}" for name, values in lines.items())
