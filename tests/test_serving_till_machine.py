"""What is left of budgets, against a count by hand over random decisions, returns and clock changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from serving_fixtures import tiny_strategy

from nba.allocation.budgets import Budget, Pacing
from nba.allocation.purses import Purse
from serving.till import Till

BUDGETS = (
    Budget(name="calls", at_most=3.0, traffic=9.0, where={"channel": "call"}),
    Budget(name="money", at_most=9.1, traffic=40.0, period="week", uses="cost", returned_if=("cancelled",)),
    Budget(name="all", at_most=20.0, traffic=90.0, period="month", returned_if=()),
)
STRATEGY = tiny_strategy(pacing=Pacing(budgets=BUDGETS))
USE = STRATEGY.pacing.use(STRATEGY.catalogue)


class Counted(NamedTuple):
    """A decision of the machine."""

    action: int
    at: datetime
    told: tuple[str, ...] = ()  # outcomes in their order


class Tills(RuleBasedStateMachine):
    """A service that decides only what fits; months end, and clocks are set back by an hour or a day."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.seq = datetime(2026, 3, 27, 22, tzinfo=UTC), 0
        self.made: list[Counted] = []
        self.till = Till(STRATEGY, [Purse.start(0.0) for _ in BUDGETS])

    @rule(hours=st.sampled_from([-30, -1, 0, 1, 3, 20, 24, 70]))
    def wait(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @rule(action=st.integers(0, USE.shape[0] - 1), is_stored=st.sampled_from([True, True, True, False]))
    def decide(self, action: int, is_stored: bool) -> None:
        left = self.till.left(self.now)
        if all(use <= left[budget.name] for budget, use in zip(BUDGETS, USE[action], strict=True)):
            self.till.take(action, self.now)
            if is_stored:
                self.made.append(Counted(action, self.now))
            else:
                self.made.append(Counted(0, self.now))  # its periods have begun all the same
                self.till.give_back(action, self.now)

    @precondition(lambda self: self.made)
    @rule(data=st.data(), outcome=st.sampled_from(["refused", "cancelled", "delivered"]))
    def tell(self, data: Any, outcome: Literal["refused", "cancelled", "delivered"]) -> None:
        """Feedback however late; the service asks only about the first that is told of a decision."""
        place = data.draw(st.integers(0, len(self.made) - 1))
        one, self.seq = self.made[place], self.seq + 1
        if not one.told:
            self.till.told(outcome, self.seq, one.action, one.at)
        self.made[place] = one._replace(told=(*one.told, outcome))

    @invariant()
    def what_is_left_is_what_was_not_used(self) -> None:
        left = self.till.left(self.now)
        for column, budget in enumerate(BUDGETS):
            open_now = max((budget.period_of(one.at) for one in self.made), default=-1)
            mine = [one for one in self.made if budget.period_of(one.at) == open_now]
            used = sum(USE[one.action, column] for one in mine if one.told[:1] not in _back(budget))
            period = budget.period_of(self.now)
            free = budget.at_most - used if period == open_now else budget.at_most
            assert left[budget.name] == pytest.approx(free if period >= open_now else 0.0)
            assert used <= budget.at_most + 1e-9


def _back(budget: Budget) -> list[tuple[str, ...]]:
    return [(outcome,) for outcome in budget.returned_if]


TestTills = Tills.TestCase
TestTills.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True)
