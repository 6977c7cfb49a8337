"""What is left of the budgets, counted as decisions are made; lives on the event loop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from nba.allocation.budgets import Budget
from nba.allocation.purses import Purse
from nba.strategy import Strategy

Own = Sequence[int | None]  # (J) the customer's row of each budget


class Till:
    """Counts what decisions use before they reach the disk, and what comes back once that is on it."""

    def __init__(self, strategy: Strategy, purses: Iterable[Purse], events: int = 0) -> None:
        self._tally, self._purses = strategy.tally, list(purses)
        self._events = events  # up to which what came back is in the purses

    def left(self, at: datetime, own: Own = ()) -> dict[str, float]:
        """Units of each enforced budget that a decision made at `at` may use for a customer.

        Of a budget with owners they are those of the customer's own row, and none without one.
        """
        rows = zip(self._tally.budgets, own or self._tally.own({}), strict=True)
        return {
            budget.name: 0.0 if row is None else self._purses[row].left(self._tally.rows[row], at)
            for budget, row in rows
            if not budget.report_only
        }

    def rooms(self, at: datetime) -> dict[str, float]:
        """Units left in each row at `at`; below 0 in one that is only measured and has been exceeded."""
        rows = zip(self._tally.rows, self._purses, strict=True)
        return {
            row.name: purse.room(row, at) if row.report_only else purse.left(row, at) for row, purse in rows
        }

    def take(self, action: int, at: datetime, own: Own = ()) -> None:
        """Count a decision that is on its way to the disk."""
        parts = zip(self._purses, self._tally.rows, self._tally.uses(action, own), strict=True)
        self._purses = [purse.after(row, use, at) for purse, row, use in parts]

    def give_back(self, action: int, at: datetime, own: Own = ()) -> None:
        """Take back a decision made at `at` that did not reach the disk."""
        parts = zip(self._purses, self._tally.rows, self._tally.uses(action, own), strict=True)
        self._purses = [purse.returned(row, use, at) for purse, row, use in parts]

    def told(self, outcome: str, seq: int, action: int, at: datetime, own: Own = ()) -> None:
        """Count what comes back of a decision made at `at`: the event `seq` is the first told of it."""
        if seq > self._events:
            uses = self._tally.uses(action, own)
            self._purses = came_back(self._purses, self._tally.rows, outcome, uses, at)


def came_back(
    purses: Iterable[Purse], budgets: Iterable[Budget], outcome: str, uses: list[float], at: datetime
) -> list[Purse]:
    """The purses (R) after `outcome` was the first told of a decision made at `at`, which used so much."""
    parts = zip(purses, budgets, uses, strict=True)
    return [
        purse.returned(budget, use, at) if outcome in budget.returned_if else purse
        for purse, budget, use in parts
    ]
