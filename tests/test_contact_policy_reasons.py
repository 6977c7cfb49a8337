"""Why not, told with the values of the contact policy: how full a window is, and until when it is quiet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import NOW, product, small_catalogue
from test_contact_policy import contact, strategy_of

from nba.catalogue import Timing
from nba.conditions import Condition
from nba.constraints import Apart, BackOff, ContactLimit, ContactPolicy, QuietHours
from nba.constraints.windows import fullest
from nba.context import Contact, Context
from nba.explain import Removal, why_not

DAY = timedelta(days=1)
QUIET = {"start": "21:00", "end": "08:00"}
NIGHT = datetime(2026, 3, 6, 21, 30, tzinfo=UTC)  # a Friday


def why(policy: ContactPolicy, *contacts: Contact, at: datetime = NOW, **changes: Any) -> list[Removal]:
    strategy = strategy_of(policy, **changes.pop("strategy", {}))
    known = {"customer_id": "c", "at": at, "attributes": {}, "contacts": contacts} | changes
    return [*why_not(strategy, Context(**known))]


@pytest.mark.parametrize(
    ("limit", "needs", "values", "n_actions"),
    [
        ({"days": 7}, "at most 2 contacts in any 7 days", {"contacts in any 7 days": "3 of 2"}, 12),
        ({"days": 7, "channel": "mail"}, "at most 2 contacts on mail in any 7 days",
         {"contacts on mail in any 7 days": "2 of 2"}, 6),
        ({"hours": 60}, "at most 2 contacts in any 60 hours", {"contacts in any 60 hours": "2 of 2"}, 12),
        ({"calendar": "week", "products": ("card",)}, "at most 2 contacts about card in a calendar week",
         {"contacts about card in a calendar week": "2 of 2"}, 4),
        ({"days": 7, "each_channel": True}, "at most 2 contacts on each channel in any 7 days",
         {"contacts on mail in any 7 days": "2 of 2"}, 6),
        ({"days": 7, "level": "household"}, "at most 2 household contacts in any 7 days",
         {"household contacts in any 7 days": "4 of 2"}, 12),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("planned", ["as_today", "exact"])
def test_a_full_window_is_told(
    limit: dict[str, Any], needs: str, values: dict[str, str], n_actions: int, planned: Any
) -> None:
    """Mail on Monday and Tuesday about cards, a call on the Thursday before, the mate on Tuesday."""
    policy = ContactPolicy(limits=(ContactLimit(contacts=2, **limit),), planned=planned)
    own = contact(NOW - 2 * DAY), contact(NOW - DAY), contact(NOW - 6 * DAY, "call", "fund")
    mate = {"household": "h", "household_contacts": (contact(NOW - DAY),)}
    (found,) = why(policy, *own, **mate)
    assert (found.rule, found.needs, found.values) == ("contact_policy", needs, values)
    assert len(found.actions) == n_actions


def test_what_has_no_name_is_told_together_and_what_has_one_alone() -> None:
    policy = ContactPolicy(
        limits=(
            ContactLimit(contacts=1, days=7, channel="call"),
            ContactLimit(contacts=1, days=30, channel="mail"),
            ContactLimit(contacts=1, days=9, whom=Condition(attribute="age", at_least=75), name="gentle"),
        ),
        product_rest_days=5,
    )
    found = why(policy, contact(NOW - 8 * DAY, "mail", "card"), contact(NOW - 2 * DAY, "call", "fund"))
    together = "5 days since the last offer of the product; at most 1 contact on call in any 7 days; "
    assert [one.needs for one in found] == [together + "at most 1 contact on mail in any 30 days"]
    assert found[0].values == {
        "days since fund": 2.0,
        "contacts on call in any 7 days": "1 of 1",
        "contacts on mail in any 30 days": "1 of 1",
    }
    (gentle,) = why(ContactPolicy(limits=policy.limits[2:]), contact(NOW - 8 * DAY))
    assert gentle.rule == "contact_policy.gentle"
    assert gentle.needs == "at most 1 contact in any 9 days, for customers with age >= 75"


@pytest.mark.parametrize(
    ("blocks", "zone", "local", "until"),
    [
        ([QUIET], "Europe/Berlin", "2026-03-06 22:30", "2026-03-07 08:00"),
        ([QUIET | {"weekdays": ["friday"]}], None, "2026-03-06 21:30", "2026-03-07 08:00"),
        ([{"start": "20:00", "end": "24:00"}], None, "2026-03-06 21:30", "2026-03-07 00:00"),
        ([{"weekdays": ["friday", "saturday", "sunday"]}], None, "2026-03-06 21:30", "2026-03-09 00:00"),
        ([{}], None, "2026-03-06 21:30", "no end"),
    ],
)
def test_quiet_hours_tell_when_they_end(
    blocks: list[dict[str, Any]], zone: str | None, local: str, until: str
) -> None:
    policy = ContactPolicy(quiet_hours=tuple(QuietHours(**block) for block in blocks))
    (found,) = why(policy, at=NIGHT, zone=zone)
    assert found.values == {"local time": local, "quiet until": until}
    assert found.needs.startswith("no contact from ")


def test_spaces_and_refusals_tell_the_moment() -> None:
    policy = ContactPolicy(
        apart=(Apart(days=3, channels=("mail",), from_channels=("call",), from_products=("card",)),),
        back_off=(BackOff(channel="mail", hours=30),),
    )
    called, far = contact(NOW - DAY, "call"), contact(NOW - 9 * DAY, "call")
    (apart,) = why(policy, called, far)
    assert apart.needs == "3 days between mail and call card"
    assert apart.values == {"nearest contact": called.at.isoformat()}
    (back_off,) = why(policy, contact(NOW - DAY, refused=True))
    assert back_off.values == {"mail rests until": (NOW + timedelta(hours=6)).isoformat()}
    assert back_off.needs == "mail rests 30 hours after a refusal, and twice as long after the next"


def test_a_contact_of_a_later_day_is_told_by_its_own_window() -> None:
    catalogue = small_catalogue(
        timings=(Timing(name="now"), Timing(name="weekend", waits_for="weekend")), products=(product("card"),)
    )
    policy = ContactPolicy(limits=(ContactLimit(contacts=2, days=2),), planned="exact")
    planned = contact(NOW + 3 * DAY), contact(NOW + 4 * DAY)  # Saturday and Sunday
    (found,) = why(policy, *planned, strategy={"catalogue": catalogue})
    assert found.actions == ("call/weekend/card", "mail/weekend/card")
    assert found.values == {"contacts in any 2 days": "2 of 2"}


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(times=st.lists(st.integers(-9, 9), max_size=7), width=st.integers(1, 6))
def test_the_fullest_window_is_the_fullest_of_all(times: list[int], width: int) -> None:
    windows = [range(start, start + width) for start in range(1 - width, 1)]
    assert fullest(np.array(times, dtype=np.int64), 0, width) == max(
        sum(time in window for time in times) for window in windows
    )
