"""Keyed random numbers: the published answers, uniformity, and what a key consists of."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from nba.randomness import Purpose, decision_keys, draw_generator, keyed_uniforms, philox4x32

IDS = np.arange(100_000)
ZERO, ONES, PI = (
    ("00000000 " * 4, "00000000 " * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff " * 4, "ffffffff " * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
)


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "answer"), [ZERO, ONES, PI], ids=["zero", "ones", "pi"])
def test_philox_gives_the_published_answers(counter: str, key: str, answer: str) -> None:
    low, high = words(key)
    got = philox4x32(np.array([words(counter)], dtype=np.uint32), (low, high))
    assert got.tolist() == [words(answer)]


def test_philox_treats_rows_alone_and_together_alike() -> None:
    counters = np.random.default_rng(0).integers(0, 2**32, (50, 4), dtype=np.uint32)
    together = philox4x32(counters, (1, 2))
    alone = np.concatenate([philox4x32(row[None], (1, 2)) for row in counters])
    np.testing.assert_array_equal(together, alone)


def test_uniforms_are_53_bit_numbers_below_one() -> None:
    uniforms = keyed_uniforms(1, Purpose.DECISION, IDS)
    assert uniforms.min() >= 0.0 and uniforms.max() < 1.0
    grains = uniforms * 2.0**53
    np.testing.assert_array_equal(grains, np.floor(grains))
    assert (grains % 2 == 1).mean() == pytest.approx(0.5, abs=0.01)


def test_the_counter_is_laid_out_as_documented() -> None:
    """A stored decision must replay for ever: id low, id high with the purpose on top, day, block."""
    seed, number, day, block = 2**40 + 5, 0xABCDEF_12345678, 77, 9
    counter = [number & 0xFFFFFFFF, (number >> 32) | (Purpose.PROBE << 24), day, block]
    got = philox4x32(np.array([counter], dtype=np.uint32), (5, 2**8))[0]
    by_hand = ((int(got[0]) >> 5) * 2**26 + (int(got[1]) >> 6)) / 2**53
    assert keyed_uniforms(seed, Purpose.PROBE, [number], day, block)[0] == by_hand


def test_the_same_key_gives_the_same_number_in_any_company() -> None:
    all_of_them = keyed_uniforms(9, Purpose.ORGANIC, IDS, day=4)
    some = np.array([7, 99_999, 0])
    np.testing.assert_array_equal(keyed_uniforms(9, Purpose.ORGANIC, some, day=4), all_of_them[some])


def test_ids_days_and_blocks_broadcast() -> None:
    table = keyed_uniforms(2, Purpose.POPULATION, IDS[:5, None], day=3, block=np.arange(4)[None, :])
    assert table.shape == (5, 4)
    for i in range(5):
        for block in range(4):
            assert table[i, block] == keyed_uniforms(2, Purpose.POPULATION, [i], 3, block)[0]
    days = keyed_uniforms(2, Purpose.POPULATION, 1, day=np.arange(6))
    assert days.shape == (6,) and np.unique(days).size == 6


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 2},
        {"seed": 1 + 2**32},
        {"purpose": Purpose.PROBE},
        {"day": 1},
        {"block": 1},
        {"ids": IDS + 2**32},
        {"ids": IDS + 2**55},
    ],
    ids=str,
)
def test_every_part_of_the_key_changes_every_number(other: dict[str, object]) -> None:
    key = {"seed": 1, "purpose": Purpose.DECISION, "ids": IDS, "day": 0, "block": 0}
    plain, changed = keyed_uniforms(**key), keyed_uniforms(**(key | other))  # type: ignore[arg-type]
    assert not (plain == changed).any()
    # Independent uniforms have correlation 0 with standard error 1 / sqrt(n).
    assert abs(np.corrcoef(plain, changed)[0, 1]) < 4.0 / np.sqrt(IDS.size)


@pytest.mark.parametrize("purpose", list(Purpose))
def test_uniforms_are_uniform(purpose: Purpose) -> None:
    bins = np.floor(keyed_uniforms(11, purpose, IDS, day=17) * 256).astype(np.int64)
    expected = IDS.size / 256
    statistic = ((np.bincount(bins, minlength=256) - expected) ** 2 / expected).sum()
    assert 1e-4 < chi2.sf(statistic, 255) < 1 - 1e-4


def test_neighbours_in_id_day_and_block_are_uncorrelated() -> None:
    by_id = keyed_uniforms(5, Purpose.DELIVERY, IDS)
    by_day = keyed_uniforms(5, Purpose.DELIVERY, 7, day=IDS)
    by_block = keyed_uniforms(5, Purpose.DELIVERY, 7, block=IDS)
    for series in (by_id, by_day, by_block):
        assert abs(np.corrcoef(series[1:], series[:-1])[0, 1]) < 4.0 / np.sqrt(IDS.size)


def test_purposes_are_distinct_and_fit_their_byte() -> None:
    assert len(Purpose) == len(Purpose.__members__)
    assert all(0 < purpose < 256 for purpose in Purpose)


def test_decision_keys_fit_the_counter_and_follow_the_id() -> None:
    ids = [f"decision-{number}" for number in range(20_000)]
    keys = decision_keys(ids)
    assert keys.dtype == np.uint64 and int(keys.max()) < 2**56
    assert np.unique(keys).size == len(ids)
    np.testing.assert_array_equal(decision_keys(np.array(ids[5:9], dtype=object)), keys[5:9])


def test_the_draw_generator_is_fresh_at_each_call() -> None:
    first = draw_generator(3, 1).standard_normal(4)
    np.testing.assert_array_equal(first, draw_generator(3, 1).standard_normal(4))
    for seed, version in ((3, 2), (4, 1)):
        assert not np.array_equal(first, draw_generator(seed, version).standard_normal(4))
