"""FALCON in the service: learning goes on, publication waits for the end of an epoch, restarts keep it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from shutil import copyfile

import apsw
import numpy as np
import pytest
from serving_fixtures import Clock, decided, reported, service, tiny_bundle

from nba.bundle import bundle_digest, load_bundle, posterior_bytes
from nba.policies import Falcon
from nba.snapshot import Snapshot
from serving.learner import OnlineLearner
from serving.ledger import open_ledger
from serving.replay import replay
from serving.settings import Settings


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with a few dozen rounds, written by a service under FALCON."""
    folder = tmp_path_factory.mktemp("epochs")
    tiny_bundle(folder / "bundle", policy=Falcon())
    asyncio.run(_some_history(folder, Clock()))
    return folder


async def _some_history(folder: Path, clock: Clock) -> None:
    async with service(folder, clock=clock) as client:
        for day in range(8):
            for number in range(5):
                answer = await decided(client, f"c{day}-{number}")
                if number % 2:
                    clock.forward(minutes=7)
                    await reported(client, answer["decision_id"], "converted", value=day)
            clock.forward(days=4)
            await asyncio.sleep(0.05)


@contextmanager
def learner(folder: Path, history: Path) -> Iterator[OnlineLearner]:
    bundle = history / "bundle"
    settings = Settings(bundle=bundle, store=f"sqlite:///{folder}/log.db", save_events=1)
    ledger = open_ledger(settings.store)
    try:
        yield OnlineLearner(load_bundle(bundle), bundle_digest(bundle), ledger, settings)
    finally:
        ledger.close()


def epoch(snapshot: Snapshot) -> int:
    return int(np.log2(snapshot.posterior.rounds + 1.0))


def test_a_snapshot_is_published_once_an_epoch_and_every_decision_replays(history: Path) -> None:
    report = replay(history / "bundle", f"sqlite:///{history}/log.db")
    assert report.mismatches == 0 and report.decisions == 40
    # 40 decisions watched to the end make at most 40 rounds: epochs end at 1, 3, 7, 15 and 31 of them.
    assert 3 <= report.snapshots <= 6, "the bundle's, and at most one for each of five epochs"


def test_what_is_folded_waits_for_the_end_of_the_epoch(history: Path, tmp_path: Path) -> None:
    """The log grows by one event between two steps."""
    copyfile(history / "log.db", tmp_path / "log.db")
    db = apsw.Connection(str(tmp_path / "log.db"))
    db.execute("CREATE TEMP TABLE come AS SELECT * FROM event; DELETE FROM event; DELETE FROM snapshot")
    long_ago, published, known = Clock()() - timedelta(days=1000), [], 0
    with learner(tmp_path, history) as mine:
        assert mine.recover(long_ago).posterior_seq == 0
        for (seq,) in list(db.execute("SELECT seq FROM come WHERE status = 'accepted' ORDER BY seq")):
            db.execute("INSERT INTO event SELECT * FROM come WHERE seq = ?", (seq,))
            if (found := mine.step(long_ago)) is not None:
                published.append(found)
            assert mine.folded_seq == seq, "learning goes on"
            known = epoch(mine.base.at(mine._folder.posterior, seq))
            assert known == (epoch(published[-1]) if published else 0), "published at the end of an epoch"
            saved = mine._reader.saved_posteriors()
            assert not published or saved[0].last_seq == published[-1].posterior_seq
    db.close()
    assert [epoch(one) for one in published] == list(range(1, known + 1)) and known >= 4


def test_a_restart_goes_on_with_the_snapshot_in_use(history: Path, tmp_path: Path) -> None:
    copyfile(history / "log.db", tmp_path / "log.db")
    clock = Clock()
    with learner(tmp_path, history) as first:
        used = first.recover(clock())
        folded = posterior_bytes(first._folder.posterior)
        assert used.posterior_seq < first.folded_seq, "an epoch has begun"
        first.close(clock())
    with learner(tmp_path, history) as second:
        again = second.recover(clock())
        assert second._reader.saved_posteriors()[0].last_seq == used.posterior_seq
        assert again.posterior_seq == used.posterior_seq and second.folded_seq == first.folded_seq
        assert posterior_bytes(again.posterior) == posterior_bytes(used.posterior)
        assert posterior_bytes(second._folder.posterior) == folded
        assert second.step(clock()) is None
