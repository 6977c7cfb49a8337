"""What fades, against a slow diary that counts every contact of every day anew."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from checks.worlds import NOBODY, any_action, assert_same, busy_bank, clones, days_of, everybody, recovery
from hypothesis import given, settings
from hypothesis import strategies as st
from small import bank, small_world

from nba.arrays import FloatArray, IntArray
from simulator.config import HISTORY_DAYS, LONGEST_WAIT_DAYS
from simulator.engine import Engine, engine_of
from simulator.memory import Booking, contacts_in_window, day_bit, kept, remembered
from simulator.state import NO_OFFER, OFFER_SHIFT, Memory, WorldState

HALF_LIVES = (2.0, 15.0)
GAPS = (1, 1, 1, 2, 3, 5, 9, 20, 31, 32, 33, 40, 63, 64, 65, 100, 128, 200)  # days between two touches


class Entry(NamedTuple):
    """A contact: decided on a day, made on another."""

    decided: int
    made: int
    channel: int


def spill(channel: int) -> FloatArray:
    """(C,) what a contact adds to the counters of all channels: the numbers of the shipped world."""
    families = [one.family for one in bank().config.catalogue.channels]
    shares = np.array([0.3 if family == families[channel] else 0.1 for family in families])
    shares[channel] = 1.0
    return shares


def fatigue_on(diary: list[Entry], day: int) -> FloatArray:
    """(C, 2) counters on a morning."""
    total = np.zeros((7, 2))
    for one in diary:
        if one.made < day:
            total += spill(one.channel)[:, None] * [recovery(half, day - one.made) for half in HALF_LIVES]
    return total


def mask_on(diary: list[Entry], channel: int, day: int) -> int:
    days = {one.made for one in diary if one.channel == channel and one.made >= day - HISTORY_DAYS}
    return sum(1 << (made % 64) for made in days)


def engine(name: str = "numpy") -> Engine:
    if name == "numba":
        pytest.importorskip("numba")
    return engine_of(name, "test")  # type: ignore[arg-type]


def read(state: WorldState, day: int, by: str = "numpy") -> Memory:
    return engine(by).remembered(state, np.array([0]), day, bank().kernel, bank().laws.spill)


def booked(
    state: WorldState,
    day: int,
    channel: int,
    wait: int,
    by: str = "numpy",
    product: int = 4,
    engaged: bool = False,
) -> WorldState:
    """The state of one customer with a contact decided on a day."""
    first = np.zeros(1, dtype=np.int64)
    new = Booking(first, first, first + channel, first + product, first + wait, np.array([engaged]))
    today = state._replace(day=day)
    return engine(by).booked(today, read(state, day, by), new, bank().kernel, bank().laws.spill)


def check(state: WorldState, diary: list[Entry], day: int, by: str) -> None:
    memory = read(state, day, by)
    assert [int(mask) for mask in memory.contacts[0]] == [mask_on(diary, c, day) for c in range(7)], day
    # Halves have 11 bits; each touch rounds what is left of the last rounding.
    np.testing.assert_allclose(memory.fatigue[0], fatigue_on(diary, day), rtol=3e-3, atol=1e-5)
    for window in (1, 2, 7, 14, 30, 31, 32):
        counts = [
            sum(day - window < one.made and one.channel == channel for one in diary) for channel in range(7)
        ]
        assert contacts_in_window(memory.contacts, day, window)[0].tolist() == counts, (day, window)


@pytest.mark.parametrize("by", ["numpy", "numba"])
@pytest.mark.parametrize("number", range(6))
def test_a_memory_brought_forward_is_the_one_of_every_day(number: int, by: str) -> None:
    """Contacts planned 0 to 31 days ahead, and up to 200 days without a touch."""
    rng = np.random.default_rng(number)
    state, diary, day = clones(bank(), 5, 1, day=0), [], 0
    for _ in range(40):
        channel, wait = int(rng.integers(7)), int(rng.choice([0, 0, 1, 5, 17, 30, 31]))
        taken = {one.made for one in diary if one.channel == channel}
        if day + wait not in taken:
            state = booked(state, day, channel, wait, by)
            diary.append(Entry(day, day + wait, channel))
        for later in sorted({*rng.integers(1, 220, 4).tolist(), 1, 32, 33, 64, 65}):
            check(state, diary, day + int(later), by)
        day += int(rng.choice(GAPS))
        check(state, diary, day, by)
    assert len(diary) > 25


@pytest.mark.parametrize("by", ["numpy", "numba"])
def test_offers_age_by_a_day_a_day_and_are_forgotten(by: str) -> None:
    """From 31 days before a planned contact to 224 days after it, when nobody asks any more."""
    for wait in (0, 5, 31):
        state = booked(clones(bank(), 5, 1, day=10), 10, 2, wait, by, product=7)
        for later in (1, 5, 6, 30, 31, 32, 100, 222, 223, 224, 230, 255, 300, 5000):
            ages = read(state, 10 + later, by).offered[0].astype(int)
            assert ages[7] == min(OFFER_SHIFT + later - wait, NO_OFFER), (wait, later)
            assert (np.delete(ages, 7) == NO_OFFER).all()


def test_an_offer_is_as_old_as_its_contact() -> None:
    """Seen by the bank: 0 until a planned contact is made, then its age in days."""
    world = small_world(("sms",), ("now", "weekend"), ("coupon", "membership"))
    action = world.config.catalogue.index("sms", "weekend", "membership")
    state = clones(world, 5, 1, day=0)  # a Monday: the weekend is 5 days ahead
    (day,) = days_of(world, state, 1, everybody(action))
    assert day.responses.waits.tolist() == [5] and day.responses.contacted.all()
    ages = []
    state = day.after
    for one in days_of(world, state, 10):
        ages.append(world.observe(one.before, np.array([0])).offer_age_days[0].tolist())
    assert [age for _, age in ages] == [0, 0, 0, 0, 0, 1, 2, 3, 4, 5] and ages[0][0] == np.inf


def test_a_planned_contact_counts_as_today_until_it_is_made() -> None:
    """A limit of n contacts in d days may not be circumvented by planning ahead."""
    state = booked(clones(bank(), 5, 1, day=0), 0, channel=3, wait=20)
    for day in range(1, 60):
        counts = {n: int(contacts_in_window(read(state, day).contacts, day, n)[0, 3]) for n in (1, 7, 32)}
        assert counts == {n: int(day < 20 + n) for n in counts}, day
        made = day > 20
        fatigue = read(state, day).fatigue[0, 3]
        expected = [recovery(half, day - 20) * made for half in HALF_LIVES]
        np.testing.assert_allclose(fatigue, expected, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("by", ["numpy", "numba"])
def test_engagement_halves_in_fifteen_days(by: str) -> None:
    """Two contacts engaged with, 15 days apart, as seen from the morning after the second."""
    state = booked(clones(bank(), 5, 1, day=4), 4, 2, 0, by, engaged=True)
    state = booked(state, 19, 3, 0, by, engaged=True)
    for later, left in ((0, 1.5), (15, 0.75), (30, 0.375), (2000, 0.0)):
        assert read(state, 20 + later, by).engagement[0] == pytest.approx(left, rel=1e-3, abs=1e-9)


def test_reading_changes_nothing_and_may_be_done_twice() -> None:
    world = busy_bank()
    *_, last = days_of(world, world.reset(2, np.arange(50)), 12, any_action)
    before = world.reset(2, np.arange(50))
    rows = np.arange(50)
    one, other = (remembered(last.after, rows, 60, world.kernel, world.laws.spill) for _ in range(2))
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)
    assert_same(before, world.reset(2, np.arange(50)))


def test_what_is_read_in_two_steps_is_what_is_read_in_one() -> None:
    """Bringing a memory forward by a days and then by b is the same as by a + b."""
    state = booked(booked(clones(bank(), 5, 1, day=0), 0, 2, 9), 3, 4, 0)
    for first in (4, 8, 9, 10, 30, 36, 70):
        stop = kept(state, np.array([0]), read(state, first), first)
        for day in (first, first + 1, 40, 80, 150):
            if day >= first:
                one, two = read(state, day), read(stop, day)
                np.testing.assert_array_equal(one.contacts, two.contacts)
                np.testing.assert_array_equal(one.offered, two.offered)
                np.testing.assert_allclose(one.fatigue, two.fatigue, rtol=2e-3, atol=1e-6)


def test_a_channel_makes_one_contact_a_day_with_a_customer() -> None:
    """A second one for the same channel-day is refused, whether the first was planned or made."""
    world = small_world(("sms", "app_push"), ("now", "weekend"), ("coupon", "membership"))
    index = world.config.catalogue.index
    state = clones(world, 5, 4, day=0)
    plan = np.array([index("sms", "weekend", "coupon")] * 3 + [0])
    weekend = [plan, *[np.zeros(4, dtype=np.int64)] * 4]
    weekend.append(
        np.array([index("sms", "now", "membership"), index("app_push", "now", "membership"), 0, plan[0]])
    )
    refused = []
    for actions in weekend:
        responses = world.respond(state, np.arange(4), actions)
        refused.append(responses.refused.tolist())
        state, _ = world.advance(state, np.arange(4), actions, responses)
    assert refused == [[False] * 4] * 5 + [[True, False, False, False]]
    counts = contacts_in_window(
        remembered(state, np.arange(4), 6, world.kernel, world.laws.spill).contacts, 6, 7
    )
    assert counts.tolist() == [[1, 0], [1, 1], [1, 0], [1, 0]]


@settings(max_examples=200, deadline=None)
@given(
    made=st.lists(st.integers(0, 63), max_size=20, unique=True),
    day=st.integers(32, 30_000),
    window=st.integers(1, HISTORY_DAYS),
)
def test_windows_count_what_lies_in_them(made: list[int], day: int, window: int) -> None:
    """All 64 days that a memory keeps: 32 back to 31 ahead."""
    days = np.array([day - HISTORY_DAYS + one for one in made], dtype=np.int64)
    mask = np.bitwise_or.reduce(day_bit(days), initial=np.uint64(0))
    expected = int(((days > day - window) & (days <= day + LONGEST_WAIT_DAYS)).sum())
    assert contacts_in_window(np.array([[mask]]), day, window).tolist() == [[expected]]


def test_customers_left_alone_are_not_touched() -> None:
    world = busy_bank()
    state = world.reset(2, np.arange(50))
    rows: IntArray = np.arange(10)
    (day,) = days_of(world, state, 1, lambda world, state: (rows, np.full(10, 5)))
    contacted = np.zeros(50, dtype=np.bool_)
    contacted[rows] = day.responses.contacted
    assert contacted.any() and NOBODY.size == 0
    np.testing.assert_array_equal(day.after.touched == 1, contacted)
    for name in ("contacts", "fatigue", "offered", "engagement"):
        np.testing.assert_array_equal(
            getattr(day.after, name)[~contacted], getattr(state, name)[~contacted], err_msg=name
        )
