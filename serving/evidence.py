"""From the log to rounds: what a logged event teaches about the decision it belongs to.

A conversion in interval k of the attribution window is a row of exposure 0 and reward 1; an interval
that has passed, whole or until a newer contact cut it short, is a row of its exposure and reward 0,
which the learner itself puts into the log.
After no-contact one product is watched, drawn by the decision's key (`nba.exposure`); a conversion
teaches only when it is of the product watched. All else is kept, and counts for consent and ownership.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np

from nba.arrays import join_rows
from nba.context import Context
from nba.decision import Decision
from nba.exposure import probe_products
from nba.feedback import N_INTERVALS, ExposureSchedule, RoundBatch
from nba.posteriors import Posterior
from nba.randomness import decision_keys
from nba.strategy import Strategy
from serving.body import decode_body
from serving.ledger.records import LoggedEvent, to_micros

_DAY_SECONDS = 86_400.0


class Windows:
    """When each decision's attribution window, and the intervals inside it, end."""

    def __init__(self, strategy: Strategy) -> None:
        self._catalogue, self._seed = strategy.catalogue, strategy.seed
        catalogue = self._catalogue
        self.schedule = ExposureSchedule.of(catalogue)
        # After no-contact every product may still be bought: the longest window counts.
        self._longest = max(product.attribution_window_days for product in catalogue.products)

    def feedback_until(self, at: datetime, product: str | None) -> datetime:
        """The last moment at which feedback on a decision teaches anything."""
        if product is None:
            return at + timedelta(days=self._longest)
        row = self._catalogue.level("product", product)
        return at + timedelta(days=self._catalogue.products[row].attribution_window_days)

    def is_once(self, product: str) -> bool:
        """Whether a product cannot be bought again."""
        return not self._catalogue.repeatable[self._catalogue.level("product", product)]

    def due(self, at: int, product: str, step: int) -> int:
        """When interval `step` of a decision watched for `product` ends, in microseconds."""
        days = int(self.schedule.cuts_days[self._catalogue.level("product", product), step])
        return at + int(days * _DAY_SECONDS * 1_000_000)

    def watched(self, decision: Decision, context: Context) -> str | None:
        """The product whose conversions will teach: the one offered, or a probe that is not owned."""
        if decision.actions[0].product is not None:
            return decision.actions[0].product
        products = self._catalogue.products
        probe = probe_products(decision_keys([decision.decision_id]), self._seed, len(products))
        name, owned = products[int(probe[0])].name, context.attributes.get("owned")
        return None if isinstance(owned, list) and name in owned else name

    def following(self, at: int, product: str, step: int) -> int | None:
        """When the interval after `step` ends; None when `step` is the last."""
        return self.due(at, product, step + 1) if step + 1 < N_INTERVALS else None


class Folder:
    """Folds events into a posterior, one row at a time in log order, however the log is cut."""

    def __init__(self, strategy: Strategy, posterior: Posterior, seq: int = 0) -> None:
        self.posterior, self.seq = posterior, seq
        self._strategy = strategy
        self._windows = Windows(strategy)

    def fold(self, events: list[LoggedEvent]) -> bool:
        """Fold accepted events; says whether a new snapshot is worth publishing."""
        rounds = [taught for one in events if (taught := self._round(one))]
        if rounds:
            self.posterior = self.posterior.fold(join_rows(rounds))
        if events:
            self.seq = events[-1].event.seq
        return bool(rounds) or any(event.outcome == "converted" for event in (one.event for one in events))

    def _round(self, logged: LoggedEvent) -> RoundBatch | None:
        event = logged.event
        if logged.watched is None or event.product != logged.watched or not event.teaches:
            return None
        decision = decode_body(logged.body).decision
        schedule = self._windows.schedule
        action = np.array([self._strategy.catalogue.row_of(decision.actions[0].action_id)])
        product = np.array([self._strategy.catalogue.level("product", logged.watched)])
        age = np.array([max((event.occurred_at - to_micros(decision.opens_at)) / 1e6 / _DAY_SECONDS, 0.0)])
        if event.kind == "exposure":
            begins = schedule.begins(product, np.array([event.step]))
            if age[0] <= begins[0]:
                return None  # a newer contact came before anything of the interval was watched
            exposure, uplift, organic = schedule.watched(product, begins, age, action > 0)
        elif event.outcome == "converted":
            interval = schedule.interval(product, age)
            if interval[0] == N_INTERVALS:
                return None  # after the window of a probe: no exposure stands against it
            exposure, uplift, organic = schedule.shares(product, interval, action > 0)
        else:
            return None
        is_exposure = event.kind == "exposure"
        return RoundBatch(
            features=np.array([decision.features]),
            actions=action,
            products=product,
            rewards=np.zeros(1) if is_exposure else np.ones(1),
            exposure=exposure if is_exposure else np.zeros(1),
            uplift_share=uplift,
            organic_share=organic,
        )
