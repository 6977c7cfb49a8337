"""What an expected value is made of: terms that add up, levers and weights by hand, and what can be off."""

from __future__ import annotations

from math import fsum
from typing import Any, get_args

import numpy as np
import pytest
from small import NOW, ids_of, small_contexts, small_rounds, small_strategy
from test_rules_layers import grouped, layered, money_schema

from nba.arbitration import Arbitration, ContextWeight, FatiguePrice, Lever, Term
from nba.conditions import Condition, Tag
from nba.context import Context
from nba.decision import Terms
from nba.errors import InvalidConfig
from nba.outcomes import RevenueModel, StageModel
from nba.posteriors import NeuralLinearModel
from nba.scope import Scope
from nba.snapshot import Snapshot

PRICES = np.array([0.5, 0.125])
LEVERS = (
    Lever(factor=2.0, product="card"),
    Lever(weight=20.0, goal="grow"),
    Lever(weight=5.0, group="saving"),
    Lever(weight=-10.0, channel="call"),
    Lever(weight=4.0, timing="morning"),
)
WEIGHTS = (
    ContextWeight(weight=50.0, when=Condition(tag="silver"), scope=Scope(tag="safe")),
    ContextWeight(weight=-30.0, when=Condition(attribute="age", at_least=70)),
)


def everything(**changes: Any) -> Arbitration:
    price = FatiguePrice(levels={"mail": 0.05}, otherwise=0.1, slope=0.2)
    parts = {"levers": LEVERS, "context_weights": WEIGHTS, "fatigue_price": price}
    return Arbitration(**(parts | changes))


def taught(arbitration: Arbitration, **changes: Any) -> Snapshot:
    """A snapshot with all there is, after some rounds."""
    parts: dict[str, Any] = {
        "catalogue": grouped(),
        "schema": money_schema(),
        "tags": (Tag(name="silver", when=Condition(attribute="age", at_least=60)),),
        "rules": (),
        "arbitration": arbitration,
        "stages": (
            StageModel(stage="opted_out", rate=0.02, otherwise=-8.0),
            StageModel(stage="complained", rate=0.01, otherwise=-20.0),
        ),
        "revenue": RevenueModel(),
    }
    strategy = small_strategy(**(parts | changes))
    start = Snapshot.start(strategy)
    start = Snapshot(strategy=strategy, posterior=start.posterior, prices=PRICES, outcomes=start.outcomes)
    return start.learn(small_rounds(strategy, 200), 200)


def total(terms: Terms) -> float:
    parts = (
        terms.conversion,
        terms.cost,
        terms.shadow_price,
        terms.fatigue_price,
        terms.waiting,
        terms.rounding,
    )
    return fsum((*parts, *terms.stages.values()))


@pytest.mark.parametrize("changes", [{}, {"model": NeuralLinearModel()}], ids=["factored", "neural"])
def test_the_terms_of_every_candidate_add_up_to_its_expected_value(changes: dict[str, Any]) -> None:
    snapshot = taught(everything(), **changes)
    seen = 0
    for context in small_contexts(snapshot.strategy, 40):
        for one in snapshot.explain(context).candidates:
            assert total(one.terms) == one.terms.expected_value
            assert abs(one.terms.rounding) < 1e-4
            seen += 1
    assert seen > 100


def test_levers_and_weights_by_hand() -> None:
    snapshot = taught(everything())
    contexts = small_contexts(snapshot.strategy, 30)
    for context in contexts:
        age = float(context.attributes["age"])  # type: ignore[arg-type]
        for one in snapshot.explain(context).candidates:
            if one.action_id == "no-contact":
                assert total(one.terms) == one.terms.expected_value == 0.0
                continue
            channel, timing, product = one.action_id.split("/")
            weight = (25.0 if product != "card" else 0.0) - 10.0 * (channel == "call")
            weight += 4.0 * (timing == "morning")
            expected = (1 + weight / 100) * (2.0 if product == "card" else 1.0)
            assert one.terms.lever_factor == pytest.approx(expected, rel=1e-12)
            context_weight = 50.0 * (product == "deposit" and age >= 60) - 30.0 * (age >= 70)
            assert one.terms.context_factor == pytest.approx(1 + context_weight / 100, rel=1e-12)
            assert one.terms.cost == (-2.0 if channel == "call" else -0.01)
            assert one.terms.shadow_price == -PRICES[0 if channel == "call" else 1]
            level = 0.1 if channel == "call" else 0.05
            assert one.terms.fatigue_price <= -level
            assert set(one.terms.stages) == {"opted_out", "complained"}
            assert all(money < 0 for money in one.terms.stages.values())


def test_a_decision_carries_the_terms_of_its_actions() -> None:
    snapshot = taught(everything())
    for number, context in enumerate(small_contexts(snapshot.strategy, 10)):
        decision = snapshot.decide_one(context, f"d{number}", limit=3)
        terms = {one.action_id: one.terms for one in snapshot.explain(context).candidates}
        assert decision.terms == tuple(terms[one.action_id] for one in decision.actions)
        assert [one.expected_value for one in decision.terms] == [
            one.expected_value for one in decision.actions
        ]


ONE_OFF = {
    "value": ("value", 1.0),
    "cost": ("cost", 0.0),
    "stages": ("stages", {}),
    "shadow_prices": ("shadow_price", 0.0),
    "fatigue_price": ("fatigue_price", 0.0),
    "levers": ("lever_factor", 1.0),
    "context_weights": ("context_factor", 1.0),
}


@pytest.mark.parametrize("term", get_args(Term))
def test_each_term_can_be_off_and_takes_nothing_else_with_it(term: Term) -> None:
    on, off = taught(everything()), taught(everything(off=(term,)))
    name, left = ONE_OFF[term]
    for context in small_contexts(on.strategy, 6):
        with_all = {one.action_id: one.terms for one in on.explain(context).candidates}
        for one in off.explain(context).candidates:
            assert total(one.terms) == one.terms.expected_value
            if one.action_id == "no-contact":
                continue
            whole = with_all[one.action_id]
            assert getattr(one.terms, name) == left != getattr(whole, name) or term == "context_weights"
            for other in ("cost", "shadow_price", "fatigue_price", "score", "lever_factor", "stages"):
                if other != name:
                    assert getattr(one.terms, other) == getattr(whole, other)


def test_without_levers_and_weights_the_decisions_are_the_same_bits() -> None:
    plain, empty = taught(Arbitration()), taught(Arbitration(off=("levers", "context_weights")))
    contexts = plain.strategy.encode(small_contexts(plain.strategy, 80))
    one, other = (each.decide(contexts, ids_of(80)) for each in (plain, empty))
    for column, same in zip(one, other, strict=True):
        np.testing.assert_array_equal(column, same)


def test_a_weight_counts_in_batches_as_alone() -> None:
    snapshot = taught(everything())
    contexts = snapshot.strategy.encode(small_contexts(snapshot.strategy, 150))
    whole = snapshot.decide(contexts, ids_of(150))
    for row in (0, 70, 149):
        alone = snapshot.decide(contexts.take(np.array([row])), ids_of(150)[row : row + 1])
        np.testing.assert_array_equal(alone.expected_values[0], whole.expected_values[row])
        np.testing.assert_array_equal(alone.distribution[0], whole.distribution[row])


@pytest.mark.parametrize(
    ("parts", "pointer", "told"),
    [
        ({"levers": (Lever(),)}, "levers[0]", "a factor or a weight"),
        ({"levers": (Lever(factor=1.0, weight=1.0),)}, "levers[0]", "not both"),
        ({"levers": (Lever(weight=float("nan")),)}, "levers[0].weight", "finite"),
        (
            {"levers": (Lever(weight=-60), Lever(weight=-50, product="card"))},
            "arbitration.levers",
            "-110 for",
        ),
        ({"levers": (Lever(weight=1, goal="fun"),)}, "arbitration", "use one of: grow, earn"),
        (
            {"context_weights": (ContextWeight(weight=1, when=Condition(tag="gold")),)},
            "arbitration.context_weights[0].when.tag",
            "no tag",
        ),
    ],
    ids=["nothing", "both", "nan", "too low", "goal", "tag"],
)  # fmt: skip
def test_levers_and_weights_without_meaning_are_refused(
    parts: dict[str, Any], pointer: str, told: str
) -> None:
    with pytest.raises(InvalidConfig, match=told) as caught:
        taught(Arbitration(**parts))
    assert caught.value.pointer == pointer


def test_an_explanation_accounts_for_every_action_once() -> None:
    snapshot = Snapshot.start(layered())
    for context in small_contexts(snapshot.strategy, 20):
        found = snapshot.explain(context)
        named = [one.action_id for one in found.candidates]
        named += [action for one in found.removed for action in one.actions]
        assert sorted(named) == sorted(snapshot.strategy.catalogue.action_ids)
        assert found.funnel[-1].actions == len(found.candidates) - 1
        assert sum(one.probability for one in found.candidates) == pytest.approx(1.0, abs=1e-12)
        values = [one.terms.expected_value for one in found.candidates]
        assert values == sorted(values, reverse=True)


def test_a_customer_of_whom_nothing_is_known_is_explained_too() -> None:
    found = Snapshot.start(layered()).explain(Context(customer_id="c", at=NOW, attributes={}))
    assert [one.action_id for one in found.candidates] == ["no-contact"]
    assert found.removed[0].values == {"consents": None}
