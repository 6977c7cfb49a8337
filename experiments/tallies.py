"""What a run adds up: totals per customer, and sums per day."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from experiments.choices import Choices, Decided
from nba.arrays import FloatArray, IntArray
from simulator.oracle import luck
from simulator.state import Conversions, Responses, WorldState
from simulator.world import World

DAILY = (
    "decisions",
    "contacts",
    "conversions",
    "value",
    "cost",
    "loss",
    "opt_outs",
    "complaints",
    "oracle_value",
    "expected_value",
    "propensity_log",
    "refused",
)
OF_ORACLE = ("oracle_value", "expected_value")


class DayTally(NamedTuple):
    """Everything that one day of one block brought."""

    rows: IntArray  # (B,)
    timing_types: IntArray  # (B,)
    choices: Choices
    responses: Responses
    conversions: Conversions
    luck: FloatArray  # (B,) with contacts, see `simulator.oracle.luck`; NaN if not asked

    @staticmethod
    def of(
        world: World,
        state: WorldState,
        day: Decided,
        responses: Responses,
        conversions: Conversions,
        with_luck: bool,
    ) -> DayTally:
        """Of a day on which was decided in some state."""
        timing_types, chance = world.timing_types(state, day.rows), np.full(day.rows.size, np.nan)
        if with_luck:
            chance = luck(world, state, day.rows, day.choices.actions, responses)
        return DayTally(day.rows, timing_types, day.choices, responses, conversions, chance)


class Totals(NamedTuple):
    """Sums over a run, per customer; money in account currency."""

    value: FloatArray  # (N,) amounts of all conversions, organic ones included
    cost: FloatArray  # (N,) of contacts
    loss: FloatArray  # (N,) value lost by opt-outs and complaints (modelled)
    contacts: FloatArray  # (N,) that were made
    opt_outs: FloatArray  # (N,)
    complaints: FloatArray  # (N,)
    conversions: FloatArray  # (N,)
    decisions: FloatArray  # (N,)
    oracle_value: FloatArray  # (N,) of the best eligible action at each decision, expected; NaN if not asked
    expected_value: FloatArray  # (N,) of the strategy's distribution at each decision, expected; NaN likewise
    luck: FloatArray  # (N,) part of `net` that is luck with contacts, of mean 0; NaN if not asked

    @staticmethod
    def zero(n_customers: int) -> Totals:
        """Nothing yet."""
        return Totals(*(np.zeros(n_customers) for _ in Totals._fields))

    @property
    def net(self) -> FloatArray:
        """(N,) value minus contact cost minus modelled losses."""
        return self.value - self.cost - self.loss

    def after(self, day: DayTally) -> Totals:
        """With one more day added; the customers of a block are rows 0 to N - 1."""
        answers, sold, n = day.responses, day.conversions, self.value.size

        def by_customer(amounts: FloatArray) -> FloatArray:
            return np.bincount(day.rows, amounts, minlength=n).astype(np.float64)

        return Totals(
            value=self.value + np.bincount(sold.customers, sold.amounts, minlength=n),
            cost=self.cost + by_customer(answers.costs),
            loss=self.loss + by_customer(answers.losses),
            contacts=self.contacts + by_customer(answers.contacted.astype(np.float64)),
            opt_outs=self.opt_outs + by_customer(answers.opted_out.astype(np.float64)),
            complaints=self.complaints + by_customer(answers.complained.astype(np.float64)),
            conversions=self.conversions + np.bincount(sold.customers, minlength=n),
            decisions=self.decisions + np.bincount(day.rows, minlength=n),
            oracle_value=self.oracle_value + by_customer(day.choices.oracle_best),
            expected_value=self.expected_value + by_customer(day.choices.oracle_expected),
            luck=self.luck + by_customer(day.luck),
        )


def day_row(day: DayTally) -> FloatArray:
    """(len(DAILY),) sums of one day over a block."""
    answers = day.responses
    return np.array(
        [
            day.rows.size,
            answers.contacted.sum(),
            day.conversions.customers.size,
            day.conversions.amounts.sum(),
            answers.costs.sum(),
            answers.losses.sum(),
            answers.opted_out.sum(),
            answers.complained.sum(),
            day.choices.oracle_best.sum(),
            day.choices.oracle_expected.sum(),
            np.log(day.choices.propensities).sum(),
            answers.refused.sum(),
        ],
        dtype=np.float64,
    )
