"""Old decisions are of nobody: names go, and the chain, the sums, closed channels and purchases stay."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient
from serving_fixtures import SURE, Clock, caught_up, contacted, decided, reported, service
from test_ledger import DAY, decision, event

from nba.errors import InvalidConfig
from serving.chain import verify
from serving.ledger import SQLLedger, open_reader
from serving.replay import replay
from serving.retention import retain


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/log.db"


async def _a_quarter(folder: Path, clock: Clock) -> dict[str, str]:
    """Erika long ago, who closed a channel and bought a card or a loan; Otto long ago and lately."""
    clock.forward(days=-400)
    found = {}
    async with service(folder, clock=clock, strategy=SURE) as client:
        made = await contacted(client, "Erika", channels=["mail"], exclude=["card"], request_id="by-Erika")
        found["bought"] = made["actions"][0]["product"]
        await reported(client, made["decision_id"], "converted", value=3.0)
        await reported(client, made["decision_id"], "opted_out")
        found["old"] = (await decided(client, "Otto"))["decision_id"]
        clock.forward(days=395)
        await asyncio.sleep(0.2)
        found["young"] = (await decided(client, "Otto"))["decision_id"]
        clock.forward(days=5)
        await asyncio.sleep(0.2)
        seq = (await client.get("/v1/learner")).json()["last_seq"]
        await caught_up(client, seq)
    return found


async def explained(client: AsyncTestClient[Litestar], decision_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(f"/v1/decisions/{decision_id}")).json()
    return found


def test_whom_old_decisions_were_about_is_forgotten(tmp_path: Path) -> None:
    clock = Clock()
    found = asyncio.run(_a_quarter(tmp_path, clock))
    before = replay(tmp_path / "bundle", url(tmp_path))
    told = retain(tmp_path / "bundle", url(tmp_path), 160.0, clock.now)
    assert told.decisions == before.decisions - 1 and told.events >= 2
    on_disk = b"".join(path.read_bytes() for path in tmp_path.glob("log.db*"))
    assert b"Erika" not in on_disk and b"Otto" in on_disk
    after = replay(tmp_path / "bundle", url(tmp_path))
    assert (after.mismatches, after.erased, after.receipts.faulty) == (0, told.decisions, [])
    assert after.posterior_sha256 == before.posterior_sha256
    assert retain(tmp_path / "bundle", url(tmp_path), 160.0, clock.now).decisions == 0

    async def back() -> None:
        async with service(tmp_path, clock=clock) as client:
            old, young = [
                (await client.get(f"/v1/decisions/{found[name]}")).json() for name in ("old", "young")
            ]
            assert old["erased"] and old["customer_id"] != "Otto" and not young["erased"]
            audit = (
                await client.get(f"/v1/decisions/{(await decided(client, 'Erika'))['decision_id']}")
            ).json()
            assert audit["opted_out"] == ["mail"] and audit["attributes"]["owned"] == [found["bought"]]
            await client.delete("/v1/customers/Erika")
            reader = open_reader(url(tmp_path))
            assert (reader.objections("Erika"), reader.purchases("Erika")) == (["mail"], [])
            reader.close()

    asyncio.run(back())


def test_what_rules_look_back_on_is_kept(tmp_path: Path) -> None:
    clock = Clock()
    asyncio.run(_a_quarter(tmp_path, clock))
    for days in (1.0, 1e6, float("nan")):
        with pytest.raises(InvalidConfig, match="--days: must be at least the"):
            retain(tmp_path / "bundle", url(tmp_path), days, clock.now)


def test_either_store_forgets_the_old_and_keeps_the_young(ledger: SQLLedger) -> None:
    """Rows by hand, in a SQLite file and in PostgreSQL."""
    for name, day in (("d1", 0), ("d2", 40)):
        ledger.append_decision(decision(name, customer="Erika", at=day * DAY, watched=None)).result()
        ledger.append_event(event(f"bought-{name}", name, customer_id="Erika")).result()
        ledger.append_event(event(f"left-{name}", name, customer_id="Erika", outcome="opted_out")).result()
    told = ledger.retain(30 * DAY, 0, 50 * DAY, "test", lambda body, name: b"{}").result()
    assert (told.decisions, told.events, told.last) == (1, 2, 1)
    again = ledger.retain(30 * DAY, 0, 50 * DAY, "test", lambda body, name: b"{}").result()
    assert again.decisions == 0
    reader = ledger.reader()
    assert [row.customer_id == "Erika" for row in reader.decisions_after(0, 9)] == [False, True]
    assert [row.customer_id == "Erika" for row in reader.log_after(0, 9)] == [False, False, True, True]
    assert (reader.objections("Erika"), reader.purchases("Erika")) == (["mail"], ["card"])
    assert (verify(reader).erased, verify(reader).faulty) == (3, [])
    ledger.erase("Erika", 51 * DAY, "test", lambda body, name: b"{}").result()
    assert (reader.objections("Erika"), reader.purchases("Erika")) == (["mail"], [])
    assert (verify(reader).erased, verify(reader).faulty) == (6, [])
    reader.close()
