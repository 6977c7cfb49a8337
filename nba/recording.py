"""From a batch of decisions to their records, with all that the log keeps of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    """A batch of B decisions under one snapshot, ready to be told as records."""

    strategy: Strategy
    origin: Origin
    tariff: Tariff
    outcomes: FrozenOutcomes
    contexts: ContextBatch
    batch: DecisionBatch
    known: Known  # what utilities took from the contexts
    waits: IntArray  # (B, T) days until a timing's next moment
    scores: FloatArray  # (B, A) mean expected rewards of all actions, eligible or not

    def records(self, contexts: Sequence[Context], decision_ids: Sequence[str]) -> list[Decision]:
        """The decisions of the batch; `contexts` are what its rows were made of."""
        batch, terms = self.batch, self.reckoning().terms(self.batch.ranked)
        silent, n_eligible = batch.distribution[:, NO_ACTION].tolist(), batch.eligible.sum(axis=1).tolist()
        masks, features = np.packbits(batch.eligible, axis=1), self.contexts.features.tolist()
        best, forgone = self._best()
        waits, removed, origin = self._waits().tolist(), self._removed(), self.origin._asdict()
        return [
            Decision(
                decision_id=decision_id,
                customer_id=context.customer_id,
                at=context.at,
                opens_at=days_on(context.at, waits[row]),
                actions=ranked,
                no_contact_propensity=silent[row],
                n_eligible=n_eligible[row],
                eligible_digest=sha256(masks[row].tobytes()).hexdigest(),
                distribution_digest=sha256(batch.distribution[row].tobytes()).hexdigest(),
                features=tuple(features[row]),
                removed=removed[row],
                terms=terms[row],
                best=best[row],
                forgone=forgone[row],
                **origin,
            )
            for row, (context, decision_id, ranked) in enumerate(
                zip(contexts, decision_ids, self._ranked(), strict=True)
            )
        ]

    def reckoning(self) -> Reckoning:
        """What the expected values of the customers are made of."""
        features, fatigue, values = self.contexts.features, self.contexts.fatigue, self.batch.expected_values
        parts = features, fatigue, self.known, self.scores, values
        return Reckoning(self.strategy, self.tariff, self.outcomes, *parts)

    def _best(self) -> tuple[list[str], list[float]]:
        """By customer the action that would be chosen without exploring, and what it is worth more."""
        values, rows = self.batch.expected_values, np.arange(self.batch.actions.size)
        best = values.argmax(axis=1)
        ids = self.strategy.catalogue.action_ids
        forgone = values[rows, best].astype(np.float64) - values[rows, self.batch.actions]
        return [ids[action] for action in best.tolist()], forgone.tolist()

    def _removed(self) -> list[dict[str, int]]:
        """How many actions each rule was the first to remove, by customer; rules without any are left out."""
        names, first = self.strategy.rule_names, 1 + self.batch.removed_by.astype(np.int64)
        n_rows, width = first.shape[0], 1 + len(names)
        cells = (first + width * np.arange(n_rows)[:, None]).ravel()
        counts = np.bincount(cells, minlength=n_rows * width).reshape(n_rows, width)[:, 1:]
        return [{n: c for n, c in zip(names, row, strict=True) if c} for row in counts.tolist()]

    def _waits(self) -> IntArray:
        """(B,) days until the contact is made."""
        timing = self.strategy.catalogue.timing_of[self.batch.actions]
        return np.where(timing < 0, 0, self.waits[np.arange(timing.size), timing])

    def _ranked(self) -> Iterator[tuple[RankedAction, ...]]:
        """The ranked actions of each customer."""
        batch, rows = self.batch, np.arange(self.batch.actions.size)[:, None]
        columns = batch.ranked, batch.ranked_propensities, batch.expected_values[rows, batch.ranked]
        for actions, propensities, values in zip(*(part.tolist() for part in columns), strict=True):
            ranks = enumerate(zip(actions, propensities, values, strict=True), start=1)
            yield tuple(self._action(rank, *one) for rank, one in ranks if one[0] >= 0)

    def _action(self, rank: int, action: int, propensity: float, expected_value: float) -> RankedAction:
        action_id = self.strategy.catalogue.action_ids[action]
        channel, timing, product = action_id.split("/") if action else [None] * 3
        return RankedAction(
            action_id=action_id,
            channel=channel,
            timing=timing,
            product=product,
            rank=rank,
            propensity=propensity,
            expected_value=expected_value,
        )
