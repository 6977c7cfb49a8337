"""Conservation checks of the world report: a clean run passes them all, and each can fail."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from experiments.executor import silent
from experiments.world_report import formulas
from experiments.world_report.checks import all_checks
from experiments.world_report.contacts_made import counters, made
from experiments.world_report.samples import random_strategy
from experiments.world_report.trace import Trace, trace
from nba.arrays import IntArray, take_rows
from simulator.hazards import organic_hazards
from simulator.mechanisms import switched
from simulator.state import WorldState
from simulator.world import World
from tests.small import bank


@cache
def run() -> Trace:
    """Customers of two branches, one of them not whole."""
    world = bank()
    return trace(world, random_strategy(world, 1), 3, np.arange(1_000, 2_600), 28, silent)


def decisions(of: Trace, **changes: Any) -> Trace:
    return of._replace(decisions=of.decisions._replace(**changes))


def sales(of: Trace, **changes: Any) -> Trace:
    return of._replace(sales=of.sales._replace(**changes))


def changed(column: np.ndarray, rows: Any, value: Any) -> np.ndarray:
    copy = column.copy()
    copy[rows] = value
    return copy


def all_organic(of: Trace) -> Trace:
    return sales(of, caused=np.zeros_like(of.sales.caused))


def all_caused(of: Trace) -> Trace:
    return sales(of, caused=np.ones_like(of.sales.caused))


def about_something_else(of: Trace) -> Trace:
    first = np.flatnonzero(of.sales.caused)[0]
    seen = made(of).product[made(of).customer == of.sales.customer[first]]
    other = next(product for product in range(20) if product not in seen)
    return sales(of, product=changed(of.sales.product, first, other))


def twice_a_day(of: Trace) -> Trace:
    rows = np.append(np.arange(of.sales.day.size), 0)
    return of._replace(sales=take_rows(of.sales, rows))


def lost_product(of: Trace) -> Trace:
    row = int(np.flatnonzero(of.owned[0])[0])
    return of._replace(owned=changed(of.owned, (-1, row), 0))


def unknown_purchase(of: Trace) -> Trace:
    lasting = np.flatnonzero(of.owned[0] == 0)[0]
    return of._replace(owned=changed(of.owned, (slice(5, None), lasting), 1))


def leap(of: Trace) -> Trace:
    row = int(np.flatnonzero(of.stage[9] == 3)[0])  # a mature customer wakes up won back
    return of._replace(stage=changed(of.stage, (slice(10, None), row), 7))


def endless_honeymoon(of: Trace) -> Trace:
    row = int(np.flatnonzero((of.stage == 1).all(axis=0))[0])
    return of._replace(joined=changed(of.joined, row, -200))


def after_opt_out(of: Trace) -> Trace:
    one = made(of)
    again = (one.customer[1:] == one.customer[:-1]) & (one.channel[1:] == one.channel[:-1])
    first = one.entry[np.flatnonzero(again & (one.day[1:] > one.day[:-1]))[0]]
    return decisions(of, opted_out=changed(of.decisions.opted_out, first, True))


def never_asked(of: Trace) -> Trace:
    return of._replace(consents=changed(of.consents, 0, 0))


def consent_comes_back(of: Trace) -> Trace:
    row = int(np.flatnonzero(of.consents[-1] == 0)[0])
    return of._replace(consents=changed(of.consents, (-1, row), 1))


def same_day_twice(of: Trace) -> Trace:
    one = made(of)
    again = (one.customer[1:] == one.customer[:-1]) & (one.channel[1:] == one.channel[:-1])
    at = int(np.flatnonzero(again)[0])
    days = changed(of.decisions.contact_day, one.entry[at + 1], one.day[at])
    return decisions(of, contact_day=days)


def unanswered_call(of: Trace) -> Trace:
    one = made(of)
    calls = one.entry[(one.channel == 5) & of.decisions.delivered[one.entry] & (one.day < 28)]
    return decisions(of, delivered=changed(of.decisions.delivered, calls[0], False))


def overfull_day(of: Trace) -> Trace:
    return of._replace(minutes=changed(of.minutes, (0, 0, 0), 1e6))


def forgotten_contact(of: Trace) -> Trace:
    one = made(of)
    return decisions(of, refused=changed(of.decisions.refused, one.entry[one.day < 10][0], True))


def engaged_unseen(of: Trace) -> Trace:
    row = np.flatnonzero(~of.decisions.seen)[0]
    return decisions(of, engaged=changed(of.decisions.engaged, row, True))


def free_contact(of: Trace) -> Trace:
    return decisions(of, cost=changed(of.decisions.cost, made(of).entry[0], 0.0))


def dear_sale(of: Trace) -> Trace:
    return sales(of, amount=changed(of.sales.amount, 0, 1.01 * of.sales.amount[0]))


TAMPERED: list[tuple[str, Callable[[Trace], Trace]]] = [
    ("organic conversions", all_organic),
    ("organic conversions", lambda of: of._replace(organic=2.5 * of.organic)),
    ("caused conversions", all_caused),
    ("caused conversions", lambda of: of._replace(masses=of.masses._replace(mass=0.1 * of.masses.mass))),
    ("causes", about_something_else),
    ("one conversion a day", twice_a_day),
    ("ownership", lost_product),
    ("ownership", unknown_purchase),
    ("stages", leap),
    ("stages", endless_honeymoon),
    ("consent", after_opt_out),
    ("consent", never_asked),
    ("withdrawals", consent_comes_back),
    ("platform limits", same_day_twice),
    ("capacity", unanswered_call),
    ("capacity", overfull_day),
    ("fatigue", forgotten_contact),
    ("funnel", engaged_unseen),
    ("money", free_contact),
    ("money", dear_sale),
]


def test_a_clean_run_breaks_nothing_and_leaves_nothing_unlooked_at() -> None:
    found = all_checks(run())
    assert {one.name: one.violations for one in found if one.violations} == {}
    assert all(one.cases > 0 for one in found)
    assert {one.name for one in found} == {name for name, _ in TAMPERED}


@pytest.mark.parametrize(("name", "tamper"), TAMPERED)
def test_a_check_fails_when_the_log_is_tampered_with(name: str, tamper: Callable[[Trace], Trace]) -> None:
    found = {one.name: one.violations for one in all_checks(tamper(run()))}
    assert found[name] > 0


def test_above_a_platform_limit_is_seen() -> None:
    of, one = run(), made(run())
    message = np.flatnonzero(one.channel == 1)[:5]  # adviser messages: at most 4 in 30 days
    customer = changed(of.decisions.customer, one.entry[message], int(of.ids[0]))
    days = changed(of.decisions.contact_day, one.entry[message], np.arange(5) * 2 + 100)
    found = all_checks(decisions(of, customer=customer, contact_day=days))
    assert {check.name: check.violations for check in found}["platform limits"] == 1


def test_counters_by_hand() -> None:
    of = run()
    wanted, touches = counters(of)
    entry = int(np.flatnonzero(touches == 2)[0])
    one = made(of)
    before = (one.customer == of.decisions.customer[entry]) & (one.day < of.decisions.day[entry])
    kernel = of.world.config.fatigue
    ages = (of.decisions.day[entry] - one.day[before]).astype(np.float64)
    by_hand = kernel.of_contacts(one.channel[before], ages, kernel.spill(of.world.config.catalogue))
    assert wanted[entry] == pytest.approx(by_hand)


def lived_in() -> tuple[World, WorldState, IntArray]:
    """The bank after forty days without contacts."""
    world, nobody = bank(), np.zeros(0, dtype=np.int64)
    state = world.reset(5, np.arange(800))
    for _ in range(40):
        state, _ = world.advance(state, nobody, nobody, world.respond(state, nobody, nobody))
    return world, state, np.arange(800)


def test_the_second_formula_of_organic_hazards_is_the_worlds_own() -> None:
    world, state, rows = lived_in()
    hazards = organic_hazards(world.laws.hazards, world.today(state), state, rows)
    config, place = switched(world.config), formulas.families_of(world.config)[1]
    second = np.array(config.response.organic) * np.exp(formulas.log_pressure(config, state, rows, 0))
    assert second * formulas.can_buy(config, state, rows) == pytest.approx(hazards, rel=1e-5)
    total = hazards.sum(axis=1, keepdims=True)
    by_product = (-np.expm1(-total) * hazards / np.maximum(total, 1e-300)).sum(axis=0)
    expected = formulas.organic_chances(world, state, np.zeros(0, dtype=np.int64))[0]
    assert expected == pytest.approx(np.bincount(place, by_product), rel=1e-5)
    without = formulas.organic_chances(world, state, rows[:400])[0]
    assert without.sum() < 0.6 * expected.sum()


def test_the_second_formula_of_lifted_hazards_is_the_worlds_own() -> None:
    world, state, rows = lived_in()
    catalogue = world.config.catalogue
    actions = 1 + (rows * 37) % (catalogue.n_actions - 1)
    parts = catalogue.channel_of[actions], catalogue.timing_of[actions], catalogue.product_of[actions]
    own = world.odds(state, rows, *parts).mass
    waits = world.waits(state, rows)[rows, parts[1]]
    assert waits.max() > 3  # also contacts that are made later
    everybody = np.ones(rows.size, dtype=np.bool_)
    second = formulas.lifted_masses(
        world,
        state,
        rows,
        actions,
        waits=waits,
        long=np.zeros(rows.size),
        engaged=everybody,
        late=~everybody,
    )
    assert second.mass == pytest.approx(own, rel=1e-4, abs=1e-12)
    assert (second.contact_day == state.day + waits).all() and (second.product == parts[2]).all()
