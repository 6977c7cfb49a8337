from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from shutil import copyfile
from typing import Any

import apsw
import numpy as np
import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient
from serving_fixtures import (
    PATIENCE,
    SURE,
    Clock,
    caught_up,
    contacted,
    decided,
    reported,
    rows_in,
    service,
    tiny_bundle,
    tiny_strategy,
)

from nba.arrays import FloatArray
from nba.bundle import bundle_digest, load_bundle, posterior_bytes
from nba.feedback import N_INTERVALS, ExposureSchedule, RoundBatch
from serving.evidence import Windows
from serving.learner import OnlineLearner
from serving.ledger import LedgerError, open_ledger, open_reader
from serving.ledger.records import from_micros, to_micros
from serving.replay import replay
from serving.settings import Settings

CUTS = ExposureSchedule.of(tiny_strategy().catalogue)


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/log.db"


@contextmanager
def learner(folder: Path, bundle: Path | None = None) -> Iterator[OnlineLearner]:
    """A learner on the store of a folder, without a service."""
    path = bundle or folder / "bundle"
    settings = Settings(bundle=path, store=url(folder), save_events=10**9, save_seconds=1e9)
    ledger = open_ledger(settings.store)
    try:
        yield OnlineLearner(load_bundle(path), bundle_digest(path), ledger, settings)
    finally:
        ledger.close()


async def _some_history(folder: Path, clock: Clock) -> None:
    """Decisions about many customers, conversions of some of them, and a month of waiting."""
    async with service(folder, clock=clock) as client:
        for day in range(12):
            for number in range(5):
                answer = await decided(client, f"c{day}-{number}", limit=1 + number)
                if number % 2:
                    clock.forward(minutes=7)
                    await reported(client, answer["decision_id"], "converted", value=day)
            clock.forward(days=3)
            await asyncio.sleep(0.03)
        await asyncio.sleep(0.1)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("history")
    asyncio.run(_some_history(folder, Clock()))
    return folder


def test_a_contact_teaches_its_exposure_interval_by_interval(tmp_path: Path) -> None:
    async def check() -> None:
        clock = Clock()
        async with service(tmp_path, clock=clock, strategy=SURE) as client:
            answer = await contacted(client, candidates=["card"])
            clock.forward(hours=1)
            await reported(client, answer["decision_id"], "converted")
            product = tiny_strategy().catalogue.level("product", "card")
            for step, days in enumerate(CUTS.cuts_days[product]):
                clock.now = clock.now.fromisoformat(answer["feedback_until"]) + timedelta(days=int(days) - 20)
                await caught_up(client, 2 + step)
            await asyncio.sleep(0.1)
            audit = (await client.get(f"/v1/decisions/{answer['decision_id']}")).json()
            kinds = [(one["kind"], one["event_id"].rpartition(":")[2]) for one in audit["feedback"]]
            assert kinds[1:] == [("exposure", str(step)) for step in range(N_INTERVALS)]
        assert replay(tmp_path / "bundle", url(tmp_path)).posterior_sha256 == _expected(audit)

    asyncio.run(check())


@pytest.mark.parametrize(("late", "told"), [(-1, ["closed"]), (0, ["exposure", "closed"])])
def test_a_newer_contact_ends_the_watching_of_what_was_not_told(
    tmp_path: Path, late: int, told: list[str]
) -> None:
    """The newer contact comes a microsecond before the moment of the first interval, or at it."""

    async def check() -> None:
        clock = Clock()
        async with service(tmp_path, clock=clock, strategy=SURE) as client:
            older = await contacted(client, candidates=["card"])
            strategy, opened = tiny_strategy(**SURE), to_micros(clock.now)
            moment = Windows(strategy).due(older["decision_id"], opened, "card", 0, is_contact=True)
            clock.now = from_micros(moment + late)
            await contacted(client, candidates=["card"])
            await folded(client, len(told))
            audit = (await client.get(f"/v1/decisions/{older['decision_id']}")).json()
            assert [one["outcome"] for one in audit["feedback"]] == told
        cuts = CUTS.cuts_days[strategy.catalogue.level("product", "card")].astype(np.float64)
        whole = len(told) - 1  # the whole interval is told, or nothing of it
        posterior = _folded(audit, np.zeros(whole), cuts[:whole], np.zeros(whole))
        assert replay(tmp_path / "bundle", url(tmp_path)).posterior_sha256 == posterior

    asyncio.run(check())


async def folded(client: AsyncTestClient[Litestar], seq: int) -> None:
    """Wait until the learner has folded a log position, whether it taught or not."""
    async with asyncio.timeout(PATIENCE):
        while (await client.get("/v1/learner")).json()["folded_seq"] < seq:
            await asyncio.sleep(0.01)


def _expected(audit: dict[str, Any]) -> str:
    """The posterior after a conversion in the first interval and the passing of all intervals."""
    product = tiny_strategy().catalogue.level("product", "card")
    cuts = np.array([0.0, *CUTS.cuts_days[product]])
    return _folded(audit, cuts[[0, 0, 1, 2, 3]], cuts[[1, 1, 2, 3, 4]], np.array([1.0, 0, 0, 0, 0]))


def _folded(audit: dict[str, Any], begins: FloatArray, ends: FloatArray, rewards: FloatArray) -> str:
    """Checksum of the posterior that rows of one decision about "card" make, watched between two ages."""
    strategy = tiny_strategy(**SURE)
    products = np.full(begins.size, strategy.catalogue.level("product", "card"))
    contacted = np.ones(begins.size, dtype=np.bool_)
    exposure, uplift, organic = CUTS.watched(products, begins, ends, contacted)
    rounds = RoundBatch(
        features=np.array([list(audit["features"].values())] * begins.size),
        actions=np.full(begins.size, strategy.catalogue.row_of(audit["actions"][0]["action_id"])),
        products=products,
        rewards=rewards,
        exposure=np.where(rewards > 0, 0.0, exposure),
        uplift_share=uplift,
        organic_share=organic,
    )
    prior = strategy.model.prior(strategy.catalogue, strategy.schema)
    return sha256(posterior_bytes(prior.fold(rounds))).hexdigest()


def test_no_contact_teaches_about_the_watched_product_only(tmp_path: Path) -> None:
    async def check() -> None:
        async with service(tmp_path) as client:
            start = (await client.get("/v1/learner")).json()["posterior_sha256"]
            answer = await decided(client, channels=[])
            reader = open_reader(url(tmp_path))
            row = reader.decision(answer["decision_id"])
            assert row is not None and row.watched is not None
            other = next(name for name in ("deposit", "card", "loan") if name != row.watched)
            for number, product in enumerate((None, other, row.watched), start=1):
                body = {
                    "event_id": f"e{number}",
                    "decision_id": answer["decision_id"],
                    "outcome": "converted",
                }
                sent = body | ({"product": product} if product else {})
                assert (await client.post("/v1/feedback", json=sent)).json()["status"] == "accepted"
                digest = (await caught_up(client, number))["posterior_sha256"]
                assert (digest != start) == (product == row.watched)
            reader.close()

    asyncio.run(check())


def test_outcomes_that_are_no_conversions_teach_nothing(tmp_path: Path) -> None:
    async def check() -> None:
        async with service(tmp_path, strategy=SURE) as client:
            start = (await client.get("/v1/learner")).json()["posterior_sha256"]
            answer = await contacted(client)
            for outcome in ("delivered", "seen", "engaged", "rejected", "complained", "opted_out"):
                await reported(client, answer["decision_id"], outcome)
            await asyncio.sleep(0.1)
            status = (await client.get("/v1/learner")).json()
            assert (status["folded_seq"], status["lag"], status["posterior_sha256"]) == (6, 0, start)

    asyncio.run(check())


def test_any_cut_of_the_log_gives_the_same_posterior_bytes(history: Path, tmp_path: Path) -> None:
    copy = tmp_path / "log.db"
    copyfile(history / "log.db", copy)
    db = apsw.Connection(str(copy))
    db.execute("DELETE FROM snapshot")
    db.close()
    now = datetime.now(UTC) + timedelta(days=400)
    with learner(tmp_path, history / "bundle") as whole:
        expected = whole.recover(now)
        assert whole.folded_seq > 60
    assert posterior_bytes(whole.base.posterior) != posterior_bytes(expected.posterior)
    for size in (1, 7):
        with learner(tmp_path, history / "bundle") as cut, pytest.MonkeyPatch.context() as patch:
            patch.setattr("serving.learner.BATCH", size)
            snapshot = cut.recover(now)
            assert posterior_bytes(snapshot.posterior) == posterior_bytes(expected.posterior)
            for mine, theirs in zip(snapshot.frozen.ready.draws, expected.frozen.ready.draws, strict=True):
                assert np.array_equal(mine, theirs)


def test_a_saved_posterior_shortens_the_replay_and_changes_nothing(history: Path, tmp_path: Path) -> None:
    copyfile(history / "log.db", tmp_path / "log.db")
    with learner(tmp_path, history / "bundle") as first:
        now = datetime.now(UTC) + timedelta(days=400)
        expected = first.recover(now)
        first.close(now)
    with learner(tmp_path, history / "bundle") as second:
        saved = second._reader.saved_posteriors()
        assert saved[0].last_seq == first.folded_seq
        restored = second.recover(now)
        assert second.folded_seq == first.folded_seq and second._unsaved == 0
        assert posterior_bytes(restored.posterior) == posterior_bytes(expected.posterior)
        for mine, theirs in zip(restored.frozen.ready.draws, expected.frozen.ready.draws, strict=True):
            assert np.array_equal(mine, theirs)


@pytest.mark.parametrize("damage", ["flip", "truncate", "all", "foreign"])
def test_a_damaged_posterior_is_passed_over(history: Path, tmp_path: Path, damage: str) -> None:
    copyfile(history / "log.db", tmp_path / "log.db")
    now = datetime.now(UTC) + timedelta(days=400)
    with learner(tmp_path, history / "bundle") as first:
        expected = posterior_bytes(first.recover(now).posterior)
        first.close(now)
    db = apsw.Connection(str(tmp_path / "log.db"))
    where = "1" if damage == "all" else "last_seq = (SELECT max(last_seq) FROM snapshot)"
    blob = "substr(posterior, 1, 100)" if damage == "truncate" else "x'00' || substr(posterior, 2)"
    db.execute(f"UPDATE snapshot SET posterior = CAST({blob} AS BLOB) WHERE {where}")
    if damage == "foreign":  # a posterior that can be read, but is not the one that was saved
        other = posterior_bytes(load_bundle(history / "bundle").posterior)
        db.execute("UPDATE snapshot SET posterior = ?", (other,))
    db.close()
    with learner(tmp_path, history / "bundle") as second:
        assert posterior_bytes(second.recover(now).posterior) == expected


def test_every_decision_is_made_again_bit_for_bit(history: Path) -> None:
    report = replay(history / "bundle", url(history))
    assert report.mismatches == 0 and report.decisions == 60 and report.snapshots > 5
    assert sum(report.counts.values()) == rows_in(history)
    assert report.counts["exposure/accepted"] > 50


def test_replay_notices_a_changed_decision(history: Path, tmp_path: Path) -> None:
    copyfile(history / "log.db", tmp_path / "log.db")
    db = apsw.Connection(str(tmp_path / "log.db"))
    older = """replace(CAST(body AS TEXT), '"age":40.0', '"age":41.0')"""
    db.execute(f"UPDATE decision SET body = CAST({older} AS BLOB) WHERE seq = 7")
    db.execute("DELETE FROM event WHERE seq = (SELECT max(seq) FROM event WHERE kind = 'exposure')")
    db.close()
    report = replay(history / "bundle", url(tmp_path))
    assert report.mismatches >= 1
    assert report.posterior_sha256 != replay(history / "bundle", url(history)).posterior_sha256


def test_a_store_belongs_to_one_bundle(history: Path, tmp_path: Path) -> None:
    copyfile(history / "log.db", tmp_path / "log.db")
    other = tiny_bundle(tmp_path / "other", seed=4)
    with pytest.raises(LedgerError, match="written under bundle"), learner(tmp_path, other):
        pass
    with pytest.raises(LedgerError, match="written under bundle"):
        replay(other, url(tmp_path))


def test_nothing_new_publishes_nothing(history: Path, tmp_path: Path) -> None:
    copyfile(history / "log.db", tmp_path / "log.db")
    clock = Clock()
    with learner(tmp_path, history / "bundle") as idle:
        idle.recover(clock())
        assert idle.step(clock() - timedelta(days=1000)) is None


def test_the_posterior_is_saved_after_enough_events(tmp_path: Path) -> None:
    async def check() -> None:
        async with service(tmp_path, save_events=3, strategy=SURE) as client:
            for number in range(4):
                answer = await contacted(client, f"c{number}")
                seq = (await reported(client, answer["decision_id"], "converted"))["seq"]
                await caught_up(client, seq)
            reader = open_reader(url(tmp_path))
            assert [saved.last_seq for saved in reader.saved_posteriors()] == [3]
            reader.close()

    asyncio.run(check())
