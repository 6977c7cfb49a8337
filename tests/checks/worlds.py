"""Ways to look at simulated worlds: equal customers, chosen contacts, days that pass, states compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from msgspec import structs
from small import bank, small_world

from nba.arrays import FloatArray, IntArray
from nba.randomness import Purpose, keyed_uniforms
from simulator.capacity import HORIZON
from simulator.config import MechanismsConfig, WorldConfig
from simulator.day import with_ceilings
from simulator.response import Odds
from simulator.state import Conversions, Responses, WorldState
from simulator.world import World

Choose: TypeAlias = Callable[[World, WorldState], tuple[IntArray, IntArray]]  # rows and their actions
SHARED = ("seed", "day", "people", "pending", "book", "queue")  # of a state: not a column of customers
NOBODY = np.zeros(0, dtype=np.int64)
N = 20_000
CHANNELS, TIMINGS = ("app_push", "sms", "call"), ("now", "evening", "weekend")
PRODUCTS = ("term-deposit", "coupon", "card-instalment", "membership")
PUSH, SMS, CALL = range(3)


class Day(NamedTuple):
    """One simulated day."""

    before: WorldState
    rows: IntArray
    actions: IntArray
    responses: Responses
    sold: Conversions
    after: WorldState


def edited(world: World, **sections: Any) -> World:
    """The same world with some fields of some sections replaced: response={...}, referral={...}."""
    changes = {
        name: structs.replace(getattr(world.config, name), **part) if isinstance(part, dict) else part
        for name, part in sections.items()
    }
    return World(structs.replace(world.config, **changes), world.engine)


def without(world: World, *names: str) -> World:
    """The same world with some more mechanisms switched off."""
    return edited(world, mechanisms=MechanismsConfig(off=(*world.config.mechanisms.off, *names)))


def silent(world: World, state: WorldState) -> tuple[IntArray, IntArray]:
    return NOBODY, NOBODY


def everybody(action: int) -> Choose:
    """One action for all customers, whether they come up or not."""
    return lambda world, state: (
        np.arange(state.people.n_customers),
        np.full(state.people.n_customers, action),
    )


def any_action(world: World, state: WorldState) -> tuple[IntArray, IntArray]:
    """Whoever comes up gets any of the actions or, for a third, none: keyed, so that shards agree."""
    rows = world.due(state)
    choice, action = (
        keyed_uniforms(99, Purpose.PROBE, state.people.ids[rows], state.day, block) for block in (0, 1)
    )
    actions = 1 + np.floor(action * (world.config.catalogue.n_actions - 1)).astype(np.int64)
    return rows, np.where(choice < 1 / 3, 0, actions)


def days_of(world: World, state: WorldState, days: int, choose: Choose = silent) -> Iterator[Day]:
    """Some days, one after the other."""
    for _ in range(days):
        rows, actions = choose(world, state)
        responses = world.respond(state, rows, actions)
        after, sold = world.advance(state, rows, actions, responses)
        yield Day(state, rows, actions, responses, sold, after)
        state = after


def mixed(rows: IntArray) -> Choose:
    """Every action in turn, another one every day."""
    return lambda world, state: (
        rows,
        1 + (rows * 37 + state.day * 131) % (world.config.catalogue.n_actions - 1),
    )


def clones(world: World, number: int, n: int, day: int = 3, **columns: Any) -> WorldState:
    """Customer `number` n times under n numbers, so only noise differs; `columns` replaces their state."""
    one = world.reset(1, np.array([number]))
    traits = {name: np.repeat(part, n, axis=0) for name, part in one.people._asdict().items()}
    parts = {name: np.repeat(part, n, axis=0) for name, part in one._asdict().items() if name not in SHARED}
    parts["touched"] = np.full(n, day, dtype=np.int16)
    branches = (n - 1) // world.config.population.branch_customers + 1
    shape = (branches, len(world.laws.capacity.pools))
    state = one._replace(
        **parts,
        day=day,
        people=one.people._replace(**traits | {"ids": np.arange(n)}),
        book=np.zeros((*shape, HORIZON), dtype=np.float32),
        queue=np.zeros(shape, dtype=np.float32),
    )
    return changed(world, state, **columns)


def changed(world: World, state: WorldState, **columns: Any) -> WorldState:
    """The state with some columns set, traits of people too, and bounds that fit."""
    n, traits = state.people.n_customers, {}
    for name in columns.keys() & state.people._asdict().keys():
        traits[name] = filled(getattr(state.people, name), columns.pop(name))
    parts = {name: filled(getattr(state, name), value) for name, value in columns.items()}
    state = state._replace(**parts, people=state.people._replace(**traits))
    return with_ceilings(world.laws, state, np.arange(n))


def filled(column: Any, value: Any) -> Any:
    whole = np.empty_like(column)
    whole[...] = value
    return whole


def agrees(happened: Any, probability: float, errors: float = 4.0) -> bool:
    """Is a share of (n,) yes or no within some standard errors of a probability?"""
    share, n = float(np.mean(happened)), np.size(happened)
    return abs(share - probability) <= errors * np.sqrt(max(probability * (1 - probability), 1e-12) / n)


def facts(state: WorldState) -> dict[str, Any]:
    """Everything that a state says, by name; what is pending by customer number, in a fixed order."""
    pending = np.stack([state.people.ids[state.pending.customers], state.pending.products, state.pending.due])
    named = {f"people.{name}": part for name, part in state.people._asdict().items()}
    plain = {name: part for name, part in state._asdict().items() if name not in ("people", "pending")}
    return named | plain | {"pending": pending[:, np.lexsort(pending)]}


def assert_same(one: WorldState, other: WorldState, leave_out: tuple[str, ...] = ()) -> None:
    """Every array of two states, to the bit and in its type."""
    left, right = facts(one), facts(other)
    for name in left.keys() - set(leave_out):
        assert np.asarray(left[name]).dtype == np.asarray(right[name]).dtype, name
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


@cache
def busy_bank() -> World:
    """The retail bank in a hurry: small branches, short of people, in which everything happens often."""
    config: WorldConfig = bank().config
    answer = config.response
    return edited(
        bank(),
        decide_every_days=2,
        population={"branch_customers": 25},
        capacity={"daily_minutes": {"managers": 100, "callers": 20}},
        referral={"per_conversion": 0.5},
        response={
            "organic": tuple(8 * rate for rate in answer.organic),
            "lift": tuple(4 * size for size in answer.lift),
            "opt_out": structs.replace(answer.opt_out, base=(0.02,) * 7),
            "complaint": structs.replace(answer.complaint, base=(0.02,) * 7),
        },
        behaviour={
            "events": tuple(
                structs.replace(kind, per_day=4 * kind.per_day) for kind in config.behaviour.events
            )
        },
    )


def recovery(half_life: float, days: Any) -> FloatArray:
    """Share left after some days, written out."""
    return np.asarray(0.5 ** (np.asarray(days, dtype=np.float64) / half_life))


def lively(**response: Any) -> World:
    """Much happens, so that little noise hides an error; nobody needs anybody, and nothing is organic."""
    plain = small_world(CHANNELS, TIMINGS, PRODUCTS, off=("capacity",))
    answer = plain.config.response
    parts = {
        "organic": (0.0,) * 4,
        "opt_out": structs.replace(answer.opt_out, base=(0.05, 0.08, 0.1)),
        "complaint": structs.replace(answer.complaint, base=(0.02, 0.03, 0.05)),
        "lift": (0.3, 0.6, 0.4, 0.5),
    }
    return edited(plain, response=parts | response)


def fresh(world: World, number: int, **columns: Any) -> WorldState:
    """N clones in a mature stage who hold nothing."""
    return clones(world, number, N, **({"stage": 3, "owned": 0} | columns))


def answer_of(world: World, state: WorldState, action_id: str) -> tuple[Responses, Odds]:
    """The answers of clones to one contact each, and the odds that they share."""
    catalogue, rows = world.config.catalogue, np.arange(state.people.n_customers)
    action = catalogue.row_of(action_id)
    of_action = (catalogue.channel_of, catalogue.timing_of, catalogue.product_of)
    factors = [np.array([factor[action]]) for factor in of_action]
    seen = world.respond(state, rows, np.full(rows.size, action))
    return seen, world.odds(state, rows[:1], *factors)


def one(part: Any) -> float:
    return float(np.asarray(part).ravel()[0])
