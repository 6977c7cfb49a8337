"""Figures of a run that no data speak about: shown, and called what they are."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from experiments.world_report.contacts_made import made
from experiments.world_report.mechanisms import Curves
from experiments.world_report.trace import Trace
from nba.arrays import FloatArray
from simulator.config import STAGES, TIMING_TYPES
from simulator.mechanisms import switched

_YEAR = 365.0
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


class Figure(Struct, frozen=True, kw_only=True):
    """One number of the simulated bank; nothing was measured that it could be held against."""

    name: str
    value: float
    unit: str


def figures(run: Trace) -> tuple[Figure, ...]:
    """What the random strategy met in this world."""
    log, out = run.decisions, run.sales
    decided, contacts = int((log.action > 0).sum()), made(run).day.size
    delivered, seen = int(log.delivered.sum()), int(log.seen.sum())
    years = run.ids.size * run.n_days / _YEAR
    moves = int((run.stage[1:] != run.stage[:-1]).sum())
    lost = int((run.stage[-1] == STAGES.index("churned")).sum()) - int(
        (run.stage[0] == STAGES.index("churned")).sum()
    )
    rows = [
        ("contacts refused by platforms or full books", decided - contacts, decided, 100.0, "% of decided"),
        ("contacts delivered", delivered, contacts, 100.0, "% of made"),
        ("delivered contacts seen", seen, delivered, 100.0, "% of delivered"),
        ("seen contacts engaged with", int(log.engaged.sum()), seen, 100.0, "% of seen"),
        ("conversions caused", int(out.caused.sum()), contacts, 100.0, "per 100 contacts"),
        ("organic conversions", int((~out.caused).sum()), years, 1.0, "per customer and year"),
        ("opt-outs", int(log.opted_out.sum()), delivered, 1000.0, "per 1,000 delivered"),
        ("complaints", int(log.complained.sum()), delivered, 10_000.0, "per 10,000 delivered"),
        ("days of waiting for a person", int(log.queued_days.sum()), contacts, 1.0, "per contact"),
        ("moves between stages", moves, years, 1.0, "per customer and year"),
        ("customers lost, less won back", lost, years, 100.0, "% per year"),
    ]
    rows += [
        (
            f"decisions of type {name}",
            int((log.timing_type == at).sum()),
            log.day.size,
            100.0,
            "% of decisions",
        )
        for at, name in enumerate(TIMING_TYPES)
    ]
    return tuple(
        Figure(name=name, value=scale * count / max(of, 1), unit=unit)
        for name, count, of, scale, unit in rows
    )


def queue(run: Trace) -> Curves | None:
    """People's time over the week; None where nobody is needed."""
    people = switched(run.world.config).capacity
    if people.is_off:
        return None
    weekday = np.array([int(run.world.date(day).astype(np.int64) + 3) % 7 for day in range(run.n_days)])
    lines: dict[str, FloatArray] = {}
    for number, pool in enumerate(people.pools):
        share = run.minutes[:, :, number].mean(axis=1) / max(people.daily_minutes[pool], 1.0)
        days = np.bincount(weekday, minlength=7)
        lines[pool] = 100 * np.bincount(weekday, share, minlength=7) / np.maximum(days, 1)
    waited = run.decisions.queued_days[made(run).entry]
    return Curves(
        "queue",
        "People's time over the week",
        "Minutes of people that the random strategy takes, by day of the week, mean of all branches; a "
        f"closed pool takes none. {100 * (waited > 0).mean():.1f} % of all contacts had to wait, the longest "
        f"for {int(waited.max(initial=0))} days.",
        ("capacity.daily_minutes", "capacity.minutes", "capacity.longest_queue_days"),
        _WEEKDAYS,
        "",
        "% of a working day",
        lines,
        bars=True,
    )
