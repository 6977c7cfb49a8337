"""What an experiment means, in words: who leads, by how much, and what is not settled."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.report_columns import COLUMNS
from experiments.results import LeaderboardRow, Margin, StrategyResult
from experiments.spec import BUSINESS_AS_USUAL, CONTROL, RANDOM

# What fits a terminal: the least that tells who is better, and at what cost.
_SHORT = (
    "net_value_per_customer",
    "incremental_value",
    "incremental_ci_low",
    "incremental_ci_high",
    "contacts_per_customer",
    "opt_out_rate",
    "cost_per_customer",
    "regret",
)


def table(rows: Sequence[LeaderboardRow]) -> tuple[list[str], list[list[str]]]:
    """Headings and formatted cells of a leaderboard."""
    columns = [column for column in COLUMNS if column.field in _SHORT]
    headings = ["strategy", *(column.heading for column in columns)]
    cells = [[row.strategy, *(one.form.format(getattr(row, one.field)) for one in columns)] for row in rows]
    return headings, cells


def verdict(results: Sequence[StrategyResult], champion: str, margins: Sequence[Margin]) -> str:
    """Markdown for the run page, the report and the terminal."""
    row = next(one.row for one in results if one.spec.name == champion)
    headings, cells = table([one.row for one in results])
    return "\n".join(
        [
            f"**{champion}** leads with {row.net_value_per_customer:.2f} net value per customer, "
            f"{row.incremental_value:+.2f} against no contact "
            f"(95 % interval {row.incremental_ci_low:+.2f} to {row.incremental_ci_high:+.2f}).",
            "",
            f"- {_order(margins)}",
            *(f"- {_sentence(margin)}" for margin in margins),
            f"- {_limits(results)}",
            *(f"- {one.apprenticed.sentence(one.spec.name)}" for one in results if one.apprenticed),
            "",
            "| " + " | ".join(headings) + " |",
            "| --- |" + " ---: |" * (len(headings) - 1),
            *("| " + " | ".join(row_cells) + " |" for row_cells in cells),
            "",
            "Differences are paired: the same simulated customers with the same noise. The intervals cover "
            "chance over customers, not over worlds or training seeds, and the champion was picked on the "
            "same customers.",
        ]
    )


def _order(margins: Sequence[Margin]) -> str:
    """Whether the strategies stand as they should: learned above rules above random."""
    against = [one for one in margins if BUSINESS_AS_USUAL in (one.better, one.worse)]
    if not against:
        return f"No strategy is named {BUSINESS_AS_USUAL!r}: nothing is compared with business as usual."
    baselines = (CONTROL, RANDOM)
    learned = [one for one in against if one.better not in baselines and one.worse not in baselines]
    if not learned:
        return "No learned strategy is compared with the rules."
    missing = [one.better for one in learned if one.worse == BUSINESS_AS_USUAL and not one.holds]
    missing += [one.worse for one in learned if one.better == BUSINESS_AS_USUAL]
    is_above_random = any(one.worse == RANDOM and one.holds for one in against)
    first = (
        "All learned strategies beat the rules"
        if not missing
        else f"**Not above the rules: {', '.join(missing)}**"
    )
    second = "the rules beat random" if is_above_random else "**the rules do not beat random**"
    return f"{first}, and {second} (by more than the 95 % interval of the difference)."


def _sentence(margin: Margin) -> str:
    gap = margin.difference
    word = "beats" if margin.holds else "is **not settled** against"
    size = f"{gap.mean:+.2f} per customer ({gap.low:+.2f} to {gap.high:+.2f})"
    return f"{margin.better} {word} {margin.worse}: {size}."


def _limits(results: Sequence[StrategyResult]) -> str:
    broken = [one.spec.name for one in results if one.constraint_violations]
    kept = f"**broken by {', '.join(broken)}**" if broken else "kept by all strategies (checked from the log)"
    return f"Contact limits, product rests and opt-outs: {kept}."
