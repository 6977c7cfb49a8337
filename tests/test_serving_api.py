from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from serving_fixtures import (
    SURE,
    Clock,
    at_once,
    caught_up,
    contacted,
    customer,
    decided,
    reported,
    service,
)

from serving.ids import made_at, new_id
from serving.ledger import LedgerError, SQLiteLedger, open_reader
from serving.settings import wall_clock


def run(test: Any) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


def test_a_decision_has_ranked_actions_with_propensities(tmp_path: Path) -> None:
    async def check() -> None:
        async with service(tmp_path) as client:
            answer = await contacted(client, limit=3)
            first = answer["actions"][0]
            assert set(first) == {
                "action_id", "channel", "timing", "product", "rank", "propensity", "expected_value",
            }  # fmt: skip
            assert first["action_id"] == "/".join(first[name] for name in ("channel", "timing", "product"))
            assert [action["rank"] for action in answer["actions"]] == list(
                range(1, 1 + len(answer["actions"]))
            )
            assert all(0 < action["propensity"] <= 1 for action in answer["actions"])
            assert (answer["policy"], answer["posterior_seq"], answer["replayed"]) == ("tiny", 0, False)

    run(check())


def test_no_contact_is_an_answer_with_empty_names(tmp_path: Path) -> None:
    async def check() -> None:
        async with service(tmp_path) as client:
            answer = await decided(client, channels=[])
            assert [action["action_id"] for action in answer["actions"]] == ["no-contact"]
            assert answer["actions"][0]["propensity"] == 1.0 and answer["actions"][0]["channel"] is None

    run(check())


def test_channels_candidates_and_exclusions_narrow_the_choice(tmp_path: Path) -> None:
    async def check() -> None:
        async with service(tmp_path) as client:
            for _ in range(5):
                by_mail = await decided(client, channels=["mail"], limit=50)
                assert {action["channel"] for action in by_mail["actions"]} <= {"mail", None}
                chosen = await decided(client, candidates=["loan", "mail/evening/card"], limit=50)
                ids = {action["action_id"] for action in chosen["actions"]} - {"no-contact"}
                assert all(name.endswith("/loan") or name == "mail/evening/card" for name in ids)
                without = await decided(client, exclude=["loan", "call/morning/card"], limit=50)
                ids = {action["action_id"] for action in without["actions"]}
                assert "call/morning/card" not in ids and not any(name.endswith("/loan") for name in ids)

    run(check())


def test_the_same_request_id_gives_the_same_answer(tmp_path: Path) -> None:
    async def check() -> None:
        async with service(tmp_path) as client:
            first = await decided(client, request_id="r1")
            assert await decided(client, request_id="r1") == first | {"replayed": True}
            other = {"customer": customer("c2"), "request_id": "r1"}
            problem = await client.post("/v1/decisions", json=other)
            assert problem.status_code == 422 and problem.json()["errors"][0]["pointer"] == "/request_id"
            same = {"customer": customer(), "request_id": "r2"}
            together = await at_once(client, [same] * 20, statuses=(200, 409))
            answers = [answer for answer in together if "decision_id" in answer]
            problems = [answer["type"] for answer in together if "type" in answer]
            assert set(problems) <= {"urn:nba:error:request-in-flight"}
            assert Counter(answer["replayed"] for answer in answers)[False] == 1
            again = await decided(client, request_id="r2")
            assert {answer["decision_id"] for answer in answers} == {again["decision_id"]}
            assert open_reader(f"sqlite:///{tmp_path}/log.db").counts()["decisions"] == 2
        async with service(tmp_path) as client:  # also after a restart
            assert await decided(client, request_id="r1") == first | {"replayed": True}

    run(check())


def test_fifty_requests_at_once_do_not_overshoot_a_contact_limit(tmp_path: Path) -> None:
    async def check() -> None:
        async with service(tmp_path, strategy=SURE | {"contacts": 3}) as client:
            answers = await at_once(client, [{"customer": customer("c1")}] * 50)
            contacts = [answer for answer in answers if answer["actions"][0]["channel"]]
            assert len(contacts) == 3
            await contacted(client, "c2")
        async with service(tmp_path) as client:  # the log remembers what the memory forgot
            assert (await decided(client, "c1"))["actions"][0]["channel"] is None

    run(check())


def test_a_decision_that_cannot_be_stored_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: SQLiteLedger, rows: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(LedgerError("The disk is full."))
        return future

    async def check() -> None:
        async with service(tmp_path, strategy={"contacts": 1}) as client:
            with monkeypatch.context() as broken:
                broken.setattr(SQLiteLedger, "append_decisions", full)
                for _ in range(10):
                    answer = await client.post(
                        "/v1/decisions", json={"customer": customer(), "request_id": "r"}
                    )
                    assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
                    assert answer.json()["type"] == "urn:nba:error:unavailable"
            assert (await contacted(client))["actions"][0]["channel"]
            assert (await decided(client))["actions"][0]["channel"] is None

    run(check())


def test_feedback_is_accepted_then_a_duplicate_then_a_conflict(tmp_path: Path) -> None:
    async def check() -> None:
        async with service(tmp_path, strategy=SURE) as client:
            answer = await contacted(client)
            body = {
                "event_id": "e1",
                "decision_id": answer["decision_id"],
                "outcome": "converted",
                "value": 5,
            }
            statuses = [(await client.post("/v1/feedback", json=body)).json() for _ in range(3)]
            assert statuses == [{"status": "accepted", "seq": 1}] + [{"status": "duplicate", "seq": 1}] * 2
            alias = body | {"outcome": "conversion", "decision_id": answer["decision_id"].upper()}
            assert (await client.post("/v1/feedback", json=alias)).json()["status"] == "duplicate"
            conflict = await client.post("/v1/feedback", json=body | {"value": 6})
            assert conflict.status_code == 409 and conflict.json()["errors"][0]["pointer"] == "/event_id"
            assert (await caught_up(client, 1))["last_seq"] == 1
            later = await decided(client, "c2")
            assert later["posterior_seq"] == 1

    run(check())


def test_late_feedback_and_orphans_are_kept_but_not_learnt_from(tmp_path: Path) -> None:
    async def check() -> None:
        clock = Clock()
        async with service(tmp_path, clock=clock, strategy=SURE) as client:
            before = (await client.get("/v1/learner")).json()["posterior_sha256"]
            answer = await contacted(client)
            until = clock.now.fromisoformat(answer["feedback_until"])
            late = await reported(
                client, answer["decision_id"], "converted", occurred_at=str(until + timedelta(seconds=1))
            )
            orphan = await reported(client, new_id(clock.now), "converted")
            assert (late["status"], orphan["status"]) == ("late", "orphan")
            assert (
                await reported(
                    client, answer["decision_id"], "converted", occurred_at=str(until + timedelta(seconds=1))
                )
            )["status"] == "duplicate"
            await asyncio.sleep(0.1)
            after = (await client.get("/v1/learner")).json()
            assert (after["posterior_sha256"], after["posterior_seq"], after["last_seq"]) == (before, 0, 2)
            early = {"event_id": "early", "decision_id": answer["decision_id"], "outcome": "seen"}
            refused = await client.post("/v1/feedback", json=early | {"occurred_at": until.isoformat()})
            assert refused.status_code == 422 and refused.json()["errors"][0]["pointer"] == "/occurred_at"
            clock.now = until
            on_time = await reported(client, answer["decision_id"], "seen", occurred_at=str(until))
            assert on_time["status"] == "accepted"
            clock.forward(days=1)
            assert (await reported(client, answer["decision_id"], "engaged"))["status"] == "late"

    run(check())


def test_an_opt_out_closes_its_channel_at_once_and_for_good(tmp_path: Path) -> None:
    async def check() -> None:
        async with service(tmp_path) as client:
            answer = await contacted(client, channels=["mail"])
            await reported(client, answer["decision_id"], "opted_out")
            later = [await decided(client, limit=50) for _ in range(10)]
            assert {each["channel"] for answer in later for each in answer["actions"]} == {"call", None}
            await decided(client, "c2", channels=["mail"])
        async with service(tmp_path) as client:
            later = [await decided(client, limit=50) for _ in range(10)]
            assert "mail" not in {each["channel"] for answer in later for each in answer["actions"]}
            silent = await decided(client, channels=[])
            await reported(client, silent["decision_id"], "opted_out")  # of everything: no channel was used
            assert (await decided(client, limit=50))["actions"][0]["channel"] is None

    run(check())


def test_a_product_that_was_bought_is_not_offered_again(tmp_path: Path) -> None:
    async def check() -> None:
        async with service(tmp_path) as client:
            answer = await contacted(client, candidates=["deposit"])
            await reported(client, answer["decision_id"], "converted")
            for _ in range(10):
                assert (await decided(client, candidates=["deposit"]))["actions"][0]["product"] is None
            assert (await contacted(client, candidates=["card"]))["actions"][0]["product"] == "card"

    run(check())


def test_the_audit_explains_a_decision(tmp_path: Path) -> None:
    async def check() -> None:
        async with service(tmp_path) as client:
            await contacted(client)
            answer = await contacted(client, exclude=["loan"])
            await reported(client, answer["decision_id"], "seen")
            audit = (await client.get(f"/v1/decisions/{answer['decision_id']}")).json()
            for name in ("actions", "policy", "posterior_seq", "feedback_until", "decision_id"):
                assert audit[name] == answer[name]
            assert audit["attributes"] == customer()["attributes"] and audit["features"]["has_app"] == 1.0
            assert audit["removed"] == {"request": 4} and audit["n_eligible"] == 9
            assert audit["contacts"] >= 1
            assert audit["is_exploration"] == (audit["forgone"] > 0.0)
            assert (audit["best"] == audit["actions"][0]["action_id"]) == (audit["forgone"] == 0.0)
            assert [(one["outcome"], one["status"]) for one in audit["feedback"]] == [("seen", "accepted")]
            unknown = await client.get(f"/v1/decisions/{new_id(wall_clock())}")
            assert unknown.status_code == 404
            assert unknown.json()["type"] == "urn:nba:error:unknown-decision"

    run(check())


def test_health_metrics_and_schema(tmp_path: Path) -> None:
    async def check() -> None:
        async with service(tmp_path) as client:
            answer = await decided(client)
            await reported(client, answer["decision_id"], "seen")
            assert (await client.get("/livez")).json()["status"] == "ok"
            text = (await client.get("/metrics")).text
            assert 'nba_feedback_total{outcome="seen",status="accepted"} 1.0' in text
            assert 'route="/v1/decisions"' in text and answer["decision_id"] not in text
            schema = (await client.get("/schema/openapi.json")).json()
            answers = schema["paths"]["/v1/decisions"]["post"]["responses"]
            for status in ("400", "413", "415", "422", "503"):
                assert list(answers[status]["content"]) == ["application/problem+json"]
            body = schema["paths"]["/v1/decisions"]["post"]["requestBody"]["content"]["application/json"]
            assert body["schema"]["$ref"].endswith("/DecisionRequest")
            page = await client.get("/docs")
            assert page.headers["content-type"].startswith("text/html")
            assert "/v1/feedback" in page.text and "<script" not in page.text
            assert not re.search(r"(src|href)=[\"']?(https?:)?//", page.text)  # no other host is asked
            assert page.headers["content-security-policy"].startswith("default-src 'none'")

    run(check())


def test_decision_ids_carry_their_time() -> None:
    now = wall_clock()
    ids = {new_id(now) for _ in range(1_000)}
    assert len(ids) == 1_000
    assert {made_at(one) for one in ids} == {now.replace(microsecond=now.microsecond // 1000 * 1000)}
    for wrong in ("", "x", "01a2024b-d6f5-4a20-8042-f05282f1f675", "01a2024b-d6f5-7a20-c042-f05282f1f675"):
        assert made_at(wrong) is None
    assert made_at("ffffffff-ffff-7a20-8042-f05282f1f675") is None


def test_the_application_needs_no_training_machinery() -> None:
    heavy = ("ray", "mlflow", "pandas", "sqlalchemy")
    code = f"import sys, serving.app; print([name for name in {heavy} if name in sys.modules])"
    root = Path(__file__).parent.parent
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=root).strip() == "[]"


def test_an_unused_store_can_be_read(tmp_path: Path) -> None:
    async def check() -> None:
        async with service(tmp_path) as client:
            await decided(client)

    run(check())
    reader = open_reader(f"sqlite:///{tmp_path}/log.db")
    assert reader.counts() == {"decisions": 1}
    reader.close()
