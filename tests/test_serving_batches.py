"""Batches of decisions and feedback: every line as if it had come alone."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient

from nba.constraints import ContactLimit, ContactPolicy
from serving.ledger import open_reader
from serving.replay import replay
from tests.serving_fixtures import SURE, caught_up, customer, decided, rows_in, service

NDJSON = {"content-type": "application/x-ndjson"}
Lines = list[dict[str, Any]]


async def sent(client: AsyncTestClient[Litestar], path: str, *lines: dict[str, Any] | bytes) -> Lines:
    """The answers to the lines of a batch."""
    body = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    answer = await client.post(path, content=body, headers=NDJSON)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


async def decisions(client: AsyncTestClient[Litestar], *lines: dict[str, Any] | bytes) -> Lines:
    return await sent(client, "/v1/decisions/batch", *lines)


def of(*names: str, **more: Any) -> Lines:
    return [{"customer": customer(name), **more} for name in names]


def test_wrong_lines_are_refused_alone(tmp_path: Path) -> None:
    wrong: list[tuple[dict[str, Any] | bytes, int, str]] = [
        (b"{", 400, ""),
        (b"", 400, ""),
        ({"customer": {"id": ""}}, 422, "/customer/id"),
        ({"customer": customer(age="old")}, 422, "/customer/attributes/age"),
        ({"customer": customer(), "channels": ["pigeon"]}, 422, "/channels/0"),
        (b'{"customer": {"id": "' + b"x" * 300_000 + b'"}}', 413, ""),
    ]

    async def check() -> None:
        async with service(tmp_path) as client:
            good = of("c1", "c2")
            found = await decisions(client, good[0], *(line for line, *_ in wrong), good[1])
            assert [one["line"] for one in found] == list(range(1, len(wrong) + 3))
            assert [found[0]["status"], found[-1]["status"]] == [200, 200]
            for told, (_, status, pointer) in zip(found[1:-1], wrong, strict=True):
                assert told["status"] == told["problem"]["status"] == status
                assert [one["pointer"] for one in told["problem"].get("errors", [])] in ([pointer], [])
            assert rows_in(tmp_path) == 2

    asyncio.run(check())


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", NDJSON, 400),
        (b"\n\n", NDJSON, 400),
        (b"{}\n" * 20_001, NDJSON, 413),
        (b"{}", {"content-type": "application/json"}, 415),
        (b"{}", NDJSON | {"content-encoding": "gzip"}, 415),
    ],
    ids=["empty", "blank", "long", "json", "gzip"],
)
def test_bodies_that_are_no_batch_are_refused_whole(
    tmp_path: Path, body: bytes, headers: dict[str, str], status: int
) -> None:
    async def check() -> None:
        async with service(tmp_path) as client:
            for path in ("/v1/decisions/batch", "/v1/feedback/batch"):
                answer = await client.post(path, content=body, headers=headers)
                assert answer.status_code == answer.json()["status"] == status
            assert rows_in(tmp_path) == 0

    asyncio.run(check())


def test_a_batch_decides_as_its_lines_would_alone(tmp_path: Path) -> None:
    """Every decision can be made again from its own record, alone, to the same bytes."""
    lines = [
        *of(*(f"c{number}" for number in range(300))),
        *of("c1", "c2", channels=["call"]),
        *of("c3", limit=3, exclude=["deposit"]),
    ]

    async def check() -> None:
        async with service(tmp_path) as client:
            found = await decisions(client, *lines)
            assert [one["status"] for one in found] == [200] * len(lines)
            assert {len(one["decision"]["actions"]) for one in found[:302]} == {1}
            again = await client.get(f"/v1/decisions/{found[-1]['decision']['decision_id']}")
            assert again.json()["contacts"] == sum(
                one["decision"]["actions"][0]["channel"] is not None for one in found if one["line"] == 4
            ), "the last line saw what an earlier one had decided for its customer"

    asyncio.run(check())
    told = replay(tmp_path / "bundle", f"sqlite:///{tmp_path}/log.db")
    assert (told.decisions, told.mismatches) == (len(lines), 0)


@pytest.mark.parametrize("household", [False, True])
def test_limits_hold_within_a_batch(tmp_path: Path, household: bool) -> None:
    """As they do for the lines one by one, also where a line moves a customer to another household."""
    limits = (ContactLimit(contacts=2, days=7, level="household" if household else "customer"),)
    strategy = SURE | {"contact_policy": ContactPolicy(limits=limits)}
    lines = of(*(f"c{number % 5}" for number in range(30)))
    for number, line in enumerate(lines if household else ()):
        if number % 3:
            line["customer"]["household"] = f"h{number % 4}"
    patterns: list[list[bool]] = []

    async def check(folder: Path, n: int) -> None:
        folder.mkdir()
        async with service(folder, strategy=strategy) as client:
            found = [one for at in range(0, 30, n) for one in await decisions(client, *lines[at : at + n])]
            patterns.append([one["decision"]["actions"][0]["channel"] is not None for one in found])

    for n in (30, 1):
        asyncio.run(check(tmp_path / str(n), n))
    assert patterns[0] == patterns[1]
    assert patterns[0][:1] == [True] and (sum(patterns[0]) == 10 or household)


def test_request_ids_are_answered_once(tmp_path: Path) -> None:
    async def check() -> None:
        async with service(tmp_path) as client:
            first = await decided(client, "c1", request_id="r1")
            one, two, same, other, wrong, again = await decisions(
                client,
                *of("c1", request_id="r1"),
                *of("c2", request_id="r2"),
                *of("c2", request_id="r2"),
                *of("c3", request_id="r2"),
                *of("c4", request_id="r4", channels=["pigeon"]),
                *of("c4", request_id="r4", channels=["pigeon"]),
            )
            assert one["decision"] == first | {"replayed": True}
            assert same["decision"] == two["decision"] | {"replayed": True}
            assert other["problem"]["type"] == "urn:nba:error:request-id-reused"
            assert wrong["problem"] == again["problem"] and wrong["status"] == 422
            assert rows_in(tmp_path) == 2
            assert (await decided(client, "c2", request_id="r2"))["replayed"]

    asyncio.run(check())


def test_feedback_enters_the_log_in_its_order_and_once(tmp_path: Path) -> None:
    async def check() -> None:
        async with service(tmp_path, strategy=SURE) as client:
            made = await decisions(client, *of(*(f"c{number}" for number in range(40))))
            ids = [one["decision"]["decision_id"] for one in made]
            events = [
                {"event_id": f"e{number}", "decision_id": one, "outcome": "converted"}
                for number, one in enumerate(ids)
            ]
            strange: Lines = [
                {"event_id": "x", "decision_id": "no id", "outcome": "seen"},
                events[3] | {"outcome": "rejected"},
            ]
            found = await sent(client, "/v1/feedback/batch", *events, *strange, events[5])
            assert [one["status"] for one in found] == [202] * 40 + [422, 409, 202]
            assert [one["receipt"]["seq"] for one in found[:40]] == list(range(1, 41))
            assert found[-1]["receipt"] == {"status": "duplicate", "seq": 6}
            await caught_up(client, 40)
        reader = open_reader(f"sqlite:///{tmp_path}/log.db")
        assert [reader.events_of(one)[0].event_id for one in ids] == [f"e{number}" for number in range(40)]
        reader.close()

    asyncio.run(check())
