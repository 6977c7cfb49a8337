"""Contact limits about some customers and some products, and what cannot be said of them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from small import NOW, product, small_catalogue, small_strategy
from test_contact_policy import contact, open_actions, strategy_of
from test_rules_layers import grouped
from test_together import sharing

from nba.bundle import load_bundle, save_bundle
from nba.conditions import Condition, Tag
from nba.constraints import Apart, ContactLimit, ContactPolicy, QuietHours
from nba.errors import InvalidConfig
from nba.snapshot import Snapshot

FRAIL = Condition(tag="vulnerable")
TAGS = (Tag(name="vulnerable", when=Condition(attribute="age", at_least=75)),)
ONCE_A_WEEK = ContactLimit(contacts=1, days=7, whom=FRAIL, name="gently")


@pytest.mark.parametrize(("age", "n_open"), [(80.0, 0), (40.0, 12), (None, 0)])
@pytest.mark.parametrize("planned", ["as_today", "exact"])
def test_a_limit_may_be_about_some_customers(age: float | None, n_open: int, planned: Any) -> None:
    """One contact a week for vulnerable customers, three for all; nobody knows whether the last is one."""
    policy = ContactPolicy(limits=(ContactLimit(contacts=3, days=7), ONCE_A_WEEK), planned=planned)
    strategy = strategy_of(policy, tags=TAGS)
    seen = contact(NOW - timedelta(days=6))
    assert len(open_actions(strategy, NOW, seen, attributes={"age": age})) == n_open
    assert len(open_actions(strategy, NOW, attributes={"age": age})) == 12
    assert len(open_actions(strategy, NOW, seen, seen, seen, attributes={"age": age})) == 0


def test_quiet_hours_and_spaces_may_be_about_some_customers() -> None:
    policy = ContactPolicy(
        quiet_hours=(QuietHours(start="08:00", end="10:00", channels=("call",), whom=FRAIL),),
        apart=(Apart(days=3, channels=("mail",), whom=FRAIL),),
    )
    strategy, seen = strategy_of(policy, tags=TAGS), contact(NOW - timedelta(days=1))
    for age, quiet, near in ((80.0, {"mail"}, set()), (40.0, {"mail", "call"}, {"mail", "call"})):
        for contacts, channels in (((), quiet), ((seen,), near)):
            found = open_actions(strategy, NOW, *contacts, attributes={"age": age})
            assert {action.split("/")[0] for action in found} == channels


def test_products_of_a_limit_may_be_groups_and_tags() -> None:
    for names in (("saving",), ("safe", "fund"), ("deposit", "fund")):
        policy = ContactPolicy(limits=(ContactLimit(contacts=1, days=7, products=names),))
        found = open_actions(strategy_of(policy, catalogue=grouped()), NOW, contact(NOW, about="deposit"))
        assert {action.split("/")[2] for action in found} == {"card"}


def test_service_messages_do_not_rest() -> None:
    catalogue = small_catalogue(products=(product("card"), product("notice", service=True)))
    strategy = strategy_of(ContactPolicy(product_rest_days=14), catalogue=catalogue)
    seen = [contact(NOW - timedelta(hours=1), about=name) for name in ("card", "notice")]
    assert {action.split("/")[2] for action in open_actions(strategy, NOW, *seen)} == {"notice"}


@pytest.mark.parametrize(
    ("policy", "pointer", "told"),
    [
        ("limits = [{contacts=1, days=7, whom={tag='frail'}}]", "limits[0].whom.tag", "no tag declared"),
        ("limits = [{contacts=1, days=7}, {contacts=1, days=1, channel='fax'}]", "limits[1]", "'fax'"),
        ("limits = [{contacts=1, days=7, products=['boat']}]", "limits[0]", "no product, group or tag"),
        ("quiet_hours = [{whom={all_of=[{attribute='size', at_least=1}]}}]",
         "quiet_hours[0].whom.all_of[0].attribute", "not declared"),
        ("apart = [{days=1}, {days=1, from_channels=['fax']}]", "apart[1]", "'fax'"),
        ("back_off = [{channel='fax', hours=1}]", "back_off[0]", "'fax'"),
    ],
)  # fmt: skip
def test_what_a_part_does_not_know_is_refused_at_its_place(policy: str, pointer: str, told: str) -> None:
    parts = msgspec.toml.decode(policy, type=ContactPolicy)
    with pytest.raises(InvalidConfig, match=told) as caught:
        small_strategy(contact_policy=parts)
    assert (caught.value.source, caught.value.pointer) == ("strategy small", f"contact_policy.{pointer}")


def test_a_bundle_keeps_whom_a_limit_is_about(tmp_path: Path) -> None:
    strategy = strategy_of(ContactPolicy(limits=(ONCE_A_WEEK,)), tags=TAGS)
    again = load_bundle(save_bundle(Snapshot.start(strategy), tmp_path / "bundle")).strategy
    assert again.contact_policy == strategy.contact_policy
    assert open_actions(again, NOW, contact(NOW), attributes={"age": 80.0}) == set()


def test_channel_by_channel_knows_no_household() -> None:
    limit = ContactLimit(contacts=1, days=7, level="household")
    how = sharing("channel_by_channel", order=["mail", "call"])
    with pytest.raises(InvalidConfig, match="side by side") as caught:
        small_strategy(contact_policy=ContactPolicy(limits=(limit,)), allocation=how)
    assert caught.value.pointer == "allocation"
