"""From the clients of a campaign to the customers of a bank: the level of the lift.

The fitted lift is that of a campaign's average client. Clients differ by what the table knows of them,
customers by the world's own traits. So what is carried over is the rate at which a first contact sells to
those it reaches, and the lift of a world is what gives it there.
"""

from __future__ import annotations

import msgspec
import numpy as np
from msgspec import structs
from scipy.optimize import brentq

from nba.arrays import FloatArray
from nba.errors import InvalidConfig
from simulator.calibrate.columns import ColumnMap
from simulator.calibrate.ensemble import apply
from simulator.calibrate.parameters import Vector
from simulator.config import MechanismsConfig, WorldConfig

LEVEL = "level"  # in a world's calibration: the factor on the fitted lift
_CUSTOMERS = 4_000
_SEED = 0
_LARGEST = 1e4  # factor on the lift
_NOTHING = 1e-20  # mass of what cannot be bought
# What differs from day to day, so that the level is that of an ordinary day.
_EXTRAS = ("seasons", "holidays", "payday", "drift", "regime_breaks", "competitors", "events")


def levelled(config: WorldConfig, vector: Vector, columns: ColumnMap, rate: float) -> tuple[Vector, float]:
    """A vector whose lift is that of this world, and the factor that made it so.

    `rate` is the share of first contacts in the table that sold.
    """
    fitted = apply(config, vector)
    place = config.catalogue.level("channel", columns.channel)
    reached = 1.0 if columns.answered else config.response.delivery[place]
    factor = level(fitted, columns.channel, columns.product, rate / reached)
    path = f"response.lift.{columns.product}"
    lift = vector[path]
    assert isinstance(lift, float)  # one product's
    return vector | {path: factor * lift}, factor


def level(config: WorldConfig, channel: str, product: str, rate: float) -> float:
    """The factor on the product's lift with which a first contact that reaches its customer sells at `rate`.

    Averaged over customers who can buy the product. Raises InvalidConfig if no lift is large enough.
    """
    seen, noticed, mass = _first_contacts(config, channel, product)
    halo = config.response.halo

    def excess(factor: float) -> float:
        """Sales per contact that reached the customer, above the wanted rate."""
        sold = -noticed * np.expm1(-factor * mass) - (seen - noticed) * np.expm1(-factor * halo * mass)
        return float(sold.mean()) - rate

    if excess(_LARGEST) <= 0.0:
        rule = f"{channel} cannot sell {product} to {rate:.4f} of those reached: too few engage with it"
        raise InvalidConfig(config.name, "response.openness", rule)
    return float(brentq(excess, 0.0, _LARGEST))


def _first_contacts(config: WorldConfig, channel: str, product: str) -> tuple[FloatArray, ...]:
    """(n,) chances that a first contact is seen and that it is engaged with, and its mass, by customer."""
    from simulator.world import World

    off = tuple(dict.fromkeys((*config.mechanisms.off, *_EXTRAS)))
    world = World(structs.replace(config, mechanisms=msgspec.convert({"off": off}, MechanismsConfig)))
    state = world.reset(_SEED, np.arange(_CUSTOMERS))
    rows = np.arange(_CUSTOMERS)
    sold = (("channel", channel), ("product", product))
    c, p = (np.full(rows.size, config.catalogue.level(*one)) for one in sold)
    odds = world.odds(state, rows, c, np.zeros_like(rows), p)
    buys = odds.mass > _NOTHING
    seen = odds.seen * np.ones(rows.size)
    return seen[buys], (seen * odds.engaged)[buys], odds.mass[buys]
