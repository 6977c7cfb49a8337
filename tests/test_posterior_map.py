"""Beliefs shared between processes: whole or not at all, whatever is killed, cut or flipped."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from ledger_fixtures import new_schema, shared_server_url
from serving_fixtures import caught_up, customer, decided, reported, service, tiny_bundle
from serving_process import Service, nba

from nba.bundle import bundle_digest, posterior_bytes
from nba.errors import InvalidConfig
from serving.ledger import open_ledger
from serving.posterior_map import _FRONT, _PREFIX, Follower, PosteriorMap, PosteriorReader

ROOT = Path(__file__).parent.parent
DIGEST = "ab" * 32
PLACES = ("before_body", "in_body", "before_header", "before_flip", "after_flip")

# One process that forks a writer for each of its arguments, which dies there in its second publication.
KILLED = """
import os, sys
from pathlib import Path
from serving.posterior_map import PosteriorMap
for place in sys.argv[2:]:
    if not (child := os.fork()):
        shared = PosteriorMap(Path(sys.argv[1]) / place.replace(":", "-"))
        shared.publish(1, "ab" * 32, bytes([1]) * 50_000)
        os.environ["NBA_FAILPOINT"] = place
        shared.publish(2, "ab" * 32, bytes([2]) * (200_000 if "replace" in place else 50_000))
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 137, place
"""

# A writer of publications that are all one byte, and two readers that look for a mixture of them.
RACE = """
import os, sys
from pathlib import Path
from serving.posterior_map import PosteriorMap, PosteriorReader
path, n = Path(sys.argv[1]), int(sys.argv[2])
shared, children = PosteriorMap(path), []
shared.publish(0, "ab" * 32, bytes(100_000))
for _ in range(2):
    children.append(os.fork())
    if not children[-1]:
        reader, last = PosteriorReader(path), -1
        while last < n:
            found = reader.newest()
            assert found and found.posterior_seq >= last, last
            last = found.posterior_seq
            assert found.posterior == bytes([last % 251]) * (100_000 + last), last
        os._exit(0)
for seq in range(1, n + 1):
    shared.publish(seq, "ab" * 32, bytes([seq % 251]) * (100_000 + seq))
assert all(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 for child in children)
"""


def run(code: str, *arguments: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr


@contextmanager
def written(path: Path, *bodies: bytes) -> Iterator[PosteriorMap]:
    shared = PosteriorMap(path)
    for seq, body in enumerate(bodies, start=1):
        shared.publish(seq, DIGEST, body)
    yield shared
    shared.close()


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    descriptor = os.open(path, os.O_WRONLY)  # the same file: readers have it open
    os.pwrite(descriptor, data, 0)
    os.close(descriptor)


def seq_of(path: Path) -> int | None:
    reader = PosteriorReader(path)
    found = reader.newest()
    reader.close()
    return None if found is None else found.posterior_seq


def test_a_writer_killed_at_any_step_leaves_whole_beliefs(tmp_path: Path) -> None:
    run(KILLED, str(tmp_path), *(f"map.{place}" for place in (*PLACES, "before_replace")))
    for place in PLACES:
        # The checksum, not the word at the front, says what is there: a whole slot counts before the flip.
        assert seq_of(tmp_path / f"map.{place}") == (2 if "flip" in place else 1), place
    grown = tmp_path / "map.before_replace"
    assert seq_of(grown) == 1
    with written(grown, b"x" * 10):  # who comes next begins anew, whatever lies about
        assert seq_of(grown) == 1 and not grown.with_name("map.before_replace.new").exists()


def test_readers_see_no_torn_beliefs_and_none_go_back(tmp_path: Path) -> None:
    run(RACE, str(tmp_path / "map"), "400")


def test_every_flipped_bit_of_the_newest_slot_leads_to_the_other(tmp_path: Path) -> None:
    path, body = tmp_path / "map", bytes(range(40))
    with written(path, body, body):
        second = _FRONT.size  # generation 2 is in slot 0
        for at in range(second, second + _PREFIX + len(body)):
            flip(path, at)
            assert seq_of(path) == 1, at
            flip(path, at)
        assert seq_of(path) == 2
        flip(path, second + _PREFIX)
        flip(path, second + 2 * _PREFIX + 2 * len(body))
        assert seq_of(path) is None


def test_a_cut_file_is_refused_and_who_has_read_it_keeps_what_it_had(tmp_path: Path) -> None:
    path = tmp_path / "map"
    with written(path, b"a" * 40, b"b" * 40) as shared:
        reader = PosteriorReader(path)
        first = reader.newest()
        assert first is not None and first.posterior == b"b" * 40 and first.bundle_digest == DIGEST
        assert reader.newest() is first
        size = path.stat().st_size
        for length in range(size - 1, -1, -1):
            os.truncate(path, length)
            assert seq_of(path) is None and reader.newest() == first
        shared.publish(3, DIGEST, b"c" * 81)  # too large for the slots: a whole file takes its place
        found = reader.newest()
        assert found is not None and (found.generation, found.posterior) == (3, b"c" * 81)
    path.unlink()
    assert reader.newest() is None
    reader.close()


def test_a_map_has_one_writer(tmp_path: Path) -> None:
    with (
        written(tmp_path / "map"),
        pytest.raises(InvalidConfig, match=r"posterior_map: .* is written by another service: name another"),
    ):
        PosteriorMap(tmp_path / "map")
    with pytest.raises(InvalidConfig, match="posterior_map: .* cannot be written"):
        PosteriorMap(tmp_path / "none" / "map")


def test_another_process_follows_a_service_by_its_map_and_without_it_by_its_store(tmp_path: Path) -> None:
    path, store = tmp_path / "map", f"sqlite:///{tmp_path}/log.db"

    async def scenario() -> None:
        async with service(tmp_path, posterior_map=path) as client:
            follower = Follower(tmp_path / "bundle", store, path)
            assert follower.snapshot().posterior_seq == 0
            answer = await decided(client)
            await reported(client, answer["decision_id"], "converted", value=3.0)
            status = await caught_up(client, 1)
            found = follower.snapshot()
            blob = posterior_bytes(found.posterior, found.outcomes)
            assert (found.posterior_seq, sha256(blob).hexdigest()) == (
                status["posterior_seq"],
                status["posterior_sha256"],
            )
            far = Follower(tmp_path / "bundle", store)  # of another host: nothing has been saved yet
            assert far.snapshot().posterior_seq == 0
            far.close()
            follower.close()
        os.truncate(path, 30)
        for where in (path, None):
            follower = Follower(tmp_path / "bundle", store, where)
            now = follower.snapshot()
            assert now.posterior_seq == found.posterior_seq
            assert posterior_bytes(now.posterior, now.outcomes) == blob
            follower.close()

    asyncio.run(scenario())


def test_beliefs_of_another_bundle_are_not_followed(tmp_path: Path) -> None:
    bundle, store = tiny_bundle(tmp_path / "bundle"), f"sqlite:///{tmp_path}/log.db"
    ledger = open_ledger(store)
    ledger.bind("bundle_digest", bundle_digest(bundle)).result()
    ledger.bind("evidence", "moments").result()
    ledger.close()
    with written(tmp_path / "map", b"of another bundle"):
        follower = Follower(bundle, store, tmp_path / "map")
        assert follower.snapshot().posterior_seq == 0
        follower.close()


@pytest.mark.slow
def test_followers_of_a_killed_service_go_on_with_what_it_last_believed(tmp_path: Path) -> None:
    bundle, path, store = tiny_bundle(tmp_path / "bundle"), tmp_path / "map", new_schema(shared_server_url())
    with Service(bundle, store, "--posterior-map", str(path)) as killed:
        for number in range(5):
            made = killed.post("/v1/decisions", {"customer": customer(f"c{number}")})
            told = {"event_id": f"e{number}", "decision_id": made["decision_id"], "outcome": "converted"}
            killed.post("/v1/feedback", told)
        status = killed.learner()
        killed.kill()
    follower = Follower(bundle, store, path)
    found = follower.snapshot()
    assert found.posterior_seq == status["posterior_seq"] == 5
    blob = posterior_bytes(found.posterior, found.outcomes)
    assert sha256(blob).hexdigest() == status["posterior_sha256"]
    with Service(bundle, store, "--posterior-map", str(path)) as again:  # the lock ended with its holder
        assert again.learner()["posterior_sha256"] == status["posterior_sha256"]
        assert follower.snapshot().posterior_seq == 5
        refused = nba("serve", "--bundle", str(bundle), "--store", store, "--port", "0")
        assert refused.returncode == 2 and "already has a writer" in refused.stderr
    far = Follower(bundle, store)  # without the map, as on another host: saved at the end
    assert far.snapshot().posterior_seq == 5
    follower.close()
    far.close()
