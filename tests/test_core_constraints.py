"""Rules and contact policy against a checker in plain Python that shares no code with them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import NOW, ids_of, small_catalogue, small_context, small_contexts, small_strategy

from nba.catalogue import Combination
from nba.constraints import (
    Consent,
    ContactLimit,
    ContactPolicy,
    HouseChannels,
    Near,
    NotOwned,
    Requires,
    Suitability,
)
from nba.context import Contact, Context
from nba.errors import InvalidConfig
from nba.policies import RandomEligible
from nba.snapshot import Snapshot
from nba.strategy import Strategy

QUICK = settings(max_examples=60, deadline=None, derandomize=True, database=None)
ORDER = ("catalogue", "request", "consent", "not_owned", "requires", "near", "house_channels", "suitability")
RISK = {"deposit": 1, "card": 1, "fund": 4}


def strict_strategy(**changes: Any) -> Strategy:
    """Every rule there is, four limits, and a product rest."""
    parts: dict[str, Any] = {
        "catalogue": small_catalogue(excluded=(Combination(channel="call", product="card"),)),
        "rules": (
            Consent(),
            NotOwned(),
            Suitability(),
            Requires(channel="mail", flag="has_app"),
            Near(timing="evening", attribute="days_to_key_day", within_days=5),
            HouseChannels(channels={"affluent": "call"}, timing="evening", otherwise="mail"),
        ),
        "contact_policy": ContactPolicy(
            limits=(
                ContactLimit(contacts=2, days=7),
                ContactLimit(contacts=3, days=14),
                ContactLimit(contacts=1, days=14, channel="call"),
                ContactLimit(contacts=1, days=3, channel="mail"),
            ),
            product_rest_days=5,
        ),
    }
    return small_strategy(**(parts | changes))


def broken_rule(context: Context, action_id: str, requested: bool, strategy: Strategy) -> str | None:
    """The first rule that an action breaks for a customer, in the words of the rules, or None."""
    channel, timing, product = action_id.split("/")
    known = context.attributes
    house = "call" if known.get("segment") == "affluent" else "mail"
    broken = {
        "catalogue": (channel, product) == ("call", "card"),
        "request": not requested,
        "consent": channel not in known.get("consents", []) or channel in context.opted_out,
        "not_owned": product in known.get("owned", []) and product != "card",
        "suitability": RISK[product] > known.get("risk_class", 1),
        "requires": channel == "mail" and not known.get("has_app", False),
        "near": timing == "evening" and known.get("days_to_key_day", 15) > 5,
        "house_channels": channel != house or timing != "evening",
    }
    there = {"catalogue", "request", *(rule.__struct_config__.tag for rule in strategy.rules)}
    first = next((name for name in ORDER if name in there and broken[name]), None)
    return first or ("contact_policy" if breaks_policy(context, channel, product, strategy) else None)


def breaks_policy(context: Context, channel: str, product: str, strategy: Strategy) -> bool:
    policy = strategy.contact_policy
    for limit in policy.limits:
        if limit.channel not in (None, channel):
            continue
        recent = [
            one
            for one in context.contacts
            if context.at - one.at < timedelta(days=limit.days) and limit.channel in (None, one.channel)
        ]
        if len(recent) + 1 > limit.contacts:
            return True
    rest = timedelta(days=policy.product_rest_days)
    return any(one.product == product and context.at - one.at < rest for one in context.contacts)


def check_against_plain_python(
    strategy: Strategy, contexts: list[Context], requested: Any
) -> set[str | None]:
    eligibility = strategy.eligible(strategy.encode(contexts), requested)
    names, seen = (*strategy.rule_names, None), set()
    for row, context in enumerate(contexts):
        assert eligibility.mask[row, 0] and eligibility.removed_by[row, 0] == -1
        for action, action_id in enumerate(strategy.catalogue.action_ids[1:], start=1):
            allowed = requested is None or bool(requested[row, action])
            expected = broken_rule(context, action_id, allowed, strategy)
            got = names[eligibility.removed_by[row, action]]
            assert (got, bool(eligibility.mask[row, action])) == (expected, expected is None), (
                context,
                action_id,
            )
            seen.add(expected)
    return seen


LOOSE = (Consent(), NotOwned(), Suitability())


@QUICK
@given(seed=st.integers(0, 2**32 - 1), house=st.booleans(), asks=st.booleans())
def test_random_customers_get_what_plain_python_allows(seed: int, house: bool, asks: bool) -> None:
    rng = np.random.default_rng(seed)
    strategy = strict_strategy() if house else strict_strategy(rules=LOOSE)
    contexts = [small_context(rng, strategy, number) for number in range(6)]
    requested = rng.random((6, 13)) < 0.7 if asks else None
    check_against_plain_python(strategy, contexts, requested)


def test_every_rule_is_the_first_to_remove_something() -> None:
    rng = np.random.default_rng(0)
    seen: set[str | None] = set()
    for strategy in (strict_strategy(), strict_strategy(rules=LOOSE)):
        contexts = [small_context(rng, strategy, number) for number in range(200)]
        requested = rng.random((200, 13)) < 0.8
        seen |= check_against_plain_python(strategy, contexts, requested)
    assert seen == {*ORDER, "contact_policy", None}
    assert strict_strategy().rule_names == (*ORDER, "contact_policy")


@QUICK
@given(seed=st.integers(0, 2**32 - 1))
def test_no_sequence_of_decisions_breaks_a_rule(seed: int) -> None:
    """One customer decided at random moments, with whatever was decided before as history."""
    rng = np.random.default_rng(seed)
    strategy = strict_strategy(rules=LOOSE, policy=RandomEligible(), seed=seed)
    snapshot, context = Snapshot.start(strategy), small_context(rng, strategy)
    for number in range(12):
        decision = snapshot.decide_one(context, f"{seed}-{number}", limit=2)
        for ranked in decision.actions:
            if ranked.channel is not None:
                assert broken_rule(context, ranked.action_id, True, strategy) is None
        first = decision.actions[0]
        if first.channel is not None and first.product is not None:
            done = Contact(channel=first.channel, product=first.product, at=context.at)
            context = _later(context, rng, (*context.contacts, done))
        else:
            context = _later(context, rng, context.contacts)


def _later(context: Context, rng: np.random.Generator, contacts: tuple[Contact, ...]) -> Context:
    return Context(
        customer_id=context.customer_id,
        at=context.at + timedelta(days=float(rng.choice([0.0, 0.5, 1.0, 3.0, 5.0]))),
        attributes=context.attributes,
        contacts=contacts,
        opted_out=("mail",) if rng.random() < 0.1 else context.opted_out,
    )


@pytest.mark.parametrize(("age_days", "allowed"), [(6.999, False), (7.0, True), (7.001, True)])
def test_a_window_of_seven_days_ends_after_seven_days(age_days: float, allowed: bool) -> None:
    strategy = small_strategy(
        rules=(), contact_policy=ContactPolicy(limits=(ContactLimit(contacts=1, days=7),))
    )
    contact = Contact(channel="mail", product="card", at=NOW - timedelta(days=age_days))
    context = Context(customer_id="c", at=NOW, attributes={}, contacts=(contact,))
    assert strategy.eligible(strategy.encode([context])).mask[0, 1:].all() == allowed


def test_a_customer_without_segment_gets_the_channel_for_everybody_else() -> None:
    strategy = small_strategy(
        rules=(HouseChannels(channels={"affluent": "call"}, timing="morning", otherwise="mail"),)
    )
    context = Context(customer_id="c", at=NOW, attributes={})
    mask = strategy.eligible(strategy.encode([context])).mask[0]
    ids = {strategy.catalogue.action_ids[row] for row in np.flatnonzero(mask)}
    assert ids == {"no-contact", "mail/morning/deposit", "mail/morning/card", "mail/morning/fund"}


def test_a_decision_counts_what_each_rule_removed() -> None:
    strategy = small_strategy()
    context = Context(customer_id="c", at=NOW, attributes={"consents": ["mail"], "owned": ["deposit"]})
    decision = Snapshot.start(strategy).decide_one(context, "d")
    assert decision.removed == {"consent": 6, "not_owned": 2, "suitability": 2}
    assert decision.n_eligible == 3


def test_a_request_narrows_but_never_removes_no_contact() -> None:
    strategy = small_strategy(rules=(), policy=RandomEligible(), contact_policy=ContactPolicy())
    contexts = strategy.encode([Context(customer_id="c", at=NOW, attributes={})] * 50)
    requested = np.zeros((50, 13), dtype=np.bool_)
    requested[:, strategy.catalogue.index("mail", "morning", "fund")] = True
    batch = Snapshot.start(strategy).decide(contexts, ids_of(50), requested=requested)
    assert set(batch.actions.tolist()) == {0, strategy.catalogue.index("mail", "morning", "fund")}
    assert (batch.removed_by[:, 1:] == 1)[~requested[:, 1:]].all()


@pytest.mark.parametrize("limit", [{"contacts": -1, "days": 7}, {"contacts": 1, "days": 0}], ids=str)
def test_a_limit_that_means_nothing_is_refused(limit: dict[str, int]) -> None:
    with pytest.raises(InvalidConfig) as caught:
        ContactPolicy(limits=(ContactLimit(contacts=1, days=1), ContactLimit(**limit)))
    assert caught.value.pointer == "limits[1]"


@pytest.mark.parametrize(
    "rule",
    [
        Requires(channel="fax", flag="has_app"),
        Requires(channel="mail", flag="has_fax"),
        Near(timing="noon", attribute="days_to_key_day", within_days=5),
        Near(timing="evening", attribute="days_to_moon", within_days=5),
        HouseChannels(channels={}, timing="evening", otherwise="fax"),
        Suitability(attribute="courage"),
    ],
    ids=repr,
)
def test_a_rule_about_something_unknown_is_refused_with_the_strategy(rule: Any) -> None:
    with pytest.raises(InvalidConfig):
        small_strategy(rules=(rule,))


@pytest.mark.parametrize("silence", [True, False])
@pytest.mark.parametrize("excluded", [(), (Combination(product="card"),), (Combination(),)])
def test_where_nothing_is_asked_all_get_what_asking_would_leave(
    silence: bool, excluded: tuple[Combination, ...]
) -> None:
    """A request of everything takes the long way; what is left is the caller's own to change."""
    catalogue = small_catalogue(excluded=excluded)
    strategy = small_strategy(catalogue=catalogue, rules=(), contact_policy=ContactPolicy(), silence=silence)
    contexts = strategy.encode(small_contexts(strategy, 4))
    asked = strategy.eligible(contexts, np.ones((4, catalogue.n_actions), dtype=np.bool_))
    for _ in range(2):
        found = strategy.eligible(contexts)
        for part, long in zip(found, asked, strict=True):
            np.testing.assert_array_equal(part, long)
            assert part.dtype == long.dtype
            part[:] = 0
    assert not ContactPolicy().looks and ContactPolicy(product_rest_days=1).looks
