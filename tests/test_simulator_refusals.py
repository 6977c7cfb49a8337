"""Contacts that are refused, opted out of, or wait for somebody: caps, consents, and people's time."""

from __future__ import annotations

from typing import Any

import numpy as np
from checks.worlds import (
    CALL,
    CHANNELS,
    PRODUCTS,
    PUSH,
    SMS,
    TIMINGS,
    N,
    agrees,
    answer_of,
    busy_bank,
    days_of,
    edited,
    everybody,
    fresh,
    lively,
    mixed,
    one,
    without,
)
from scipy.stats import kstest
from small import bank, small_world

from nba.arrays import IntArray
from simulator.capacity import CapacityConfig
from simulator.config import PlatformLimit
from simulator.state import LONG_AGO, WorldState
from simulator.world import World

# --- Opt-outs, complaints, refusals -------------------------------------------------------------------


def test_an_opt_out_closes_its_channel_alone_and_costs_what_the_channel_is_worth() -> None:
    world = without(lively(), "events")  # nobody complains of their own accord
    state = fresh(world, 3, consents=0b111)
    (day,) = days_of(world, state, 1, everybody(world.config.catalogue.row_of("sms/now/coupon")))
    gone, loud = day.responses.opted_out, day.responses.complained
    assert gone.sum() > 500 and (gone & loud).any()
    np.testing.assert_array_equal(day.after.consents, np.where(gone, 0b101, 0b111))
    answer = world.config.response
    np.testing.assert_allclose(
        day.responses.losses, answer.opt_out.cost[SMS] * gone + answer.complaint.cost * loud
    )
    np.testing.assert_array_equal(day.after.complaint, np.where(loud, 4, LONG_AGO))  # seen next morning
    seen = world.observe(day.after, np.arange(N)).consents
    np.testing.assert_array_equal(seen[:, SMS], ~gone)
    assert seen[:, [PUSH, CALL]].all()


def test_a_complaint_about_a_planned_contact_is_heard_when_it_has_been_made() -> None:
    world = without(lively(), "events")
    state = fresh(world, 3)  # a Thursday
    (day,) = days_of(world, state, 1, everybody(world.config.catalogue.row_of("sms/weekend/coupon")))
    loud = day.responses.complained
    assert loud.sum() > 200 and (day.after.event_day == LONG_AGO).all()
    np.testing.assert_array_equal(day.after.complaint, np.where(loud, 5, LONG_AGO))


def test_what_was_refused_costs_nothing_and_leaves_no_trace() -> None:
    """The morning after a refusal is the morning after silence, for everybody it happened to."""
    world = small_world(CHANNELS, TIMINGS, PRODUCTS)
    limited = edited(world, response={"platform_limits": (PlatformLimit(channel="sms", contacts=1, days=7),)})
    sms = everybody(world.config.catalogue.row_of("sms/now/coupon"))
    state = limited.reset(4, np.arange(300))
    (first,) = days_of(limited, state, 1, sms)
    assert first.responses.contacted.all()
    (again,), (quiet,) = days_of(limited, first.after, 1, sms), days_of(limited, first.after, 1)
    seen = again.responses
    assert seen.refused.all() and not seen.contacted.any() and not seen.delivered.any()
    assert not seen.costs.any() and not seen.losses.any() and (seen.due == -1).all()
    for name, part in quiet.after._asdict().items():
        if name not in ("people", "pending"):
            np.testing.assert_array_equal(getattr(again.after, name), part, err_msg=name)
    np.testing.assert_array_equal(again.sold.customers, quiet.sold.customers)


def test_a_platform_refuses_what_is_above_its_cap_in_any_window() -> None:
    world = edited(
        small_world(CHANNELS, TIMINGS, PRODUCTS, off=("opt_out",)),
        response={"platform_limits": (PlatformLimit(channel="sms", contacts=3, days=10),)},
    )
    made, rows = np.zeros((60, 40), dtype=np.bool_), np.arange(60)
    catalogue, rng = world.config.catalogue, np.random.default_rng(0)
    sms, push = catalogue.row_of("sms/now/coupon"), catalogue.row_of("app_push/now/coupon")
    wanted = rng.random((40, 60)) < 0.6

    def choose(_: World, state: WorldState) -> tuple[IntArray, IntArray]:
        return rows, np.where(wanted[state.day], sms, push)

    for day in days_of(world, world.reset(1, rows), 40, choose):
        number = day.before.day
        made[:, number] = day.responses.contacted & wanted[number]
        before = made[:, max(0, number - 9) : number].sum(axis=1)
        np.testing.assert_array_equal(day.responses.refused, wanted[number] & (before >= 3))
    windows = np.lib.stride_tricks.sliding_window_view(made, 10, axis=1).sum(axis=2)
    assert windows.max() == 3


def test_costs_are_paid_for_what_was_made_whether_delivered_or_not() -> None:
    world = bank()
    rows = np.arange(2_000)
    state, actions = world.reset(3, rows), 1 + (rows * 37) % 840
    seen, catalogue = world.respond(state, rows, actions), world.config.catalogue
    np.testing.assert_allclose(seen.costs, np.where(seen.contacted, catalogue.costs[actions], 0.0))
    assert (seen.contacted & ~seen.delivered).any()


# --- People's time ------------------------------------------------------------------------------------


def phone_bank(**changes: Any) -> World:
    """Calls take 3 minutes of two agents, or 1 if nobody answers."""
    parts: dict[str, Any] = {
        "minutes": (0, 0, 3),
        "unanswered_minutes": (0, 0, 1),
        "pool_of": ("", "", "agents"),
        "daily_minutes": {"agents": 60_000.0},
        "works_weekends": {"agents": True},
    }
    return edited(lively(), mechanisms=bank().config.mechanisms, capacity=CapacityConfig(**(parts | changes)))


def test_a_contact_that_had_to_wait_is_worth_less_and_annoys_more() -> None:
    world = phone_bank(waiting_conversion=0.5, waiting_complaint=3.0)
    world = edited(world, population={"branch_customers": N}, response={"halo": 1.0})
    state = fresh(world, 3)
    busy = state._replace(book=state.book.copy())
    busy.book[0, 0, 3] = 60_000.0  # today is full
    at_once, odds = answer_of(world, state, "call/now/term-deposit")
    late, _ = answer_of(world, busy, "call/now/term-deposit")
    assert not at_once.queued.any() and (late.queued == 1).all() and (late.waits == 1).all()
    delivered, mass, hazard = one(odds.delivered), one(odds.mass), one(odds.complaint)
    assert agrees(at_once.due >= 0, delivered * -np.expm1(-mass))
    assert agrees(late.due >= 0, delivered * -np.expm1(-0.5 * mass))
    assert agrees(at_once.complained, delivered * -np.expm1(-hazard))
    assert agrees(late.complained, delivered * -np.expm1(-3.0 * hazard))
    np.testing.assert_array_equal(at_once.opted_out, late.opted_out)


def test_a_call_that_nobody_answers_takes_its_minute() -> None:
    world = edited(phone_bank(), population={"branch_customers": 4_000})
    seen, _ = answer_of(world, fresh(world, 3), "call/now/coupon")
    branches = np.arange(N) // 4_000
    minutes = np.bincount(branches, np.where(seen.delivered, 3, 1))
    np.testing.assert_array_equal(seen.book[:, 0, 3], minutes)
    np.testing.assert_array_equal(seen.book.sum(axis=(1, 2)), minutes)


def test_nobody_is_served_above_capacity_and_the_book_holds_what_was_made() -> None:
    """A month of a bank that is short of people: minutes of a branch, pool and day against the log."""
    world, size = busy_bank(), 25
    config = world.config.capacity
    open_minutes, taken = np.array([100, 20]), np.zeros((20, 2, 128))
    minutes, unanswered = np.array(config.minutes), np.array(config.unanswered_minutes)
    pools = np.array([-1, 0, -1, -1, -1, 1, 0])
    rows, refused = np.arange(500), 0
    for day in days_of(world, world.reset(5, rows), 30, mixed(rows)):
        seen, channels = day.responses, world.config.catalogue.channel_of[day.actions]
        used = np.where(seen.delivered, minutes[channels], unanswered[channels])
        made = seen.contacted & (pools[channels] >= 0)
        np.add.at(
            taken,
            (rows[made] // size, pools[channels[made]], (day.before.day + seen.waits)[made]),
            used[made],
        )
        ahead = day.before.day + np.arange(64)
        np.testing.assert_array_equal(seen.book[:, :, ahead % 64], taken[:, :, ahead])
        refused += int((seen.refused & (pools[channels] >= 0)).sum())
        assert (seen.queued[made] <= config.longest_queue_days).all()
    assert (taken <= open_minutes[:, None]).all() and taken.max(axis=(0, 2)).tolist() == [100, 20]
    weekend = (np.arange(128) % 7) >= 5  # day 0 is a Monday
    assert not taken[:, 0, weekend].any() and taken[:, 1, weekend].any() and refused > 100


def test_the_order_of_a_queue_is_chance_and_not_the_number_of_the_customer() -> None:
    world = edited(phone_bank(daily_minutes={"agents": 600.0}), population={"branch_customers": 4_000})
    seen, _ = answer_of(world, fresh(world, 3), "call/now/coupon")
    served = np.flatnonzero(~seen.queued.astype(bool) & seen.contacted) % 4_000
    assert served.size > 1_000 and kstest(served / 4_000, "uniform").pvalue > 1e-4
