"""A log of random contacts in the full bank, read by a checker that shares no code with the simulator."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import pytest
from small import bank

from experiments.rollout import Rollout, decision_number, rollout
from experiments.spec import Phase, StrategySpec
from nba.context import Contact, Context
from nba.policies import RandomEligible
from nba.posteriors import SegmentRatesModel
from nba.snapshot import Snapshot
from simulator.population import Population, draw_population
from simulator.state import WorldState

CUSTOMERS, DAYS, SETTLE, SEED = 500, 60, 20, 4


class Made(NamedTuple):
    """One contact of a customer, from the log."""

    day: int
    number: int
    channel: str
    timing: str
    product: str
    contact_day: int


def snapshot() -> Snapshot:
    spec = StrategySpec(name="random", model=SegmentRatesModel(), policy=RandomEligible())
    return Snapshot.start(spec.strategy(bank(), 3))


@pytest.fixture(scope="module")
def run() -> Rollout:
    phase = Phase(customers=CUSTOMERS, days=DAYS, seed=SEED, settle_days=SETTLE)
    return rollout(bank(), snapshot(), phase)


@pytest.fixture(scope="module")
def people() -> Population:
    return draw_population(bank().config, SEED, np.arange(CUSTOMERS))


@pytest.fixture(scope="module")
def contacts(run: Rollout) -> dict[int, list[Made]]:
    """Contacts of each customer, oldest first."""
    ids, made = bank().config.catalogue.action_ids, defaultdict(list)
    log = run.decisions
    columns = (log.number, log.customer, log.day, log.action, log.contact_day)
    for number, customer, day, action, contact_day in zip(*columns, strict=True):
        if action > 0:
            made[int(customer)].append(Made(int(day), int(number), *ids[action].split("/"), int(contact_day)))
    assert sum(len(one) for one in made.values()) > 2_000
    return made


def test_everybody_is_decided_about_on_their_days(run: Rollout) -> None:
    log = run.decisions
    assert log.number.size == CUSTOMERS * DAYS / bank().config.decide_every_days
    assert np.unique(log.number).size == log.number.size
    np.testing.assert_array_equal(log.number, decision_number(log.customer, 0) | log.day)
    assert log.day.max() < DAYS


def test_random_propensities_are_one_over_the_eligible(run: Rollout) -> None:
    np.testing.assert_array_equal(run.decisions.propensity, 1.0 / run.decisions.n_eligible)
    np.testing.assert_array_equal(run.decisions.no_contact_propensity, run.decisions.propensity)


def test_nobody_is_contacted_without_consent_or_after_an_opt_out(
    run: Rollout, people: Population, contacts: dict[int, list[Made]]
) -> None:
    names = [channel.name for channel in bank().config.catalogue.channels]
    gone = {int(n) for n in run.decisions.number[run.decisions.opted_out]}
    assert len(gone) > 20
    for customer, made in contacts.items():
        consents = {name for name, yes in zip(names, people.initial_consents[customer], strict=True) if yes}
        for one in made:
            assert one.channel in consents, (customer, one)
            if one.number in gone:
                consents.discard(one.channel)


def test_no_contact_limit_is_ever_exceeded(contacts: dict[int, list[Made]]) -> None:
    limits = bank().config.contact.policy.limits
    reached = set()
    for customer, made in contacts.items():
        for limit in limits:
            days = [one.contact_day for one in made if limit.channel in (None, one.channel)]
            for day in days:
                # Any window of that many days that ends today.
                count = sum(day - limit.days < other <= day for other in days)
                assert count <= limit.contacts, (customer, limit, day)
                reached |= {limit} if count == limit.contacts else set()
    assert len(reached) == len(limits), "every limit must have been at work"


def test_a_product_rests_after_an_offer(contacts: dict[int, list[Made]]) -> None:
    rest = bank().config.contact.policy.product_rest_days
    for customer, made in contacts.items():
        last: dict[str, int] = {}
        for one in sorted(made, key=lambda one: one.contact_day):
            assert one.contact_day - last.get(one.product, -rest) >= rest, (customer, one)
            last[one.product] = one.contact_day


def test_apps_key_days_and_risk_classes_are_respected(
    people: Population, contacts: dict[int, list[Made]]
) -> None:
    risk = {product.name: product.risk_class for product in bank().config.catalogue.products}
    key_days = 0
    for customer, made in contacts.items():
        for one in made:
            assert one.channel != "app_push" or people.seen["has_app"][customer] == 1.0
            assert risk[one.product] <= people.seen["risk_class"][customer]
            if one.timing == "next_key_day":
                key_days += 1
                start = datetime(2026, 3, 2, tzinfo=UTC) + timedelta(days=one.day)
                near = [(start + timedelta(days=n)).day for n in range(6)]
                assert people.payday[customer] in near
    assert key_days > 50


def test_holdings_only_grow_and_nothing_held_is_offered_or_bought_again(
    run: Rollout, people: Population, contacts: dict[int, list[Made]]
) -> None:
    products = bank().config.catalogue.products
    bought: dict[tuple[int, int], int] = {}
    log = run.outcomes
    for customer, day, product in zip(log.customer, log.day, log.product, strict=True):
        if not products[product].repeatable:
            assert not people.initial_owned[customer, product]
            assert (customer, product) not in bought
            bought[int(customer), int(product)] = int(day)
    assert len(bought) > 100
    names = [product.name for product in products]
    for customer, made in contacts.items():
        for one in made:
            product = names.index(one.product)
            if not products[product].repeatable:
                assert not people.initial_owned[customer, product]
                assert one.day <= bought.get((customer, product), 10_000)


def test_at_most_one_conversion_per_customer_and_day(run: Rollout) -> None:
    cells = run.outcomes.customer * 1000 + run.outcomes.day
    assert np.unique(cells).size == cells.size
    assert run.outcomes.day.max() >= DAYS, "the days after the last decision count"


def test_what_a_contact_caused_follows_a_delivered_contact_about_the_product(
    run: Rollout, contacts: dict[int, list[Made]]
) -> None:
    delivered = {int(n) for n in run.decisions.number[run.decisions.delivered]}
    names = [product.name for product in bank().config.catalogue.products]
    log = run.outcomes
    assert 0.05 < log.caused.mean() < 0.95
    for customer, day, product, caused in zip(log.customer, log.day, log.product, log.caused, strict=True):
        if caused:
            about = [one for one in contacts[int(customer)] if one.product == names[product]]
            assert any(one.day <= day and one.number in delivered for one in about)


def execution_day(one: Made, payday: int) -> int:
    """The day on which a contact is made, from its timing."""
    start = datetime(2026, 3, 2, tzinfo=UTC) + timedelta(days=one.day)
    if one.timing == "weekend":
        return one.day + max(0, 5 - start.weekday())
    if one.timing == "next_key_day":
        return one.day + next(n for n in range(40) if (start + timedelta(days=n)).day == payday)
    return one.day


def test_a_conversion_is_credited_to_the_latest_contact_within_the_window(
    run: Rollout, people: Population, contacts: dict[int, list[Made]]
) -> None:
    products, log, credited = bank().config.catalogue.products, run.outcomes, 0
    for customer, day, product, decision in zip(
        log.customer, log.day, log.product, log.decision, strict=True
    ):
        name, window = products[product].name, products[product].attribution_window_days
        about = [one for one in contacts[int(customer)] if one.product == name and one.day <= day]
        expected = -1
        if about:
            begun = execution_day(about[-1], int(people.payday[customer]))
            expected = about[-1].number if begun <= day < begun + window else -1
        assert decision == expected, (customer, day, name)
        credited += expected >= 0
    assert credited > 100


def as_context(state: WorldState, customer: int, made: list[Made]) -> Context:
    """A customer as the service would be told about them."""
    config, people = bank().config, state.people
    columns = {name: float(column[customer]) for name, column in people.seen.items()}
    levels = {one.name: one.levels for one in config.schema.columns if hasattr(one, "levels")}
    attributes: dict[str, object] = {
        **columns,
        "segment": levels["segment"][people.segment[customer]],
        "stage": levels["stage"][state.stage[customer]],
        "days_to_key_day": float(
            bank().observe(state, np.array([customer])).attributes["days_to_key_day"][0]
        ),
        "consents": [
            c.name for c, yes in zip(config.catalogue.channels, state.consents[customer], strict=True) if yes
        ],
        "owned": [
            p.name for p, yes in zip(config.catalogue.products, state.owned[customer], strict=True) if yes
        ],
    }
    for name in ("is_60_plus", "has_app", "active_mornings", "active_evenings", "active_weekends"):
        attributes[name] = bool(columns[name])
    start = datetime.fromisoformat(config.start).replace(tzinfo=UTC)
    history = tuple(
        Contact(channel=one.channel, product=one.product, at=start + timedelta(days=one.contact_day))
        for one in made
    )
    return Context(
        customer_id=str(customer),
        at=start + timedelta(days=state.day),
        attributes=attributes,  # type: ignore[arg-type]
        contacts=history,
    )


def test_the_simulator_observes_what_the_service_would_encode() -> None:
    """No skew between training and serving: the same columns from the state and from records."""
    world, policy = bank(), snapshot()
    state, made = world.reset(SEED, np.arange(60)), defaultdict(list)
    ids = world.config.catalogue.action_ids
    for _ in range(45):
        rows = world.due(state)
        decision_ids = np.array([f"{state.day}-{row}" for row in rows], dtype=object)
        actions = policy.decide(world.observe(state, rows), decision_ids).actions
        responses = world.respond(state, rows, actions)
        for row, action, wait in zip(rows, actions, responses.waits, strict=True):
            if action:
                made[int(row)].append(Made(state.day, 0, *ids[action].split("/"), state.day + int(wait)))
        state, _ = world.advance(state, rows, actions, responses)
    seen = world.observe(state, np.arange(60))
    told = policy.strategy.encode([as_context(state, row, made[row]) for row in range(60)])
    np.testing.assert_array_equal(seen.at, told.at)
    for name in ("features", "fatigue", "contact_counts", "consents", "owned"):
        np.testing.assert_allclose(getattr(seen, name), getattr(told, name), atol=1e-9, err_msg=name)
    np.testing.assert_allclose(*(np.minimum(one.offer_age_days, 1000.0) for one in (seen, told)))
    assert seen.contact_counts.max() > 1
    np.testing.assert_array_equal(policy.strategy.eligible(seen).mask, policy.strategy.eligible(told).mask)
