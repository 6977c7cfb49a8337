"""What a contact that was never made gives back to the budgets of the service, and when."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest
from serving_fixtures import Clock, customer, decided, reported, service, tiny_bundle, tiny_strategy
from serving_process import Service
from test_serving_budgets import Client, again, budgeted, priced

from nba.allocation.purses import Purse
from serving.till import Till

RETURNS = [
    (("refused", "cancelled"), [2.0, 2.0, 2.0, 2.0, 3.0]),
    (("cancelled",), [1.0, 1.0, 1.0, 1.0, 2.0]),
    ((), [1.0, 1.0, 1.0, 1.0, 1.0]),
]


@pytest.mark.parametrize(("returned_if", "wanted"), RETURNS)
def test_contacts_that_were_never_made_give_their_units_back_once(
    returned_if: tuple[str, ...], wanted: list[float], tmp_path: Path
) -> None:
    """Four of five calls; one is refused twice over, one made and then refused, one cancelled."""

    async def left(client: Client) -> float:
        text = (await client.get("/metrics")).text
        return float(re.search(r'nba_budget_left{budget="calls"} (\S+)', text).group(1))  # type: ignore[union-attr]

    async def check() -> None:
        strategy = budgeted(5.0, every=2, period="month", returned_if=returned_if)
        async with service(tmp_path, strategy=strategy) as client:
            made = [(await decided(client, f"c{n}", channels=["call"]))["decision_id"] for n in range(4)]
            found = []
            for which, outcome, event in (
                (0, "refused", "e0"), (0, "refused", "e0"), (0, "refused", "e1"), (1, "delivered", "e2"),
                (1, "refused", "e3"), (2, "cancelled", "e4"),
            ):  # fmt: skip
                await reported(client, made[which], outcome, event_id=event)
                found.append(await left(client))
            assert found == [wanted[0], *wanted]
            await decided(client, "c8", channels=["mail"])
            await decided(client, "c9", channels=["mail"])
            await priced(client, 3)
        async with service(tmp_path) as client:
            assert await left(client) == wanted[-1], "a restart counts them again, and once"
            calls = [await decided(client, f"d{n}", channels=["call"]) for n in range(4)]
            assert sum(one["actions"][0]["channel"] == "call" for one in calls) == wanted[-1]
            await priced(client, 5)
        assert again(tmp_path) == []

    asyncio.run(check())


def test_units_come_back_in_their_own_period_and_never_beyond_it() -> None:
    strategy, clock = tiny_strategy(**budgeted(3.0)), Clock()
    till, call = (
        Till(strategy, [Purse.start(0.0)], events=5),
        strategy.catalogue.index("call", "morning", "card"),
    )
    today = clock.now
    till.take(call, today)
    till.told("refused", 5, call, today)
    assert till.left(today) == {"calls": 2.0}, "the fifth event was counted when the till was opened"
    till.told("refused", 6, call, today)
    till.told("refused", 7, call, today)
    assert till.left(today) == {"calls": 3.0}, "never more than there is"
    till.take(call, today)
    clock.forward(days=1)
    till.take(call, clock.now)
    till.told("cancelled", 8, call, today)
    assert till.left(clock.now) == {"calls": 2.0}


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_used_twice_whatever_comes_back_and_whenever_it_restarts(
    seed: int, tmp_path: Path
) -> None:
    """Random decisions, refusals and restarts against a count by hand: a call is made where one is left."""
    rng = np.random.default_rng(seed)

    async def check() -> None:
        more: dict[str, Any] = {"strategy": budgeted(6.0, every=3, period="month")}
        told: dict[str, list[str]] = {}  # of every call, the outcomes in their order
        for life in range(4):
            async with service(tmp_path, **more) as client:
                for number in range(12):
                    if rng.random() < 0.6:
                        left = 6 - sum(each[:1] != ["refused"] for each in told.values())
                        made = await decided(client, f"c{life}-{number}", channels=["call"])
                        assert (made["actions"][0]["channel"] == "call") == (left > 0)
                        if left > 0:
                            told[made["decision_id"]] = []
                    elif told:
                        which = sorted(told)[int(rng.integers(len(told)))]
                        outcome = str(rng.choice(["refused", "delivered"], p=[0.8, 0.2]))
                        await reported(client, which, outcome, event_id=f"e{life}-{number}")
                        told[which].append(outcome)
            more = {}
        assert len(told) > 6, "some units were used again"
        assert again(tmp_path) == []

    asyncio.run(check())


@pytest.mark.slow
def test_units_that_come_back_are_used_once_by_concurrent_callers_and_across_a_kill(tmp_path: Path) -> None:
    """Eight callers; the calls of four are refused, and told so twice. The log is counted again by hand."""
    bundle = tiny_bundle(tmp_path / "bundle", **budgeted(10.0, period="month"))
    store = tmp_path / "log.db"

    def work(worker: int) -> None:
        for number in range(6):
            body = {"customer": customer(f"c{worker}-{number}"), "channels": ["call"]}
            made = service.post("/v1/decisions", body)
            if made["actions"][0]["channel"] == "call" and worker % 2:
                for event in "ab":
                    refused = {"decision_id": made["decision_id"], "outcome": "refused"}
                    service.post("/v1/feedback", refused | {"event_id": f"{event}{worker}-{number}"})

    with Service(bundle, store) as service, ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
        service.kill()
    with Service(bundle, store) as service:
        for number in range(11):
            service.post("/v1/decisions", {"customer": customer(f"last{number}"), "channels": ["call"]})
    db = apsw.Connection(str(store))
    moments = "SELECT at, 1 FROM decision WHERE channel = 'call' UNION ALL SELECT min(received_at), -1 "
    moments += "FROM event WHERE outcome = 'refused' GROUP BY decision_id ORDER BY 1, 2"
    used = np.cumsum([unit for _, unit in db.execute(moments)])
    db.close()
    assert used.max() == used[-1] == 10 and len(used) >= 14
    assert again(tmp_path) == []
