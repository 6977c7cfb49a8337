"""Numba gives what NumPy gives, bit for bit: whole lives of a bank, and every function of an engine alone."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import numpy as np
import pytest
from checks.worlds import any_action, changed, days_of, edited, facts, without
from msgspec import structs
from small import bank

from nba.errors import InvalidConfig
from nba.randomness import Purpose
from simulator.engine import NUMPY, Engine, engine_of
from simulator.life_cycle import LifeCycleLaw
from simulator.memory import Booking
from simulator.response import Contacts
from simulator.screen import Bounds
from simulator.state import Memory, WorldState
from simulator.world import World

pytest.importorskip("numba")

DAYS, IDS = 64, np.arange(4_000, 8_000)  # two branches that are not the first ones
# Logits; the shipped bank has none.
SEASONS = {"weekday": (0.1, -0.2, 0.0, 0.3, 0.1, -0.4, 0.2), "month": (0.1, -0.1) * 6}
OFF = ("capacity", "cross_sell", "recency", "hand_off", "return_flow", "events", "fatigue")


def run_by(engine: str, world: World) -> World:
    return World(world.config, engine)  # type: ignore[arg-type]


def lived(world: World, days: int) -> list[tuple[dict[str, Any], ...]]:
    """Every array of every day: state, answers and conversions."""
    life = []
    for day in days_of(world, world.reset(5, IDS), days, any_action):
        answers = day.responses._asdict() | day.responses.memory._asdict()
        answers.pop("memory")
        life.append((facts(day.after), answers, day.sold._asdict()))
    return life


@pytest.mark.parametrize(
    ("world", "days"),
    [
        pytest.param(bank(), DAYS, id="the bank"),
        pytest.param(without(bank(), *OFF), 24, id="hardly anything"),
        pytest.param(edited(bank(), response=SEASONS | {"follow_up": 0.7}), 24, id="seasons, follow-ups"),
        pytest.param(edited(bank(), referral={"per_conversion": 0.5}), 24, id="many invitations"),
    ],
)
def test_whole_lives_are_the_same_bit_for_bit(world: World, days: int) -> None:
    for numpy, numba in zip(*(lived(run_by(name, world), days) for name in ("numpy", "numba")), strict=True):
        for left, right in zip(numpy, numba, strict=True):
            for name, part in left.items():
                np.testing.assert_array_equal(right[name], part, err_msg=name, strict=True)


@cache
def seasoned() -> WorldState:
    """The bank after forty days: contacts made and planned, purchases, events, complaints."""
    *_, last = days_of(bank(), bank().reset(5, IDS), 40, any_action)
    return last.after


def later(days: int) -> WorldState:
    """So many days later, with any contacts: some more on a channel than a bank would plan."""
    state, draw = seasoned(), np.random.default_rng(days)
    masks = draw.integers(0, 2**64, (3, *state.contacts.shape), dtype=np.uint64)
    return state._replace(day=state.day + days, contacts=masks[0] & masks[1] & masks[2])


NUMBA = engine_of("numba", "test")
MECHANISMS = ("buys", "moves", "happens")
PEOPLE = [np.arange(0), np.array([17]), np.arange(0, IDS.size, 3), np.arange(IDS.size)[::-1].copy()]


def meeting(rows: Any, day: int) -> Contacts:
    """All channels, timings, products and waits in turn."""
    draw = np.random.default_rng(day)
    c, t, p = bank().config.catalogue.shape
    levels = [draw.integers(0, n, rows.size) for n in (c, t, p, 32)]
    return Contacts(rows, *levels, *draw.random((3, rows.size)))


def draw_covariates(law: LifeCycleLaw, n: int) -> Any:
    return np.random.default_rng(n).normal(0.0, 4.0, (law.slopes.shape[0], n))


def answers(engine: Engine, state: WorldState, rows: Any) -> dict[str, Any]:
    """What each function of an engine that reads a state says about some customers."""
    laws, now = bank().laws, bank().today(state)
    memory = engine.remembered(state, rows, state.day, laws.kernel, laws.spill)
    one = meeting(rows, state.day)
    logs = engine.logs(laws.contact, laws.hazards, now, state, one)
    waits = one.waits * (one.timings == 1)  # half of them are made at once
    new = Booking(np.arange(rows.size), rows, one.channels, one.products, waits, one.short < 0.5)
    booked = engine.booked(state, memory, new, laws.kernel, laws.spill)
    weights = np.exp(engine.organic_logs(laws.hazards, now, state, rows))
    met = engine.met(memory, new.among, one.channels)
    screened = engine.screened(state, Bounds.of(now, laws.life, laws.behaviour))
    return {
        **memory._asdict(),
        **{f"log {name}": part for name, part in logs._asdict().items()},
        **{f"met {name}": part for name, part in met._asdict().items()},
        **{f"{name} {n}": part for name in MECHANISMS for n, part in enumerate(getattr(screened, name))},
        "login": screened.login,
        "kinds": engine.kinds(laws.behaviour, state, rows, one.short * laws.behaviour.bound),
        "move logs": engine.move_logs(laws.life, state.stage[rows], draw_covariates(laws.life, rows.size)),
        "picked": engine.picked(weights, 5.0 * one.short),
        "picked by share": engine.picked(weights, one.short, of_total=True),
        **{f"booked {name}": getattr(booked, name)[rows] for name in (*Memory._fields, "touched")},
        "organic": engine.organic_logs(laws.hazards, now, state, rows),
        "ceilings": engine.ceiling_logs(laws.hazards, state, rows),
        "words": engine.words(2**40 + 3, Purpose.CONTACT, rows + 2**55, state.day, 7),
    }


@pytest.mark.parametrize("rows", PEOPLE, ids=["nobody", "one", "some", "all backwards"])
@pytest.mark.parametrize("days", [0, 1, 20, 33, 63, 64, 65, 1_500, 30_000])
def test_every_function_agrees_however_long_ago_the_touch_was(days: int, rows: Any) -> None:
    state = later(days)
    numba = answers(NUMBA, state, rows)
    for name, part in answers(NUMPY, state, rows).items():
        np.testing.assert_array_equal(numba[name], part, err_msg=name, strict=True)


@pytest.mark.parametrize("engine", [NUMPY, NUMBA], ids=["numpy", "numba"])
def test_an_answer_does_not_depend_on_who_is_asked_with_one(engine: Engine) -> None:
    state, laws, now = later(2), bank().laws, bank().today(later(2))
    rows = np.arange(IDS.size)
    together = (
        engine.organic_logs(laws.hazards, now, state, rows),
        *engine.remembered(state, rows, state.day, laws.kernel, laws.spill),
    )
    for part in (rows[:1], rows[5:22], rows[-3:]):
        alone = (
            engine.organic_logs(laws.hazards, now, state, part),
            *engine.remembered(state, part, state.day, laws.kernel, laws.spill),
        )
        for whole, few in zip(together, alone, strict=True):
            np.testing.assert_array_equal(whole[part], few)


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_no_state_is_written_to(name: str) -> None:
    world, before = run_by(name, bank()), seasoned()
    kept = {field: np.copy(part) for field, part in facts(before).items()}
    rows, actions = any_action(world, before)
    responses = world.respond(before, rows, actions)
    given = {field: np.copy(part) for field, part in responses.memory._asdict().items()}
    first, second = (world.advance(before, rows, actions, responses) for _ in range(2))
    for field, part in facts(before).items():
        np.testing.assert_array_equal(part, kept[field], err_msg=field)
    for field, part in responses.memory._asdict().items():
        np.testing.assert_array_equal(part, given[field], err_msg=field)
    for field, part in facts(first[0]).items():
        np.testing.assert_array_equal(part, facts(second[0])[field], err_msg=field)


def test_requests_are_served_in_the_same_cells() -> None:
    draw, n_days = np.random.default_rng(3), 6
    for minutes_a_day in (0, 7, 60):
        desks = draw.permutation(np.repeat(np.arange(78), np.repeat(np.arange(1, 40), 2)))  # requests of each
        wanted = desks * 20 + draw.integers(0, 10, desks.size)
        minutes, cells = draw.integers(1, 15, desks.size), draw.integers(0, minutes_a_day + 1, 78 * 20)
        taken = [cells.copy(), cells.copy()]
        days = [
            engine.served(left, desks, wanted, minutes, n_days)
            for engine, left in zip((NUMPY, NUMBA), taken, strict=True)
        ]
        np.testing.assert_array_equal(*days)
        np.testing.assert_array_equal(*taken)
        served = days[0] >= 0
        assert (taken[0] >= 0).all() and cells.sum() - taken[0].sum() == minutes[served].sum()


def test_halves_are_read_and_rounded_as_numpy_does() -> None:
    from simulator.kernels.jit import from_half, halves, to_half

    bits = np.arange(0x7C00, dtype=np.uint16)
    plain = bits.view(np.float16).astype(np.float64)
    assert [from_half(one) for one in bits] == plain.tolist()
    assert from_half(np.uint16(0xC500)) == -5.0
    ties = (plain[1:] + plain[:-1]) / 2
    numbers = np.concatenate([plain, ties, np.nextafter(ties, 0), np.nextafter(ties, 9e9), [65519.9, 2e-30]])
    np.testing.assert_array_equal(
        [to_half(one) for one in numbers], halves(numbers.astype(np.float16)), strict=False
    )
    with pytest.raises(TypeError, match="float64"):
        halves(numbers)


def test_who_has_no_numba_gets_numpy_and_is_told_so_if_they_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine_of("auto", "world") is NUMBA and engine_of("numpy", "world") is NUMPY
    monkeypatch.setitem(sys.modules, "simulator.kernels", None)
    assert engine_of("auto", "world") is NUMPY
    with pytest.raises(InvalidConfig, match="retail-bank: engine: numba cannot be used here"):
        _ = World(bank().config, "numba").laws


def test_a_world_without_events_and_links_runs_on_numba() -> None:
    """Its tables have no rows."""
    world = edited(bank(), cross_sell=())
    config = structs.replace(world.config, behaviour=structs.replace(world.config.behaviour, events=()))
    state = changed(World(config, "numba"), World(config, "numpy").reset(1, np.arange(50)), day=3)
    rows = np.arange(50)
    laws = World(config, "numpy").laws
    np.testing.assert_array_equal(
        NUMBA.ceiling_logs(laws.hazards, state, rows), NUMPY.ceiling_logs(laws.hazards, state, rows)
    )
