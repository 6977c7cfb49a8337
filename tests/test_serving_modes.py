"""Live, shadow and dry run; decisions that count from their activation on."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient
from serving_fixtures import (
    SURE,
    Clock,
    contacted,
    customer,
    decided,
    reported,
    rows_in,
    service,
)

from serving.replay import replay

ONE = {"strategy": SURE | {"contacts": 1}}  # contacts whenever it may, and once a week it may


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


def same_again(folder: Path) -> None:
    report = replay(folder / "bundle", f"sqlite:///{folder}/log.db")
    assert (report.mismatches, report.decisions > 0) == (0, True)


async def activated(client: AsyncTestClient[Litestar], decision_id: str) -> dict[str, Any]:
    answer = await client.post(f"/v1/decisions/{decision_id}/activate")
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def posterior_after(client: AsyncTestClient[Litestar], seq: int) -> str:
    """The checksum of the posterior in use once a position of the log is folded, news or not."""
    while True:
        status = (await client.get("/v1/learner")).json()
        if status["folded_seq"] >= seq:
            break
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)  # two steps of the learner
    checksum: str = (await client.get("/v1/learner")).json()["posterior_sha256"]
    return checksum


async def refused(client: AsyncTestClient[Litestar], **request: Any) -> str:
    answer = await client.post("/v1/decisions", json={"customer": customer(), **request})
    assert answer.status_code == 422, answer.text
    pointer: str = answer.json()["errors"][0]["pointer"]
    return pointer


def test_a_dry_run_stores_nothing_and_moves_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        async with service(tmp_path, **ONE) as client:
            for _ in range(3):  # a limit of one contact: a live one would have used it up
                dry = await decided(client, mode="dry_run")
                assert dry["actions"][0]["channel"] is not None and dry["mode"] == "dry_run"
            assert rows_in(tmp_path) == 0
            assert (await client.get(f"/v1/decisions/{dry['decision_id']}")).status_code == 404
            assert (await decided(client))["actions"][0]["channel"] is not None
            assert await refused(client, mode="dry_run", request_id="r") == "/request_id"

    run(test())


def test_a_shadow_is_kept_and_counts_and_teaches_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        clock = Clock()
        async with service(tmp_path, clock=clock, **ONE) as client:
            before = (await client.get("/v1/learner")).json()["posterior_sha256"]
            shadow = await decided(client, mode="shadow", request_id="s1")
            assert shadow["actions"][0]["channel"] is not None
            assert await decided(client, mode="shadow", request_id="s1") == shadow | {"replayed": True}
            told = await reported(client, shadow["decision_id"], "converted", value=80.0)
            clock.forward(days=50)
            assert await posterior_after(client, told["seq"]) == before
            audit = (await client.get(f"/v1/decisions/{shadow['decision_id']}")).json()
            assert (audit["mode"], audit["actions"]) == ("shadow", shadow["actions"])
        async with service(tmp_path, clock=clock) as client:
            assert (await decided(client))["actions"][0]["channel"] is not None
        same_again(tmp_path)

    run(test())


def test_a_deferred_contact_holds_its_limit_until_it_cannot_be_activated(tmp_path: Path) -> None:
    async def test() -> None:
        clock = Clock()
        async with service(tmp_path, clock=clock, **ONE) as client:
            first = await decided(client, defer_activation=True, candidates=["deposit"])  # 10 days' window
            assert first["actions"][0]["channel"] is not None
            clock.forward(days=9)  # past the limit's week: it may still be made now
            assert (await decided(client))["actions"][0]["channel"] is None
        async with service(tmp_path, clock=clock) as client:
            assert (await decided(client))["actions"][0]["channel"] is None
            clock.forward(days=2)
            late = await client.post(f"/v1/decisions/{first['decision_id']}/activate")
            assert late.status_code == 409 and late.json()["type"].endswith(":activation-too-late")
            assert (await decided(client))["actions"][0]["channel"] is not None
        same_again(tmp_path)

    run(test())


def test_an_activated_contact_counts_from_its_activation_on(tmp_path: Path) -> None:
    async def test() -> None:
        clock = Clock()
        async with service(tmp_path, clock=clock, **ONE) as client:
            first = await decided(client, defer_activation=True, candidates=["loan"])
            clock.forward(days=5)
            receipt = await activated(client, first["decision_id"])
            again = await activated(client, first["decision_id"])
            assert again == receipt | {"status": "duplicate"}
            assert receipt["feedback_until"] > first["feedback_until"]
            clock.forward(days=6)  # eleven days after the decision, six after the contact
            assert (await decided(client))["actions"][0]["channel"] is None
        async with service(tmp_path, clock=clock) as client:
            assert (await decided(client))["actions"][0]["channel"] is None
            clock.forward(days=2)
            assert (await decided(client))["actions"][0]["channel"] is not None
        same_again(tmp_path)

    run(test())


@pytest.mark.parametrize("is_activated", [False, True])
def test_only_what_was_activated_teaches(tmp_path: Path, is_activated: bool) -> None:
    async def test() -> None:
        clock = Clock()
        async with service(tmp_path, clock=clock, **ONE) as client:
            before = (await client.get("/v1/learner")).json()["posterior_sha256"]
            first = await decided(client, defer_activation=True, candidates=["loan"])
            early = await reported(client, first["decision_id"], "seen")
            assert await posterior_after(client, early["seq"]) == before
            if is_activated:
                await activated(client, first["decision_id"])
            told = await reported(client, first["decision_id"], "converted", value=200.0)
            assert (await posterior_after(client, told["seq"]) != before) == is_activated
            clock.forward(days=60)
            for _ in range(100 if is_activated else 10):  # exposures are told if it is watched, and only then
                await asyncio.sleep(0.02)
                audit = (await client.get(f"/v1/decisions/{first['decision_id']}")).json()
                n_told = sum(entry["outcome"] in ("exposure", "closed") for entry in audit["feedback"])
                if n_told == 4:
                    break
            assert n_told == (4 if is_activated else 0)
        same_again(tmp_path)

    run(test())


def test_what_cannot_be_activated_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with service(tmp_path, **ONE) as client:
            plain = await decided(client, "c1")
            deferred = await contacted(client, "c2", defer_activation=True)
            await reported(client, deferred["decision_id"], "cancelled")
            for decision_id, status, slug in (
                (plain["decision_id"], 409, "not-deferred"),
                (deferred["decision_id"], 409, "contact-never-made"),
                ("0" * 8, 404, "unknown-decision"),
            ):
                answer = await client.post(f"/v1/decisions/{decision_id}/activate")
                assert (answer.status_code, answer.json()["type"]) == (status, f"urn:nba:error:{slug}")
            assert (await decided(client, "c2"))["actions"][0]["channel"] is not None  # cancelled: room again
            assert await refused(client, mode="shadow", defer_activation=True) == "/defer_activation"

    run(test())


def test_an_opt_out_names_deferred_contacts_that_must_not_be_made(tmp_path: Path) -> None:
    async def test() -> None:
        async with service(tmp_path, strategy=SURE) as client:
            made = await contacted(client, channels=["mail"])
            waiting = await contacted(client, channels=["mail"], defer_activation=True)
            receipt = await reported(client, made["decision_id"], "opted_out")
            assert waiting["decision_id"] in receipt["to_cancel"]

    run(test())
