"""Waiting for a better moment: plans by hand, clocks, and a pay day on which everything is worth thrice."""

from __future__ import annotations

from datetime import timedelta
from itertools import product as every
from math import fsum
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec import structs
from small import (
    NOW,
    bank,
    ids_of,
    open_strategy,
    small_catalogue,
    small_contexts,
    small_rounds,
    small_strategy,
)

from experiments.spec import StrategySpec
from nba.arrays import FloatArray
from nba.constraints import ContactLimit, ContactPolicy
from nba.context import Context
from nba.errors import InvalidConfig
from nba.features import Category, FeatureSchema, Numeric
from nba.longrun.plan import Ahead
from nba.longrun.waiting import Clock, Turn, Waiting
from nba.policies import Greedy
from nba.posteriors import SegmentRatesModel
from nba.propensity import Floor
from nba.snapshot import Snapshot

PLENTY = 99


def ahead(worth: list[list[float]], slots: int, rest_days: int = 100) -> Ahead:
    table = np.array([worth])
    return Ahead(table, np.arange(1, table.shape[1] + 1), np.array([slots]), rest_days)


def test_a_plan_and_what_a_contact_now_displaces_by_hand() -> None:
    worth = [[5.0, 1.0, 0.5], [6.0, 4.0, -1.0]]  # moments x products
    plan = ahead(worth, slots=2).plan()
    assert plan.moments.tolist() == [[1, 0]]  # product 0 tomorrow but one, and product 1 tomorrow
    assert plan.products.tolist() == [[0, 1]]
    assert plan.values.tolist() == [[6.0, 1.0]]
    # Both slots are planned. Products 1 and 2 now take the last one, which is product 1's; product 0 now
    # leaves product 1 on the second day.
    np.testing.assert_allclose(ahead(worth, slots=2).displaced(), [[7.0 - 4.0, 1.0, 1.0]])
    # Without limits only the product's own moments count: without product 1 the first day has product 2.
    np.testing.assert_allclose(ahead(worth, slots=PLENTY).displaced(), [[7.0 - 4.5, 7.0 - 6.5, 0.0]])
    # One slot: whatever is contacted now takes the best moment.
    np.testing.assert_allclose(ahead(worth, slots=1).displaced(), [[6.0, 6.0, 6.0]])
    # Products that need no rest compete for slots only.
    np.testing.assert_allclose(ahead(worth, slots=PLENTY, rest_days=0).displaced(), np.zeros((1, 3)))
    assert ahead([[-1.0, -2.0]], slots=1).plan().moments.tolist() == [[-1]]


def best_plan(worth: FloatArray, slots: int) -> float:
    """The largest value of any plan in which a product comes up once, by trying all."""
    n_moments, n_products = worth.shape
    values = [0.0]
    for chosen in every(range(-1, n_products), repeat=n_moments):
        some = [number for number in chosen if number >= 0]
        if len(set(some)) == len(some) <= slots:
            values.append(fsum(worth[m, p] for m, p in enumerate(chosen) if p >= 0))
    return max(values)


def test_a_plan_is_worth_at_least_half_of_the_best_and_mostly_all_of_it() -> None:
    rng, shares = np.random.default_rng(1), []
    for _ in range(200):
        worth, slots = rng.normal(0.5, 1.0, (3, 4)), int(rng.integers(1, 4))
        found = ahead(worth.tolist(), slots)
        values = found.plan().values
        assert values.sum() <= best_plan(worth, slots) + 1e-12
        assert values.sum() >= 0.5 * best_plan(worth, slots)
        assert (np.diff(values[0]) <= 0.0).all() and (found.displaced() >= 0.0).all()
        assert found.displaced().max() <= values.sum() + 1e-12
        shares.append(values.sum() / best_plan(worth, slots) if best_plan(worth, slots) else 1.0)
    assert np.mean(shares) > 0.95


PAYDAY = Waiting(
    moments=6,
    every_days=1,
    kept=0.95,
    clocks=(Clock(attribute="days_to_payday", per_day=-1.0, repeats_days=30.0),),
    turns=(Turn(attribute="moment", level="payday", clock="days_to_payday", otherwise="other"),),
)
RATES = {"other": 0.1, "payday": 0.3}


def salaried(waiting: Waiting | None, **changes: Any) -> Snapshot:
    """A strategy that has learnt that everything sells thrice as well on pay day; one contact in 20 days."""
    schema = FeatureSchema(
        columns=(
            Category(name="moment", levels=tuple(RATES)),
            Numeric(name="days_to_payday", in_model=False),
        ),
        segment="moment",
    )
    parts: dict[str, Any] = {
        "schema": schema,
        "model": SegmentRatesModel(),
        "policy": Greedy(),
        "floor": Floor(),
        "contact_policy": ContactPolicy(limits=(ContactLimit(contacts=1, days=20),)),
        "waiting": waiting,
    }
    start = Snapshot.start(open_strategy(**(parts | changes)))
    exposure = np.full((2, 3), 1e9)
    rates = np.array(list(RATES.values()))[:, None]
    return start.at(structs.replace(start.posterior, exposure=exposure, conversions=exposure * rates), 1)


def person(days_to_payday: int, **changes: Any) -> Context:
    moment = "other" if days_to_payday else "payday"
    attributes = {"moment": moment, "days_to_payday": float(days_to_payday)}
    return Context(customer_id="c", at=NOW, attributes=attributes, **changes)


def contacted(snapshot: Snapshot, context: Context) -> bool:
    return snapshot.decide_one(context, "d").actions[0].channel is not None


def test_a_scarce_contact_waits_for_the_pay_day_and_is_made_on_it() -> None:
    now, waiting = salaried(None), salaried(PAYDAY)
    # 0.95^d x 0.3 against 0.1: waits up to six days, which is as far as it looks.
    for days in range(1, 7):
        assert contacted(now, person(days)) and not contacted(waiting, person(days))
    assert contacted(waiting, person(0)) and contacted(waiting, person(7)) and contacted(waiting, person(20))
    # Where contacts are not scarce and products need no rest, there is nothing to wait for.
    plenty = ContactPolicy(limits=(ContactLimit(contacts=20, days=20),))
    assert contacted(salaried(PAYDAY, contact_policy=plenty), person(3))
    # Where products rest and contacts are not scarce, the dearest waits and another one goes first.
    rest = ContactPolicy(product_rest_days=20)
    offered = [
        salaried(one, contact_policy=rest).decide_one(person(3), "d").actions[0].product
        for one in (None, PAYDAY)
    ]
    assert offered == ["fund", "deposit"]


def test_waiting_earns_three_times_as_much_from_a_month_with_one_contact() -> None:
    """Day by day over a month that begins five days before pay day: decisions, and their exact value."""
    earned = []
    for snapshot in (salaried(None), salaried(PAYDAY)):
        values = snapshot.strategy.catalogue.values
        total, contact = 0.0, None
        for day in range(20):
            left, age = (5 - day) % 30, 0.0 if contact is None else day - contact
            if contact is None or age >= 20:
                decision = snapshot.decide_one(person(left), "d")
                if decision.actions[0].channel is not None:
                    action = snapshot.strategy.catalogue.row_of(decision.actions[0].action_id)
                    total, contact = total + RATES["other" if left else "payday"] * values[action], day
        earned.append(total)
    assert earned[1] == pytest.approx(3.0 * earned[0])


def test_the_plan_names_contact_and_day_and_the_price_is_explained() -> None:
    snapshot = salaried(PAYDAY)
    contexts = snapshot.strategy.encode([person(4), person(12)])
    plan, catalogue = snapshot.plan(contexts), snapshot.strategy.catalogue
    mail = float(catalogue.costs[catalogue.index("mail", "morning", "fund")])
    assert catalogue.action_ids[plan.actions[0, 0]] == "mail/morning/fund"
    assert plan.days[:, 0].tolist() == [4, 1] and (plan.actions[:, 1:] == -1).all()
    expected = 0.95**4 * (0.3 * 200.0 - mail)
    assert plan.values[0, 0] == pytest.approx(expected, rel=1e-5)
    for one in snapshot.explain(person(4)).candidates:
        terms = one.terms
        assert terms.waiting == pytest.approx(-expected if one.action_id != "no-contact" else 0.0, rel=1e-5)
        told = (terms.conversion, terms.cost, terms.shadow_price, terms.fatigue_price, terms.waiting)
        assert fsum((*told, terms.rounding)) == terms.expected_value
        assert abs(terms.rounding) < 1e-4
    assert all(one.terms.waiting == 0.0 for one in salaried(None).explain(person(4)).candidates)


def test_propensities_are_those_of_utilities_less_what_they_displace() -> None:
    """Waiting enters before the one propensity function: a batch and one customer agree, ranks as well."""
    strategy = small_strategy(waiting=Waiting(moments=2, every_days=3))
    snapshot = Snapshot.start(strategy).learn(small_rounds(strategy, 200), 1)
    contexts = strategy.encode(small_contexts(strategy, 150))
    batch = snapshot.decide(contexts, ids_of(150), limit=2)
    np.testing.assert_allclose(batch.distribution.sum(axis=1), 1.0)
    assert (batch.propensities > 0.0).all()
    mean = snapshot.expected_values(contexts, batch.eligible)
    np.testing.assert_array_equal(mean, batch.expected_values)
    without = structs.replace(snapshot, strategy=structs.replace(strategy, waiting=None))
    contacts = batch.eligible[:, 1:]
    loss = without.expected_values(contexts, batch.eligible)[:, 1:][contacts] - mean[:, 1:][contacts]
    displaced = snapshot.known(contexts).displaced
    assert displaced is not None and (displaced > 0.0).any()
    given = displaced[:, strategy.catalogue.product_of[1:]]
    np.testing.assert_allclose(loss, given[contacts], atol=1e-4)
    one = snapshot.decide_one(small_contexts(strategy, 150)[7], "d7", limit=2)
    assert one.actions[0].propensity == pytest.approx(batch.propensities[7], rel=1e-12)


def test_a_context_of_a_later_day_is_the_one_that_would_be_encoded_then() -> None:
    strategy = salaried(PAYDAY).strategy
    now, parts = person(3), (strategy.schema, strategy.fatigue, strategy.contact_policy)
    for days in (1, 3, 5):
        later = PAYDAY.later(strategy.encode([now]), days, *parts)
        then = structs.replace(person((3 - days) % 30), at=NOW + timedelta(days=days))
        encoded = strategy.encode([then])
        np.testing.assert_array_equal(later.features, encoded.features)
        np.testing.assert_array_equal(later.at, encoded.at)


def test_clocks_run_and_what_is_past_is_unknown() -> None:
    raw = np.array([2.0, np.nan])
    assert Clock(attribute="since").later(raw, 3)[0] == 5.0
    np.testing.assert_array_equal(Clock(attribute="to", per_day=-1.0).later(raw, 2), [0.0, np.nan])
    np.testing.assert_array_equal(Clock(attribute="to", per_day=-1.0).later(raw, 3), [np.nan, np.nan])
    assert Clock(attribute="to", per_day=-1.0, repeats_days=30.0).later(raw, 3)[0] == 29.0


def test_slots_count_what_limits_leave_up_to_the_last_moment() -> None:
    policy = ContactPolicy(
        limits=(ContactLimit(contacts=2, days=7), ContactLimit(contacts=1, days=9, channel="call"))
    )
    strategy = open_strategy(contact_policy=policy)
    contexts, catalogue = strategy.encode(small_contexts(strategy, 30)), small_catalogue()
    used = contexts.contact_counts[:, 0, -1]
    near, far = Waiting(moments=2, every_days=3), Waiting(moments=2, every_days=4)
    np.testing.assert_array_equal(near.slots(contexts, policy, catalogue), np.maximum(2 - used, 0))
    np.testing.assert_array_equal(far.slots(contexts, policy, catalogue), np.maximum(4 - used, 0))


WRONG: dict[str, tuple[Any, str]] = {
    "moments": ({"moments": 0}, "moments: must be 1 to 31, got 0"),
    "every_days": ({"every_days": 40}, "every_days: must be 1 to 31, got 40"),
    "kept": ({"kept": 0.0}, "kept: must be above 0"),
    "standing": ({"clocks": [{"attribute": "age", "per_day": 0}]}, r"clocks\[0\].per_day: .* got 0"),
    "no clock": (
        {"clocks": [{"attribute": "segment"}]},
        r"waiting.clocks\[0\].attribute: 'segment' is not a number",
    ),
    "no category": (
        {"turns": [{"attribute": "age", "level": "a", "clock": "age", "otherwise": "b"}]},
        r"turns\[0\].attribute: 'age' is not a category",
    ),
    "no level": (
        {"turns": [{"attribute": "segment", "level": "rich", "clock": "age", "otherwise": "mass"}]},
        r"turns\[0\].level: 'rich' is not a level of segment; use one of mass, affluent",
    ),
    "unclocked": (
        {"turns": [{"attribute": "segment", "level": "mass", "clock": "age", "otherwise": "mass"}]},
        r"turns\[0\].clock: 'age' is no clock of it, which has none",
    ),
}


@pytest.mark.parametrize(("given", "told"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told(given: dict[str, Any], told: str) -> None:
    with pytest.raises((InvalidConfig, msgspec.ValidationError), match=told):
        small_strategy(waiting=msgspec.convert(given, Waiting))


def test_an_experiment_says_how_far_a_strategy_looks_ahead() -> None:
    text = """
        name = "patient"
        model = { type = "factored" }
        policy = { type = "greedy" }
        [waiting]
        moments = 3
        clocks = [{ attribute = "days_to_key_day", per_day = -1, repeats_days = 30 }]
        turns = [
          { attribute = "timing_type", level = "key_day", clock = "days_to_key_day", otherwise = "regular" },
        ]
    """
    spec = msgspec.toml.decode(text, type=StrategySpec)
    strategy = spec.strategy(bank(), 1)
    assert strategy.waiting is not None and list(strategy.waiting.days) == [4, 8, 12]
    with pytest.raises(InvalidConfig, match=r"strategy patient: waiting.clocks\[0\].attribute: 'pay'"):
        clock = Clock(attribute="pay", per_day=-1.0)
        structs.replace(spec, waiting=Waiting(clocks=(clock,))).strategy(bank(), 1)


def test_a_plan_needs_waiting_and_counters() -> None:
    with pytest.raises(InvalidConfig, match="strategy small: waiting: is missing"):
        snapshot = salaried(None)
        snapshot.plan(snapshot.strategy.encode([person(1)]))
    exact = ContactPolicy(limits=(ContactLimit(contacts=1, days=7),), planned="exact")
    with pytest.raises(InvalidConfig, match="waiting: counts slots by the counters"):
        small_strategy(waiting=Waiting(), contact_policy=exact)
