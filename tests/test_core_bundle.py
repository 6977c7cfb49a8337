"""Bundles: a snapshot comes back to the bit, and anything else is an error that says why."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checks.posteriors import instances, same_state
from msgspec import structs
from small import ids_of, open_strategy, product, small_catalogue, small_contexts, small_rounds, small_schema
from small import small_strategy as strategy_of

from nba.bundle import (
    ARRAYS,
    MANIFEST,
    bundle_digest,
    load_bundle,
    posterior_bytes,
    posterior_from_bytes,
    save_bundle,
)
from nba.catalogue import Timing
from nba.errors import BundleError
from nba.posteriors import DisjointModel, FactoredModel, SegmentRatesModel
from nba.snapshot import Snapshot


def taught(**changes: Any) -> Snapshot:
    strategy = strategy_of(**changes)
    snapshot = Snapshot.start(strategy).learn(small_rounds(strategy, 200), 200)
    return structs.replace(snapshot, prices=np.array([0.25, 1 / 3]), version=7)


def equal_decisions(one: Snapshot, other: Snapshot) -> None:
    contexts = one.strategy.encode(small_contexts(one.strategy, 30, seed=4))
    batches = [snapshot.decide(contexts, ids_of(30), limit=2) for snapshot in (one, other)]
    for name, part in batches[0]._asdict().items():
        assert part.tobytes() == getattr(batches[1], name).tobytes(), name


@pytest.mark.parametrize("model", instances(), ids=lambda model: type(model).__name__)
def test_a_loaded_snapshot_decides_and_learns_on_to_the_same_bits(model: Any, tmp_path: Path) -> None:
    """Estimators T7: save, load, continue equals the uninterrupted run."""
    snapshot = taught(model=model)
    loaded = load_bundle(save_bundle(snapshot, tmp_path / "b"))
    assert (loaded.version, loaded.posterior_seq) == (7, 200)
    assert loaded.strategy == snapshot.strategy
    np.testing.assert_array_equal(loaded.prices, snapshot.prices)
    equal_decisions(loaded, snapshot)
    more = small_rounds(snapshot.strategy, 60, seed=9)
    straight, resumed = snapshot.learn(more, 260), loaded.learn(more, 260)
    same_state(resumed.posterior, straight.posterior)
    equal_decisions(resumed, straight)


def test_learning_publishes_new_draws_and_leaves_the_old_snapshot_alone() -> None:
    snapshot = taught()
    before, old = posterior_bytes(snapshot.posterior), snapshot.frozen
    after = snapshot.learn(small_rounds(snapshot.strategy, 50, seed=2), 250)
    assert (after.posterior_seq, snapshot.posterior_seq) == (250, 200)
    assert posterior_bytes(snapshot.posterior) == before and snapshot.frozen is old
    assert not np.array_equal(after.frozen.ready.draws.main, old.ready.draws.main)


def test_saving_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    first, second = (save_bundle(taught(), tmp_path / name) for name in "ab")
    for name in (MANIFEST, ARRAYS):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert bundle_digest(first) == bundle_digest(second)
    dates = {entry.date_time for entry in zipfile.ZipFile(first / ARRAYS).infolist()}
    assert dates == {(1980, 1, 1, 0, 0, 0)}, "no clock in the bytes"


def square_strategies() -> list[Any]:
    """Shapes at which a table that is not symmetric happens to be square."""
    rates = open_strategy(model=SegmentRatesModel(), schema=small_schema(("a", "b", "c")))
    catalogue = small_catalogue(
        timings=tuple(Timing(name=name) for name in "abcd"), products=(product("deposit"),)
    )
    disjoint = open_strategy(model=DisjointModel(), catalogue=catalogue)
    return [rates, disjoint]


@pytest.mark.parametrize("strategy", square_strategies(), ids=["rates", "disjoint"])
def test_square_tables_are_not_taken_for_symmetric_ones(strategy: Any) -> None:
    snapshot = Snapshot.start(strategy).learn(small_rounds(strategy, 200), 200)
    again = posterior_from_bytes(posterior_bytes(snapshot.posterior), strategy)
    same_state(again, snapshot.posterior)


def test_a_precision_is_symmetric_to_the_bit_however_it_was_learnt() -> None:
    strategy = open_strategy(model=FactoredModel())
    prior: Any = Snapshot.start(strategy).posterior
    rounds = small_rounds(strategy, 300)
    for posterior in (prior.absorb(prior.evidence(rounds)), prior.fold(rounds)):
        np.testing.assert_array_equal(posterior.precision, posterior.precision.T)


# Damage. Each function harms a good bundle in one way; the message names what is wrong.


def flip_arrays(path: Path) -> None:
    data = bytearray((path / ARRAYS).read_bytes())
    data[len(data) // 2] ^= 1
    (path / ARRAYS).write_bytes(bytes(data))


def edit_manifest(path: Path, **changes: Any) -> None:
    manifest = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_text(json.dumps(manifest | changes))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (flip_arrays, "checksum"),
        (lambda path: (path / ARRAYS).unlink(), ARRAYS),
        (lambda path: (path / MANIFEST).unlink(), MANIFEST),
        (lambda path: (path / MANIFEST).write_text("{"), "manifest"),
        (lambda path: (path / MANIFEST).write_bytes(b"\xff\xfe"), "manifest"),
        (lambda path: edit_manifest(path, format=99), "format 99"),
        (lambda path: edit_manifest(path, format=99, prophecy="x"), "format 99"),
        (lambda path: edit_manifest(path, strategy={}), "manifest"),
        (lambda path: edit_manifest(path, surprise=1), "surprise"),
        (lambda path: edit_manifest(path, version="7"), "version"),
        (lambda path: edit_manifest(path, prices=[1.0]), "prices"),
        (lambda path: edit_manifest(path, sha256={}), "checksum"),
    ],
    ids=[
        "bit", "no-arrays", "no-manifest", "json", "utf8", "format", "newer", "empty-strategy", "field",
        "type", "prices", "no-sum",
    ],
)  # fmt: skip
def test_a_damaged_bundle_is_refused_with_its_reason(harm: Any, message: str, tmp_path: Path) -> None:
    path = save_bundle(taught(), tmp_path / "harmed")
    harm(path)
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(path)
    assert "harmed" in str(caught.value)


def test_a_bundle_of_the_format_before_reads_as_it_was_meant(tmp_path: Path) -> None:
    path = save_bundle(taught(), tmp_path / "old")
    strategy = json.loads((path / MANIFEST).read_text())["strategy"]
    del strategy["tags"], strategy["catalogue"]["groups"]
    for row in strategy["catalogue"]["products"]:
        del row["group"], row["tags"], row["instalment"]
    strategy["rules"] = [
        {key: value for key, value in rule.items() if key not in ("name", "layer", "scope", "whom")}
        for rule in strategy["rules"]
    ]
    edit_manifest(path, format=3, strategy=strategy)
    assert load_bundle(path).strategy == taught().strategy


def test_a_path_that_is_no_bundle_says_how_to_get_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("hello")
    for name in ("nothing", "file"):
        with pytest.raises(BundleError, match="nba train"):
            load_bundle(tmp_path / name)


def spoiled(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


DATA = posterior_bytes(taught().posterior)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not an archive",
        DATA[:100],
        DATA[:-40],
        DATA[:300] + bytes([DATA[300] ^ 255]) + DATA[301:],
        spoiled(shift=np.zeros(96)),
        spoiled(shift=np.zeros(95), precision=np.zeros(96 * 97 // 2)),
        spoiled(shift=np.zeros(96), precision=np.zeros(10)),
        spoiled(shift=np.array([{}], dtype=object), precision=np.zeros(3)),
    ],
    ids=["empty", "text", "head", "cut", "bit", "missing", "shift", "precision", "pickle"],
)
def test_bytes_of_no_such_posterior_are_refused(data: bytes) -> None:
    with pytest.raises(BundleError):
        posterior_from_bytes(data, strategy_of())


def test_bytes_of_another_model_are_refused() -> None:
    with pytest.raises(BundleError, match="SegmentRates"):
        posterior_from_bytes(DATA, strategy_of(model=SegmentRatesModel()))
