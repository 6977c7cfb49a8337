"""The appointment book: exactly first come first served, never above capacity, the same in any order."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from nba.arrays import BoolArray, FloatArray, IntArray, take_rows
from nba.errors import InvalidConfig, ShapeMismatch
from simulator.capacity import (
    HORIZON,
    Appointments,
    Book,
    CapacityConfig,
    appoint,
    closed,
    empty_book,
    given_back,
    minutes_used,
    room,
)

PUSH, CALL, VISIT, ADVISER = range(4)
CONFIG = CapacityConfig(
    minutes=(0, 10, 45, 30),
    unanswered_minutes=(0, 3, 15, 0),
    pool_of=("", "agents", "managers", "managers"),
    daily_minutes={"managers": 60, "agents": 25},
    works_weekends={"agents": True},
    longest_queue_days=5,
)
MONDAY, FRIDAY, SATURDAY = 0, 4, 5


class Requests(NamedTuple):
    branches: IntArray
    channels: IntArray
    wanted: IntArray
    minutes: IntArray
    order: FloatArray


def requests(*rows: tuple[int, int, int, int]) -> Requests:
    """Requests from (branch, channel, wanted day, minutes), in their order."""
    columns = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    return Requests(*columns, np.arange(len(rows), dtype=np.float64))


def random_requests(rng: np.random.Generator, n: int, n_branches: int) -> Requests:
    channels = rng.integers(0, 4, n)
    wanted = rng.choice([0, 0, 0, 1, 2, 6, 25, 31, 62, 63, 64, 80], n)
    minutes = minutes_used(CONFIG, channels, rng.random(n) < 0.6)
    return Requests(rng.integers(0, n_branches, n), channels, wanted, minutes, rng.random(n))


def book_of(config: CapacityConfig, book: Book, day: int, weekday: int, asked: Requests) -> Appointments:
    return appoint(config, book, day, weekday, *asked)


def is_open(config: CapacityConfig, pool: str, weekday: int) -> bool:
    return weekday % 7 < SATURDAY or config.works_weekends.get(pool, False)


def one_by_one(config: CapacityConfig, book: Book, day: int, weekday: int, asked: Requests) -> Appointments:
    """The rule in slow words: in turn, each takes the first day with its minutes left."""
    book, waits, refused = book.copy(), asked.wanted.copy(), np.zeros(asked.wanted.size, dtype=np.bool_)
    for row in np.argsort(asked.order):
        branch, channel, wanted, minutes = (int(column[row]) for column in asked[:4])
        pool = config.pool_of[channel]
        if pool == "" or minutes == 0:
            continue
        number = list(config.daily_minutes).index(pool)
        for ahead in range(wanted, min(wanted + config.longest_queue_days + 1, HORIZON)):
            slot = (branch, number, (day + ahead) % HORIZON)
            has_room = book[slot] + minutes <= config.daily_minutes[pool]
            if has_room and is_open(config, pool, weekday + ahead):
                book[slot] += minutes
                waits[row] = ahead
                break
        else:
            refused[row] = True
    return Appointments(book, waits, refused)


def assert_same(left: Appointments, right: Appointments) -> None:
    for one, other in zip(left, right, strict=True):
        np.testing.assert_array_equal(one, other)


def assert_within_capacity(config: CapacityConfig, book: Book, day: int, weekday: int) -> None:
    assert book.min(initial=0.0) >= 0.0
    for number, pool in enumerate(config.pools):
        for ahead in range(HORIZON):
            most = config.daily_minutes[pool] * is_open(config, pool, weekday + ahead)
            assert book[:, number, (day + ahead) % HORIZON].max() <= most


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(0, 120),
    n_branches=st.integers(1, 4),
    queue=st.integers(0, 32),
    day=st.integers(0, 1000),
)
def test_the_book_is_what_serving_one_by_one_gives(
    seed: int, n: int, n_branches: int, queue: int, day: int
) -> None:
    rng, config = np.random.default_rng(seed), structs.replace(CONFIG, longest_queue_days=queue)
    book = empty_book(config, n_branches)
    for today in range(day, day + 4):
        asked = random_requests(rng, n, n_branches)
        got = book_of(config, book, today, today % 7, asked)
        assert_same(got, one_by_one(config, book, today, today % 7, asked))
        assert_within_capacity(config, got.book, today, today % 7)
        book = closed(got.book, today)


def test_no_day_of_a_busy_year_is_above_capacity_and_all_minutes_are_booked() -> None:
    rng, book, n_branches = np.random.default_rng(3), empty_book(CONFIG, 3), 3
    refused = asked_for = 0
    for day in range(364):
        asked = random_requests(rng, 40, n_branches)
        before, got = book, book_of(CONFIG, book, day, day % 7, asked)
        needed = np.where(got.refused, 0, asked.minutes)
        assert (got.book - before).sum() == needed.sum()
        assert (got.book >= before).all()
        assert_within_capacity(CONFIG, got.book, day, day % 7)
        queued = got.waits - asked.wanted
        assert (queued >= 0).all() and (queued <= CONFIG.longest_queue_days).all()
        refused, asked_for = refused + int(got.refused.sum()), asked_for + asked.wanted.size
        book = closed(got.book, day)
    assert 0.1 < refused / asked_for < 0.9  # the year was a test of both


def test_the_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(5)
    asked = random_requests(rng, 300, 4)
    straight = book_of(CONFIG, empty_book(CONFIG, 4), 10, 3, asked)
    shuffle = rng.permutation(300)
    mixed = book_of(CONFIG, empty_book(CONFIG, 4), 10, 3, take_rows(asked, shuffle))
    assert straight.refused.any() and not straight.refused.all()
    np.testing.assert_array_equal(mixed.book, straight.book)
    np.testing.assert_array_equal(mixed.waits, straight.waits[shuffle])
    np.testing.assert_array_equal(mixed.refused, straight.refused[shuffle])


def test_branches_may_be_split_over_shards() -> None:
    asked = random_requests(np.random.default_rng(6), 300, 4)
    whole = book_of(CONFIG, empty_book(CONFIG, 4), 10, 3, asked)
    for branches in ([0], [1, 2], [3]):
        rows = np.isin(asked.branches, branches)
        shard = take_rows(asked, rows)
        shard = shard._replace(branches=shard.branches - branches[0])
        part = book_of(CONFIG, empty_book(CONFIG, len(branches)), 10, 3, shard)
        np.testing.assert_array_equal(part.book, whole.book[branches])
        np.testing.assert_array_equal(part.waits, whole.waits[rows])
        np.testing.assert_array_equal(part.refused, whole.refused[rows])


def test_a_short_contact_fills_a_gap_that_was_too_short_for_an_earlier_one() -> None:
    asked = requests((0, VISIT, 0, 45), (0, VISIT, 0, 45), (0, VISIT, 0, 15), (0, VISIT, 0, 15))
    got = book_of(CONFIG, empty_book(CONFIG, 1), 0, MONDAY, asked)
    assert got.waits.tolist() == [0, 1, 0, 1] and not got.refused.any()
    assert got.book[0, 0, :3].tolist() == [60, 60, 0]


def test_keys_above_2_to_53_still_say_who_is_first() -> None:
    asked = requests((0, VISIT, 0, 45), (0, VISIT, 0, 45))
    keys = np.array([2**60 + 1, 2**60], dtype=np.uint64)
    got = appoint(CONFIG, empty_book(CONFIG, 1), 0, MONDAY, *asked[:4], keys)
    assert got.waits.tolist() == [1, 0]


def test_closed_days_have_no_room_and_are_waited_through() -> None:
    asked = requests((0, VISIT, 1, 45), (0, VISIT, 0, 45), (0, VISIT, 0, 45), (0, CALL, 1, 10))
    got = book_of(CONFIG, empty_book(CONFIG, 1), 0, FRIDAY, asked)
    # Agents work on Saturday; managers are next seen on Monday, and from then on one visit a day.
    assert got.waits.tolist() == [3, 0, 4, 1]


def test_who_would_wait_too_long_is_refused_and_takes_nothing() -> None:
    asked = requests(*[(0, VISIT, 0, 45)] * 6)
    got = book_of(CONFIG, empty_book(CONFIG, 1), 0, MONDAY, asked)
    assert got.waits.tolist() == [0, 1, 2, 3, 4, 0]  # Saturday, the fifth day of the queue, is closed
    assert got.refused.tolist() == [False] * 5 + [True]
    assert got.book.sum() == 5 * 45


def test_without_minutes_or_a_pool_a_contact_comes_when_it_was_wanted() -> None:
    nobody = structs.replace(CONFIG, daily_minutes={"managers": 0, "agents": 0})
    asked = requests((0, PUSH, 5, 0), (0, PUSH, 99, 30), (0, VISIT, 5, 0), (0, VISIT, 5, 15))
    got = book_of(nobody, empty_book(nobody, 1), 0, MONDAY, asked)
    assert got.waits.tolist() == [5, 99, 5, 5] and got.refused.tolist() == [False] * 3 + [True]
    assert not got.book.any() and not room(got.book, nobody, 0, MONDAY).any()


def test_by_default_nobody_is_needed() -> None:
    off, asked = CapacityConfig(), requests((0, VISIT, 7, 45), (2, CALL, 0, 10))
    got = book_of(off, empty_book(off, 3), 4, SATURDAY, asked)
    assert off.is_off and got.book.shape == (3, 0, HORIZON)
    assert got.waits.tolist() == [7, 0] and not got.refused.any()
    assert minutes_used(off, asked.channels, np.ones(2, dtype=np.bool_)).tolist() == [0, 0]
    off.check_channels(7)


def test_unanswered_contacts_take_their_own_minutes() -> None:
    answered: BoolArray = np.array([True, False, True, False])
    assert minutes_used(CONFIG, np.array([CALL, CALL, VISIT, ADVISER]), answered).tolist() == [10, 3, 45, 0]


def test_requests_do_not_change_the_book_they_are_given() -> None:
    book = empty_book(CONFIG, 1)
    book_of(CONFIG, book, 0, MONDAY, requests((0, VISIT, 0, 45)))
    assert not book.any()


def test_appointments_can_be_given_back() -> None:
    asked = random_requests(np.random.default_rng(8), 200, 3)
    got = book_of(CONFIG, empty_book(CONFIG, 3), 100, MONDAY, asked)
    kept = np.arange(200) % 2 == 0
    gone = take_rows(asked, ~got.refused & ~kept)
    days = 100 + got.waits[~got.refused & ~kept]
    left = given_back(CONFIG, got.book, days, gone.branches, gone.channels, gone.minutes)
    assert left.dtype == np.float32 and left.min() == 0.0
    assert left.sum() == asked.minutes[~got.refused & kept].sum()
    # Asked for again on the days they had, they have them again.
    again = gone._replace(wanted=days - 100)
    assert_same(book_of(CONFIG, left, 100, MONDAY, again), got._replace(waits=days - 100, refused=days < 0))


def test_a_day_that_is_over_is_cleared_for_the_day_after_the_horizon() -> None:
    day = 130
    got = book_of(CONFIG, empty_book(CONFIG, 2), day, MONDAY, requests((0, VISIT, 0, 45), (1, VISIT, 1, 45)))
    after = closed(got.book, day)
    assert after.sum() == 45 and after[1, 0, (day + 1) % HORIZON] == 45
    assert got.book.sum() == 90


def test_room_is_the_free_share_of_seven_days() -> None:
    asked = requests((0, VISIT, 0, 45), (0, VISIT, 6, 45), (1, CALL, 0, 10), (1, CALL, 7, 10))
    got = book_of(CONFIG, empty_book(CONFIG, 2), 71, SATURDAY, asked)
    # Managers work five of the seven days; the visit wanted today waits for Monday, the other is on Friday.
    expected = [[1 - 90 / (5 * 60), 1.0], [1.0, 1 - 10 / (7 * 25)]]
    np.testing.assert_allclose(room(got.book, CONFIG, 71, SATURDAY), expected, rtol=1e-15)


def test_a_book_of_another_shape_is_refused() -> None:
    with pytest.raises(ShapeMismatch, match=r"book has shape \(1, 3, 64\), expected \(any, 2, 64\)"):
        book_of(CONFIG, np.zeros((1, 3, HORIZON), dtype=np.float32), 0, MONDAY, requests())


@pytest.mark.parametrize(
    ("change", "pointer", "rule"),
    [
        ({"daily_minutes": {"managers": -1, "agents": 25}}, "daily_minutes.managers", "whole number of min"),
        ({"minutes": (0, 10.5, 45, 30)}, "minutes[1]", "whole number of minutes in [0, 100000], got 10.5"),
        ({"minutes": (0, 10, float("nan"), 30)}, "minutes[2]", "got nan"),
        ({"unanswered_minutes": (0, -3, 15, 0)}, "unanswered_minutes[1]", "got -3"),
        ({"minutes": (0, 10)}, "minutes", "needs one entry for each of 4 channels, got 2"),
        ({"minutes": (0, 26, 45, 30)}, "minutes[1]", "must fit into a day of 'agents': 25 minutes, got 26"),
        ({"minutes": (1, 10, 45, 30)}, "pool_of[0]", "needs a pool, because the channel takes 1 minutes"),
        ({"pool_of": ("", "agent", "managers", "")}, "pool_of[1]", "one of the pools ['agents', 'managers']"),
        ({"works_weekends": {"tellers": True}}, "works_weekends", "names ['tellers']"),
        ({"longest_queue_days": 33}, "longest_queue_days", "must be 0..32, got 33"),
        ({"waiting_conversion": -0.1}, "waiting_conversion", "must be finite and >= 0, got -0.1"),
        ({"waiting_complaint": float("inf")}, "waiting_complaint", "got inf"),
    ],
)
def test_what_cannot_be_is_refused_by_name(change: dict[str, Any], pointer: str, rule: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        structs.replace(CONFIG, **change)
    assert caught.value.pointer == f"capacity.{pointer}" and rule in caught.value.rule


def test_tables_must_have_the_channels_of_the_catalogue() -> None:
    CONFIG.check_channels(4)
    with pytest.raises(InvalidConfig, match="pool_of: needs one entry for each of 7 channels, got 4"):
        CONFIG.check_channels(7)
