"""The report as one HTML page that needs nothing else, neither files nor network nor scripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from string import Template

from experiments.world_report import charts
from experiments.world_report.ranking import Ranking
from experiments.world_report.result import Section, WorldReport
from experiments.world_report.sources import ASSUMED, DATA, DOCUMENT, PARTLY, UNSAID, Source
from experiments.world_report.two_samples import Comparison

_MARKS = {True: ("good", "holds"), False: ("bad", "fails"), None: ("open", "not judged")}


def page_html(found: WorldReport) -> str:
    """The whole page; the same report gives the same bytes."""
    template = resources.files("experiments").joinpath("templates", "world.html").read_text(encoding="utf-8")
    rankings = (("data", found.rankings.ensemble), ("assumptions", found.rankings.assumptions))
    return Template(template).substitute(
        title=escape(f"World {found.world}"),
        subtitle=escape(_subtitle(found)),
        verdicts=_verdicts(found.sections),
        targets=_targets(found),
        figures=_table(
            ["figure", "value", "unit", "source"],
            [[one.name, f"{one.value:.3g}", one.unit, "simulated, assumed"] for one in found.figures],
        ),
        samples=_samples(found),
        conservation=charts.conservation(found.checks).figure(),
        checks=_table(
            ["check", "what must hold", "cases", "violations", "found"],
            [
                [one.name, one.what, f"{one.cases:,}", f"{one.violations:,}", one.detail]
                for one in found.checks
            ],
        ),
        rankings="".join(_ranking(one, key) for key, one in rankings),
        mechanisms="\n".join(
            charts.curves(one).figure(_told(found.sources, one.fields)) for one in found.curves
        ),
        kinds=escape(_kinds(found.sources)),
        sources=_table(
            ["field", "source", "what the file says"],
            [[one.field, one.kind, one.comment or one.section] for one in found.sources],
        ),
    )


def _subtitle(found: WorldReport) -> str:
    fitted = found.calibration.get("data")
    calibrated = f"Calibrated on {fitted}." if fitted else "Never calibrated."
    return (
        f"{calibrated} {found.customers:,} customers over {found.days} days in every run, seed {found.seed}; "
        f"{found.seconds:,.0f} seconds of computing."
    )


def _verdicts(sections: Sequence[Section]) -> str:
    items = []
    for one in sections:
        kind, word = _MARKS[one.passes]
        items.append(
            f'<li class="{kind}"><span class="mark">{word}</span> <b>{escape(one.name)}.</b> '
            f"{escape(one.sentence)}</li>"
        )
    return f'<ul class="verdicts">{"".join(items)}</ul>'


def _targets(found: WorldReport) -> str:
    if not found.targets.rows:
        return f"<p>{escape(found.targets.absent)}</p>"
    rows = [
        [
            one.name,
            f"{one.observed:.4f}",
            f"{one.stderr:.4f}",
            f"{one.world:.4f}",
            f"{one.median:.4f}",
            f"{one.low:.4f} to {one.high:.4f}",
            f"{one.tail:.3f}",
            f"{one.p:.3f}",
            "yes" if one.fitted else "no",
        ]
        for one in found.targets.rows
    ]
    head = ["statistic", "data", "error", "world", "median", "95 % of the ensemble", "tail", "p", "fitted"]
    odd = [not one.inside for one in found.targets.rows]
    edited = ", ".join(found.targets.edited)
    changed = f"<p>Changed by hand since the calibration: {escape(edited)}.</p>" if edited else ""
    return changed + charts.forest(found.targets).figure() + _table(head, rows, odd)


def _samples(found: WorldReport) -> str:
    every = [*([found.samples.real] if found.samples.real else []), *found.samples.self_tests]
    rows = [_comparison(one) for one in every]
    head = ["samples", "rows each", "area", "p", "told apart", "as expected", "what tells most"]
    return charts.two_sample(found.samples).figure() + _table(head, rows)


def _comparison(one: Comparison) -> list[str]:
    telling = "; ".join(
        f"{column.name} {column.first:.3g} against {column.second:.3g}" for column in one.telling
    )
    expected = "" if not one.expected else "yes" if one.as_expected else "no"
    apart = "yes" if one.rejected else "no"
    name = f"{one.name} ({one.note})" if one.note else one.name
    return [name, f"{one.rows:,}", f"{one.auc:.3f}", f"{one.p:.4f}", apart, expected, telling]


def _ranking(found: Ranking, key: str) -> str:
    rows = [
        [
            one.name,
            one.description,
            f"{one.mean_rank:.1f}",
            f"{one.value:.2f}",
            f"{one.low:.2f} to {one.high:.2f}",
            f"{one.contacts:.2f}",
        ]
        for one in found.policies
    ]
    head = ["policy", "what it does", "mean rank", "value", "over all", "contacts"]
    taus = ", ".join(f"{name} {tau:.2f}" for name, tau in zip(found.members, found.taus, strict=True))
    flips = [
        [
            f"{one.better} before {one.worse}",
            f"{one.ahead:.0%}",
            f"{one.clearly_ahead} / {one.clearly_behind}",
            "a claim about the simulator" if one.is_clear else "one way may be noise",
        ]
        for one in found.flips
    ]
    named = _table(["pair", "holds in", "clearly so / clearly not", "reading"], flips)
    return (
        f"<h3>Over {escape(found.over)}</h3><div class='charts'>{charts.values_of(found, key).figure()}"
        f"{charts.agreement_of(found, key).figure()}</div>{_table(head, rows)}"
        f"<p class='soft'>Kendall's tau with the mean ranking: {escape(taus)}. With other customers in the "
        f"same world it is {found.noise_tau:.2f}: what is lost there is noise of the customers drawn.</p>"
        + (named if flips else "<p>No pair of policies changes places.</p>")
    )


def _kinds(sources: Sequence[Source]) -> str:
    counts = Counter(one.kind for one in sources)
    told = ", ".join(f"{counts[kind]} {kind}" for kind in (DATA, PARTLY, DOCUMENT, ASSUMED, UNSAID))
    return f"{len(sources)} fields of the world's file: {told}."


def _told(sources: Sequence[Source], fields: Iterable[str]) -> str:
    """What the file says of some fields, a chip for each."""
    known = {one.field: one for one in sources}
    chips = []
    for field in fields:
        kind = known[field].kind if field in known else "default"
        chips.append(f'<span class="source {kind.replace(" ", "-")}">{escape(field)}: {kind}</span>')
    return f"<p class='sources'>{' '.join(chips)}</p>"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], odd: Sequence[bool] = ()) -> str:
    """A table; `odd` rows are marked."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = []
    for place, (first, *others) in enumerate(rows):
        kind = ' class="odd"' if place < len(odd) and odd[place] else ""
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in others)
        body.append(f'<tr{kind}><th scope="row">{escape(first)}</th>{cells}</tr>')
    table = f'<table class="wide"><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'
    return f'<div class="scroll" tabindex="0">{table}</div>'
