"""Rest after outcomes and products that do not meet, against plain Python that shares no code with them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import NOW, open_strategy, small_contexts
from test_rules_layers import grouped

from nba.conditions import Condition
from nba.constraints import NotTogether, Rest
from nba.context import OUTCOMES, Contact, Context, Outcome
from nba.errors import BadContext, InvalidConfig
from nba.scope import Scope
from nba.strategy import Strategy

QUICK = settings(max_examples=80, deadline=None, derandomize=True, database=None)
GROUP = {"deposit": "saving", "card": "lending", "fund": "saving"}
GOAL = {"saving": "grow", "lending": "earn"}


def strategy_of(*rules: Any, **changes: Any) -> Strategy:
    return open_strategy(**({"catalogue": grouped(), "rules": rules} | changes))


def ago(days: float) -> Any:
    return NOW - timedelta(days=days)


def outcome(
    days: float, name: str = "rejected", product: str = "card", channel: str | None = "mail"
) -> Outcome:
    return Outcome(outcome=name, product=product, channel=channel, at=ago(days))


def contact(days: float, product: str | None = "card", channel: str = "mail") -> Contact:
    return Contact(channel=channel, product=product, at=ago(days))


def left(strategy: Strategy, **history: Any) -> set[str]:
    contexts = strategy.encode([Context(customer_id="c", at=NOW, attributes={}, **history)])
    mask = strategy.eligible(contexts).mask[0]
    return {strategy.catalogue.action_ids[row] for row in np.flatnonzero(mask)} - {"no-contact"}


def removed_products(strategy: Strategy, **history: Any) -> set[str]:
    gone = set(strategy.catalogue.action_ids[1:]) - left(strategy, **history)
    return {action.split("/")[2] for action in gone}


TWICE = Rest(outcome="rejected", times=2, within_days=30, days=60)


@pytest.mark.parametrize(
    ("ages", "rests"),
    [
        ((10.0,), False),
        ((10.0, 20.0), True),
        ((10.0, 39.999), True),
        ((10.0, 40.0), False),  # a window of thirty days does not hold both
        ((59.999, 70.0), True),
        ((60.0, 70.0), False),  # the rest is over
        ((0.0, 1.0), True),
        ((-0.5, 1.0), True),  # told by a clock that runs ahead of ours: it has happened
        ((-0.5, 30.0), False),
        ((5.0, 34.0, 63.0), True),
        ((55.0, 86.0, 100.0), False),  # the last one fills no window, and the two before are over
        ((58.0, 70.0, 80.0), True),
    ],
)  # fmt: skip
def test_a_product_rests_after_outcomes_in_a_window(ages: tuple[float, ...], rests: bool) -> None:
    found = removed_products(strategy_of(TWICE), outcomes=tuple(outcome(age) for age in ages))
    assert found == ({"card"} if rests else set())


def test_the_longest_rest_wins() -> None:
    strategy = strategy_of(
        Rest(outcome="rejected", within_days=30, days=5),
        Rest(outcome="rejected", within_days=30, days=9, name="long"),
    )
    assert removed_products(strategy, outcomes=(outcome(8.0),)) == {"card"}
    assert removed_products(strategy, outcomes=(outcome(9.0),)) == set()
    contexts = strategy.encode([Context(customer_id="c", at=NOW, attributes={}, outcomes=(outcome(8.0),))])
    names = {strategy.rule_names[n] for n in strategy.eligible(contexts).removed_by[0] if n >= 0}
    assert names == {"long"}


@pytest.mark.parametrize(
    ("each", "gone"),
    [
        ("product", {"fund"}),
        ("group", {"fund", "deposit"}),
        ("goal", {"fund", "deposit"}),
        ("everything", {"fund", "deposit", "card"}),
    ],
)
def test_what_rests_is_what_the_outcomes_were_counted_by(each: Any, gone: set[str]) -> None:
    rule = Rest(outcome="complained", within_days=30, days=60, each=each)
    assert removed_products(strategy_of(rule), outcomes=(outcome(1.0, "complained", "fund"),)) == gone


def test_a_channel_or_a_treatment_rests_alone() -> None:
    events = (outcome(1.0, product="card", channel="mail"),)
    channel = left(
        strategy_of(Rest(outcome="rejected", within_days=9, days=9, each="channel")), outcomes=events
    )
    assert {one.split("/")[0] for one in channel} == {"call"}
    treatment = Rest(outcome="rejected", within_days=9, days=9, each="treatment")
    found = set(grouped().action_ids[1:]) - left(strategy_of(treatment), outcomes=events)
    assert found == {"mail/morning/card", "mail/evening/card"}


def test_outcomes_through_another_channel_or_about_something_else_do_not_count() -> None:
    rule = Rest(outcome="rejected", within_days=9, days=9, through="call", scope=Scope(group="lending"))
    strategy = strategy_of(rule)
    for channel, product, rests in (
        ("call", "card", {"card"}), ("mail", "card", set()), (None, "card", set()), ("call", "fund", set()),
    ):  # fmt: skip
        assert removed_products(strategy, outcomes=(outcome(1.0, product=product, channel=channel),)) == rests


def test_two_ignored_contacts_rest_and_a_reaction_since_forgives_them() -> None:
    strategy = strategy_of(Rest(outcome="ignored", times=2, within_days=30, days=60))
    twice = (contact(10.0), contact(5.0))
    assert removed_products(strategy, contacts=twice) == {"card"}
    assert removed_products(strategy, contacts=(contact(10.0), contact(2.9))) == set(), "not known yet"
    assert removed_products(strategy, contacts=(contact(10.0), contact(3.0))) == {"card"}
    assert removed_products(strategy, contacts=twice, outcomes=(outcome(9.0, "engaged"),)) == set()
    assert removed_products(strategy, contacts=twice, outcomes=(outcome(11.0, "engaged"),)) == {"card"}
    assert removed_products(strategy, contacts=twice, outcomes=(outcome(1.0, "engaged", "fund"),)) == {"card"}


def test_vulnerable_customers_are_contacted_less_often() -> None:
    rule = Rest(
        outcome="contacted",
        within_days=14,
        days=14,
        each="everything",
        whom=Condition(attribute="age", at_least=75),
    )
    strategy = strategy_of(rule)
    for age, days, n_left in ((80.0, 13.9, 0), (80.0, 14.0, 12), (80.0, -2.0, 0), (40.0, 1.0, 12)):
        for made in (contact(days), contact(days, product=None)):  # the other of another department
            context = Context(customer_id="c", at=NOW, attributes={"age": age}, contacts=(made,))
            assert strategy.eligible(strategy.encode([context])).mask[0, 1:].sum() == n_left


@pytest.mark.parametrize(
    ("changes", "open_channels"),
    [
        ({"each": "channel"}, {"call"}),
        ({"each": "channel", "through": "call"}, {"call", "mail"}),
        ({"each": "everything", "scope": Scope(channel="mail")}, {"call"}),
        ({"each": "everything", "scope": Scope(goal="grow")}, {"call", "mail"}),  # about something else
        ({"each": "product"}, {"call", "mail"}),
        ({"each": "treatment"}, {"call", "mail"}),
        ({"each": "everything", "outcome": "ignored"}, {"call", "mail"}),  # nobody tells what came of it
    ],
)
def test_messages_of_others_count_where_no_product_is_asked_for(
    changes: dict[str, Any], open_channels: set[str]
) -> None:
    rule = Rest(**({"outcome": "contacted", "within_days": 30, "days": 30} | changes))
    found = left(strategy_of(rule), contacts=(contact(10.0, product=None),))
    assert {action.split("/")[0] for action in found} == open_channels


def rests_by_hand(rule: Rest, context: Context) -> set[tuple[str, str]]:
    """(channel, product) pairs that rest, by looking at every run of outcomes."""

    def key(channel: str | None, product: str) -> Any:
        kinds = {
            "product": product, "group": GROUP[product], "goal": GOAL[GROUP[product]], "channel": channel,
            "treatment": (channel, product) if channel else None, "everything": "all",
        }  # fmt: skip
        return kinds[rule.each]

    times: dict[Any, list[float]] = {}
    for one in context.outcomes:
        age = max((context.at - one.at) / timedelta(days=1), 0.0)
        if one.outcome == rule.outcome and rule.through in (None, one.channel):
            times.setdefault(key(one.channel, one.product), []).append(age)
    resting = set()
    for unit, ages in times.items():
        for last in ages:
            inside = [age for age in ages if last <= age < last + rule.within_days]
            if unit is not None and len(inside) >= rule.times and last < rule.days:
                resting.add(unit)
    pairs = {(c, p) for c in ("call", "mail") for p in GROUP}
    return {pair for pair in pairs if key(*pair) in resting}


@QUICK
@given(seed=st.integers(0, 2**32 - 1))
def test_random_histories_rest_as_plain_python_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    units = ("product", "group", "goal", "channel", "treatment", "everything")
    rules = [
        Rest(
            name=f"r{number}",
            outcome=str(rng.choice(["rejected", "seen"])),  # type: ignore[arg-type]
            times=int(rng.integers(1, 4)),
            within_days=float(rng.integers(1, 20)),
            days=float(rng.integers(1, 20)),
            each=str(rng.choice(units)),  # type: ignore[arg-type]
            through=[None, "call", "mail"][rng.integers(3)],
        )
        for number in range(3)
    ]
    strategy = strategy_of(*rules)
    contexts = []
    for number in range(4):
        events = tuple(
            Outcome(
                outcome=str(rng.choice(["rejected", "seen", "delivered"])),
                product=str(rng.choice(list(GROUP))),
                channel=[None, "call", "mail"][rng.integers(3)],
                at=NOW - timedelta(days=float(rng.integers(-2, 30))),
            )
            for _ in range(rng.integers(0, 12))
        )
        contexts.append(Context(customer_id=f"c{number}", at=NOW, attributes={}, outcomes=events))
    batch = strategy.encode(contexts)
    for rule in rules:
        for row, context in enumerate(contexts):
            resting = batch.rests[rule][row]
            found = {(("call", "mail")[c], list(GROUP)[p]) for c, p in zip(*resting.nonzero(), strict=True)}
            assert found == rests_by_hand(rule, context), (rule, context.outcomes)


def test_contexts_made_without_outcomes_are_refused_by_rules_that_need_them() -> None:
    plain, strict = strategy_of(), strategy_of(TWICE)
    contexts = plain.encode(small_contexts(plain, 2))
    with pytest.raises(BadContext, match="a rest rule about 'rejected' needs the outcomes"):
        strict.eligible(contexts)


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (Outcome(outcome="laughed", product="card", at=NOW), f"one of {', '.join(OUTCOMES)}; got 'laughed'"),
        (Outcome(outcome="seen", product="boat", at=NOW), "'boat' is not in the catalogue"),
        (Outcome(outcome="seen", product="card", channel="fax", at=NOW), "'fax' is not in the catalogue"),
    ],
    ids=["outcome", "product", "channel"],
)
def test_an_outcome_that_nobody_knows_is_refused(record: Outcome, told: str) -> None:
    context = Context(customer_id="c", at=NOW, attributes={}, outcomes=(outcome(1.0), record))
    with pytest.raises(BadContext, match=told) as caught:
        strategy_of(TWICE).encode([context])
    assert caught.value.pointer == "/outcomes/1"


@pytest.mark.parametrize(
    ("make", "pointer"),
    [
        (lambda: Rest(outcome="seen", within_days=0, days=1), "within_days"),
        (lambda: Rest(outcome="seen", within_days=1, days=np.inf), "days"),
        (lambda: Rest(outcome="seen", within_days=1, days=1, times=0), "times"),
        (lambda: Rest(outcome="seen", within_days=1, days=1, scope=Scope(timing="morning")), "scope.timing"),
        (lambda: NotTogether(these=Scope(), those=Scope(product="card")), "these"),
        (lambda: NotTogether(these=Scope(goal="grow"), those=Scope(channel="call")), "those"),
        (lambda: NotTogether(these=Scope(goal="grow"), those=Scope(goal="earn"), days=0), "days"),
        (
            lambda: NotTogether(these=Scope(goal="g"), those=Scope(goal="e"), scope=Scope(goal="g")),
            "scope",
        ),
    ],
    ids=["window", "rest", "times", "timing", "these", "those", "days", "scope"],
)
def test_a_suppression_without_meaning_is_refused(make: Any, pointer: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        make()
    assert caught.value.pointer == pointer
