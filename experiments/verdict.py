"""What an experiment means, in words: who leads, by how much, and what is not settled."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.results import LeaderboardRow, Margin, StrategyResult

_COLUMNS = (
    ("strategy", "strategy", "{}"),
    ("net/customer", "net_value_per_customer", "{:.2f}"),
    ("incremental", "incremental_value", "{:+.2f}"),
    ("95 % low", "incremental_ci_low", "{:+.2f}"),
    ("95 % high", "incremental_ci_high", "{:+.2f}"),
    ("contacts", "contacts_per_customer", "{:.2f}"),
    ("opt-outs", "opt_out_rate", "{:.3f}"),
    ("cost", "cost_per_customer", "{:.2f}"),
    ("regret", "regret", "{:.1%}"),
)


def table(rows: Sequence[LeaderboardRow]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of a leaderboard, formatted."""
    headings = [heading for heading, _, _ in _COLUMNS]
    cells = [[form.format(getattr(row, field)) for _, field, form in _COLUMNS] for row in rows]
    return headings, cells


def verdict(results: Sequence[StrategyResult], champion: str, margins: Sequence[Margin]) -> str:
    """Markdown for the run page, the report and the terminal."""
    by_name = {one.spec.name: one for one in results}
    row = by_name[champion].row
    lines = [
        f"**{champion}** leads with {row.net_value_per_customer:.2f} net value per customer, "
        f"{row.incremental_value:+.2f} against no contact "
        f"(95 % interval {row.incremental_ci_low:+.2f} to {row.incremental_ci_high:+.2f}).",
        "",
    ]
    for margin in margins:
        gap = margin.difference
        word = "beats" if margin.holds else "is **not settled** against"
        lines.append(
            f"- {margin.better} {word} {margin.worse}: {gap.mean:+.2f} per customer ({gap.low:+.2f} to {gap.high:+.2f})."
        )
    broken = [one.spec.name for one in results if one.constraint_violations]
    lines.append("- Contact limits, product rests and opt-outs: " + (
        f"**broken by {', '.join(broken)}**." if broken else "kept by all strategies (checked from the log)."
    ))
    headings, cells = table([one.row for one in results])
    lines += ["", "| " + " | ".join(headings) + " |", "| --- |" + " ---: |" * (len(headings) - 1)]
    lines += ["| " + " | ".join(row_cells) + " |" for row_cells in cells]
    lines += [
        "",
        "Differences are paired: the same simulated customers with the same noise. The intervals cover chance "
        "over customers, not over worlds or training seeds, and the champion was picked on the same customers.",
    ]
    return "\n".join(lines)
