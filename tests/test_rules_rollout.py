"""Rests in simulated lives: the log of a run against plain Python, and nothing changes where none rests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec import structs
from small import small_world

from experiments.executor import silent
from experiments.logs import digest
from experiments.rollout import Rollout, Stretch, rollout, run_stretch
from experiments.spec import Phase, StrategySpec
from nba.constraints import NotTogether, Rest
from nba.errors import InvalidConfig
from nba.policies import RandomEligible
from nba.posteriors import SegmentRatesModel
from nba.scope import Scope
from nba.snapshot import Snapshot
from simulator.env import CustomersEnv

PHASE = Phase(customers=300, days=40, seed=5)
DAILY = {"off": ("capacity", "referral")}


def run(*rules: Any) -> Rollout:
    world = small_world(**DAILY)
    spec = StrategySpec(name="any", model=SegmentRatesModel(), policy=RandomEligible(), rules=rules)
    return rollout(world, Snapshot.start(spec.strategy(world, seed=1)), PHASE, with_oracle=False)


def offers(found: Rollout) -> dict[tuple[int, int], list[tuple[int, bool, int]]]:
    """(customer, product) -> (day of the decision, engaged, product) of contacts, in order."""
    log, products = found.decisions, small_world(**DAILY).config.catalogue.product_of
    cells: dict[tuple[int, int], list[tuple[int, bool, int]]] = {}
    for row in np.flatnonzero(log.action > 0):
        key = int(log.customer[row]), int(products[log.action[row]])
        cells.setdefault(key, []).append((int(log.day[row]), bool(log.engaged[row]), int(log.action[row])))
    return cells


def broken(cells: dict[Any, list[tuple[int, bool, int]]], rest_days: int) -> int:
    """Contacts within so many days after one that the customer engaged with."""
    count = 0
    for contacts in cells.values():
        days = [day for day, engaged, _ in contacts if engaged]
        count += sum(any(one < day < one + rest_days for one in days) for day, _, _ in contacts)
    return count


def test_no_product_is_offered_while_it_rests_in_a_simulated_log() -> None:
    rule = Rest(outcome="engaged", within_days=1, days=9)
    free, rested = offers(run()), offers(run(rule))
    assert broken(free, 9) > 30, "without the rule there would be something to find"
    assert broken(rested, 9) == 0
    assert sum(map(len, rested.values())) > 1_000


def too_soon(found: Rollout) -> int:
    """Contacts from 2 to 12 days after one about the product that was ignored until then.

    Sales forgive as well; who has bought the product is left out.
    """
    bought, count = set(zip(found.outcomes.customer, found.outcomes.product, strict=True)), 0
    for cell, contacts in offers(found).items():
        reacted = [day for day, engaged, _ in contacts if engaged]
        for day, _, _ in contacts:
            for later in (one for one, _, _ in contacts if day + 2 <= one < day + 12):
                is_forgiven = any(day <= one < later for one in reacted)
                count += cell not in bought and not is_forgiven
    return count


def test_a_contact_that_was_ignored_rests_in_a_simulated_log() -> None:
    rule = Rest(outcome="ignored", within_days=30, days=10, ignored_after_days=2)
    assert too_soon(run()) > 500
    assert too_soon(run(rule)) == 0


def test_products_stay_apart_in_a_simulated_log() -> None:
    rule = NotTogether(these=Scope(product="coupon"), those=Scope(product="membership"), days=6)
    catalogue = small_world(**DAILY).config.catalogue
    pair = {catalogue.level("product", name) for name in ("coupon", "membership")}

    def near(found: Rollout) -> int:
        log, count = found.decisions, 0
        products = np.where(log.action > 0, catalogue.product_of[log.action], -1)
        for customer in np.unique(log.customer):
            rows = np.flatnonzero((log.customer == customer) & np.isin(products, list(pair)))
            days, kinds = log.day[rows], products[rows]
            gaps = np.abs(days[:, None] - days) < 6
            count += int((gaps & (kinds[:, None] != kinds)).sum()) // 2
        return count

    assert near(run()) > 100 and near(run(rule)) == 0


def test_rules_that_never_remove_change_no_bit() -> None:
    never = Rest(outcome="complained", times=1_000, within_days=30, days=30)
    plain, ruled = run(), run(never)
    assert digest(plain.decisions, plain.outcomes) == digest(ruled.decisions, ruled.outcomes)


def test_a_run_that_is_cut_remembers_what_has_happened() -> None:
    world = small_world(**DAILY)
    rule = Rest(outcome="engaged", within_days=1, days=9)
    spec = StrategySpec(name="any", model=SegmentRatesModel(), policy=RandomEligible(), rules=(rule,))
    snapshot = Snapshot.start(spec.strategy(world, seed=1))
    work = Stretch(world, snapshot, 5, np.arange(100), None, 24, 24, True, False, False)
    whole = run_stretch(work, silent)
    first = run_stretch(work._replace(days=11, deciding_days=11, is_last=False), silent)
    rest = run_stretch(work._replace(block=first.block, days=13, deciding_days=13), silent)
    joined = [np.concatenate(parts) for parts in zip(first.logs.decisions, rest.logs.decisions, strict=True)]
    for column, cut in zip(whole.logs.decisions, joined, strict=True):
        np.testing.assert_array_equal(column, cut)


def test_an_environment_that_keeps_no_outcomes_refuses_rules_about_them() -> None:
    world = small_world(**DAILY)
    rules = (Rest(outcome="engaged", within_days=1, days=9),)
    contact = structs.replace(world.config.contact, rules=rules)
    strict = structs.replace(world, config=structs.replace(world.config, contact=contact))
    with pytest.raises(InvalidConfig, match="known to experiments and to the service"):
        CustomersEnv(2, strict)
