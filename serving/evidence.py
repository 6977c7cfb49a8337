"""From the log to rounds: what a logged event teaches about the decision it belongs to.

A conversion in interval k of the attribution window is a row of exposure 0 and reward 1; an interval
that has passed is a row of exposure e_k and reward 0, which the learner itself puts into the log.
Other outcomes, and conversions that are not of the offered product, are kept but teach nothing: after
no-contact a conversion says something about the organic rate only together with the time watched,
which overlapping decisions would count several times over.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np

from nba.bundle import posterior_bytes, posterior_from_bytes
from nba.catalogue import Catalogue
from nba.feedback import N_INTERVALS, ExposureSchedule, RoundBatch
from nba.posteriors import Posterior
from nba.strategy import Strategy
from serving.body import DecisionBody, decode_body
from serving.ledger.records import EventRow, to_micros

_DAY_SECONDS = 86_400.0


class Windows:
    """When each decision's attribution window, and the intervals inside it, end."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.schedule = ExposureSchedule.of(catalogue)
        self._catalogue = catalogue
        # After no-contact every product may still be bought: the longest window counts.
        self._longest = max(product.attribution_window_days for product in catalogue.products)

    def feedback_until(self, at: datetime, product: str | None) -> datetime:
        """The last moment at which feedback on a decision teaches anything."""
        if product is None:
            return at + timedelta(days=self._longest)
        row = self._catalogue.level("product", product)
        return at + timedelta(days=self._catalogue.products[row].attribution_window_days)

    def due(self, at: int, product: str | None, step: int) -> int | None:
        """When interval `step` of a contact ends (microseconds); None when there is no such interval."""
        if product is None or step >= N_INTERVALS:
            return None
        days = int(self.schedule.cuts_days[self._catalogue.level("product", product), step])
        return at + int(days * _DAY_SECONDS * 1_000_000)

    def same_family(self, product: str | None) -> tuple[str, ...]:
        """The products whose exposure a contact about `product` ends (methods B1: last contact counts)."""
        if product is None:
            return ()
        products = self._catalogue.products
        family = products[self._catalogue.level("product", product)].family
        return tuple(each.name for each in products if each.family == family)


class Folder:
    """Folds events into a posterior, one row at a time in log order, however the log is cut."""

    def __init__(self, strategy: Strategy, posterior: Posterior, seq: int = 0) -> None:
        self.posterior, self.seq = posterior, seq
        self._strategy = strategy
        self._windows = Windows(strategy.catalogue)

    def fold(self, events: list[tuple[EventRow, bytes]]) -> bool:
        """Fold accepted events with the bodies of their decisions; says whether they were worth publishing."""
        rounds = [round_ for event, blob in events if (round_ := self._round(event, decode_body(blob)))]
        if rounds:
            self.posterior = self.posterior.fold(RoundBatch.join(rounds))
        if events:
            self.seq = events[-1][0].seq
        return bool(rounds) or any(event.outcome == "converted" for event, _ in events)

    def canonical(self) -> Posterior:
        """The posterior as a restart would load it, so that an interrupted run has the same draws."""
        return posterior_from_bytes(posterior_bytes(self.posterior), self._strategy)

    def _round(self, event: EventRow, body: DecisionBody) -> RoundBatch | None:
        chosen = body.decision.actions[0]
        if chosen.product is None or event.product != chosen.product:
            return None
        product = np.array([self._strategy.catalogue.level("product", chosen.product)])
        if event.kind == "exposure":
            assert event.step is not None
            interval, reward = np.array([event.step]), 0.0
        elif event.outcome == "converted":
            age = (event.occurred_at - to_micros(body.decision.at)) / 1e6 / _DAY_SECONDS
            passed = self._windows.schedule.interval(product, np.array([max(age, 0.0)]))
            interval, reward = np.minimum(passed, N_INTERVALS - 1), 1.0
        else:
            return None
        exposure, uplift, organic = self._windows.schedule.shares(product, interval, np.ones(1, dtype=np.int64))
        return RoundBatch(
            features=np.array([body.decision.features]),
            actions=np.array([self._strategy.catalogue.row_of(chosen.action_id)]),
            products=product,
            rewards=np.array([reward]),
            exposure=exposure if event.kind == "exposure" else np.zeros(1),
            uplift_share=uplift,
            organic_share=organic,
        )


