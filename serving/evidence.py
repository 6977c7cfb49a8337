"""From the log to rounds: what a logged event teaches about the decision it belongs to.

A conversion in interval k of the attribution window is a row of exposure 0 and reward 1, at once. The
exposure of the interval is a row of reward 0, which the learner itself puts into the log at one moment of
the interval: where a share u of the exposure has been watched, u uniform and keyed by (decision, interval).
By any age a share p of the exposure has been watched and with chance p all of it is told, so that at every
moment the exposure told of young rounds is on average the exposure watched, and what the log has taught is
unbiased however young it is; told at the end of the interval, conversions would long stand alone. A newer
contact ends the watching: what was not told by then is not told, which is as unbiased. Whoever adds rewards
and exposure (methods B2: the score of a Poisson process, whose compensator is rounded at random here) pays
for it with noise that is the expected reward of an interval smaller than that of the conversions.
What became of a contact (seen, engaged, opted out, ...) teaches its stages together with the trial, when the
first interval of the contact has passed or a newer contact has cut it short (methods B4), and what is told
later when it is told. A planned contact that a newer one has cut short counts as made. A conversion that
teaches and names its value teaches amounts as well.
After no-contact one product is watched, drawn by the decision's key (`nba.exposure`); a conversion
teaches only when it is of the product watched. All else is kept, and counts for consent and ownership.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np

from nba.arrays import join_rows
from nba.context import Context
from nba.decision import Decision
from nba.exposure import probe_products
from nba.feedback import N_INTERVALS, ExposureSchedule, RoundBatch
from nba.outcomes import STAGES, Aftermath, ContactRows, SaleRows
from nba.randomness import Purpose, decision_keys, keyed_uniforms
from nba.snapshot import Snapshot
from nba.strategy import Strategy
from serving.body import decode_body
from serving.ledger.records import LoggedEvent, to_micros

_DAY_SECONDS = 86_400.0
TRIAL = N_INTERVALS  # the step at which the first interval of a contact has passed


class Watch(NamedTuple):
    """The product whose conversions are waited for, if any, and when the first step of it is due."""

    product: str | None
    first_due: int  # microseconds since 1970


class Windows:
    """When each decision's attribution window ends, and when what was watched of it is told.

    Steps 0 to N_INTERVALS - 1 tell the exposure of an interval; `TRIAL`, where stages are learnt, comes after
    step 0 of a contact.
    """

    def __init__(self, strategy: Strategy) -> None:
        self._catalogue, self._seed = strategy.catalogue, strategy.seed
        self._has_stages = bool(strategy.stages)
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

    def due(self, decision_id: str, at: int, product: str, step: int, *, is_contact: bool) -> int:
        """When a step of a decision that opens at `at` is due, in microseconds; `product` is watched."""
        if step == TRIAL:
            level = self._catalogue.level("product", product)
            return at + _micros(float(self.schedule.cuts_days[level, 0]))
        share = keyed_uniforms(self._seed, Purpose.EXPOSURE, decision_keys([decision_id]), block=step)
        return self._told_at(at, product, step, float(share[0]), is_contact)

    def begun(self, decisions: Sequence[Decision], contexts: Sequence[Context]) -> list[Watch]:
        """What is watched of new decisions, and when its first step is due, as `due` says.

        Conversions of the product offered will teach, or of a probe that is not owned.
        """
        products = self._catalogue.products
        keys = decision_keys([decision.decision_id for decision in decisions])
        probes = probe_products(keys, self._seed, len(products)).tolist()
        shares = keyed_uniforms(self._seed, Purpose.EXPOSURE, keys, block=0).tolist()
        found = []
        for decision, context, probe, share in zip(decisions, contexts, probes, shares, strict=True):
            chosen, owned = decision.actions[0], context.attributes.get("owned")
            product = chosen.product or products[probe].name
            if chosen.product is None and isinstance(owned, list) and product in owned:
                found.append(Watch(None, 0))
                continue
            opens_at, is_contact = to_micros(decision.opens_at), chosen.channel is not None
            found.append(Watch(product, self._told_at(opens_at, product, 0, share, is_contact)))
        return found

    def _told_at(self, at: int, product: str, step: int, share: float, is_contact: bool) -> int:
        """When a share of a step's exposure has been watched, in microseconds."""
        level = self._catalogue.level("product", product)
        return at + _micros(self.schedule.moment(level, step, share, is_contact))

    def following(self, step: int, *, is_contact: bool) -> int | None:
        """The step after `step`; None when that is the last."""
        if step == 0 and is_contact and self._has_stages:
            return TRIAL
        following = 1 if step == TRIAL else step + 1
        return following if following < N_INTERVALS else None

    def told(self, step: int, *, is_contact: bool, is_cut: bool) -> str:
        """What the log says at a step: "exposure", "trial", or that a newer contact "closed" the round.

        A round that is cut short before its trial is told has been tried all the same.
        """
        if step == TRIAL or (is_cut and step == 0 and is_contact and self._has_stages):
            return "trial"
        return "closed" if is_cut else "exposure"


def _micros(days: float) -> int:
    return int(days * _DAY_SECONDS * 1_000_000)


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
        is_trial, is_sale = event.outcome == "trial", event.outcome == "converted"
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
        if not is_trial and "trial" not in told:
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
        is_exposure = event.outcome == "exposure"
        if is_exposure:
            interval = np.array([event.step])
        elif event.outcome == "converted":
            age = max((event.occurred_at - logged.opened_at) / 1e6 / _DAY_SECONDS, 0.0)
            interval = schedule.interval(product, np.array([age]))
            if interval[0] == N_INTERVALS:
                return None  # after the window of a probe: no exposure stands against it
        else:
            return None
        exposure, uplift, organic = schedule.shares(product, interval, action > 0)
        return RoundBatch(
            features=np.array([decision.features]),
            actions=action,
            products=product,
            rewards=np.zeros(1) if is_exposure else np.ones(1),
            exposure=exposure if is_exposure else np.zeros(1),
            uplift_share=uplift,
            organic_share=organic,
        )
