"""What a strategy chooses on a day, and what the oracle says of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from msgspec import structs

from experiments.spec import DAY_BITS
from nba.apprentice import Decider
from nba.arrays import BoolArray, FloatArray, IntArray, KeyArray, StrArray, join_rows
from nba.catalogue import NO_ACTION
from nba.context import ContextBatch
from nba.decision import DecisionBatch
from nba.snapshot import Snapshot
from nba.together import decide_together
from simulator.oracle import expected_values
from simulator.state import WorldState
from simulator.world import World


class Choices(NamedTuple):
    """The decisions of a day."""

    actions: IntArray  # (B,)
    propensities: FloatArray  # (B,)
    no_contact_propensities: FloatArray  # (B,)
    expected_values: FloatArray  # (B,) of the action, as the strategy believes
    n_eligible: IntArray  # (B,)
    oracle_best: FloatArray  # (B,) true expected net value of the best action the bank's rules allow, or NaN
    oracle_expected: FloatArray  # (B,) of the strategy's distribution, NaN if the oracle was not asked
    # Everything over all actions. To hold it until the next day is decided spares a quarter of the time:
    # tables freed at once go back to the operating system, which clears their pages again every day.
    tables: DecisionBatch


class Chooser(NamedTuple):
    """A strategy at work in a world."""

    world: World
    snapshot: Decider
    with_oracle: bool

    def choose(self, state: WorldState, rows: IntArray, contexts: ContextBatch, ids: StrArray) -> Choices:
        """Decide about customers `rows` (B,)."""
        batch = self._decided(state, rows, contexts, ids)
        best = expected = np.full(rows.size, np.nan)
        if self.with_oracle:
            values = expected_values(self.world, state, rows)
            best = values.max(axis=1, where=self._allowed(contexts, batch), initial=-np.inf)
            expected = np.einsum("ba,ba->b", values, batch.distribution)
        return Choices(
            actions=batch.actions,
            propensities=batch.propensities,
            no_contact_propensities=batch.distribution[:, NO_ACTION],
            expected_values=batch.expected_values[np.arange(rows.size), batch.actions],
            n_eligible=np.count_nonzero(batch.eligible, axis=1).astype(np.int64),
            oracle_best=best,
            oracle_expected=expected,
            tables=batch,
        )

    def _decided(
        self, state: WorldState, rows: IntArray, contexts: ContextBatch, ids: StrArray
    ) -> DecisionBatch:
        """Everybody alone, or branch by branch together if the strategy shares something among customers."""
        if not isinstance(self.snapshot, Snapshot) or self.snapshot.strategy.allocation is None:
            return self.snapshot.decide(contexts, ids)
        branches, parts = state.people.ids // self.world.config.population.branch_customers, []
        for branch in np.unique(branches):  # ids ascend, and rows do
            mine, people = np.flatnonzero(branches[rows] == branch), int((branches == branch).sum())
            parts.append(decide_together(self.snapshot, contexts.take(mine), ids[mine], people).decisions)
        return join_rows(parts)

    def _allowed(self, contexts: ContextBatch, batch: DecisionBatch) -> BoolArray:
        """(B, A) what the bank's rules allow: a strategy's own rules do not excuse it."""
        strategy, rules = self.snapshot.strategy, self.world.config.contact.rules
        if strategy.rules == rules:
            return batch.eligible
        return structs.replace(strategy, rules=rules).eligible(contexts).mask


class Decided(NamedTuple):
    """The decisions of one day."""

    rows: IntArray  # (B,)
    numbers: IntArray  # (B,) of the decisions, unique within a run
    keys: KeyArray  # (B,)
    ids: StrArray  # (B,)
    contexts: ContextBatch
    choices: Choices


def decision_number(customers: IntArray, day: int) -> IntArray:
    """(B,) one integer per (customer, day): a customer has at most one decision a day."""
    return (customers << DAY_BITS) | day


def decision_id(seed: int, number: int) -> str:
    """The id of a simulated decision."""
    return f"sim-{seed}-{number >> DAY_BITS}-{number & ((1 << DAY_BITS) - 1)}"
