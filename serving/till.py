"""What is left of the budgets, counted as decisions are made; lives on the event loop."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from nba.allocation.budgets import Budget, Purse
from nba.strategy import Strategy


class Till:
    """Counts what decisions use before they reach the disk, and what comes back once that is on it."""

    def __init__(self, strategy: Strategy, purses: Iterable[Purse], events: int = 0) -> None:
        self._budgets, self._purses = strategy.pacing.budgets, list(purses)
        self._use = strategy.pacing.use(strategy.catalogue)
        self._events = events  # up to which what came back is in the purses

    def left(self, at: datetime) -> dict[str, float]:
        """Units of each budget that a decision made at `at` may use."""
        return {
            budget.name: purse.left(budget, at)
            for budget, purse in zip(self._budgets, self._purses, strict=True)
        }

    def take(self, action: int, at: datetime) -> None:
        """Count a decision that is on its way to the disk."""
        parts = zip(self._purses, self._budgets, self._use[action].tolist(), strict=True)
        self._purses = [purse.after(budget, use, at) for purse, budget, use in parts]

    def give_back(self, action: int, at: datetime) -> None:
        """Take back a decision made at `at` that did not reach the disk."""
        parts = zip(self._purses, self._budgets, self._use[action].tolist(), strict=True)
        self._purses = [purse.returned(budget, use, at) for purse, budget, use in parts]

    def told(self, outcome: str, seq: int, action: int, at: datetime) -> None:
        """Count what comes back of a decision made at `at`: the event `seq` is the first told of it."""
        if seq > self._events:
            self._purses = came_back(self._purses, self._budgets, outcome, self._use[action].tolist(), at)


def came_back(
    purses: Iterable[Purse], budgets: Iterable[Budget], outcome: str, uses: list[float], at: datetime
) -> list[Purse]:
    """The purses (J) after `outcome` was the first told of a decision made at `at`, which used so much."""
    parts = zip(purses, budgets, uses, strict=True)
    return [
        purse.returned(budget, use, at) if outcome in budget.returned_if else purse
        for purse, budget, use in parts
    ]
