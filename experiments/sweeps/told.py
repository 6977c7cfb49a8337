"""A compared sweep in words and text tables, for the terminal, and as the verdict in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite

from experiments.sweeps.compared import VALUE, Compared, Line
from experiments.sweeps.tables import calibrations, learning, mixes, segments

_LARGEST = 4  # channels that a line of the mix names


def lines(compared: Compared) -> Iterator[str]:
    """All that `nba compare --sweep` prints."""
    yield f"sweep {compared.id} ({compared.name}); differences are to {compared.baseline}"
    for world in compared.worlds:
        yield ""
        yield f"{world}"
        yield from aligned(*leaderboard(compared, world))
        yield from (f"  {one}" for one in remarks(compared, world))
        for title, rows in _details(compared, world):
            if len(rows) > 1:
                yield f"  {title}"
                yield from (f"    {row}" for row in aligned(rows[0], rows[1:]))
    for one in compared.failures:
        seeds = ", ".join(map(str, one.seeds))
        yield f"FAILED {one.row.strategy} in {one.row.world}, seeds {seeds}: {one.failure.error}"


def leaderboard(compared: Compared, world: str) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of a world: seeds, value with its difference, and the means of all metrics."""
    first = VALUE if VALUE in compared.metrics else next(iter(compared.metrics))
    others = [name for name in compared.metrics if name != first]
    headings = ["strategy", "seeds", _plain(first), "difference", "95 %", *map(_plain, others), ""]
    cells = []
    for line in compared.of_world(world):
        figure = line.figures[first]
        gap = figure.difference
        is_base = line.strategy == compared.baseline
        cells.append(
            [
                line.strategy,
                str(line.seeds),
                number(figure.mean),
                "" if is_base else number(gap.mean, "+"),
                "" if is_base else f"{number(gap.low, '+')} to {number(gap.high, '+')}",
                *(number(line.figures[name].mean) for name in others),
                _marks(line),
            ]
        )
    return headings, cells


def remarks(compared: Compared, world: str) -> Iterator[str]:
    """Sentences of a world: who is on the front, what gates say, who was stopped."""
    some = compared.of_world(world)
    yield _leads(compared, some[0])
    front = ", ".join(line.strategy for line in some if line.on_front)
    yield f"Pareto front of value against opt-outs (by means): {front}."
    for line in some:
        for gate in line.gates:
            if not gate.passed and line.strategy != compared.baseline:
                yield (
                    f"{line.strategy} fails the gate {_plain(gate.metric)} {gate.bound}: "
                    f"its bound is {number(gate.end, '+')}."
                )
        if line.stopped_by is not None:
            yield f"{line.strategy} was stopped after {line.seeds} seeds: {line.stopped_by} is surely better."
    if max(line.seeds for line in some) == 1:
        yield "One seed: intervals are over customers and leave out the chance of training."


def _leads(compared: Compared, line: Line) -> str:
    """The strategy with the most value, with what is proved of it."""
    name = VALUE if VALUE in compared.metrics else next(iter(compared.metrics))
    gap = line.figures[name].difference
    if line.strategy == compared.baseline:
        return f"Nobody has more value than the baseline, {line.strategy}."
    told = f"{line.strategy} leads: {_plain(name)} {number(gap.mean, '+')} against {compared.baseline}"
    ends = f"({number(gap.low, '+')} to {number(gap.high, '+')})"
    is_settled = gap.low > 0 or gap.high < 0
    return (
        f"{told} {ends}{'' if is_settled else ', which is not settled'}; it was picked on the same customers."
    )


def verdict(compared: Compared) -> str:
    """Markdown for MLflow and the page."""
    parts = [
        f"Sweep `{compared.id}`: differences are to **{compared.baseline}**, with common random numbers."
    ]
    for world in compared.worlds:
        headings, cells = leaderboard(compared, world)
        parts += [
            f"\n### {world}\n",
            "| " + " | ".join(headings) + " |",
            "| --- |" + " ---: |" * (len(headings) - 1),
            *("| " + " | ".join(row) + " |" for row in cells),
            "",
            *(f"- {one}" for one in remarks(compared, world)),
        ]
    parts += [f"- **failed**: {one.row.strategy} in {one.row.world}" for one in compared.failures]
    return "\n".join(parts)


def _details(compared: Compared, world: str) -> Iterator[tuple[str, list[list[str]]]]:
    """Title and rows, headings first, of what stands below a leaderboard."""
    mixed = [row for row in mixes(compared) if row["world"] == world and row["factor"] == "channel"]
    rows = [["strategy", "largest shares"]]
    for name in dict.fromkeys(row["strategy"] for row in mixed):
        shares = sorted((row for row in mixed if row["strategy"] == name), key=lambda row: -row["share"])
        told = ", ".join(f"{row['level']} {row['share']:.0%}" for row in shares[:_LARGEST] if row["share"])
        rows.append([name, told])
    yield "decisions by channel", rows
    rows = [["strategy", "segment", "contacts", "opt-outs", "value", "difference", "95 %"]]
    for row in segments(compared):
        if row["world"] == world:
            ends = f"{number(row['difference_low'], '+')} to {number(row['difference_high'], '+')}"
            shown = [number(row[name]) for name in ("contacts", "opt_outs", "net_value")]
            rows.append([row["strategy"], row["segment"], *shown, number(row["difference"], "+"), ends])
    yield "by segment", rows if len({row[1] for row in rows[1:]}) > 1 else []
    yield "net value per customer while learning, after parts of the training days", _curve(compared, world)
    yield "value expected of customers beside the true one, by tenth of customers", _believed(compared, world)


def _curve(compared: Compared, world: str) -> list[list[str]]:
    rows = [["strategy", "1/4", "2/4", "3/4", "4/4"]]
    found = [row for row in learning(compared) if row["world"] == world]
    for name in dict.fromkeys(row["strategy"] for row in found):
        values = [row["cumulative_net_value"] for row in found if row["strategy"] == name]
        places = [max(1, len(values) * part // 4) - 1 for part in (1, 2, 3, 4)]
        rows.append([name, *(number(values[place]) for place in places)])
    return rows


def _believed(compared: Compared, world: str) -> list[list[str]]:
    rows = [["strategy", "lowest", "true", "fifth", "true", "highest", "true"]]
    found = [row for row in calibrations(compared) if row["world"] == world]
    for name in dict.fromkeys(row["strategy"] for row in found):
        mine = [row for row in found if row["strategy"] == name]
        some = [mine[0], mine[(len(mine) - 1) // 2], mine[-1]]
        rows.append([name, *(number(row[key]) for row in some for key in ("believed", "true"))])
    return rows


def aligned(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A text table: the first column to the left, the others to the right."""
    widths = [max(len(row[place]) for row in [headings, *rows]) for place in range(len(headings))]
    for row in (headings, ["-" * width for width in widths], *rows):
        pairs = list(zip(row, widths, strict=True))
        told = [pairs[0][0].ljust(pairs[0][1]), *(cell.rjust(width) for cell, width in pairs[1:])]
        yield "  ".join(told).rstrip()


def number(value: float, sign: str = "") -> str:
    """Three digits and a sign if asked; a dash for what is not known."""
    if value != value:
        return "-"
    if not isfinite(value):
        return "inf" if value > 0 else "-inf"
    return f"{value:{sign}.2f}" if abs(value) >= 1 or value == 0 else f"{value:{sign}.3f}"


def _marks(line: Line) -> str:
    marks = ["front"] if line.on_front else []
    marks += ["stopped"] if line.stopped_by is not None else []
    marks += ["gates " + ("passed" if line.passed else "FAILED")] if line.gates else []
    return ", ".join(marks)


def _plain(name: str) -> str:
    return name.rpartition(".")[2].replace("_", " ")
