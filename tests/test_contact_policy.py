"""Contact limits, quiet hours and households by hand: clocks that change, windows, members in turn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from small import NOW, ids_of, product, small_catalogue, small_contexts, small_strategy

from nba.catalogue import Timing
from nba.constraints import Apart, BackOff, ContactLimit, ContactPolicy, QuietHours
from nba.context import Contact, Context
from nba.errors import InvalidConfig, ShapeMismatch
from nba.policies import RandomEligible
from nba.snapshot import Snapshot
from nba.strategy import Strategy

BERLIN = ZoneInfo("Europe/Berlin")


def strategy_of(policy: ContactPolicy, **changes: Any) -> Strategy:
    return small_strategy(**({"rules": (), "contact_policy": policy, "policy": RandomEligible()} | changes))


def contact(at: datetime, channel: str = "mail", about: str | None = "card", **more: Any) -> Contact:
    return Contact(channel=channel, product=about, at=at, **more)


def open_actions(strategy: Strategy, at: datetime, *contacts: Contact, **known: Any) -> set[str]:
    context = Context(customer_id="c", at=at, contacts=contacts, **({"attributes": {}} | known))
    mask = strategy.eligible(strategy.encode([context])).mask[0, 1:]
    return {
        action for action, is_open in zip(strategy.catalogue.action_ids[1:], mask, strict=True) if is_open
    }


def is_open(policy: ContactPolicy, at: datetime, *contacts: Contact, **known: Any) -> bool:
    """Whether all actions are open; none must be otherwise."""
    strategy = strategy_of(policy)
    found = open_actions(strategy, at, *contacts, **known)
    assert found == set() or len(found) == strategy.catalogue.n_actions - 1
    return bool(found)


@pytest.mark.parametrize(
    ("utc", "is_quiet"),
    [
        ("2026-03-29T00:59:59.999999", False),  # 01:59:59.999999 in winter time
        ("2026-03-29T01:00:00", True),  # 03:00 in summer time: 02:00 to 03:00 never was
        ("2026-03-29T01:29:59.999999", True),
        ("2026-03-29T01:30:00", False),
        ("2026-10-24T23:59:59", False),  # 01:59:59
        ("2026-10-25T00:30:00", True),  # 02:30, the first time
        ("2026-10-25T01:00:00", True),  # 02:00 again
        ("2026-10-25T01:30:00", True),  # 02:30, the second time
        ("2026-10-25T02:29:59", True),  # 03:29:59
        ("2026-10-25T02:30:00", False),
    ],
)
def test_quiet_hours_are_those_of_the_customers_clock(utc: str, is_quiet: bool) -> None:
    block = QuietHours(start="02:00", end="03:30")
    at = datetime.fromisoformat(utc).replace(tzinfo=UTC)
    assert is_open(ContactPolicy(quiet_hours=(block,)), at, zone="Europe/Berlin") is not is_quiet


def test_an_hour_that_is_skipped_is_never_quiet() -> None:
    policy = ContactPolicy(quiet_hours=(QuietHours(start="02:00", end="03:00", dates=("2026-03-29",)),))
    night = datetime(2026, 3, 29, tzinfo=UTC)
    assert all(is_open(policy, night + timedelta(minutes=n), zone="Europe/Berlin") for n in range(0, 180, 7))


@pytest.mark.parametrize("zone", [None, "", "Mars/Olympus", "../etc/passwd", "localtime", "\0"])
def test_without_a_known_zone_the_block_applies_in_the_configured_one(zone: str | None) -> None:
    policy = ContactPolicy(quiet_hours=(QuietHours(start="21:00", end="08:00"),), zone="Asia/Shanghai")
    assert not is_open(policy, datetime(2026, 3, 4, 13, 0, tzinfo=UTC), zone=zone)  # 21:00 in Shanghai
    assert not is_open(policy, datetime(2026, 3, 4, 23, 59, tzinfo=UTC), zone=zone)
    assert is_open(policy, datetime(2026, 3, 5, 0, 0, tzinfo=UTC), zone=zone)


def test_a_night_begins_on_the_days_named_and_ends_on_the_day_after() -> None:
    block = QuietHours(start="21:00", end="08:00", weekdays=("saturday",), channels=("call",))
    strategy = strategy_of(ContactPolicy(quiet_hours=(block,)))
    saturday = datetime(2026, 3, 7, tzinfo=UTC)
    for hours, is_quiet in [(3, False), (20.9, False), (21, True), (31.9, True), (32, False), (45, False)]:
        channels = {
            action.partition("/")[0] for action in open_actions(strategy, saturday + timedelta(hours=hours))
        }
        assert channels == ({"mail"} if is_quiet else {"mail", "call"}), hours


def test_a_contact_of_a_later_day_is_quiet_by_its_own_day() -> None:
    catalogue = small_catalogue(timings=(Timing(name="now"), Timing(name="weekend", waits_for="weekend")))
    block = QuietHours(weekdays=("saturday",))
    strategy = strategy_of(ContactPolicy(quiet_hours=(block,)), catalogue=catalogue)
    assert {action.split("/")[1] for action in open_actions(strategy, NOW)} == {"now"}


def test_a_window_is_checked_around_the_day_of_the_contact() -> None:
    """Today is Wednesday; one contact is planned for Friday, and one a week is allowed."""
    catalogue = small_catalogue(
        timings=(Timing(name="now"), Timing(name="key_day", waits_for="days_to_key_day"))
    )
    planned = contact(NOW + timedelta(days=2))
    for days, expected in [(0, set()), (8, set()), (9, {"key_day"}), (10, {"key_day"})]:
        limit = ContactLimit(contacts=1, days=7)
        strategy = strategy_of(ContactPolicy(limits=(limit,), planned="exact"), catalogue=catalogue)
        found = open_actions(strategy, NOW, planned, attributes={"days_to_key_day": float(days)})
        assert {action.split("/")[1] for action in found} == expected, days
    coarse = strategy_of(ContactPolicy(limits=(limit,)), catalogue=catalogue)
    assert open_actions(coarse, NOW, planned, attributes={"days_to_key_day": 10.0}) == set()


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    ages=st.lists(st.integers(-6, 6), max_size=6),
    contacts=st.integers(1, 3),
    hours=st.integers(1, 5),
)
def test_every_window_means_every_window(ages: list[int], contacts: int, hours: int) -> None:
    """Against all windows that begin on a whole hour; all moments lie on one."""
    policy = ContactPolicy(limits=(ContactLimit(contacts=contacts, hours=hours),))
    windows = [range(start, start + hours) for start in range(-hours, 1)]
    fullest = max(sum(age in window for age in [*ages, 0]) for window in windows if 0 in window)
    known = [contact(NOW + timedelta(hours=age)) for age in ages]
    assert is_open(policy, NOW, *known) == (fullest <= contacts)


def test_a_calendar_day_is_the_customers_own() -> None:
    policy = ContactPolicy(limits=(ContactLimit(contacts=1, calendar="day"),))
    late = datetime(2026, 3, 4, 23, 30, tzinfo=BERLIN)
    assert not is_open(policy, late + timedelta(minutes=20), contact(late), zone="Europe/Berlin")
    assert is_open(policy, late + timedelta(minutes=40), contact(late), zone="Europe/Berlin")
    assert not is_open(policy, late + timedelta(minutes=40), contact(late), zone="Europe/Lisbon")
    long_day = datetime(2026, 10, 25, 0, 10, tzinfo=BERLIN)  # of 25 hours
    after = long_day.astimezone(UTC) + timedelta(hours=24.5)
    assert not is_open(policy, after, contact(long_day), zone="Europe/Berlin")


def test_counters_tell_time_as_it_passes_and_not_as_clocks_show_it() -> None:
    """Seven days by the clock, over the night in which it goes forward, are an hour short of seven days."""
    before = datetime(2026, 3, 25, 12, 0, tzinfo=BERLIN)
    after = datetime(2026, 4, 1, 12, 0, tzinfo=BERLIN)
    for planned in ("as_today", "exact"):
        policy = ContactPolicy(limits=(ContactLimit(contacts=1, days=7),), planned=planned)  # type: ignore[arg-type]
        assert not is_open(policy, after, contact(before))
        assert is_open(policy, after + timedelta(hours=1), contact(before))


def test_a_decision_opens_whole_days_later_even_where_clocks_change() -> None:
    catalogue = small_catalogue(timings=(Timing(name="weekend", waits_for="weekend"),))
    strategy = strategy_of(ContactPolicy(), catalogue=catalogue, silence=False)
    at = datetime(2026, 10, 24, 12, 0, tzinfo=BERLIN) - timedelta(days=1)
    decision = Snapshot.start(strategy).decide_one(Context(customer_id="c", at=at, attributes={}), "d")
    assert decision.opens_at.astimezone(UTC) - at.astimezone(UTC) == timedelta(days=1)


def test_refused_contacts_fill_nothing_and_their_channel_backs_off() -> None:
    policy = ContactPolicy(
        limits=(ContactLimit(contacts=1, days=7),),
        back_off=(BackOff(channel="mail", hours=4, most_hours=12),),
    )
    strategy = strategy_of(policy)
    refusals = [contact(NOW - timedelta(hours=n), refused=True) for n in (3, 2, 1)]
    for known, rest in ((refusals[:1], 4), (refusals[:2], 8), (refusals, 12)):
        ends = max(one.at for one in known) + timedelta(hours=rest)
        assert {a.split("/")[0] for a in open_actions(strategy, ends - timedelta(seconds=1), *known)} == {
            "call"
        }
        assert {a.split("/")[0] for a in open_actions(strategy, ends, *known)} == {"call", "mail"}


def test_service_messages_are_counted_and_held_up_by_platforms_alone() -> None:
    catalogue = small_catalogue(products=(product("card"), product("notice", service=True)))
    bank = ContactLimit(contacts=1, days=7)
    platform = ContactLimit(contacts=1, calendar="day", channel="mail", owner="platform", name="platform")
    for planned in ("as_today", "exact"):
        policy = ContactPolicy(limits=(bank, platform), planned=planned)  # type: ignore[arg-type]
        strategy = strategy_of(policy, catalogue=catalogue)
        found = open_actions(strategy, NOW, contact(NOW - timedelta(hours=1), about="notice"))
        assert {tuple(action.split("/")[::2]) for action in found} == {("call", "notice")}
        decision = Snapshot.start(strategy).decide_one(
            Context(customer_id="c", at=NOW, attributes={}, contacts=(contact(NOW, about=None),)), "d"
        )
        assert decision.removed == {"contact_policy": 4, "contact_policy.platform": 2}


def test_kinds_stay_apart_whichever_comes_first() -> None:
    rule = Apart(days=3, channels=("mail",), from_channels=("call",), from_products=("card",))
    strategy = strategy_of(ContactPolicy(apart=(rule,)))
    for days in (-2, 2):
        called, mailed = (contact(NOW + timedelta(days=days), one) for one in ("call", "mail"))
        assert all(action.startswith("call") for action in open_actions(strategy, NOW, called))
        assert not any(
            a.startswith("call") and a.endswith("card") for a in open_actions(strategy, NOW, mailed)
        )
    assert len(open_actions(strategy, NOW, contact(NOW - timedelta(days=3), "call"))) == 12


def test_members_of_a_household_take_turns_in_one_batch() -> None:
    limit = ContactLimit(contacts=1, days=7, level="household", name="home")
    strategy = strategy_of(ContactPolicy(limits=(limit,)), silence=False)
    contexts = [
        structs.replace(one, household=f"h{number // 3}" if number % 7 else None, contacts=(), opted_out=())
        for number, one in enumerate(small_contexts(strategy, 60))
    ]
    snapshot, batch = Snapshot.start(strategy), strategy.encode(contexts)
    found = snapshot.decide(batch, ids_of(60))
    homes = [context.household for context in contexts]
    made = {home: [n for n in range(60) if homes[n] == home and found.actions[n] > 0] for home in set(homes)}
    assert all(len(rows) == 1 for home, rows in made.items() if home is not None)
    assert len(made[None]) == homes.count(None)
    assert len({rows[0] % 3 for home, rows in made.items() if home is not None}) == 3  # nobody always yields
    order = np.random.default_rng(0).permutation(60)
    again = snapshot.decide(batch.take(order), ids_of(60)[order])
    for column, shuffled in zip(found, again, strict=True):
        np.testing.assert_array_equal(column[order], shuffled)
    for row, context in enumerate(contexts):
        others = [n for n in made[context.household] if context.household is not None and n != row]
        seen = tuple(
            contact(NOW, *strategy.catalogue.action_ids[found.actions[n]].split("/")[::2]) for n in others
        )
        alone = snapshot.decide_one(structs.replace(context, household_contacts=seen), f"d{row}")
        assert alone.actions[0].propensity == found.propensities[row]


def test_a_batch_without_a_history_is_refused() -> None:
    strategy = strategy_of(ContactPolicy(limits=(ContactLimit(contacts=1, hours=7),)))
    batch = strategy.encode(small_contexts(strategy, 2))._replace(history=None)
    with pytest.raises(ShapeMismatch, match="history"):
        strategy.eligible(batch)


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"limits": [{"contacts": 1}]}, "limits[0]"),
        ({"limits": [{"contacts": 1, "days": 1, "hours": 2}]}, "limits[0]"),
        (
            {"limits": [{"contacts": 1, "days": 7, "channel": "mail", "channels": ["call"]}]},
            "limits[0].channels",
        ),
        ({"quiet_hours": [{"start": "9:00"}]}, "quiet_hours[0].start"),
        ({"quiet_hours": [{"end": "24:30"}]}, "quiet_hours[0].end"),
        ({"quiet_hours": [{"start": "10:00", "end": "10:00"}]}, "quiet_hours[0].start"),
        ({"quiet_hours": [{"weekdays": ["Sunday"]}]}, "quiet_hours[0].weekdays[0]"),
        ({"quiet_hours": [{"dates": ["2026-02-30"]}]}, "quiet_hours[0].dates[0]"),
        ({"back_off": [{"channel": "mail", "hours": 9, "most_hours": 8}]}, "back_off[0].hours"),
        ({"apart": [{"days": 0}]}, "apart[0].days"),
        ({"zone": "Mars/Olympus"}, "zone"),
    ],
    ids=repr,
)
def test_a_policy_that_means_nothing_is_refused(changes: dict[str, Any], pointer: str) -> None:
    with pytest.raises((InvalidConfig, msgspec.ValidationError)) as caught:
        msgspec.convert(changes, ContactPolicy)
    assert pointer in str(caught.value) or getattr(caught.value, "pointer", "") == pointer
