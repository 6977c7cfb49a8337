"""Rules in layers: scopes that are inherited and overridden, names, the funnel and why not."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from small import NOW, product, small_catalogue, small_contexts, small_schema, small_strategy

from nba.catalogue import Catalogue, Group
from nba.conditions import Condition, Tag
from nba.constraints import Affordable, Consent, NotOwned, OnlyIf, Requires, Suitability
from nba.context import Context
from nba.eligibility import Eligibility
from nba.errors import InvalidConfig
from nba.explain import Funnel, why_not
from nba.features import FeatureSchema, Numeric
from nba.scope import Scope
from nba.strategy import Strategy


def grouped() -> Catalogue:
    """deposit and fund grow savings, card lends; deposit is safe."""
    return small_catalogue(
        products=(
            product("deposit", group="saving", tags=("safe",)),
            product("card", group="lending", repeatable=True, instalment=100.0),
            product("fund", group="saving", risk_class=4),
        ),
        groups=(Group(name="saving", goal="grow"), Group(name="lending", goal="earn")),
    )


def money_schema() -> FeatureSchema:
    more = tuple(Numeric(name=name, in_model=False) for name in ("income", "committed"))
    return FeatureSchema(columns=(*small_schema().columns, *more), segment="segment")


def adult(age: float, **changes: Any) -> OnlyIf:
    return OnlyIf(name="adult", when=Condition(attribute="age", at_least=age), **changes)


def strategy_of(*rules: Any, **changes: Any) -> Strategy:
    parts = {"catalogue": grouped(), "schema": money_schema(), "rules": rules}
    return small_strategy(**(parts | changes))


def left(strategy: Strategy, **attributes: Any) -> set[str]:
    """The contacts that rules leave of one customer."""
    contexts = strategy.encode([Context(customer_id="c", at=NOW, attributes=attributes)])
    mask = strategy.eligible(contexts).mask[0]
    return {strategy.catalogue.action_ids[row] for row in np.flatnonzero(mask)} - {"no-contact"}


def parts_of(actions: set[str]) -> set[str]:
    return {name for action in actions for name in action.split("/")}


SCOPES = {
    "goal": (Scope(goal="grow"), {"deposit", "fund"}, 2),
    "group": (Scope(group="lending"), {"card"}, 4),
    "tag": (Scope(tag="safe"), {"deposit"}, 6),
    "product": (Scope(product=("card", "fund")), {"card", "fund"}, 8),
    "both": (Scope(goal="grow", tag="safe"), {"deposit"}, 6),
}


@pytest.mark.parametrize("name", SCOPES)
def test_a_rule_holds_for_all_below_its_scope(name: str) -> None:
    scope, products, depth = SCOPES[name]
    strategy = strategy_of(adult(18, scope=scope))
    gone = set(strategy.catalogue.action_ids[1:]) - left(strategy, age=17)
    assert gone == {one for one in strategy.catalogue.action_ids[1:] if one.split("/")[2] in products}
    assert left(strategy, age=18) == set(strategy.catalogue.action_ids[1:])
    assert scope.depth == depth


def test_a_scope_may_name_channels_and_timings_too() -> None:
    scope = Scope(channel="call", timing=("morning",), group="saving")
    gone = set(grouped().action_ids[1:]) - left(strategy_of(adult(18, scope=scope)), age=17)
    assert gone == {"call/morning/deposit", "call/morning/fund"}
    assert scope.depth == 5 and scope.text == "saving, call, morning"


def test_the_nearest_rule_of_a_name_wins() -> None:
    """Everybody 18, savings from 14 on, the fund from 21, and 25 on the phone."""
    strategy = strategy_of(
        adult(18),
        adult(14, scope=Scope(goal="grow")),
        adult(21, scope=Scope(product="fund")),
        adult(25, scope=Scope(product="fund", channel="call")),
    )
    assert strategy.rule_names[3:-1] == ("adult", "adult@grow", "adult@fund", "adult@fund, call")
    assert parts_of(left(strategy, age=13)) == set()
    assert parts_of(left(strategy, age=17)) & {"deposit", "card", "fund"} == {"deposit"}
    assert parts_of(left(strategy, age=20)) & {"deposit", "card", "fund"} == {"deposit", "card"}
    assert left(strategy, age=24) == {one for one in grouped().action_ids[1:] if one[-4:] != "fund"} | {
        "mail/morning/fund",
        "mail/evening/fund",
    }
    assert left(strategy, age=25) == set(grouped().action_ids[1:])


@pytest.mark.parametrize(
    ("age", "has_app", "products"),
    [
        (20, True, {"deposit", "card"}),  # the nearer rule asks for 25
        (25, True, {"deposit", "card", "fund"}),
        (17, True, set()),
        (17, False, set()),  # the nearer rule is not about them, so that the one further off is
        (20, False, {"deposit", "card", "fund"}),
        (25, None, {"deposit", "card", "fund"}),
        (20, None, {"deposit", "card"}),  # nobody knows whom it is about: both hold
    ],
)
def test_a_nearer_rule_about_some_leaves_the_others_to_the_one_further_off(
    age: float, has_app: bool | None, products: set[str]
) -> None:
    app = Condition(attribute="has_app", is_=True)
    strategy = strategy_of(adult(18), adult(25, scope=Scope(product="fund"), whom=app))
    known = {} if has_app is None else {"has_app": has_app}
    assert {one.split("/")[2] for one in left(strategy, age=age, **known)} == products


def test_a_milder_rule_that_is_nearer_is_for_those_only_whom_it_is_about() -> None:
    app = Condition(attribute="has_app", is_=True)
    strategy = strategy_of(adult(18), adult(14, scope=Scope(goal="grow"), whom=app))
    for has_app, products in ((True, {"deposit", "fund"}), (False, set()), (None, set())):
        assert {one.split("/")[2] for one in left(strategy, age=15, has_app=has_app)} == products


@pytest.mark.parametrize(
    ("rules", "place", "told"),
    [
        ((adult(18), adult(21)), "rules[1].name", "'adult' is there before"),
        (
            (adult(18, scope=Scope(product="card")), adult(21, scope=Scope(product=("card", "fund")))),
            "rules[1].scope",
            "as near as here; narrow one scope",
        ),
        ((adult(18), adult(21, scope=Scope(tag="safe"), layer="suitable")), "rules[1].layer", "one layer"),
        ((adult(18, scope=Scope(goal="none")),), "rules[0].scope", "use one of: grow, earn"),
        ((Consent(name="request"),), "rules[0].name", "taken"),
        ((Requires(channel="mail", flag="segment"),), "rules[0].attribute", "is a category"),
    ],
    ids=["same", "as near", "other layer", "unknown goal", "reserved", "kind"],
)
def test_rules_that_contradict_are_refused(rules: tuple[Any, ...], place: str, told: str) -> None:
    with pytest.raises(InvalidConfig, match=told) as caught:
        strategy_of(*rules)
    assert caught.value.pointer == place


def test_rules_of_one_kind_have_names_of_their_own_and_stand_in_order_of_layers() -> None:
    strategy = strategy_of(
        Suitability(),
        Requires(channel="mail", flag="has_app"),
        Requires(channel="call", flag="has_app", name="reachable"),
        Requires(channel="call", flag="has_app", layer="applicable"),
        Consent(),
    )
    names = ("requires", "reachable", "consent", "requires-2", "suitability")
    assert strategy.rule_names == ("catalogue", "request", *names, "contact_policy")
    layers = ("eligible", "eligible", "eligible", "applicable", "suitable")
    assert strategy.rule_layers == ("catalogue", "request", *layers, "contact_policy")


@pytest.mark.parametrize(
    ("unknown", "n_left"), [("remove", 0), ("keep", 12)], ids=["fails closed", "fails open"]
)
def test_what_is_not_known_is_removed_unless_the_rule_says_keep(unknown: Any, n_left: int) -> None:
    assert len(left(strategy_of(adult(18, unknown=unknown)))) == n_left
    assert len(left(strategy_of(adult(18, unknown=unknown)), age=17)) == 0


@pytest.mark.parametrize(
    ("known", "affords"),
    [
        ({"income": 1000, "committed": 300}, True),
        ({"income": 1000, "committed": 300.01}, False),
        ({"income": 1000}, False),
        ({"committed": 0}, False),
    ],
    ids=str,
)
def test_an_instalment_fits_into_a_share_of_the_income(known: dict[str, float], affords: bool) -> None:
    strategy = strategy_of(Affordable(income="income", committed="committed", share=0.4))
    found = parts_of(left(strategy, **known)) & {"deposit", "card", "fund"}
    assert found == {"deposit", "fund", *(["card"] if affords else [])}


def test_a_rule_may_be_about_some_customers_only_and_about_those_nobody_knows() -> None:
    calm = Requires(channel="call", flag="has_app", whom=Condition(attribute="age", at_least=75), name="calm")
    strategy = strategy_of(calm)
    assert [len(left(strategy, **known)) for known in ({"age": 74}, {"age": 75}, {})] == [12, 6, 6]
    assert len(left(strategy, age=80, has_app=True)) == 12
    (found,) = why_not(strategy, Context(customer_id="c", at=NOW, attributes={"age": 80.0}))
    assert found.needs == "has_app on channel call, for customers with age >= 75"
    assert found.values == {"has_app": None, "age": 80.0}
    with pytest.raises(InvalidConfig, match="'height' is not declared") as caught:
        strategy_of(Consent(whom=Condition(attribute="height", at_least=2)))
    assert caught.value.pointer == "rules[0].whom.attribute"


def layered() -> Strategy:
    vulnerable = Tag(name="vulnerable", when=Condition(attribute="age", at_least=75))
    return strategy_of(
        Suitability(),
        OnlyIf(
            name="gentle",
            layer="suitable",
            scope=Scope(channel="call"),
            when=Condition(tag="vulnerable", is_=False),
        ),
        OnlyIf(layer="applicable", scope=Scope(goal="earn"), when=Condition(owns="card", is_=False)),
        Consent(),
        NotOwned(),
        tags=(vulnerable,),
    )


def test_the_funnel_counts_what_plain_python_counts() -> None:
    strategy, contexts = layered(), small_contexts(layered(), 60)
    requested = np.random.default_rng(1).random((60, 13)) < 0.9
    eligibility = strategy.eligible(strategy.encode(contexts), requested)
    steps = Funnel.of(strategy, eligibility).steps(strategy)
    assert [step.layer for step in steps[:2]] == ["catalogue", "request"]
    removed_by = eligibility.removed_by[:, 1:]
    for step in steps:
        gone = {n for n, layer in enumerate(strategy.rule_layers) if _order(layer) <= _order(step.layer)}
        is_left = ~np.isin(removed_by, sorted(gone))
        assert (step.actions, step.customers) == (is_left.sum(), is_left.any(axis=1).sum())
        for name, count in step.removed.items():
            assert count == (removed_by == strategy.rule_names.index(name)).sum()
    assert steps[-1].actions == eligibility.mask[:, 1:].sum()
    assert all(count for step in steps[1:] for count in step.removed.values()), "every rule is seen at work"


def _order(layer: str) -> int:
    return ["catalogue", "request", "eligible", "applicable", "suitable", "contact_policy"].index(layer)


def test_funnels_of_blocks_add_up() -> None:
    strategy = layered()
    eligibility = strategy.eligible(strategy.encode(small_contexts(strategy, 40)))
    halves = [Eligibility(*(part[rows] for part in eligibility)) for rows in (slice(25), slice(25, 40))]
    total = Funnel.of(strategy, halves[0]) + Funnel.of(strategy, halves[1])
    assert total.steps(strategy) == Funnel.of(strategy, eligibility).steps(strategy)


def test_why_not_names_rule_layer_and_the_value_that_failed() -> None:
    attributes: dict[str, Any] = {
        "age": 80.0, "consents": ["mail", "call"], "owned": ["card"], "risk_class": 2.0,
    }  # fmt: skip
    context = Context(customer_id="c", at=NOW, attributes=attributes, opted_out=("mail",))
    found = {one.rule: one for one in why_not(layered(), context)}
    assert {name: (one.layer, one.values) for name, one in found.items()} == {
        "consent": ("eligible", {"consents": ["mail", "call"], "opted_out": ["mail"]}),
        "only_if": ("applicable", {"owned": ["card"]}),
        "suitability": ("suitable", {"risk_class": 2.0}),
        "gentle": ("suitable", {"age": 80.0}),
    }
    assert found["suitability"].actions == ("call/morning/fund", "call/evening/fund")
    assert found["gentle"].actions == ("call/morning/deposit", "call/evening/deposit")
    assert found["gentle"].needs == "not vulnerable"
    assert len(found["consent"].actions) == 6 and len(found["only_if"].actions) == 2


def test_rules_read_from_toml() -> None:
    text = """
    [[rules]]
    type = "only_if"
    name = "adult"
    scope = { group = "lending", channel = ["call", "mail"] }
    when = { all_of = [{ attribute = "age", at_least = 18 }, { not = { tag = "vulnerable" } }] }
    unknown = "keep"
    [[tags]]
    name = "vulnerable"
    when = { attribute = "age", at_least = 75 }
    """
    shape = msgspec.defstruct("Rules", [("rules", tuple[OnlyIf, ...]), ("tags", tuple[Tag, ...])])
    read = msgspec.toml.decode(text, type=shape)
    strategy = strategy_of(*read.rules, tags=read.tags)  # type: ignore[attr-defined]
    counts = [len(left(strategy, **known)) for known in ({"age": 40}, {"age": 76}, {"age": 7}, {})]
    assert counts == [12, 8, 8, 12]
