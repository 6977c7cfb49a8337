"""The parts of a running service, put together and taken apart in the right order."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from nba.bundle import bundle_digest, load_bundle
from nba.errors import require
from serving.answers import record_of
from serving.body import redacted
from serving.chain import head_of
from serving.fallback import Breaker, InTime, Served
from serving.keys import KeyRing
from serving.learner import OnlineLearner
from serving.ledger import AdminRow, Erased, open_ledger
from serving.ledger.records import to_micros
from serving.metrics import Metrics
from serving.service import DecisionService
from serving.settings import Clock, Settings, wall_clock
from serving.wire import Health, LearnerStatus

log = logging.getLogger("serving")


class Runtime:
    """Bundle, store, learner and service; opening one fails with an NBAError that says what to do."""

    def __init__(self, settings: Settings, clock: Clock = wall_clock) -> None:
        self.settings, self.clock, self.metrics = settings, clock, Metrics()
        self.ring = KeyRing(settings.keys_file, time.monotonic) if settings.keys_file else None
        base, digest = load_bundle(settings.bundle), bundle_digest(settings.bundle)
        rule = "is for decisions of a whole day; a service decides one by one and would ignore it: drop it"
        require(base.strategy.allocation is None, str(settings.bundle), "strategy.allocation", rule)
        self.ledger = open_ledger(settings.store)
        try:
            self.ledger.writer.observe = self.metrics.committed_batch
            self.learner = OnlineLearner(base, digest, self.ledger, settings)
            self.service = DecisionService(self.learner, self.ledger, clock, self.metrics)
            served, breaker = Served(base.strategy.name, base.version), Breaker()
            timing = clock, breaker, time.monotonic
            self.in_time = InTime(self.service, served, self.metrics, *timing, settings.most_waiting)
            self._reader = self.ledger.reader()
        except BaseException:
            self.ledger.close()
            raise
        self.ready = asyncio.Event()
        self.failure: Exception | None = None  # why the log could not be replayed, once `ready` is set
        self._stop = asyncio.Event()
        self._learning: asyncio.Task[None] | None = None
        self._digest_of: tuple[int, str] = (-1, "")

    @property
    def policy(self) -> str:
        """Name of the strategy that is served."""
        return self.learner.base.strategy.name

    @property
    def version(self) -> int:
        """Version of the bundle that is served."""
        return self.learner.base.version

    def start(self) -> None:
        """Start to learn; decisions are possible once the log has been replayed."""
        self._learning = asyncio.create_task(self._learn())

    async def stop(self) -> None:
        """Save the posterior and release everything."""
        self._stop.set()
        await self.in_time.close()
        if self._learning is not None:
            await self._learning
        self.service.close()
        self._reader.close()
        await asyncio.to_thread(self.ledger.close)

    def health(self) -> Health:
        """Whether requests may be sent here."""
        checks = {
            "store_is_writable": self.ledger.is_writable(),
            "log_is_replayed": self.learner.published is not None,
            "learner_is_healthy": self.learner.is_healthy,
        }
        return Health(status="ok" if all(checks.values()) else "unavailable", checks=checks)

    async def erase(self, customer_id: str, actor: str) -> Erased:
        """Forget a customer, on the disk and in memory; answers once it is on the disk."""
        written = self.ledger.erase(customer_id, to_micros(self.clock()), actor, redacted)
        erased = await asyncio.shield(asyncio.wrap_future(written))
        await self.service.forget(customer_id)
        return erased

    def admin_rows(self, after: int, limit: int) -> list[AdminRow]:
        """What administrators did past a position of their log."""
        return self._reader.admin_rows(after, limit)

    async def noted(self, what: str, detail: dict[str, Any], actor: str) -> None:
        """Put what an administrator does into the log before it is done."""
        told = msgspec.json.encode(detail).decode()
        row = AdminRow(at=to_micros(self.clock()), actor=actor, what=what, detail=told)
        await asyncio.shield(asyncio.wrap_future(self.ledger.note(row)))

    async def records(self, after: int, limit: int) -> AsyncIterator[bytes]:
        """Lines of decisions past a position; other requests come in between."""
        for row in self._reader.decisions_after(after, limit):
            yield record_of(row, self._reader)
            await asyncio.sleep(0)

    async def status(self) -> LearnerStatus | None:
        """Where the learner is; None while the log is being replayed."""
        published = self.learner.published
        if published is None:
            return None
        seq = published.snapshot.posterior_seq
        if self._digest_of[0] != seq:
            self._digest_of = await asyncio.to_thread(self.learner.posterior_sha256)
            published = self.learner.published or published
        folded = self.learner.folded_seq
        is_current = self.learner.is_current  # asked after it: then all up to `folded` is in use
        return LearnerStatus(
            policy=self.policy,
            policy_version=self.version,
            bundle_digest=self.learner.digest,
            last_seq=self._reader.last_seq(),
            folded_seq=folded,
            posterior_seq=self._digest_of[0],
            posterior_sha256=self._digest_of[1],
            lag=self._reader.backlog(folded),
            snapshot_age_seconds=max(0.0, (self.clock() - published.at).total_seconds()),
            price_version=published.snapshot.price_version,
            prices=self.learner.prices(),
            budget_left=self._rooms(),
            is_healthy=self.learner.is_healthy,
            is_current=is_current,
            head=head_of(self._reader),
        )

    def exposition(self) -> bytes:
        """The metrics as Prometheus reads them."""
        published = self.learner.published
        if published is not None:
            self.metrics.posterior_seq.set(published.snapshot.posterior_seq)
            self.metrics.snapshot_age.set(max(0.0, (self.clock() - published.at).total_seconds()))
            self.metrics.price_version.set(published.snapshot.price_version)
            for name, price in self.learner.prices().items():
                self.metrics.price.labels(name).set(price)
        for name, left in self._rooms().items():
            self.metrics.budget_left.labels(name).set(left)
        self.metrics.lag.set(self._reader.backlog(self.learner.folded_seq))
        return self.metrics.text()

    def _rooms(self) -> dict[str, float]:
        """Units left in each row of the budgets."""
        return {} if self.learner.till is None else self.learner.till.rooms(self.clock())

    async def _learn(self) -> None:
        try:
            await self.learner.run(self._stop, self.clock, self.ready)
        except Exception as error:
            # A service that has a snapshot goes on deciding under it; /readyz tells.
            self.learner.is_healthy, self.failure = False, error
            log.error("the learner stopped: %s", type(error).__name__)
            self.ready.set()
