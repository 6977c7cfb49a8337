"""The service learns what contacts bring and what sales are worth, once, and again after a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient
from msgspec import json
from serving_fixtures import (
    PATIENCE,
    SURE,
    Clock,
    caught_up,
    contacted,
    decided,
    reported,
    service,
    tiny_strategy,
)

from nba.bundle import posterior_bytes
from nba.outcomes import STAGES, Aftermath, ContactRows, RevenueModel, SaleRows, StageModel
from nba.policies import Greedy
from nba.snapshot import Snapshot
from serving.replay import replay

PRICED: dict[str, Any] = SURE | {
    "policy": Greedy(),
    "stages": (
        StageModel(stage="opted_out", rate=0.01, pseudo_contacts=200.0, otherwise=-2_000.0),
        StageModel(stage="engaged", rate=0.3),
    ),
    "revenue": RevenueModel(pseudo_sales=2.0, noise_sd=0.5, level_sd=1.0, product_sd=1.0),
}
CHEAP = PRICED | {"stages": (StageModel(stage="opted_out", rate=0.01, otherwise=-30.0), PRICED["stages"][1])}
Client = AsyncTestClient[Litestar]


def values_of(answer: dict[str, Any]) -> dict[str, float]:
    return {one["action_id"]: one["expected_value"] for one in answer["actions"]}


def learnt(folder: Path) -> str:
    return replay(folder / "bundle", f"sqlite:///{folder}/log.db").posterior_sha256


async def trials_told(client: Client, clock: Clock, n_events: int, n_contacts: int) -> None:
    """Let the first interval of contacts about cards pass: two days, before the second one has."""
    clock.forward(days=3)
    await caught_up(client, n_events + n_contacts)


async def sha_after(client: Client, seq: int) -> str:
    """Checksum of what is published when a log position has been folded, whether it taught or not."""
    async with asyncio.timeout(PATIENCE):
        while True:
            status = (await client.get("/v1/learner")).json()
            if status["folded_seq"] >= seq:
                await asyncio.sleep(0.2)  # what has been folded is published in the same step
                return str((await client.get("/v1/learner")).json()["posterior_sha256"])
            await asyncio.sleep(0.01)


def test_opt_outs_make_a_channel_quieter(tmp_path: Path) -> None:
    async def check() -> None:
        clock = Clock()
        async with service(tmp_path, clock=clock, strategy=PRICED) as client:
            before = await decided(client, "judge", channels=["mail"], limit=1)
            assert before["actions"][0]["channel"] == "mail"
            made = [await contacted(client, f"c{number}", channels=["mail"]) for number in range(8)]
            for one in made:
                await reported(client, one["decision_id"], "opted_out")
            clock.forward(days=5)  # the first interval of all products
            await caught_up(client, 8 + 8)
            after = await decided(client, "judge", channels=["mail"])
            other = await decided(client, "judge", channels=["call"])
            assert after["actions"][0]["action_id"] == "no-contact", "an opt-out costs more than sales bring"
            assert other["actions"][0]["channel"] == "call", "the other channel has lost nobody"

    asyncio.run(check())


def test_amounts_make_a_product_worth_more(tmp_path: Path) -> None:
    async def check() -> None:
        async with service(tmp_path, strategy=PRICED) as client:
            request = {"channels": ["mail"], "candidates": ["card"]}
            before = values_of(await decided(client, "judge", **request))
            for number in range(6):
                one = await contacted(client, f"c{number}", **request)
                receipt = await reported(client, one["decision_id"], "converted", value=240.0)
            await caught_up(client, receipt["seq"])
            after = values_of(await decided(client, "judge", **request))
            (action,) = after
            assert after[action] > 2 * before[action], "four times the margin, six times"

    asyncio.run(check())


@pytest.mark.parametrize("outcome", ["opted_out", "engaged"])
def test_a_stage_of_a_contact_counts_once_and_late_or_unknown_ones_not_at_all(
    tmp_path: Path, outcome: str
) -> None:
    async def check() -> None:
        clock = Clock()
        async with service(tmp_path, clock=clock, strategy=PRICED) as client:
            one = await contacted(client, candidates=["card"])
            await trials_told(client, clock, 0, 1)
            before = await sha_after(client, 1)
            for number, teaches in enumerate((True, False)):
                body = {"event_id": f"e{number}", "decision_id": one["decision_id"], "outcome": outcome}
                receipt = (await client.post("/v1/feedback", json=body)).json()
                again = (await client.post("/v1/feedback", json=body)).json()
                assert (receipt["status"], again["status"]) == ("accepted", "duplicate")
                after = await sha_after(client, receipt["seq"])
                assert (after != before) is teaches, number
                before = after
            clock.forward(days=60)
            late = await reported(client, one["decision_id"], "complained")
            assert late["status"] == "late"

    asyncio.run(check())


async def _history(client: Client, clock: Clock) -> str:
    """Contacts whose stages, amounts and intervals come in any order; the decision that ends it."""
    for number in range(6):
        one = await contacted(client, f"c{number}", candidates=["card", "loan"])
        if number % 2:
            await reported(client, one["decision_id"], "converted", value=50.0 + 40.0 * number)
        clock.forward(days=3)
        await asyncio.sleep(0.05)
        await reported(client, one["decision_id"], "engaged")
        last = await reported(client, one["decision_id"], ("opted_out", "seen")[number % 2])
    clock.forward(days=50)
    await asyncio.sleep(0.2)
    await caught_up(client, last["seq"])
    return json.encode(values_of(await decided(client, "judge", limit=5))).decode()


def test_a_restart_and_a_replay_hold_the_same(tmp_path: Path) -> None:
    async def check() -> None:
        clock = Clock()
        async with service(tmp_path, clock=clock, strategy=CHEAP) as client:
            first = await _history(client, clock)
        async with service(tmp_path, clock=clock) as client:
            again = json.encode(values_of(await decided(client, "a like one", limit=5))).decode()
            status = (await client.get("/v1/learner")).json()
        assert again == first
        assert learnt(tmp_path) == status["posterior_sha256"]
        assert replay(tmp_path / "bundle", f"sqlite:///{tmp_path}/log.db").mismatches == 0

    asyncio.run(check())


def test_what_the_log_teaches_is_what_its_rows_say(tmp_path: Path) -> None:
    """Two contacts: one opts out before its trial is final, one buys and engages after; both are tried."""

    async def check() -> list[dict[str, Any]]:
        clock, audits = Clock(), []
        async with service(tmp_path, clock=clock, strategy=PRICED) as client:
            left = await contacted(client, "left", candidates=["card"])
            bought = await contacted(client, "bought", candidates=["card"])
            await reported(client, left["decision_id"], "opted_out")
            await reported(client, bought["decision_id"], "converted", value=90.0)
            await trials_told(client, clock, 2, 2)
            await reported(client, bought["decision_id"], "engaged")
            clock.forward(days=60)
            await caught_up(client, 2 + 2 + 1 + 2)
            for one in (left, bought):
                audits.append((await client.get(f"/v1/decisions/{one['decision_id']}")).json())
        return audits

    audits, strategy = asyncio.run(check()), tiny_strategy(**PRICED)
    x = np.array([list(audit["features"].values()) for audit in audits])
    channels = np.array(
        [strategy.catalogue.level("channel", audit["actions"][0]["channel"]) for audit in audits]
    )
    events = np.zeros((3, len(STAGES)))
    events[0, STAGES.index("opted_out")] = 1.0
    events[2, STAGES.index("engaged")] = 1.0
    rows = ContactRows(x[[0, 1, 1]], channels[[0, 1, 1]], events, np.array([1.0, 1.0, 0.0]))
    sale = SaleRows(x[[1]], np.array([strategy.catalogue.level("product", "card")]), np.array([90.0]))
    expected = strategy.outcomes().fold(Aftermath(rows, sale)).state()
    found = _outcomes(tmp_path)
    for name, wanted in expected.items():
        np.testing.assert_allclose(found[name], wanted, rtol=1e-12, atol=1e-12, err_msg=name)
    assert posterior_bytes(Snapshot.start(strategy).posterior)


def _outcomes(folder: Path) -> dict[str, Any]:
    """What a learner holds after the whole log of a folder."""
    from nba.bundle import load_bundle
    from serving.evidence import Folder
    from serving.ledger import open_reader

    folded, reader = Folder(load_bundle(folder / "bundle")), open_reader(f"sqlite:///{folder}/log.db")
    try:
        folded.fold(reader.events_after(0, 1_000))
    finally:
        reader.close()
    return folded.outcomes.state()
