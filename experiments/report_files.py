"""The files that every run of a result carries: the report, the tables as CSV, the verdict, the settings."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from experiments.report import report_html
from experiments.results import ExperimentResult, LeaderboardRow
from experiments.tallies import DAILY


def write_files(result: ExperimentResult, folder: Path) -> Path:
    """Write them below `folder`: report/index.html, tables/*.csv, verdict.md, experiment.json."""
    for name in ("report", "tables"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "report" / "index.html").write_text(report_html(result), encoding="utf-8")
    (folder / "verdict.md").write_text(result.verdict, encoding="utf-8")
    settings = msgspec.json.format(msgspec.json.encode(result.experiment), indent=2)
    (folder / "experiment.json").write_bytes(settings)
    tables = folder / "tables"
    fields = LeaderboardRow.__struct_fields__
    _table(tables / "leaderboard.csv", fields, (msgspec.structs.astuple(one.row) for one in result.results))
    _table(tables / "margins.csv", ("better", "worse", "mean", "low", "high"), _margins(result))
    _table(tables / "mix.csv", ("strategy", "factor", "level", "share"), _mixes(result))
    for phase in ("training", "evaluation"):
        _table(tables / f"{phase}_daily.csv", ("strategy", "day", *DAILY), _daily(result, phase))
    return folder


def _table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _margins(result: ExperimentResult) -> Iterable[Sequence[object]]:
    for margin in result.margins:
        gap = margin.difference
        yield margin.better, margin.worse, gap.mean, gap.low, gap.high


def _mixes(result: ExperimentResult) -> Iterable[Sequence[object]]:
    for one in result.results:
        for factor in ("channel", "product", "timing"):
            for level, share in getattr(one, f"{factor}_mix").items():
                yield one.spec.name, factor, level, share


def _daily(result: ExperimentResult, phase: str) -> Iterable[Sequence[object]]:
    for one in result.results:
        for day, row in enumerate(getattr(one, f"{phase}_daily").tolist(), start=1):
            yield one.spec.name, day, *row
