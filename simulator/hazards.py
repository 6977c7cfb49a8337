"""The hazard of buying, of which organic conversions and the lift of contacts are both made.

    h0_ip = organic_p exp(affinity + effect + stage + calendar + market + event + recency + cross-sell)

(methods F2). A contact adds lift_p exp(the same sum + ...) of expected conversions, spread over time: so
whatever makes a customer likely to buy also makes a contact worth more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nba.arrays import BoolArray, FloatArray, IntArray
from simulator.config import EVENTS, N_INTERESTS, SAME_FAMILY, STAGES, WorldConfig
from simulator.population import Population
from simulator.state import WorldState, bits
from simulator.today import Today

ACQUISITION = STAGES.index("acquisition")
NOTHING = -60.0  # log of a hazard that does not exist
LONGEST_BOOST = 256  # days
_SLACK = 1e-5  # a bound is kept in 32 bits and must not be rounded below what it bounds


class HazardLaw(NamedTuple):
    """The coefficients as arrays; K event kinds, the first of them none."""

    organic: FloatArray  # (P,)
    loadings: FloatArray  # (P, N_INTERESTS) log factor per unit of interest
    level: FloatArray  # (P,) so that the mean factor of affinity is 1
    stage: FloatArray  # (8,) log
    family: IntArray  # (P,)
    repeatable: BoolArray  # (P,)
    repeatable_mask: np.uint32  # one bit per product
    entry_mask: np.uint32  # what can be bought by people who are no customers yet
    boost: FloatArray  # (K, P, P) log factor on the day of an event about one product, on another
    boost_left: FloatArray  # (days,) share of a boost left
    recency_days: IntArray  # (R,)
    recency: FloatArray  # (families + 1, R + 1, P) log factor by family last bought (0 none) and band
    recency_ahead: FloatArray  # (families + 1, R + 1, P) the highest of this band and of those to come
    cross_places: NDArray[np.uint32]  # (X,) bytes of ownership that matter, by their lowest bit
    cross: FloatArray  # (X, 256, P) log factors by the byte's value

    @staticmethod
    def of(config: WorldConfig) -> HazardLaw:
        """Read a configuration."""
        loadings = np.array([config.population.loadings[family] for family in config.families])
        loadings = config.population.affinity_scale * loadings
        level = config.catalogue.level
        entry = [level("product", name) for name in config.life_cycle.entry_products]
        days, family = np.arange(LONGEST_BOOST), np.unique(config.families, return_inverse=True)[1]
        recency, cross = _recencies(np.array(config.response.recency), family), _cross(config)
        return HazardLaw(
            organic=np.array(config.response.organic),
            loadings=loadings,
            level=-0.5 * (loadings**2).sum(axis=1),
            stage=_log(np.array(config.life_cycle.organic)),
            family=family.astype(np.int64),
            repeatable=config.catalogue.repeatable,
            repeatable_mask=product_mask(config.catalogue.repeatable),
            entry_mask=product_mask(np.isin(np.arange(len(config.families)), entry)),
            boost=_boosts(config, family),
            boost_left=np.exp2(-days / config.behaviour.boost_half_life_days),
            recency_days=np.array(config.response.recency_days, dtype=np.int64),
            recency=recency,
            recency_ahead=np.maximum.accumulate(recency[:, ::-1], axis=1)[:, ::-1].copy(),
            cross_places=np.array(list(cross), dtype=np.uint32),
            cross=np.array(list(cross.values())).reshape(-1, 256, family.size),
        )


OrganicLogs: TypeAlias = Callable[[HazardLaw, Today, WorldState, IntArray], FloatArray]
CeilingLogs: TypeAlias = Callable[[HazardLaw, WorldState, IntArray], FloatArray]


def product_mask(of_product: BoolArray) -> np.uint32:
    """One bit for each product that is chosen (P,)."""
    return np.uint32(bits(of_product[None])[0])


def _boosts(config: WorldConfig, family: IntArray) -> FloatArray:
    """(K, P, P) what an event of a kind, about one product, adds to the log hazard of another."""
    kinds: dict[str, dict[str, float]] = {kind.name: kind.boosts for kind in config.behaviour.events}
    boosts = [kinds.get(name, {}) for name in EVENTS]
    general = np.array([[row.get(name, 0.0) for name in config.families] for row in boosts])
    own = np.array([row.get(SAME_FAMILY, 0.0) for row in boosts])
    boosts_of: FloatArray = general[:, None, :] + own[:, None, None] * (family[:, None] == family)
    return boosts_of


def _recencies(recency: FloatArray, family: IntArray) -> FloatArray:
    """(families + 1, bands, P) the factor of a band for products of the family last bought."""
    last = np.arange(family.max() + 2)
    factors: FloatArray = recency[:, None] * (last[:, None] == family + 1)[:, None, :]
    return factors


def _cross(config: WorldConfig) -> dict[int, FloatArray]:
    """Cross-sell links as a table (256, P) for each byte of ownership in which there is one."""
    level, products = config.catalogue.level, len(config.families)
    tables: dict[int, FloatArray] = {}
    for link in config.cross_sell:
        byte, bit = divmod(level("product", link.owns), 8)
        table = tables.setdefault(8 * byte, np.zeros((256, products)))
        table[:, level("product", link.lifts)] += link.log_factor * (np.arange(256) >> bit & 1)
    return tables


def _log(factors: FloatArray) -> FloatArray:
    return np.log(np.maximum(factors, np.exp(NOTHING)))


def affinity(law: HazardLaw, people: Population, rows: IntArray, products: IntArray) -> FloatArray:
    """Log factor of customers' tastes on hazards, mean factor 1; `rows` and `products` broadcast."""
    total: FloatArray = law.level[products]
    interests = people.interests.reshape(-1)
    for interest in range(N_INTERESTS):
        # Not a matrix product: its bits would depend on how many customers are asked together.
        taste = interests.take(rows * N_INTERESTS + interest).astype(np.float64)
        total = total + taste * law.loadings[products, interest]
    return total


def pressure(
    law: HazardLaw,
    now: Today,
    state: WorldState,
    tastes: FloatArray,
    rows: IntArray,
    products: IntArray,
    waits: IntArray,
) -> FloatArray:
    """Log factor on hazards and on lift `waits` days ahead, given the `affinity` of rows and products.

    The three index arrays broadcast. What cannot be bought, because it is held already, has next to none.
    """
    total = _standing(law, state, tastes, rows, products)
    season = state.people.payday[rows].astype(np.int64) * now.organic.shape[0] + waits
    total = total + cells(now.calendar, season, products)  # not in place: waits may widen the shape
    total = total + _boost(law, state, rows, products, waits)
    total = total + cells(law.recency, _band(law, state, rows, waits), products)
    return np.where(available(law, state, rows, products), total, NOTHING)


def available(law: HazardLaw, state: WorldState, rows: IntArray, products: IntArray) -> BoolArray:
    """What can be bought: not held yet or bought again and again; by newcomers only entry products."""
    masks = ~state.owned[rows] | law.repeatable_mask
    masks = np.where(state.stage[rows] == ACQUISITION, masks & law.entry_mask, masks)
    can: BoolArray = (masks >> products.astype(np.uint32)) & np.uint32(1) > 0
    return can


def organic_logs(law: HazardLaw, now: Today, state: WorldState, rows: IntArray) -> FloatArray:
    """(n, P) log factor on today's hazards of customers `rows` (n,) without any contact."""
    products, i = np.arange(law.organic.size), rows[:, None]
    return pressure(law, now, state, affinity(law, state.people, i, products), i, products, _TODAY)


def organic_hazards(
    law: HazardLaw, now: Today, state: WorldState, rows: IntArray, logs: OrganicLogs = organic_logs
) -> FloatArray:
    """(n, P) hazards of today without any contact, per day."""
    return law.organic * np.exp(logs(law, now, state, rows))


def picked(weights: FloatArray, levels: FloatArray, of_total: bool = False) -> IntArray:
    """(n,) the first column at which the sum of weights (n, k) so far is above a level (n,), k if none is.

    Levels may be shares of the total.
    """
    cumulative = np.cumsum(weights, axis=1)
    if of_total:
        levels = levels * cumulative[:, -1]
    columns: IntArray = (cumulative <= levels[:, None]).sum(axis=1)
    return columns


def ceiling_logs(law: HazardLaw, state: WorldState, rows: IntArray) -> FloatArray:
    """(n, P) the most that `organic_logs` can be until something happens, calendar and market aside."""
    products, i = np.arange(law.organic.size), rows[:, None]
    total = _standing(law, state, affinity(law, state.people, i, products), i, products)
    # Boosts fade, so today's bounds all that come; a negative one fades to nothing. Bands only pass.
    total += np.maximum(_boost(law, state, i, products, _TODAY), 0.0)
    total += cells(law.recency_ahead, _band(law, state, i, _TODAY), products)
    return np.where(available(law, state, i, products), total, NOTHING)


def ceilings(
    law: HazardLaw, state: WorldState, rows: IntArray, logs: CeilingLogs = ceiling_logs
) -> FloatArray:
    """(n,) a bound of the total organic hazard until something happens to the customer.

    Calendar and market aside: Today.bound has those.
    """
    # 32 bits are precise enough for a bound with this slack, and several at once for a processor.
    hazards = law.organic.astype(np.float32) * np.exp(logs(law, state, rows).astype(np.float32))
    bound: FloatArray = hazards.sum(axis=1, dtype=np.float64) * (1.0 + _SLACK)
    return bound


_TODAY = np.zeros(1, dtype=np.int64)


def cells(table: FloatArray, rows: IntArray, products: IntArray) -> FloatArray:
    """Entries of a table (..., P) by number of the row and product, which broadcast."""
    found: FloatArray = table.reshape(-1).take(rows * table.shape[-1] + products)
    return found


def _standing(
    law: HazardLaw, state: WorldState, tastes: FloatArray, rows: IntArray, products: IntArray
) -> FloatArray:
    """The part of the log factor that stays until a customer moves on or buys."""
    total = tastes + (state.people.effect[rows] + law.stage[state.stage[rows]])
    for place, table in zip(law.cross_places, law.cross, strict=True):
        total += cells(table, (state.owned[rows] >> place) & np.uint32(255), products)
    return total


def _boost(
    law: HazardLaw, state: WorldState, rows: IntArray, products: IntArray, waits: IntArray
) -> FloatArray:
    event = state.event[rows].astype(np.int64) * law.organic.size + state.event_product[rows]
    age = state.day + waits - state.event_day[rows].astype(np.int64)
    return cells(law.boost, event, products) * law.boost_left[np.clip(age, 0, LONGEST_BOOST - 1)]


def _band(law: HazardLaw, state: WorldState, rows: IntArray, waits: IntArray) -> IntArray:
    """Row of the recency table: family last bought, and how long ago it will have been."""
    since = state.day + waits - state.bought_day[rows].astype(np.int64)
    band = np.searchsorted(law.recency_days, since, side="left")
    row: IntArray = state.bought[rows].astype(np.int64) * law.recency.shape[1] + band
    return row
