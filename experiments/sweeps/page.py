"""The page of a compared sweep: one HTML file that needs neither other files nor network nor scripts."""

from __future__ import annotations

from html import escape
from importlib import resources
from string import Template

from experiments.report_markdown import markdown_html
from experiments.sweeps.charts import charts
from experiments.sweeps.compared import Compared
from experiments.sweeps.tables import figures, segments
from experiments.sweeps.told import leaderboard, number, remarks


def page_html(compared: Compared) -> str:
    """The whole page; the same sweep gives the same bytes."""
    template = resources.files("experiments").joinpath("templates", "report.html").read_text(encoding="utf-8")
    worlds, strategies = compared.worlds, {line.strategy for line in compared.lines}
    seeds = max((line.seeds for line in compared.lines), default=0)
    subtitle = (
        f"{len(strategies)} strategies in {len(worlds)} worlds under up to {seeds} seeds each; differences "
        f"are to {compared.baseline}, on the same customers with the same noise."
    )
    return Template(template).substitute(
        title=escape(f"Sweep {compared.name}"),
        subtitle=escape(subtitle),
        verdict=_remarks(compared),
        leaderboard=_leaderboards(compared),
        columns=_meanings(compared),
        charts="\n".join(chart.figure() for chart in charts(compared)),
        settings=_figures(compared) + _segments(compared) + _failures(compared),
    )


def _remarks(compared: Compared) -> str:
    """What the figures say, world by world."""
    told = {world: "\n".join(f"- {one}" for one in remarks(compared, world)) for world in compared.worlds}
    return "".join(f"<h3>{escape(world)}</h3>{markdown_html(text)}" for world, text in told.items())


def _leaderboards(compared: Compared) -> str:
    return "".join(
        f"<h3>{escape(world)}</h3>{_table(*leaderboard(compared, world))}" for world in compared.worlds
    )


def _figures(compared: Compared) -> str:
    headings = ["world", "strategy", "seeds", "metric", "mean", "95 %", "difference", "95 %"]
    rows = [
        [
            str(row["world"]),
            str(row["strategy"]),
            str(row["seeds"]),
            str(row["metric"]),
            number(row["mean"]),
            f"{number(row['low'])} to {number(row['high'])}",
            number(row["difference"], "+"),
            f"{number(row['difference_low'], '+')} to {number(row['difference_high'], '+')}",
        ]
        for row in figures(compared)
    ]
    return f"<details><summary>All figures with their intervals</summary>{_table(headings, rows)}</details>"


def _segments(compared: Compared) -> str:
    headings = [
        "world",
        "strategy",
        "segment",
        "contacts",
        "opt-outs",
        "complaints per 1,000",
        "value",
        "gain",
    ]
    names = ("contacts", "opt_outs", "complaints_per_1k", "net_value", "difference")
    rows = [
        [row["world"], row["strategy"], row["segment"], *(number(row[name]) for name in names)]
        for row in segments(compared)
    ]
    return f"<details><summary>By segment</summary>{_table(headings, rows)}</details>"


def _failures(compared: Compared) -> str:
    """Cells that could not be run, with their tracebacks."""
    return "".join(
        f"<details><summary>failed: {escape(one.row.strategy)} in {escape(one.row.world)}, seeds "
        f"{', '.join(map(str, one.seeds))}: {escape(one.failure.error)}</summary>"
        f"<pre>{escape(one.failure.traceback)}</pre></details>"
        for one in compared.failures
    )


def _meanings(compared: Compared) -> str:
    rows = (
        f"<dt>{escape(name)}</dt><dd>{escape(' '.join([one.meaning, one.trap]).strip())} "
        f"({escape(one.unit or 'no unit')})</dd>"
        for name, one in compared.metrics.items()
    )
    return f"<dl>{''.join(rows)}</dl>"


def _table(headings: list[str], rows: list[list[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in headings)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    table = f'<table class="wide"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll">{table}</div>'
