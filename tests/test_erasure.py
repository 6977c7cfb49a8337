from __future__ import annotations

import asyncio
import json
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient
from serving_fixtures import PATIENCE, Clock, contacted, customer, decided, reported, service, tiny_bundle

from nba.bundle import bundle_digest, load_bundle, posterior_bytes
from serving import commands
from serving.chain import verify
from serving.learner import OnlineLearner
from serving.ledger import LedgerError, open_ledger, open_reader
from serving.ledger.erasure import objection_digest
from serving.replay import replay
from serving.settings import Settings

ERIKA, HOUSE, REQUEST = "Erika Mustermann/7", "Heidestrasse 17", "asked-by-Erika"


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/log.db"


async def told(client: AsyncTestClient[Litestar], clock: Clock) -> list[str]:
    """Decisions about Erika: the last of three contacts is opted out of, another was answered."""
    asked: dict[str, Any] = {"customer": customer(ERIKA, age=41.6180339) | {"household": HOUSE}}
    made = []
    for number in range(12):
        answer = await client.post("/v1/decisions", json={**asked, "request_id": f"{REQUEST}-{number}"})
        if answer.json()["actions"][0]["channel"] == "mail":
            made.append(answer.json()["decision_id"])
        await decided(client, "Otto")
        clock.forward(hours=5)
    await reported(client, made[0], "converted", value=70.0)
    await reported(client, made[-1], "opted_out")
    return made


def on_disk(folder: Path) -> bytes:
    """All bytes of a store, those of the log of writes among them."""
    return b"".join(path.read_bytes() for path in sorted(folder.glob("log.db*")))


def test_an_erased_customer_is_nowhere_and_the_log_stays_whole(tmp_path: Path) -> None:
    async def check() -> None:
        clock = Clock()
        async with service(tmp_path, clock=clock) as client:
            made = await told(client, clock)
            before = (await client.get("/v1/learner")).json()
            assert all(text.encode() in on_disk(tmp_path) for text in (ERIKA, HOUSE, REQUEST, "41.6180339"))
            erased = (await client.delete(f"/v1/customers/{ERIKA}")).json()
            assert (erased["decisions"], erased["objections"]) == (12, 1) and erased["events"] >= 2
            kept = on_disk(tmp_path)
            assert [text for text in (ERIKA, HOUSE, REQUEST, "41.6180339") if text.encode() in kept] == []
            assert b"Otto" in kept
            found = (await client.get(f"/v1/decisions/{made[0]}")).json()
            assert found["erased"] and found["customer_id"].startswith("erased-")
            assert (found["attributes"], found["contacts"], found["why_not"]) == ({}, 0, [])
            assert found["actions"] and found["terms"] and found["features"]["age"]
            assert "converted" in {one["outcome"] for one in found["feedback"]}
            again = (await client.delete(f"/v1/customers/{ERIKA}")).json()
            assert again == {"decisions": 0, "events": 0, "objections": 0}
            calls = (await client.get("/v1/admin-calls")).json()
            assert [(one["what"], one["actor"]) for one in calls] == [("erase", "no key")] * 2
            assert calls[0]["detail"]["decisions"] == 12
            assert (await client.get("/v1/admin-calls?after=1")).json() == calls[1:]
            lines = (await client.get("/v1/export?after=2")).text
            assert [json.loads(line)["seq"] for line in lines.splitlines()] == list(range(3, 25))
            assert ERIKA not in lines and "Otto" in lines and HOUSE not in lines
            assert (await client.get("/v1/admin-calls?after=2")).json()[0]["what"] == "export"
            late = await reported(client, made[1], "seen")
            assert late["status"] == "accepted"
            status = (await client.get("/v1/learner")).json()
            assert int(status["head"].split(":")[0]) > int(before["head"].split(":")[0])
        report = replay(tmp_path / "bundle", url(tmp_path))
        assert (report.decisions, report.erased, report.mismatches) == (24, 12, 0)
        assert (report.receipts.faults, report.receipts.faulty) == (0, [])
        assert report.receipts.erased == 12 + erased["events"]

    asyncio.run(check())


def test_who_comes_back_is_new_but_channels_they_closed_stay_closed(tmp_path: Path) -> None:
    async def check() -> None:
        clock = Clock()
        async with service(tmp_path, clock=clock, strategy={"contacts": 40}) as client:
            await told(client, clock)
            await client.delete(f"/v1/customers/{ERIKA}")
            back = await contacted(client, ERIKA)
            audit = (await client.get(f"/v1/decisions/{back['decision_id']}")).json()
            assert (audit["opted_out"], audit["erased"]) == (["mail"], False)
            assert audit["contacts"] < 12
        async with service(tmp_path, clock=clock) as client:  # and after a restart
            back = await decided(client, ERIKA)
            audit = (await client.get(f"/v1/decisions/{back['decision_id']}")).json()
            assert audit["opted_out"] == ["mail"]

    asyncio.run(check())


def test_what_is_learnt_is_the_same_with_and_without_the_person(tmp_path: Path) -> None:
    """A month on, the watching of erased decisions included, byte for byte."""

    async def history(clock: Clock) -> None:
        async with service(tmp_path, clock=clock, publish_seconds=PATIENCE) as client:
            await told(client, clock)

    clock = Clock()
    asyncio.run(history(clock))
    clock.forward(days=30)
    learnt = []
    for name in ("whole", "erased"):
        folder = tmp_path / name
        folder.mkdir()
        copyfile(tmp_path / "log.db", folder / "log.db")
        if name == "erased":
            commands.erase(url(folder), ERIKA, as_json=True)
        settings = Settings(bundle=tmp_path / "bundle", store=url(folder))
        base, digest = load_bundle(settings.bundle), bundle_digest(settings.bundle)
        ledger = open_ledger(settings.store)
        learner = OnlineLearner(base, digest, ledger, settings)
        learner.recover(clock.now)
        learner.step(clock.now)
        assert learner.published is not None
        learnt.append(posterior_bytes(learner.published.snapshot.posterior))
        assert learner.folded_seq > 30
        learner.close(clock.now)
        ledger.close()
        report = replay(settings.bundle, url(folder))
        assert (report.mismatches, report.receipts.faults) == (0, 0)
    assert learnt[0] == learnt[1]


def test_a_record_that_was_rewritten_without_an_erasure_is_found(tmp_path: Path) -> None:
    """Whoever adds receipts for rows that they changed has no deed in the log that explains them."""
    from serving.ledger.receipts import seal

    async def history() -> None:
        async with service(tmp_path) as client:
            await decided(client)

    asyncio.run(history())
    ledger = open_ledger(url(tmp_path))
    reader = ledger.reader()
    row = reader.decisions_after(0, 1)[0]
    ledger.writer.submit(lambda db: seal(db, row, row.seq)).result()
    assert verify(reader).faulty == ["1 rows have a second receipt, and the erasures in the log explain 0"]
    reader.close()
    ledger.close()


def test_the_command_says_what_it_did_and_refuses_a_store_in_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(LedgerError, match="There is no store"):
        commands.erase(url(tmp_path), ERIKA)
    tiny_bundle(tmp_path / "bundle")
    ledger = open_ledger(url(tmp_path))
    with pytest.raises(LedgerError, match="already has a writer"):
        commands.erase(url(tmp_path), ERIKA)
    ledger.close()
    commands.erase(url(tmp_path), ERIKA)
    assert capsys.readouterr().out.startswith("0 decisions and 0 events are erased-")
    reader = open_reader(url(tmp_path))
    assert [row.actor for row in reader.admin_rows(0, 9)] == ["nba erase"]
    reader.close()


def test_the_digest_of_an_objection_is_keyed() -> None:
    """RFC 4231, test case 2."""
    key, text = b"Jefe".hex(), "what do ya want for nothing?"
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert objection_digest(key, text) == expected
