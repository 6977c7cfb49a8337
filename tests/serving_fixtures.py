"""A tiny bank for the tests of the service: 2 channels x 2 timings x 3 products."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import httpx
from litestar import Litestar
from litestar.testing import AsyncTestClient

from nba.bundle import save_bundle
from nba.catalogue import Catalogue, Channel, Product, Timing
from nba.constraints import Consent, ContactLimit, ContactPolicy, NotOwned
from nba.features import Category, FeatureSchema, Flag, Numeric
from nba.policies import ThompsonSampling
from nba.posteriors import FactoredModel
from nba.propensity import Floor
from nba.snapshot import Snapshot
from nba.strategy import Strategy
from serving.app import create_app
from serving.ledger import open_reader
from serving.settings import Settings, wall_clock

PATIENCE = 30.0  # seconds; the machine may be busy


def product(name: str, family: str, value: float, window: int, *, repeatable: bool = False) -> Product:
    return Product(
        name=name,
        family=family,
        value=value,
        forecast_rate=0.2,
        risk_class=1,
        attribution_window_days=window,
        decision_delay_days=window / 5,
        repeatable=repeatable,
    )


def tiny_strategy(*, contacts: int = 1000, seed: int = 3, **changes: Any) -> Strategy:
    catalogue = Catalogue(
        channels=(
            Channel(name="call", family="human", cost=2.0),
            Channel(name="mail", family="digital", cost=0.01),
        ),
        timings=(Timing(name="morning"), Timing(name="evening")),
        products=(
            product("deposit", "savings", 80.0, 10),
            product("card", "credit", 60.0, 20, repeatable=True),
            product("loan", "credit", 200.0, 40),
        ),
    )
    schema = FeatureSchema(
        columns=(
            Numeric(name="age", mean=45.0, scale=12.0),
            Flag(name="has_app"),
            Category(name="segment", levels=("mass", "affluent")),
        ),
        segment="segment",
    )
    parts: dict[str, Any] = {
        "name": "tiny",
        "catalogue": catalogue,
        "schema": schema,
        "model": FactoredModel(),
        "policy": ThompsonSampling(n_draws=16),
        "rules": (Consent(), NotOwned()),
        "contact_policy": ContactPolicy(limits=(ContactLimit(contacts=contacts, days=7),)),
        "floor": Floor(epsilon=0.05),
        "seed": seed,
    }
    return Strategy(**(parts | changes))


# So sure of its products that it always contacts: a no-contact decision would teach as well.
SURE: dict[str, Any] = {
    "floor": Floor(),
    "model": FactoredModel(lift_mean=3.0, level_sd=0.05, slope_sd=0.02, pair_sd=0.02),
}


def tiny_bundle(path: Path, **changes: Any) -> Path:
    return save_bundle(Snapshot.start(tiny_strategy(**changes)), path)


def customer(name: str = "c1", **attributes: Any) -> dict[str, Any]:
    known = {"age": 40.0, "has_app": True, "segment": "mass", "consents": ["call", "mail"]}
    return {"id": name, "attributes": known | attributes}


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **amount: float) -> None:
        self.now += timedelta(**amount)


@asynccontextmanager
async def service(
    folder: Path, *, clock: Clock | None = None, **changes: Any
) -> AsyncIterator[AsyncTestClient[Litestar]]:
    """A client of a service that is ready, on the bundle and the store of a folder."""
    bundle = folder / "bundle"
    if not bundle.exists():
        tiny_bundle(bundle, **changes.pop("strategy", {}))
    settings = Settings(
        bundle=bundle, store=f"sqlite:///{folder}/log.db", **({"publish_seconds": 0.02} | changes)
    )
    app = create_app(settings, clock or wall_clock)
    async with AsyncTestClient(app, raise_server_exceptions=False) as client:
        async with asyncio.timeout(PATIENCE):
            while (await client.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.01)
        yield client


async def decided(client: AsyncTestClient[Litestar], name: str = "c1", **request: Any) -> dict[str, Any]:
    """A decision about a customer."""
    answer = await client.post("/v1/decisions", json={"customer": customer(name), **request})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def contacted(client: AsyncTestClient[Litestar], name: str = "c1", **request: Any) -> dict[str, Any]:
    """A decision that contacts a customer; no-contact is possible, so it may take several."""
    while True:
        found = await decided(client, name, **request)
        if found["actions"][0]["product"] is not None:
            return found


async def at_once(
    client: AsyncTestClient[Litestar], requests: list[dict[str, Any]], statuses: tuple[int, ...] = (200,)
) -> list[dict[str, Any]]:
    """Decisions asked for by as many threads; the asynchronous client would ask one after the other."""
    plain = httpx.Client(transport=client._transport, base_url=client.base_url)

    gate = Barrier(len(requests))

    def ask(body: dict[str, Any]) -> dict[str, Any]:
        gate.wait(PATIENCE)
        answer = plain.post("/v1/decisions", json=body)
        assert answer.status_code in statuses, answer.text
        found: dict[str, Any] = answer.json()
        return found

    with ThreadPoolExecutor(len(requests)) as threads:
        return await asyncio.to_thread(lambda: list(threads.map(ask, requests)))


async def reported(
    client: AsyncTestClient[Litestar], decision_id: str, outcome: str, **more: Any
) -> dict[str, Any]:
    """The receipt of feedback."""
    body = {"event_id": f"{outcome}-{decision_id}", "decision_id": decision_id, "outcome": outcome, **more}
    answer = await client.post("/v1/feedback", json=body)
    assert answer.status_code == 202, answer.text
    receipt: dict[str, Any] = answer.json()
    return receipt


async def caught_up(client: AsyncTestClient[Litestar], seq: int) -> dict[str, Any]:
    """The learner's state once it has published the posterior of a log position."""
    async with asyncio.timeout(PATIENCE):
        while True:
            status: dict[str, Any] = (await client.get("/v1/learner")).json()
            if status["posterior_seq"] >= seq:
                return status
            assert status["is_healthy"], "the learner failed: its log line names the error"
            await asyncio.sleep(0.01)


def rows_in(folder: Path) -> int:
    """How many decisions and events a folder's store holds."""
    reader = open_reader(f"sqlite:///{folder}/log.db")
    try:
        return sum(reader.counts().values())
    finally:
        reader.close()
