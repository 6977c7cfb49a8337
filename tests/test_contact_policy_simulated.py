"""No cap is overshot in simulated runs: whole histories against an audit that sees the log alone."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec import structs
from small import bank, small_world

from experiments.audit import violations
from experiments.rollout import Rollout, rollout
from experiments.spec import Phase
from nba.conditions import Condition
from nba.constraints import BackOff, ContactLimit, ContactPolicy
from nba.constraints.turns import Household
from nba.errors import InvalidConfig
from nba.policies import RandomEligible
from nba.posteriors import SegmentRatesModel
from nba.snapshot import Snapshot
from nba.strategy import Strategy
from simulator import contact_history
from simulator.world import World

HOME = 4
OLD = Condition(attribute="age", at_least=75)
LIMITS = (
    ContactLimit(contacts=3, days=7),
    ContactLimit(contacts=1, days=3, each_channel=True),
    ContactLimit(contacts=2, days=10, channels=("app_push", "sms"), name="digital"),
    ContactLimit(contacts=4, days=7, level="household", name="home"),
)
CROWDED = ContactPolicy(limits=LIMITS, planned="exact")


def crowded(policy: ContactPolicy = CROWDED, population: dict[str, int] | None = None) -> World:
    """Everybody is asked every day, for today, the weekend or the key day; nobody queues."""
    world = small_world(
        channels=("app_push", "sms", "email"),
        timings=("morning", "weekend", "next_key_day"),
        policy=policy,
        population={"household_customers": HOME} if population is None else population,
        off=("capacity",),
    )
    return World(structs.replace(world.config, decide_every_days=1))


def run(world: World, customers: int, days: int) -> Rollout:
    config = world.config
    strategy = Strategy(
        name="random", catalogue=config.catalogue, schema=config.schema, model=SegmentRatesModel(),
        policy=RandomEligible(), rules=config.contact.rules, contact_policy=config.contact.policy,
        fatigue=world.kernel, seed=3,
    )  # fmt: skip
    return rollout(
        world, Snapshot.start(strategy), Phase(customers=customers, days=days, seed=5), with_oracle=False
    )


def broken(world: World, done: Rollout) -> int:
    config = world.config
    return violations(
        done.decisions, config.catalogue, config.contact.policy, config.population.household_customers
    )


def test_households_and_exact_plans_keep_every_window() -> None:
    world = crowded()
    done = run(world, 120, 30)
    assert broken(world, done) == 0
    log = done.decisions
    made = (log.action > 0) & ~log.refused
    assert (log.contact_day[made] > log.day[made]).any()
    # The limits bind: without any of them there would be violations of it.
    for number in range(len(LIMITS)):
        loose = CROWDED.limits[:number] + CROWDED.limits[number + 1 :]
        free = run(crowded(structs.replace(CROWDED, limits=loose)), 120, 30)
        assert broken(world, free) > 0, LIMITS[number]


def test_an_exact_plan_uses_room_that_a_cautious_one_leaves() -> None:
    limits = (ContactLimit(contacts=1, days=7),)
    made = {}
    for planned in ("exact", "as_today"):
        world = crowded(ContactPolicy(limits=limits, planned=planned))  # type: ignore[arg-type]
        done = run(world, 400, 40)
        assert broken(world, done) == 0
        made[planned] = int(((done.decisions.action > 0) & ~done.decisions.refused).sum())
    assert made["exact"] > 1.05 * made["as_today"]


def test_the_audit_finds_members_who_do_not_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Household, "add", lambda self, rows, actions: None)
    world = crowded()
    assert broken(world, run(world, 240, 20)) > 0


def test_the_audit_finds_a_history_that_forgets_a_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    placed = contact_history.placed
    monkeypatch.setattr(contact_history, "placed", lambda masks, today: placed(masks[:, :2], today))
    world = crowded()
    assert broken(world, run(world, 240, 20)) > 0


@pytest.mark.parametrize(
    ("policy", "pointer"),
    [
        (ContactPolicy(limits=(ContactLimit(contacts=1, hours=7),)), "limits[0].hours"),
        (ContactPolicy(limits=(ContactLimit(contacts=1, calendar="day"),)), "limits[0].calendar"),
        (ContactPolicy(limits=(ContactLimit(contacts=1, days=7, whom=OLD),)), "limits[0].whom"),
        (ContactPolicy(back_off=(BackOff(channel="sms", hours=7),)), "back_off"),
    ],
)
def test_a_simulated_history_keeps_no_hours(policy: ContactPolicy, pointer: str) -> None:
    with pytest.raises(InvalidConfig, match="must be left out: .* simulated") as caught:
        crowded(policy)
    assert caught.value.pointer == f"contact.policy.{pointer}"


def test_households_fill_branches() -> None:
    with pytest.raises(InvalidConfig, match="divide branch_customers"):
        crowded(population={"household_customers": 3})


@pytest.mark.slow
def test_a_million_decisions_overshoot_no_cap() -> None:
    """Half of them in the retail bank as it is, half where everybody is asked every day."""
    world = bank()
    plain = run(world, 15_000, 128)
    assert broken(world, plain) == 0
    dense = crowded()
    crowd = run(dense, 10_000, 50)
    assert broken(dense, crowd) == 0
    decisions = plain.decisions.action.size + crowd.decisions.action.size
    contacts = sum(int(((one.decisions.action > 0) & ~one.decisions.refused).sum()) for one in (plain, crowd))
    print(f"\n{decisions:,} decisions, {contacts:,} contacts made, no violation")
    assert decisions >= 1_000_000 and contacts > 300_000
    assert np.unique(plain.decisions.customer).size == 15_000
