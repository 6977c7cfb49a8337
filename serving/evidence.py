"""From the log to rounds: what a logged event teaches about the decision it belongs to.

A conversion in interval k of the attribution window is a row of exposure 0 and reward 1; an interval
that has passed, whole or until a newer contact cut it short, is a row of its exposure and reward 0,
which the learner itself puts into the log.
What became of a contact (seen, engaged, opted out, ...) teaches its stages together with the trial, when the
first interval of the contact has passed (methods B4), and what is told later when it is told. A planned
contact that a newer one has cut short counts as made. A conversion that teaches and names its
value teaches amounts as well.
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
from nba.outcomes import STAGES, Aftermath, ContactRows, SaleRows
from nba.randomness import decision_keys
from nba.snapshot import Snapshot
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
    """Folds events into the beliefs of a snapshot, one row at a time in log order, however the log is cut."""

    def __init__(self, base: Snapshot) -> None:
        self._base, self._strategy, self._windows = base, base.strategy, Windows(base.strategy)
        self.posterior, self.outcomes, self.seq = base.posterior, base.outcomes, base.posterior_seq

    def snapshot(self) -> Snapshot:
        """The snapshot with the beliefs of now."""
        return self._base.at(self.posterior, self.seq, self.outcomes)

    def fold(self, events: list[LoggedEvent]) -> bool:
        """Fold accepted events; says whether a new snapshot is worth publishing."""
        rounds = [taught for one in events if (taught := self._round(one))]
        if rounds:
            self.posterior = self.posterior.fold(join_rows(rounds))
        lessons = [told for one in events if (told := self._lesson(one))] if self.outcomes else []
        if lessons:
            self.outcomes = self.outcomes.fold(Aftermath.joined(lessons))
        if events:
            self.seq = events[-1].event.seq
        return bool(rounds or lessons) or any(
            event.outcome == "converted" for event in (one.event for one in events)
        )

    def _lesson(self, logged: LoggedEvent) -> Aftermath | None:
        """What an event tells about the stages of its contact, or about the amount of a conversion."""
        event, level = logged.event, self._strategy.catalogue.level
        is_trial, is_sale = event.kind == "exposure" and event.step == 0, event.outcome == "converted"
        if not event.teaches or not (is_trial or is_sale or event.outcome in STAGES):
            return None
        decision = decode_body(logged.body).decision
        features, channel = np.array([decision.features]), decision.actions[0].channel
        nothing = Aftermath.none(features.shape[1])
        if is_sale:
            if event.value <= 0.0 or self._round(logged) is None:
                return None
            product = np.array([level("product", str(event.product))])
            return nothing._replace(sales=SaleRows(features, product, np.array([event.value])))
        if channel is None:
            return None  # after no-contact there is nothing to see, and nothing to opt out of
        told = logged.told.split(",")
        if not is_trial and "exposure" not in told:
            return None  # its trial will tell: alone it would move the mean while nothing stands against it
        happened = told if is_trial else [event.outcome]
        counts = np.array([[float(stage in happened) for stage in STAGES]])
        trial = np.array([float(is_trial)])
        rows = ContactRows(features, np.array([level("channel", channel)]), counts, trial)
        return nothing._replace(contacts=rows)

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
