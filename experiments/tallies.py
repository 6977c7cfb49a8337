"""What a run adds up: totals per customer, and sums per day."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.arrays import BoolArray, FloatArray, IntArray
from nba.decision import DecisionBatch
from simulator.state import Conversions, Responses
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
)


class Oracle(NamedTuple):
    """What the simulator knows of a day's decisions."""

    values: FloatArray  # (B, A) true expected net values
    allowed: BoolArray  # (B, A) what the bank's rules allow, whatever a strategy forbids itself

    def of(self, distribution: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(B,) value of the best allowed action, and (B,) expected value of a distribution (B, A)."""
        best = np.where(self.allowed, self.values, -np.inf).max(axis=1)
        return best, (self.values * distribution).sum(axis=1)


class DayTally(NamedTuple):
    """Everything that one day of one block brought."""

    rows: IntArray  # (B,)
    batch: DecisionBatch
    responses: Responses
    conversions: Conversions
    oracle: Oracle


class Totals(NamedTuple):
    """Sums over a run, per customer; money in account currency."""

    value: FloatArray  # (N,) margin of all conversions, organic ones included
    cost: FloatArray  # (N,) of contacts
    loss: FloatArray  # (N,) value lost by opt-outs and complaints (modelled)
    contacts: FloatArray  # (N,)
    opt_outs: FloatArray  # (N,)
    complaints: FloatArray  # (N,)
    conversions: FloatArray  # (N,)
    decisions: FloatArray  # (N,)
    oracle_value: FloatArray  # (N,) of the best eligible action at each decision, expected
    expected_value: FloatArray  # (N,) of the strategy's distribution at each decision, expected

    @staticmethod
    def zero(n_customers: int) -> Totals:
        """Nothing yet."""
        return Totals(*(np.zeros(n_customers) for _ in Totals._fields))

    @property
    def net(self) -> FloatArray:
        """(N,) value minus contact cost minus modelled losses."""
        return self.value - self.cost - self.loss

    def after(self, world: World, day: DayTally) -> Totals:
        """With one more day added; the customers of a block are rows 0 to N - 1."""
        best, got = day.oracle.of(day.batch.distribution)
        margins = world.config.catalogue.margins
        seen, sold, n = day.responses, day.conversions, self.value.size

        def by_customer(amounts: FloatArray) -> FloatArray:
            return np.bincount(day.rows, amounts, minlength=n).astype(np.float64)

        return Totals(
            value=self.value + np.bincount(sold.customers, margins[sold.products], minlength=n),
            cost=self.cost + by_customer(seen.costs),
            loss=self.loss + by_customer(seen.losses),
            contacts=self.contacts + by_customer(seen.contacted.astype(np.float64)),
            opt_outs=self.opt_outs + by_customer(seen.opted_out.astype(np.float64)),
            complaints=self.complaints + by_customer(seen.complained.astype(np.float64)),
            conversions=self.conversions + np.bincount(sold.customers, minlength=n),
            decisions=self.decisions + by_customer(np.ones(day.rows.size)),
            oracle_value=self.oracle_value + by_customer(best),
            expected_value=self.expected_value + by_customer(got),
        )


def day_row(world: World, day: DayTally) -> FloatArray:
    """(len(DAILY),) sums of one day over a block."""
    best, got = day.oracle.of(day.batch.distribution)
    margins = world.config.catalogue.margins
    seen = day.responses
    return np.array(
        [
            day.rows.size,
            seen.contacted.sum(),
            day.conversions.customers.size,
            margins[day.conversions.products].sum(),
            seen.costs.sum(),
            seen.losses.sum(),
            seen.opted_out.sum(),
            seen.complained.sum(),
            best.sum(),
            got.sum(),
            np.log(day.batch.propensities).sum(),
        ],
        dtype=np.float64,
    )
