"""What people see while an experiment runs and when it is done: progress on stderr, results on stdout."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer

from experiments.executor import Report
from experiments.results import LeaderboardRow
from experiments.verdict import table


@contextmanager
def progress(label: str, total: int) -> Iterator[Report]:
    """A progress bar over `total` steps; on a stream that is no terminal, a line per tenth."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _tenths(label, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(label, total=total)
        yield lambda steps: bar.advance(task, steps)


def _tenths(label: str, total: int) -> Report:
    done = [0]

    def report(steps: int) -> None:
        before, done[0] = done[0], min(done[0] + steps, total)  # a total may be a guess
        if before * 10 // max(total, 1) < done[0] * 10 // max(total, 1):
            say(f"{label}: {100 * done[0] // max(total, 1)} %")

    return report


def say(line: str) -> None:
    """One line for people, on stderr, so that stdout stays for results."""
    typer.echo(line, err=True)


def print_leaderboard(rows: Sequence[LeaderboardRow]) -> None:
    """The leaderboard as aligned text."""
    headings, cells = table(rows)
    widths = [max(len(row[column]) for row in [headings, *cells]) for column in range(len(headings))]
    for row in [headings, ["-" * width for width in widths], *cells]:
        first, *others = (
            cell.ljust(width) if not i else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        typer.echo("  ".join([first, *others]).rstrip())
    sys.stdout.flush()
