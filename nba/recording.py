"""From a batch of decisions to their records, with all that the log keeps of each."""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

import numpy as np

from nba.ahead import Known
from nba.arbitration import Tariff
from nba.arrays import FloatArray, IntArray
from nba.catalogue import NO_ACTION
from nba.context import Context, ContextBatch
from nba.decision import Decision, DecisionBatch, RankedAction
from nba.outcomes import FrozenOutcomes
from nba.strategy import Strategy
from nba.terms import Reckoning
from nba.timing import days_on


class Origin(NamedTuple):
    """What every record names: which beliefs, at which prices."""

    policy: str
    policy_version: int
    posterior_seq: int
    price_version: int


class Recording(NamedTuple):
    """A batch of B decisions under one snapshot, ready to be told one by one."""

    strategy: Strategy
    origin: Origin
    tariff: Tariff
    outcomes: FrozenOutcomes
    contexts: ContextBatch
    batch: DecisionBatch
    known: Known  # what utilities took from the contexts
    waits: IntArray  # (B, T) days until a timing's next moment
    scores: FloatArray  # (B, A) mean expected rewards of all actions, eligible or not

    def record(self, context: Context, decision_id: str, row: int) -> Decision:
        """A decision of the batch; `context` is what its row was made of."""
        strategy, batch = self.strategy, self.batch
        ranked = batch.ranked[row, batch.ranked[row] >= 0]
        counts = np.bincount(batch.removed_by[row] + 1, minlength=1 + len(strategy.rule_names))[1:]
        return Decision(
            decision_id=decision_id,
            customer_id=context.customer_id,
            at=context.at,
            opens_at=days_on(context.at, self._wait(row)),
            actions=tuple(self._ranked(row, rank) for rank in range(ranked.size)),
            no_contact_propensity=float(batch.distribution[row, NO_ACTION]),
            n_eligible=int(batch.eligible[row].sum()),
            eligible_digest=sha256(np.packbits(batch.eligible[row]).tobytes()).hexdigest(),
            distribution_digest=sha256(batch.distribution[row].tobytes()).hexdigest(),
            features=tuple(self.contexts.features[row].tolist()),
            removed={n: int(c) for n, c in zip(strategy.rule_names, counts, strict=True) if c},
            terms=self.reckoning(row).terms(ranked),
            **self.origin._asdict(),
        )

    def reckoning(self, row: int) -> Reckoning:
        """What the expected values of a customer are made of."""
        one, values = slice(row, row + 1), self.batch.expected_values[row]
        features, fatigue = self.contexts.features[one], self.contexts.fatigue[one]
        parts = features, fatigue, self.known.take(one), self.scores[row], values
        return Reckoning(self.strategy, self.tariff, self.outcomes, *parts)

    def _wait(self, row: int) -> int:
        """Days until the contact is made."""
        timing = self.strategy.catalogue.timing_of[self.batch.actions[row]]
        return 0 if timing < 0 else int(self.waits[row, timing])

    def _ranked(self, row: int, rank: int) -> RankedAction:
        batch, catalogue = self.batch, self.strategy.catalogue
        action = int(batch.ranked[row, rank])
        parts = catalogue.action_ids[action].split("/") if action else [None] * 3
        return RankedAction(
            action_id=catalogue.action_ids[action],
            channel=parts[0],
            timing=parts[1],
            product=parts[2],
            rank=rank + 1,
            propensity=float(batch.ranked_propensities[row, rank]),
            expected_value=float(batch.expected_values[row, action]),
        )
