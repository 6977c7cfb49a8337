"""A log that has only begun: contacts every day, and conversions as often as the prior expects."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
from msgspec import structs
from serving_fixtures import Clock, customer, product, tiny_bundle

from nba.catalogue import Catalogue, Channel, Timing
from nba.feedback import completion
from nba.policies import Greedy
from nba.posteriors import Model
from nba.snapshot import Snapshot
from serving.runtime import Runtime
from serving.settings import Settings
from serving.wire import Customer, DecisionRequest, Feedback

RATE = 0.1  # the forecast
WINDOW, DELAY = 20, 8.0  # days; the first interval has 4
MOMENTS = 30  # of a day: who asks at one moment is answered together
CARD = structs.replace(
    product("card", "credit", 60.0, WINDOW, repeatable=True), forecast_rate=RATE, decision_delay_days=DELAY
)
CATALOGUE = Catalogue(
    channels=(Channel(name="mail", family="digital", cost=0.0),),
    timings=(Timing(name="now"),),
    products=(CARD,),
)


class Sale(NamedTuple):
    """A conversion that is still to come."""

    at: datetime
    decision_id: str


class YoungLog:
    """A service on a new store, driven day by day without HTTP; its learner steps when it is told to."""

    def __init__(self, folder: Path, model: Model, seed: int) -> None:
        parts = {"catalogue": CATALOGUE, "model": model, "policy": Greedy(), "silence": False}
        self._seed = seed
        bundle = tiny_bundle(folder / "bundle", rules=(), **parts)
        self._clock, self._rng, self._coming = Clock(), np.random.default_rng(seed), list[Sale]()
        self._clock.now = datetime(2026, 3, 2, tzinfo=UTC)
        settings = Settings(bundle=bundle, store=f"sqlite:///{folder}/log.db", save_events=10**9)
        self._runtime = Runtime(settings, self._clock)
        snapshot = self._runtime.learner.recover(self._clock())
        self.caused, self.organic = self._rates(snapshot)  # what the prior expects, and what is true here

    def ratio(self) -> float:
        """Conversions that the learner expects in the window of a contact, in multiples of the truth."""
        return sum(self._rates(self._runtime.learner._folder.snapshot())) / (self.caused + self.organic)

    def expected_conversions(self, contacts: int, n_days: int) -> float:
        """Conversions that must have come by now if the truth is what the prior expects."""
        ages = np.arange(0.0, n_days, 1e-3)
        done = completion(ages, DELAY) / completion(np.array([float(WINDOW)]), DELAY)
        return float(contacts * n_days * (self.caused * done + self.organic * ages / WINDOW).mean())

    async def days(self, n_days: int, contacts: int) -> None:
        """Go on for some days of so many contacts each; sales are reported and exposures told day by day."""
        for _ in range(n_days):
            start = self._clock()
            moments = np.array_split(np.arange(contacts), MOMENTS)
            for day, names in zip(np.sort(self._rng.random(MOMENTS)), moments, strict=True):
                self._clock.now = at = start + timedelta(days=day)
                for sales in await asyncio.gather(*(self._contact(at, f"c{name}") for name in names)):
                    self._coming += sales
            self._clock.now = start + timedelta(days=1)
            await self._report()
            self._runtime.learner.step(self._clock())

    async def close(self) -> None:
        """Release the store."""
        self._runtime.learner.close(self._clock())
        await self._runtime.stop()

    async def _contact(self, at: datetime, name: str) -> list[Sale]:
        who = Customer(id=f"{name}-{at.timestamp()}", attributes=customer(consents=["mail"])["attributes"])
        answer = await self._runtime.service.decide(DecisionRequest(customer=who))
        assert answer.actions[0].channel == "mail"
        rng = np.random.default_rng([int(at.timestamp() * 1e6), int(name[1:]), self._seed])
        ages = [self._caused_age(rng) for _ in range(rng.poisson(self.caused))]
        ages += [WINDOW * rng.random() for _ in range(rng.poisson(self.organic))]
        return [Sale(at + timedelta(days=age), answer.decision_id) for age in ages]

    @staticmethod
    def _caused_age(rng: np.random.Generator) -> float:
        """A delay inside the window: the gamma distribution that learning takes for granted."""
        ages = np.linspace(0.0, WINDOW, 10_001)
        done = completion(ages, DELAY)
        return float(np.interp(rng.random() * done[-1], done, ages))

    async def _report(self) -> None:
        now = self._clock()
        due = sorted(sale for sale in self._coming if sale.at <= now)
        self._coming = [sale for sale in self._coming if sale.at > now]
        for number, sale in enumerate(due):
            event_id = f"{sale.decision_id}-{now.timestamp()}-{number}"
            await self._runtime.service.record(
                Feedback(
                    event_id=event_id,
                    decision_id=sale.decision_id,
                    outcome="converted",
                    occurred_at=sale.at,
                )
            )

    @staticmethod
    def _rates(snapshot: Snapshot) -> tuple[float, float]:
        """Conversions of one customer in a window that a contact causes, and that come without one."""
        person = snapshot.strategy.schema.n_columns
        features = np.zeros((1, person))
        features[0, 0] = 1.0
        organic = snapshot.posterior.organic(features)
        caused = float(snapshot.posterior.mean(features)[0, 1])
        return caused, 0.0 if organic is None else float(organic[0, 0])
