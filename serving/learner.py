"""The online learner: the single writer of posteriors, in the process that serves.

It reads accepted events in log order, folds them one row at a time, publishes a new snapshot when
there is new evidence and the policy agrees, and saves the posterior together with its position in the
log. What it holds at position n is therefore a pure function of bundle and log, however often it was
killed on the way. A policy with epochs has what it publishes saved at once and nothing in between, so
that a restart goes on with the snapshot in use; what was folded since is folded again.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

from nba.bundle import outcomes_from_bytes, posterior_bytes, posterior_from_bytes
from nba.errors import BundleError
from nba.snapshot import Snapshot
from serving.arms import open_ways
from serving.binding import bind
from serving.evidence import Folder, Windows
from serving.failpoints import failpoint
from serving.ledger import Due, EventRow, Ledger, SavedPosterior
from serving.ledger.records import Exposed, to_micros
from serving.posterior_map import PosteriorMap, show
from serving.pricing import PriceKeeper
from serving.settings import Clock, Settings
from serving.till import Till

BATCH = 512
log = logging.getLogger("serving.learner")


class Published(NamedTuple):
    """A snapshot in use, and since when."""

    snapshot: Snapshot
    at: datetime


class OnlineLearner:
    """Turns the log into snapshots; `step` is plain and synchronous, `run` calls it in a thread."""

    def __init__(self, base: Snapshot, digest: str, ledger: Ledger, settings: Settings) -> None:
        bind(ledger, digest)
        # In the service a posterior's position is one in the store's log, which starts at 0.
        self.base, self.digest = base.at(base.posterior, 0), digest
        self.published: Published | None = None
        self.is_healthy = True
        self._ledger, self._reader, self._settings = ledger, ledger.reader(), settings
        self.ways = open_ways(self.base, ledger, settings.arms)
        self._prices = PriceKeeper(self.base, ledger, self._reader, settings.prices)
        self.till: Till | None = None  # what is left of budgets, for the event loop alone
        self._windows = Windows(base.strategy)
        self._folder = Folder(self.base)
        self._saved_seq, self._unsaved, self._is_news = 0, 0, False
        self._saved_at: datetime | None = None
        self._map = None if settings.posterior_map is None else PosteriorMap(settings.posterior_map)

    @property
    def folded_seq(self) -> int:
        """Position in the log up to which events are folded, published or not."""
        return self._folder.seq

    @property
    def is_current(self) -> bool:
        """Whether the beliefs in use are those of all that is folded: not every event teaches something."""
        used, folder = None if self.published is None else self.published.snapshot, self._folder
        return used is not None and used.posterior is folder.posterior and used.outcomes is folder.outcomes

    def recover(self, now: datetime) -> Snapshot:
        """Load the newest valid posterior, fold what the log holds beyond it, and publish."""
        for saved in self._reader.saved_posteriors():
            posterior = self._restored(saved)
            if posterior is not None:
                self._folder, self._saved_seq = posterior, saved.last_seq
                break
        self._saved_at, self.till = now, self._prices.recover()
        if self._has_epochs:
            snapshot = self._publish(now)
            self._fold_log()
            snapshot = self._published_if_due(now) or snapshot
            self._save(now)
            return snapshot
        self._fold_log()
        return self._publish(now)

    def step(self, now: datetime) -> Snapshot | None:
        """Log what has been watched, fold what is new, publish evidence and prices, save if it is time."""
        self._log_exposures(now)
        self._fold_log()
        has_moved = self._prices.step()
        snapshot = self._published_if_due(now)
        if has_moved and snapshot is None and self.published is not None:
            snapshot = self._prices.of(self.published.snapshot)
            self.published = self.published._replace(snapshot=snapshot)
        self._save(now)
        return snapshot

    async def run(self, stop: asyncio.Event, clock: Clock, ready: asyncio.Event) -> None:
        """Recover, say so, then step every `publish_seconds` until told to stop, then save."""
        await asyncio.to_thread(self.recover, clock())
        ready.set()
        while not stop.is_set():
            try:
                await asyncio.wait_for(stop.wait(), self._settings.publish_seconds)
            except TimeoutError:
                await asyncio.to_thread(self._try_step, clock())
        await asyncio.to_thread(self.close, clock())

    def prices(self) -> dict[str, float]:
        """Prices of the budgets in use, account currency per unit."""
        assert self.published is not None
        budgets = self.base.strategy.tally.rows
        prices = self.published.snapshot.prices.tolist()[len(self.base.strategy.catalogue.channels) :]
        return {budget.name: price for budget, price in zip(budgets, prices, strict=True)}

    def close(self, now: datetime) -> None:
        """Save what is folded and release the reader."""
        if self.published is not None:
            self._save(now, is_last=True)
        self._reader.close()
        if self._map is not None:
            self._map.close()

    def posterior_sha256(self) -> tuple[int, str]:
        """(position, checksum) of the published posterior."""
        assert self.published is not None
        snapshot = self.published.snapshot
        blob = posterior_bytes(snapshot.posterior, snapshot.outcomes)
        return snapshot.posterior_seq, sha256(blob).hexdigest()

    def _try_step(self, now: datetime) -> None:
        """One step; a failure is told and tried again, for the log loses nothing by waiting."""
        try:
            self.step(now)
            self.is_healthy = True
        except Exception as error:
            self.is_healthy = False
            log.error("a learner step failed: %s", type(error).__name__)

    def _fold_log(self) -> None:
        while events := self._reader.events_after(self._folder.seq, BATCH):
            failpoint("learner.before_fold")
            self._is_news |= self._folder.fold(events)
            self._unsaved += len(events)

    @property
    def _has_epochs(self) -> bool:
        """Whether the policy waits: one that does not publishes at any number of rounds, even the same."""
        return not self.base.strategy.policy.publishes(0.0, 0.0)

    def _published_if_due(self, now: datetime) -> Snapshot | None:
        """Publish what is new if the policy agrees; the service forgets nothing, so all rounds count."""
        assert self.published is not None
        policy, then = self.base.strategy.policy, self.published.snapshot.posterior.rounds
        if not self._is_news or not policy.publishes(then, self._folder.posterior.rounds):
            return None
        return self._publish(now)

    def _publish(self, now: datetime) -> Snapshot:
        snapshot = self._prices.of(self._folder.snapshot())
        snapshot.warm()  # here, not in the first request that needs it
        self._show(snapshot)
        self.published, self._is_news = Published(snapshot, now), False
        return snapshot

    def _show(self, snapshot: Snapshot) -> None:
        """Show it to other processes; that they lag behind is no reason not to use it here."""
        try:
            if self._map is not None:
                show(self._map, snapshot, self.digest)
        except OSError as error:
            log.error("the posterior's map could not be written: %s", error.strerror)

    def _save(self, now: datetime, *, is_last: bool = False) -> None:
        found = self._to_save(now, is_last)
        if found is None:
            return
        blob = posterior_bytes(found.posterior, found.outcomes)
        saved = SavedPosterior(last_seq=found.posterior_seq, posterior=blob, sha256=sha256(blob).hexdigest())
        failpoint("learner.before_commit")
        self._ledger.save_posterior(saved, to_micros(now)).result()
        failpoint("learner.after_commit")
        self._saved_seq, self._saved_at, self._unsaved = saved.last_seq, now, 0

    def _to_save(self, now: datetime, is_last: bool) -> Snapshot | None:
        """What the store lacks: under epochs what is in use, else what is folded, from time to time."""
        assert self._saved_at is not None and self.published is not None
        is_old = now - self._saved_at >= timedelta(seconds=self._settings.save_seconds)
        if self._has_epochs:
            found = self.published.snapshot
        elif is_last or is_old or self._unsaved >= self._settings.save_events:
            found = self._folder.snapshot()
        else:
            return None
        return found if found.posterior_seq > self._saved_seq else None

    def _restored(self, saved: SavedPosterior) -> Folder | None:
        """A folder at a saved position; None if the posterior is damaged, so that an older one is tried."""
        if sha256(saved.posterior).hexdigest() == saved.sha256:
            try:
                blob, strategy = saved.posterior, self.base.strategy
                outcomes = outcomes_from_bytes(blob, strategy)
                return Folder(self.base.at(posterior_from_bytes(blob, strategy), saved.last_seq, outcomes))
            except BundleError:
                pass
        log.warning(
            "the posterior saved at log position %d is damaged; folding from an older one", saved.last_seq
        )
        return None

    def _log_exposures(self, now: datetime) -> None:
        """Put everything that is due into the log, once, before it is folded."""
        micros = to_micros(now)
        while due := self._reader.due(micros, BATCH):
            self._ledger.append_exposures([self._exposed(one, micros) for one in due]).result()

    def _exposed(self, due: Due, received_at: int) -> Exposed:
        windows, is_contact = self._windows, due.channel is not None
        round_ = (due.decision_id, due.at, due.product)
        is_cut = due.due_at < windows.due(*round_, due.step, is_contact=is_contact)
        outcome = windows.told(due.step, is_contact=is_contact, is_cut=is_cut)
        event = EventRow(
            kind="exposure",
            event_id=f"{outcome}:{due.decision_id}:{due.step}",
            decision_id=due.decision_id,
            customer_id=due.customer_id,
            fingerprint="",
            outcome=outcome,
            value=0.0,
            product=due.product,
            channel=None,
            step=due.step,
            occurred_at=due.due_at,
            received_at=received_at,
            status="accepted",
        )
        step = None if is_cut else windows.following(due.step, is_contact=is_contact)
        next_due = None if step is None else windows.due(*round_, step, is_contact=is_contact)
        return Exposed(event=event, decision_seq=due.decision_seq, next_step=step, next_due=next_due)
