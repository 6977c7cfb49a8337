"""Budgets in the service: never overshot, paced by prices that a restart and a replay find again."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
import httpx
import msgspec
import numpy as np
import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient
from serving_fixtures import (
    PATIENCE,
    SURE,
    Clock,
    customer,
    decided,
    service,
    tiny_bundle,
    tiny_strategy,
)
from serving_process import Service

from nba.allocation.budgets import Budget, Pacing
from nba.errors import InvalidConfig
from nba.snapshot import Snapshot
from serving.ledger import LedgerError, PriceRow
from serving.pricing import Priced, decode_state, load_prices
from serving.replay import replay
from serving.till import Till

Client = AsyncTestClient[Litestar]


def budgeted(at_most: float, every: int = 5, **more: Any) -> dict[str, Any]:
    """Changes to the tiny strategy: so many calls a day, for forty decisions."""
    budget = Budget(
        **({"name": "calls", "at_most": at_most, "traffic": 40.0, "where": {"channel": "call"}} | more)
    )
    return SURE | {"pacing": Pacing(budgets=(budget,), every=every)}


async def priced(client: Client, version: int) -> dict[str, Any]:
    """The learner's state once it serves a version of the prices."""
    async with asyncio.timeout(PATIENCE):
        while True:
            status: dict[str, Any] = (await client.get("/v1/learner")).json()
            assert status["is_healthy"]
            if status["price_version"] >= version:
                return status
            await asyncio.sleep(0.01)


def again(folder: Path) -> list[str]:
    """What a replay of a folder's store finds different."""
    return replay(folder / "bundle", f"sqlite:///{folder}/log.db").mismatched


def test_a_spent_budget_removes_what_does_not_fit_until_its_next_period(tmp_path: Path) -> None:
    async def check() -> None:
        clock = Clock()
        clock.now = clock.now.replace(hour=9)
        async with service(tmp_path, clock=clock, strategy=budgeted(3.0, every=1_000)) as client:
            made = [await decided(client, f"c{n}", channels=["call"]) for n in range(5)]
            channels = [one["actions"][0]["channel"] for one in made]
            assert channels == ["call", "call", "call", None, None]
            audit = (await client.get(f"/v1/decisions/{made[3]['decision_id']}")).json()
            assert audit["budget_left"] == {"calls": 0.0} and audit["removed"]["budget"] == 6
            assert [one["values"] for one in audit["why_not"] if one["rule"] == "budget"] == [{"calls": 0.0}]
            mail = await decided(client, "c9", channels=["mail"])
            assert mail["actions"][0]["channel"] == "mail", "the budget is of calls alone"
            text = (await client.get("/metrics")).text
            assert 'nba_budget_left{budget="calls"} 0.0' in text and 'nba_price{budget="calls"} 0.0' in text
            clock.forward(days=1)
            tomorrow = await decided(client, "c5", channels=["call"])
            assert tomorrow["actions"][0]["channel"] == "call"
        assert again(tmp_path) == []

    asyncio.run(check())


def test_prices_rise_with_use_and_a_restart_and_a_replay_find_them_again(tmp_path: Path) -> None:
    async def check() -> None:
        clock = Clock()
        clock.now = clock.now.replace(hour=9)
        async with service(tmp_path, clock=clock, strategy=budgeted(20.0)) as client:
            for number in range(12):
                answer = await decided(client, f"c{number}", channels=["call"])
                await priced(client, (number + 1) // 5)
            first = await priced(client, 2)
            assert first["prices"]["calls"] > 0.0, "a call at every decision is twice what there is"
            audit = (await client.get(f"/v1/decisions/{answer['decision_id']}")).json()
            assert (audit["price_version"], audit["prices"]) == (2, first["prices"])
            shadow = audit["terms"][0]["shadow_price"]
            assert shadow == pytest.approx(-first["prices"]["calls"])
        async with service(tmp_path, clock=clock) as client:
            status = await priced(client, 2)
            assert (status["price_version"], status["prices"]) == (2, first["prices"])
            for number in range(12, 15):  # with the two that waited these make five
                await decided(client, f"c{number}", channels=["mail"])
            assert (await priced(client, 3))["prices"] != first["prices"]
        assert again(tmp_path) == []
        db = apsw.Connection(str(tmp_path / "log.db"))
        other = """replace(CAST(state AS TEXT), '"used":10.0', '"used":9.0')"""
        db.execute(f"UPDATE price SET state = CAST({other} AS BLOB) WHERE version = 2")
        db.close()
        assert again(tmp_path) == ["prices:2"]

    asyncio.run(check())


@pytest.mark.slow
def test_a_budget_holds_under_concurrent_requests_and_across_a_kill(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", **budgeted(10.0, period="month"))
    store, calls = tmp_path / "log.db", 0

    def work(worker: int) -> int:
        found = 0
        for number in range(6):
            body = {"customer": customer(f"c{worker}-{number}-{calls}"), "channels": ["call"]}
            found += service.post("/v1/decisions", body)["actions"][0]["channel"] == "call"
        return found

    for _ in range(2):
        with Service(bundle, store) as service, ThreadPoolExecutor(8) as pool:
            calls += sum(pool.map(work, range(8)))
            service.kill()
        assert calls == 10
    assert again(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", ["learner.before_prices:2", "learner.after_prices:2"])
def test_prices_survive_a_kill_around_their_commit(tmp_path: Path, failpoint: str) -> None:
    """The first write of prices is that of the start, the second that of the first five decisions."""
    bundle, store = tiny_bundle(tmp_path / "bundle", **budgeted(20.0)), tmp_path / "log.db"
    with Service(bundle, store, failpoint=failpoint) as service:
        with suppress(httpx.TransportError):  # the last answer may be lost on its way
            for number in range(5):
                service.post("/v1/decisions", {"customer": customer(f"c{number}"), "channels": ["call"]})
        assert service.process.wait(PATIENCE) == 137
    with Service(bundle, store) as service:
        first = service.learner()
        assert first["price_version"] == 1 and first["prices"]["calls"] > 0.0
        for number in range(5, 10):
            service.post("/v1/decisions", {"customer": customer(f"c{number}"), "channels": ["call"]})
    assert again(tmp_path) == []


def test_other_prices_keep_the_draws() -> None:
    one = Snapshot.start(tiny_strategy(**budgeted(20.0)))
    one.warm()
    other = one.priced(np.array([0.0, 0.0, 7.0]), 4)
    assert other.frozen is one.frozen and other.price_version == 4
    call = one.strategy.catalogue.channel_of == 0
    np.testing.assert_allclose((other._tariff.fixed - one._tariff.fixed)[call], 7.0)
    assert not (other._tariff.fixed - one._tariff.fixed)[~call].any()


def test_a_plan_sets_the_prices_once(tmp_path: Path) -> None:
    async def check() -> None:
        plan = tmp_path / "plan.json"
        tiny_bundle(tmp_path / "bundle", **budgeted(20.0))
        plan.write_text(json.dumps({"objective": 1.0, "prices": {"calls": 3.5, "adviser hours": 9.0}}))
        for version, price in ((0, 3.5), (0, 3.5), (1, 2.5)):
            plan.write_text(plan.read_text().replace("3.5", str(price)))
            async with service(tmp_path, prices=plan) as client:
                status = await priced(client, version)
                assert (status["price_version"], status["prices"]) == (version, {"calls": price})
                await decided(client, f"c{price}-{version}")
        assert again(tmp_path) == []

    asyncio.run(check())


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("{}", "what `nba allocate --json` prints"),
        ('{"prices": {"tables": 1.0}}', "names none of the budgets calls"),
        ('{"prices": {"calls": -1.0}}', "prices.calls: must be finite and >= 0, got -1.0"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(tmp_path: Path, text: str, rule: str) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(text)
    with pytest.raises(InvalidConfig, match=rule):
        load_prices(plan, tiny_strategy(**budgeted(1.0)))


def test_prices_that_moved_by_an_older_rule_are_refused() -> None:
    state = Priced.start(Snapshot.start(tiny_strategy(**budgeted(3.0))))
    older = json.loads(msgspec.json.encode(state))
    del older["purses"][0]["drift"]
    row = PriceRow(version=7, decision_seq=0, planned=False, state=json.dumps(older).encode())
    with pytest.raises(LedgerError, match=r"version 7, were paced by an older nba.*`drift`.*new --store"):
        decode_state(row)


def test_what_did_not_reach_the_disk_is_given_back_and_a_clock_set_back_uses_nothing() -> None:
    strategy, clock = tiny_strategy(**budgeted(3.0)), Clock()
    till, call = (
        Till(strategy, Priced.start(Snapshot.start(strategy)).purses),
        strategy.catalogue.index("call", "morning", "card"),
    )
    till.take(call, clock.now)
    till.take(call, clock.now)
    assert till.left(clock.now) == {"calls": 1.0}
    till.give_back(call, clock.now)
    assert till.left(clock.now) == {"calls": 2.0}
    today = clock.now
    clock.forward(days=-1)
    assert till.left(clock.now) == {"calls": 0.0}
    clock.forward(days=2)
    till.give_back(call, today)
    assert till.left(clock.now) == {"calls": 3.0}
