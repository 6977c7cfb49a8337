"""What is left of budgets, against a count by hand over random decisions, returns and clock changes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
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
    Budget(name="own", at_most=2.0, traffic=9.0, per="segment", each={"affluent": 1.0}, period="week"),
    Budget(name="rolling", at_most=4.0, traffic=30.0, rolling=3),
    Budget(name="seen", at_most=2.0, report_only=True, where={"channel": "mail"}, rolling=2),
)
STRATEGY = tiny_strategy(pacing=Pacing(budgets=BUDGETS))
USE = STRATEGY.pacing.use(STRATEGY.catalogue)
SEGMENTS = ("mass", "affluent", None)


class Counted(NamedTuple):
    """A decision of the machine."""

    action: int
    at: datetime
    segment: str | None = None
    told: tuple[str, ...] = ()  # outcomes in their order


class Tills(RuleBasedStateMachine):
    """A service that decides only what fits; months end, and clocks are set back by an hour or a day."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.seq = datetime(2026, 3, 27, 22, tzinfo=UTC), 0
        self.made: list[Counted] = []
        self.till = Till(STRATEGY, [Purse.start(0.0) for _ in STRATEGY.tally.rows])

    @rule(hours=st.sampled_from([-30, -1, 0, 1, 3, 20, 24, 70]))
    def wait(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @rule(
        action=st.integers(0, USE.shape[0] - 1),
        segment=st.sampled_from(SEGMENTS),
        is_stored=st.sampled_from([True, True, True, False]),
    )
    def decide(self, action: int, segment: str | None, is_stored: bool) -> None:
        own = STRATEGY.tally.own({"segment": segment})
        left = self.till.left(self.now, own)
        if all(USE[action, column] <= left[one.name] for column, one in ENFORCED):
            self.till.take(action, self.now, own)
            if is_stored:
                self.made.append(Counted(action, self.now, segment))
            else:
                self.made.append(Counted(0, self.now, segment))  # its periods have begun all the same
                self.till.give_back(action, self.now, own)

    @precondition(lambda self: self.made)
    @rule(data=st.data(), outcome=st.sampled_from(["refused", "cancelled", "delivered"]))
    def tell(self, data: Any, outcome: Literal["refused", "cancelled", "delivered"]) -> None:
        """Feedback however late; the service asks only about the first that is told of a decision."""
        place = data.draw(st.integers(0, len(self.made) - 1))
        one, self.seq = self.made[place], self.seq + 1
        if not one.told:
            own = STRATEGY.tally.own({"segment": one.segment})
            self.till.told(outcome, self.seq, one.action, one.at, own)
        self.made[place] = one._replace(told=(*one.told, outcome))

    @invariant()
    def what_is_left_is_what_was_not_used(self) -> None:
        for segment in SEGMENTS:
            left = self.till.left(self.now, STRATEGY.tally.own({"segment": segment}))
            assert left == pytest.approx(
                {one.name: max(self.room(column, segment), 0.0) for column, one in ENFORCED}
            )
        assert self.till.rooms(self.now)["seen"] == pytest.approx(self.room(5, None))

    @invariant()
    def nothing_is_overshot(self) -> None:
        for column, budget in ENFORCED:
            for segment in SEGMENTS[:2]:
                latest = max((one.at for one in self.made), default=self.now)
                most = budget.each.get(segment or "", budget.at_most)
                assert self.used(column, segment, latest) <= most + 1e-9

    def room(self, column: int, segment: str | None) -> float:
        """Units by the rule as it is written, from all decisions that were ever made."""
        budget = BUDGETS[column]
        if budget.per and segment is None:
            return 0.0
        if any(_period(budget, one.at) > _period(budget, self.now) for one in self.made):
            return 0.0  # the clock went back
        most = budget.each.get(segment or "", budget.at_most)
        return most - self.used(column, segment, self.now)

    def used(self, column: int, segment: str | None, at: datetime) -> float:
        """Units in the period, or in the days up to a moment, that were not given back."""
        budget = BUDGETS[column]
        first = _period(budget, at) - (budget.rolling or 1) + 1
        mine = [one for one in self.made if first <= _period(budget, one.at) <= _period(budget, at)]
        return float(
            sum(
                USE[one.action, column]
                for one in mine
                if one.told[:1] not in _back(budget) and (not budget.per or one.segment == segment)
            )
        )


ENFORCED = [(column, budget) for column, budget in enumerate(BUDGETS) if not budget.report_only]


def _period(budget: Budget, at: datetime) -> int:
    """Days since Monday 1 January 2024, weeks since it, or months."""
    days = (at.date() - date(2024, 1, 1)).days
    return {"day": days, "week": days // 7, "month": at.year * 12 + at.month}[budget.period]


def _back(budget: Budget) -> list[tuple[str, ...]]:
    return [(outcome,) for outcome in budget.returned_if]


TestTills = Tills.TestCase
TestTills.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True)
