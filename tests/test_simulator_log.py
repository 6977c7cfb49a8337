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
from nba.features import Category, Flag
from nba.policies import RandomEligible
from nba.posteriors import SegmentRatesModel
from nba.snapshot import Snapshot
from simulator.config import TIMING_TYPES
from simulator.state import WorldState, flags

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
def start() -> WorldState:
    """Everybody on the first morning."""
    return bank().reset(SEED, np.arange(CUSTOMERS))


@pytest.fixture(scope="module")
def contacts(run: Rollout) -> dict[int, list[Made]]:
    """Contacts of each customer, oldest first; what was refused was never made."""
    ids, made = bank().config.catalogue.action_ids, defaultdict(list)
    log = run.decisions
    columns = (log.number, log.customer, log.day, log.action, log.contact_day, log.refused)
    for number, customer, day, action, contact_day, refused in zip(*columns, strict=True):
        if action > 0 and not refused:
            made[int(customer)].append(Made(int(day), int(number), *ids[action].split("/"), int(contact_day)))
    assert sum(len(one) for one in made.values()) > 2_000
    return made


def test_everybody_is_decided_about_on_their_days_and_on_those_of_events(
    run: Rollout, start: WorldState
) -> None:
    log, every = run.decisions, bank().config.decide_every_days
    assert np.unique(log.number).size == log.number.size and log.day.max() < DAYS
    np.testing.assert_array_equal(log.number, decision_number(log.customer, 0) | log.day)
    routine = (log.day + start.people.phase[log.customer]) % every == 0
    assert routine.sum() == CUSTOMERS * DAYS / every
    asked = [TIMING_TYPES[code] for code in np.unique(log.timing_type[~routine])]
    assert 0.02 < (~routine).mean() < 0.3 and set(asked) <= {"special", "key_day", "break_point", "node"}


def test_random_propensities_are_one_over_the_eligible(run: Rollout) -> None:
    np.testing.assert_array_equal(run.decisions.propensity, 1.0 / run.decisions.n_eligible)
    np.testing.assert_array_equal(run.decisions.no_contact_propensity, run.decisions.propensity)


def test_nobody_is_contacted_without_consent_or_after_an_opt_out(
    run: Rollout, start: WorldState, contacts: dict[int, list[Made]]
) -> None:
    names = [channel.name for channel in bank().config.catalogue.channels]
    gone = {int(number) for number in run.decisions.number[run.decisions.opted_out]}
    assert len(gone) > 20
    given = flags(start.consents, len(names))
    for customer, made in contacts.items():
        consents = {name for name, yes in zip(names, given[customer], strict=True) if yes}
        for number, one in enumerate(made):
            assert one.channel in consents, (customer, one)
            if one.number in gone:
                consents.discard(one.channel)
                # Nor is what had been planned on the channel before made after it.
                planned = [other for other in made[:number] if other.channel == one.channel]
                assert all(other.contact_day <= one.day for other in planned)


def test_what_was_refused_cost_nothing_and_brought_nothing(run: Rollout) -> None:
    log = run.decisions
    assert log.refused.sum() > 30 and (log.action[log.refused] > 0).all()
    for name in ("delivered", "seen", "engaged", "opted_out", "complained", "cost", "loss"):
        assert not getattr(log, name)[log.refused].any(), name
    catalogue = bank().config.catalogue
    np.testing.assert_allclose(log.cost[~log.refused], catalogue.costs[log.action[~log.refused]])


def test_a_channel_makes_one_contact_a_day_with_a_customer(contacts: dict[int, list[Made]]) -> None:
    for customer, made in contacts.items():
        days = [(one.channel, one.contact_day) for one in made]
        assert len(set(days)) == len(days), customer


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
    start: WorldState, contacts: dict[int, list[Made]]
) -> None:
    risk = {product.name: product.risk_class for product in bank().config.catalogue.products}
    key_days = 0
    for customer, made in contacts.items():
        for one in made:
            assert one.channel != "app_push" or start.people.has_app[customer]
            assert risk[one.product] <= start.people.risk[customer]
            if one.timing == "next_key_day":
                key_days += 1
                today = datetime(2026, 3, 2, tzinfo=UTC) + timedelta(days=one.day)
                near = [today + timedelta(days=n) for n in range(6)]
                birthday = int(start.people.birthday[customer])
                own = (int(start.people.payday[customer]), birthday)
                assert any(at.day == own[0] or at.timetuple().tm_yday == own[1] for at in near)
    assert key_days > 40


def test_holdings_only_grow_and_nothing_held_is_offered_or_bought_again(
    run: Rollout, start: WorldState, contacts: dict[int, list[Made]]
) -> None:
    products = bank().config.catalogue.products
    held = flags(start.owned, len(products))
    bought: dict[tuple[int, int], int] = {}
    log = run.outcomes
    for customer, day, product in zip(log.customer, log.day, log.product, strict=True):
        if not products[product].repeatable:
            assert not held[customer, product]
            assert (customer, product) not in bought
            bought[int(customer), int(product)] = int(day)
    assert len(bought) > 60
    names = [product.name for product in products]
    for customer, made in contacts.items():
        for one in made:
            product = names.index(one.product)
            if not products[product].repeatable:
                assert not held[customer, product]
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


def execution_day(one: Made, start: WorldState, customer: int) -> int:
    """The day on which a contact is made if nobody has to wait, from its timing."""
    today = datetime(2026, 3, 2, tzinfo=UTC) + timedelta(days=one.day)
    if one.timing == "weekend":
        return one.day + max(0, 5 - today.weekday())
    if one.timing == "next_key_day":
        own = (int(start.people.payday[customer]), int(start.people.birthday[customer]))
        ahead = (today + timedelta(days=n) for n in range(400))
        return one.day + next(
            n for n, at in enumerate(ahead) if at.day == own[0] or at.timetuple().tm_yday == own[1]
        )
    return one.day


def test_a_contact_is_made_at_its_time_or_as_soon_as_somebody_has_it(
    run: Rollout, start: WorldState, contacts: dict[int, list[Made]]
) -> None:
    queued = dict(zip(run.decisions.number.tolist(), run.decisions.queued_days.tolist(), strict=True))
    late, capacity = 0, bank().config.capacity
    pools = dict(zip((one.name for one in bank().config.catalogue.channels), capacity.pool_of, strict=True))
    for customer, made in contacts.items():
        for one in made:
            wait = queued[one.number]
            assert one.contact_day == execution_day(one, start, customer) + wait
            assert wait == 0 or (pools[one.channel] and wait <= capacity.longest_queue_days)
            late += wait > 0
    assert late > 20


def test_a_conversion_is_credited_to_the_latest_contact_within_the_window(
    run: Rollout, contacts: dict[int, list[Made]]
) -> None:
    products, log, credited = bank().config.catalogue.products, run.outcomes, 0
    for customer, day, product, decision in zip(
        log.customer, log.day, log.product, log.decision, strict=True
    ):
        name, window = products[product].name, products[product].attribution_window_days
        about = [one for one in contacts[int(customer)] if one.product == name and one.day <= day]
        expected = -1
        if about:
            begun = about[-1].contact_day
            expected = about[-1].number if begun <= day < begun + window else -1
        assert decision == expected, (customer, day, name)
        credited += expected >= 0
    assert credited > 60


def as_context(state: WorldState, customer: int, made: list[Made]) -> Context:
    """A customer as the service would be told about them: attributes by name, and their contacts."""
    config, row = bank().config, np.array([customer])
    columns = bank().observe(state, row).attributes
    attributes: dict[str, object] = {}
    for column in config.schema.columns:
        value = float(columns[column.name][0])
        plain = bool(value) if isinstance(column, Flag) else value
        attributes[column.name] = column.levels[int(value)] if isinstance(column, Category) else plain
    catalogue = config.catalogue
    for name, masks, of in (
        ("consents", state.consents, catalogue.channels),
        ("owned", state.owned, catalogue.products),
    ):
        held = flags(masks[row], len(of))[0]
        attributes[name] = [one.name for one, yes in zip(of, held, strict=True) if yes]
    start = datetime(2026, 3, 2, tzinfo=UTC)
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
        for row, action, wait, real in zip(rows, actions, responses.waits, responses.contacted, strict=True):
            if real:
                made[int(row)].append(Made(state.day, 0, *ids[action].split("/"), state.day + int(wait)))
        state, _ = world.advance(state, rows, actions, responses)
    seen = world.observe(state, np.arange(60))
    told = policy.strategy.encode([as_context(state, row, made[row]) for row in range(60)])
    np.testing.assert_array_equal(seen.at, told.at)
    for name in ("contact_counts", "consents", "owned"):
        np.testing.assert_array_equal(getattr(seen, name), getattr(told, name), err_msg=name)
    # Fatigue is kept in halves: each touch rounds it at the eleventh bit.
    np.testing.assert_allclose(seen.fatigue, told.fatigue, rtol=3e-3, atol=1e-4)
    np.testing.assert_allclose(seen.features, told.features, rtol=3e-3, atol=1e-3)
    np.testing.assert_allclose(*(np.minimum(one.offer_age_days, 200.0) for one in (seen, told)))
    assert seen.contact_counts.max() > 1 and seen.fatigue.max() > 0.5
    np.testing.assert_array_equal(policy.strategy.eligible(seen).mask, policy.strategy.eligible(told).mask)
