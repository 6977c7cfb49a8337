"""The report of a result: one HTML page that needs nothing else, neither files nor network nor scripts."""

from __future__ import annotations

from html import escape
from importlib import resources
from string import Template
from typing import Any

import msgspec

from experiments.plots import charts, colours_of
from experiments.report_columns import COLUMNS
from experiments.report_markdown import markdown_html
from experiments.results import ExperimentResult
from experiments.spec import Phase, StrategySpec


def report_html(result: ExperimentResult) -> str:
    """The whole page; the same result gives the same bytes."""
    template = resources.files("experiments").joinpath("templates", "report.html").read_text(encoding="utf-8")
    experiment = result.experiment
    subtitle = (
        f"World {result.world}. {len(result.results)} strategies, trained on {experiment.train.customers:,} "
        f"customers over {experiment.train.days} days and judged on {experiment.evaluate.customers:,} other "
        f"customers over {experiment.evaluate.days} days; {result.seconds:,.0f} seconds of computing."
    )
    return Template(template).substitute(
        title=escape(f"Experiment {experiment.name}"),
        subtitle=escape(subtitle),
        verdict=markdown_html(_sentences(result.verdict)),
        leaderboard=_leaderboard(result),
        columns=_meanings(),
        charts="\n".join(chart.figure() for chart in charts(result)),
        settings=_settings(result),
    )


def _sentences(verdict: str) -> str:
    """The verdict without its table, which the page shows in full below it."""
    return "\n".join(line for line in verdict.splitlines() if not line.startswith("|"))


def _leaderboard(result: ExperimentResult) -> str:
    colours = colours_of(result)
    head = "".join(
        f'<th scope="col" title="{escape(one.meaning)}">{escape(one.heading)}</th>' for one in COLUMNS
    )
    rows = []
    for found in result.results:
        name = found.spec.name
        kind = ' class="champion"' if name == result.champion else ""
        chip = f'<span class="chip" style="background:{colours[name]}"></span>'
        cells = "".join(f"<td>{one.form.format(getattr(found.row, one.field))}</td>" for one in COLUMNS)
        rows.append(f'<tr{kind}><th scope="row">{chip}{escape(name)}</th>{cells}</tr>')
    head_row = f'<tr><th scope="col">strategy</th>{head}</tr>'
    return f'<table class="wide"><thead>{head_row}</thead><tbody>{"".join(rows)}</tbody></table>'


def _meanings() -> str:
    return (
        "<dl>" + "".join(f"<dt>{one.heading}</dt><dd>{escape(one.meaning)}</dd>" for one in COLUMNS) + "</dl>"
    )


def _settings(result: ExperimentResult) -> str:
    experiment = result.experiment
    phases = [_phase("training", experiment.train), _phase("evaluation", experiment.evaluate)]
    strategies = [_strategy(spec) for spec in experiment.strategies]
    guard = [
        [
            one.spec.name,
            f"{one.min_propensity:.2g}",
            str(one.constraint_violations),
            f"{one.train_seconds:.1f}",
        ]
        for one in result.results
    ]
    return "<br>".join(
        [
            _text_table(["phase", "customers", "days", "learns every", "settles for", "seed"], phases),
            _text_table(
                ["strategy", "what it does", "policy", "model", "exploration", "own rules"], strategies
            ),
            _text_table(["strategy", "smallest propensity", "limits broken", "training seconds"], guard),
        ]
    )


def _phase(name: str, phase: Phase) -> list[str]:
    every = f"{phase.publish_every_days} days" if phase.publish_every_days else "never"
    return [
        name,
        f"{phase.customers:,}",
        str(phase.days),
        every,
        f"{phase.settle_days} days",
        str(phase.seed),
    ]


def _strategy(spec: StrategySpec) -> list[str]:
    plain = msgspec.to_builtins(spec)
    return [
        spec.name,
        spec.description,
        _short(plain["policy"]),
        _short(plain["model"]),
        f"{spec.floor.epsilon:.0%}",
        ", ".join(str(rule["type"]) for rule in plain["rules"]) or "none",
    ]


def _short(part: dict[str, Any]) -> str:
    numbers = ", ".join(f"{name} {value:g}" for name, value in part.items() if isinstance(value, int | float))
    return f"{part['type']} ({numbers})" if numbers else str(part["type"])


def _text_table(header: list[str], rows: list[list[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    table = f'<table class="wide text"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll">{table}</div>'
