"""An answer in any case: time budgets, the breaker, and what becomes of a decision that came too late."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from serving_fixtures import SURE, customer, decided, rows_in, service

from serving.fallback import Breaker
from serving.ledger import operations
from serving.replay import replay


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


class Slow:
    """A disk that waits until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate = threading.Event()
        self.gate.set()
        inner = operations.append_decision

        def append(*args: Any, **kwargs: Any) -> int:
            self.gate.wait(30)
            return inner(*args, **kwargs)

        monkeypatch.setattr(operations, "append_decision", append)


def test_a_breaker_trips_rests_and_tries_one() -> None:
    breaker = Breaker(most=2, rest_seconds=10.0)
    breaker.note(0.0, is_late=True)
    assert not breaker.is_open(0.0)
    breaker.note(1.0, is_late=True)
    assert breaker.is_open(1.0) and breaker.is_open(10.9)
    assert not breaker.is_open(11.0) and breaker.is_open(11.0)  # one probe, nobody else
    breaker.note(12.0, is_late=True)
    assert breaker.is_open(21.9) and not breaker.is_open(22.0)
    breaker.note(22.1, is_late=False)
    assert not breaker.is_open(22.1)
    breaker.note(23.0, is_late=True)
    assert not breaker.is_open(23.0)  # once is not enough again


def test_who_is_in_time_is_decided_for(tmp_path: Path) -> None:
    async def test() -> None:
        async with service(tmp_path, strategy=SURE) as client:
            answer = await decided(client, budget_ms=60_000, request_id="r")
            assert answer["role"] == "champion" and answer["actions"][0]["channel"] is not None
            wrong = {"customer": customer(), "budget_ms": 60_000, "exclude": ["gold"]}
            assert (await client.post("/v1/decisions", json=wrong)).status_code == 422
            body = b'{"customer": {"id": "c"}, "budget_ms": 9}\n'
            headers = {"content-type": "application/x-ndjson"}
            line = (await client.post("/v1/decisions/batch", content=body, headers=headers)).json()
            assert line["problem"]["errors"][0]["pointer"] == "/budget_ms"

    run(test())


def test_what_comes_too_late_is_taken_back_and_answered_by_no_contact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(monkeypatch)

    async def test() -> None:
        async with service(tmp_path, strategy=SURE | {"contacts": 1}) as client:
            slow.gate.clear()
            late = await decided(client, budget_ms=20, request_id="r")
            (silence,) = late["actions"]
            assert late["role"] == "fallback"
            assert (silence["action_id"], silence["propensity"]) == ("no-contact", 1.0)
            again = {"customer": customer(), "budget_ms": 20, "request_id": "r"}
            assert (await client.post("/v1/decisions", json=again)).status_code == 409
            slow.gate.set()
            while (answer := await client.post("/v1/decisions", json=again)).status_code == 409:
                await asyncio.sleep(0.01)
            assert answer.json()["role"] == "fallback" and answer.json()["replayed"]
            assert rows_in(tmp_path) == 2  # the decision, and that its contact was cancelled
            assert (await decided(client))["actions"][0]["channel"] is not None  # there is room for it
            counts = (await client.get("/metrics")).text
            assert 'nba_fallbacks_total{reason="late"} 2.0' in counts
        assert replay(tmp_path / "bundle", f"sqlite:///{tmp_path}/log.db").mismatches == 0

    run(test())


def test_after_three_late_ones_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)

    async def test() -> None:
        async with service(tmp_path, strategy=SURE) as client:
            slow.gate.clear()
            for number in range(3):
                assert (await decided(client, f"c{number}", budget_ms=5))["role"] == "fallback"
            slow.gate.set()
            places = [{"name": "hero"}, {"name": "side"}]
            answer = await decided(client, "c9", budget_ms=60_000, placements=places)
            assert answer["role"] == "fallback" and len(answer["slots"]) == 2
            assert 'nba_fallbacks_total{reason="breaker"} 1.0' in (await client.get("/metrics")).text
            assert (await decided(client, "c9"))["role"] == "champion"  # who names no budget is decided for

    run(test())


def test_without_a_policy_only_who_names_a_budget_has_an_answer(tmp_path: Path) -> None:
    async def test() -> None:
        async with service(tmp_path, strategy=SURE) as client:
            client.app.state.runtime.learner.published = None
            body = {"customer": customer()}
            assert (await client.post("/v1/decisions", json=body)).status_code == 503
            assert (await decided(client, budget_ms=1000))["role"] == "fallback"

    run(test())


def test_who_comes_when_too_many_wait_is_turned_away_and_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(monkeypatch)

    async def test() -> None:
        async with service(tmp_path, strategy=SURE, most_waiting=2) as client:
            slow.gate.clear()
            for number in range(2):
                assert (await decided(client, f"c{number}", budget_ms=5))["role"] == "fallback"
            assert "nba_waiting 2.0" in (await client.get("/metrics")).text  # to be taken back
            body = {"customer": customer("c2"), "request_id": "r"}
            refused = await client.post("/v1/decisions", json=body)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert refused.json()["type"] == "urn:nba:error:overloaded"
            assert (await decided(client, "c3", budget_ms=60_000))["role"] == "fallback"
            assert 'nba_fallbacks_total{reason="overload"} 1.0' in (await client.get("/metrics")).text
            slow.gate.set()
            while "nba_waiting 0.0" not in (await client.get("/metrics")).text:
                await asyncio.sleep(0.01)
            assert (await client.post("/v1/decisions", json=body)).json()["role"] == "champion"

    run(test())
    assert rows_in(tmp_path) == 5  # of the first two also that they were cancelled
