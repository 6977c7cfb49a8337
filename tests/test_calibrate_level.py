"""The level of the lift: in the written world a first contact sells to as many as in the table."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec import structs
from small import bank

from nba.errors import InvalidConfig
from simulator.calibrate.columns import load_map
from simulator.calibrate.level import level, levelled
from simulator.config import MechanismsConfig
from simulator.world import World

QUIET = ("seasons", "holidays", "payday", "drift", "regime_breaks", "competitors", "events")


def sold_at_first_contact(world: World, product: str, n: int = 4_000) -> float:
    """Share of those a first call reaches who buy, of those who can, over customers drawn otherwise."""
    state, rows, catalogue = world.reset(9, np.arange(n)), np.arange(n), world.config.catalogue
    calls = np.full(n, catalogue.index("call", catalogue.timings[0].name, product))
    reached = world.respond(state, rows, calls)
    can = world.odds(state, rows, *(np.full(n, part[calls[0]]) for part in world.laws.factors)).mass > 1e-20
    return float((reached.due >= 0)[reached.delivered & can].mean())


@pytest.mark.parametrize("rate", [0.02, 0.0558, 0.2])
def test_a_first_contact_sells_at_the_wanted_rate(rate: float) -> None:
    config = structs.replace(bank().config, mechanisms=MechanismsConfig(off=(*QUIET, "capacity")))
    vector, factor = levelled(config, {"response.lift.term-deposit": 0.05}, load_map(None), rate)
    place = config.catalogue.level("product", "term-deposit")
    lift = [*config.response.lift]
    lift[place] = vector["response.lift.term-deposit"]
    assert lift[place] == pytest.approx(0.05 * factor)
    world = World(structs.replace(config, response=structs.replace(config.response, lift=tuple(lift))))
    found = sold_at_first_contact(world, "term-deposit")
    # About half of 4,000 are reached and three quarters of them hold no term deposit yet.
    assert abs(found - rate) < 4 * np.sqrt(rate * (1 - rate) / 1_300)


def test_the_shipped_bank_sells_at_the_rate_of_the_table() -> None:
    calls = bank().config.calibration
    assert calls["level"] == pytest.approx(1.5, abs=0.1)
    assert level(bank().config, "call", "term-deposit", 0.0558) == pytest.approx(1.0, abs=0.01)


def test_what_too_few_engage_with_cannot_sell_to_all() -> None:
    deaf = structs.replace(bank().config, response=structs.replace(bank().config.response, halo=0.0))
    with pytest.raises(InvalidConfig, match=r"response\.openness: call cannot sell term-deposit to 0\.9"):
        level(deaf, "call", "term-deposit", 0.95)
