"""Rules and opt-outs in the service: clocks set back, far days, refused requests, and what is told twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient
from msgspec import structs
from serving_fixtures import Clock, at_once, customer, decided, reported, service, tiny_strategy

from nba.catalogue import Timing
from nba.constraints import Consent, ContactLimit, ContactPolicy, QuietHours, Rest
from nba.policies import RandomEligible
from serving.wire import Feedback

Client = AsyncTestClient[Litestar]
Scene = Callable[[Client, Clock], Awaitable[None]]
TWICE = Rest(outcome="rejected", times=2, within_days=30, days=30, each="everything")


def play(folder: Path, scene: Scene, **changes: Any) -> None:
    """A service that contacts whenever it may, now or on a day that an attribute counts to."""
    timings = (Timing(name="now"), Timing(name="key_day", waits_for="age"))
    catalogue = structs.replace(tiny_strategy().catalogue, timings=timings)
    parts = {"catalogue": catalogue, "policy": RandomEligible(), "rules": (Consent(),), "silence": False}

    async def check() -> None:
        clock = Clock()
        async with service(folder, clock=clock, strategy=parts | changes) as client:
            await scene(client, clock)

    asyncio.run(asyncio.wait_for(check(), 60))


async def channels_after(client: Client, n: int = 12) -> set[str | None]:
    return {(await decided(client))["actions"][0]["channel"] for _ in range(n)}


@pytest.mark.parametrize("rules", [(), (Consent(),)], ids=["no rule", "consent"])
def test_an_opt_out_is_heard_after_the_clock_was_set_back_and_whatever_the_rules(
    rules: tuple[Any, ...], tmp_path: Path
) -> None:
    async def scene(client: Client, clock: Clock) -> None:
        found = await decided(client)
        clock.forward(hours=-2)
        assert (await reported(client, found["decision_id"], "opted_out"))["status"] == "accepted"
        assert await channels_after(client) == {"call", "mail"} - {found["actions"][0]["channel"]}
        invented = {"event_id": "e", "decision_id": "ffffffff-ffff-7a20-8042-f05282f1f675", "outcome": "seen"}
        assert (await client.post("/v1/feedback", json=invented)).status_code == 422

    play(tmp_path, scene, rules=rules)


def test_who_opts_out_before_the_contact_is_made_is_heard_at_once(tmp_path: Path) -> None:
    async def scene(client: Client, clock: Clock) -> None:
        found = await decided(client, at=(clock.now + timedelta(days=5)).isoformat())
        body = {"event_id": "e", "decision_id": found["decision_id"], "outcome": "seen"}
        assert (await client.post("/v1/feedback", json=body)).status_code == 422, "nothing was there to see"
        assert (await reported(client, found["decision_id"], "opted_out"))["status"] == "accepted"
        assert found["actions"][0]["channel"] not in await channels_after(client)

    play(tmp_path, scene)


def test_a_refused_request_moves_nobody_into_a_household(tmp_path: Path) -> None:
    async def scene(client: Client, clock: Clock) -> None:
        await decided(client, "mate")
        await client.post("/v1/decisions", json={"customer": customer("mate") | {"household": "h"}})
        wrong = customer(age="old") | {"household": "h"}
        assert (await client.post("/v1/decisions", json={"customer": wrong})).status_code == 422
        assert await channels_after(client, 1) != {None}, "the mate has had the contact of the household"
        answer = await client.post("/v1/decisions", json={"customer": customer() | {"household": "h"}})
        assert answer.json()["actions"][0]["channel"] is None

    limit = ContactLimit(contacts=1, days=7, level="household")
    play(tmp_path, scene, contact_policy=ContactPolicy(limits=(limit,)))


def test_days_beyond_every_calendar_are_no_failure(tmp_path: Path) -> None:
    limit = ContactLimit(contacts=2, calendar="day")
    quiet = QuietHours(start="03:00", end="03:01")

    async def scene(client: Client, clock: Clock) -> None:
        for number, days in enumerate((4e6, 1e18, 1e300)):
            for zone in ("Asia/Shanghai", "America/New_York"):
                far = [
                    {"channel": "mail", "at": f"{year}T00:00:00Z"} for year in ("0001-01-01", "9999-12-31")
                ]
                known = customer(f"c{number}{zone}", age=days) | {"zone": zone, "contacts": far}
                answer = await client.post("/v1/decisions", json={"customer": known})
                assert answer.status_code == 200, answer.text

    play(tmp_path, scene, contact_policy=ContactPolicy(limits=(limit,), quiet_hours=(quiet,)))


def test_what_is_told_twice_of_one_contact_is_one_outcome(tmp_path: Path) -> None:
    async def scene(client: Client, clock: Clock) -> None:
        first, second = await decided(client), await decided(client)
        for name in ("e1", "e2"):
            body = {"event_id": name, "decision_id": first["decision_id"], "outcome": "rejected"}
            assert (await client.post("/v1/feedback", json=body)).status_code == 202
        assert None not in await channels_after(client)
        await reported(client, second["decision_id"], "rejected")
        assert await channels_after(client) == {None}

    play(tmp_path, scene, rules=(Consent(), TWICE))


def test_feedback_that_is_read_from_the_disk_before_it_is_applied_counts_once(tmp_path: Path) -> None:
    """A customer who was forgotten comes up between the commit of feedback and its answer."""

    async def scene(client: Client, clock: Clock) -> None:
        found = await decided(client)
        running = client.app.state.runtime.service
        del running._book._known["c1"]
        told = Feedback(event_id="e", decision_id=found["decision_id"], outcome="rejected")
        event = running._event(told, running._reader.decision(found["decision_id"]), clock())
        running._ledger.append_event(event).result(30)
        assert len(running._book.remembered("c1").outcomes) == 1
        running._book.apply(event, "rejected")
        assert len(running._book.remembered("c1").outcomes) == 1

    play(tmp_path, scene, rules=(Consent(), TWICE))


def test_who_is_pending_is_not_forgotten_and_everybody_else_is(tmp_path: Path) -> None:
    """Room for two customers, five requests at once for each of six, one contact for each."""

    async def scene(client: Client, clock: Clock) -> None:
        book = client.app.state.runtime.service._book
        book._capacity = 2
        answers = await at_once(client, [{"customer": customer(f"c{i}")} for i in range(6)] * 5)
        assert sum(one["actions"][0]["channel"] is not None for one in answers) == 6
        await decided(client, "another")
        assert len(book._known) == 2
        for number in range(6):
            assert (await decided(client, f"c{number}"))["actions"][0]["channel"] is None

    play(tmp_path, scene, contact_policy=ContactPolicy(limits=(ContactLimit(contacts=1, days=7),)))


def test_an_opt_out_names_the_planned_contacts_that_must_not_be_made(tmp_path: Path) -> None:
    async def scene(client: Client, clock: Clock) -> None:
        made = [await decided(client) for _ in range(60)]
        later = [one for one in made if one["actions"][0]["timing"] == "key_day"]
        first = next(one for one in made if one not in later)
        channel = first["actions"][0]["channel"]
        expected = [one["decision_id"] for one in later if one["actions"][0]["channel"] == channel]
        assert 0 < len(expected) < len(later)
        receipt = await reported(client, first["decision_id"], "opted_out")
        assert receipt["to_cancel"] == expected
        again = await reported(client, first["decision_id"], "opted_out")
        assert again == receipt | {"status": "duplicate"}
        await reported(client, expected[0], "cancelled")
        last = await reported(client, expected[-1], "opted_out")
        assert last["to_cancel"] == expected[1:]
        assert "to_cancel" not in await reported(client, first["decision_id"], "seen")

    play(tmp_path, scene)
