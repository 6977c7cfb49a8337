"""One channel that tires, solved exactly: the problem of methods C2 as a dynamic programme."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from scipy.sparse import csr_matrix, diags_array, eye_array
from scipy.sparse.linalg import splu

from nba.arrays import BoolArray, FloatArray

Sparse: TypeAlias = Any  # scipy.sparse has no types
_SIGNS = np.array([1.0, -1.0, -1.0])  # of margins, costs and losses in a net value


class FatigueProblem(NamedTuple):
    """Contact today or not: a contact earns, tires, and may end the relationship with its channel."""

    half_life_days: float
    habituation: float  # kappa: log factor on the mass per unit of fatigue, counted positive
    opt_out: float  # hazard of a contact of an unfatigued customer
    offers: FloatArray  # (K,) factor of the day's offer on the mass
    chances: FloatArray  # (K,) probability of each offer, on every day anew
    mass: float = 0.03  # expected conversions of a contact, unfatigued and with an offer of 1
    value: float = 40.0
    cost: float = 0.3
    relationship: float = 30.0  # lost by an opt-out: 0.15 a day at discount 0.995
    discount: float = 0.995
    saturates: bool = True  # a mass m converts with probability 1 - exp(-m), as in a world; else with m


class FatigueTable(NamedTuple):
    """A problem on a grid of fatigue levels, with linear interpolation between them."""

    discount: float
    levels: FloatArray  # (n,) fatigue when the day's decision is made
    chances: FloatArray  # (K,)
    margins: FloatArray  # (n, K) expected margin of a contact
    cost: float  # of a contact
    loss: FloatArray  # (n,) expected loss by its opt-out
    rested: Sparse  # (n, n) from today's level to tomorrow's without a contact
    tired: Sparse  # (n, n) and with one, if the channel stays open

    @property
    def gains(self) -> FloatArray:
        """(n, K) what a contact gains, its opt-out aside."""
        return self.margins - self.cost


def tabulate(problem: FatigueProblem, n: int = 1_001) -> FatigueTable:
    """The problem on n levels, from none to what daily contacts lead to."""
    left = 2.0 ** (-1.0 / problem.half_life_days)
    levels = np.linspace(0.0, left / (1.0 - left), n)
    mass = problem.mass * np.exp(-problem.habituation * levels)[:, None] * problem.offers
    converts = -np.expm1(-mass) if problem.saturates else mass
    leaves = -np.expm1(-problem.opt_out * np.exp(levels))
    return FatigueTable(
        discount=problem.discount,
        levels=levels,
        chances=problem.chances,
        margins=problem.value * converts,
        cost=problem.cost,
        loss=problem.relationship * leaves,
        rested=_interpolation(levels, left * levels),
        tired=diags_array(1.0 - leaves) @ _interpolation(levels, left * (levels + 1.0)),
    )


def _interpolation(levels: FloatArray, at: FloatArray) -> Sparse:
    """(n, n) weights of the levels around each place `at` (n,)."""
    n, step = levels.size, levels[1]
    below = np.minimum((at / step).astype(np.int64), n - 2)
    above = at / step - below
    rows, columns = np.tile(np.arange(n), 2), np.concatenate([below, below + 1])
    return csr_matrix((np.concatenate([1.0 - above, above]), (rows, columns)), shape=(n, n))


def dearer(table: FatigueTable, price: FloatArray) -> BoolArray:
    """(n, K) where a contact gains more than `price` (n,) or ()."""
    contacts: BoolArray = table.gains > np.broadcast_to(price, table.levels.shape)[:, None]
    return contacts


def _under(table: FatigueTable, contacts: BoolArray) -> tuple[FloatArray, Sparse]:
    """(n, 3) margins, costs and losses and (n, n) moves of a day with `contacts` (n, K)."""
    chance = contacts @ table.chances
    flows = np.stack(
        [(contacts * table.margins) @ table.chances, chance * table.cost, chance * table.loss], 1
    )
    return flows, diags_array(1.0 - chance) @ table.rested + diags_array(chance) @ table.tired


def _for_ever(table: FatigueTable, moves: Sparse, flow: FloatArray) -> FloatArray:
    """(n,) discounted sum of a daily flow (n,) by level, until the channel is closed."""
    total: FloatArray = splu((eye_array(table.levels.size) - table.discount * moves).tocsc()).solve(flow)
    return total


def price_values(table: FatigueTable, price: FloatArray) -> FloatArray:
    """(n,) gain over never contacting, for ever, by level; `price` (n,) or () is what a contact must gain."""
    return contact_values(table, dearer(table, price))


def contact_values(table: FatigueTable, contacts: BoolArray) -> FloatArray:
    """(n,) gain over never contacting, for ever, by level, of contacting at some levels and offers (n, K)."""
    flows, moves = _under(table, contacts)
    return _for_ever(table, moves, flows @ _SIGNS)


def days_flows(table: FatigueTable, price: FloatArray, days: int) -> FloatArray:
    """(3,) discounted margins, costs and losses of some days, from no fatigue."""
    flows, moves = _under(table, dearer(table, price))
    total: FloatArray = np.zeros_like(flows)
    for _ in range(days):
        total = flows + table.discount * (moves @ total)
    first: FloatArray = total[0]
    return first


def contacts_per_week(table: FatigueTable, price: FloatArray) -> float:
    """Discounted contacts per seven discounted days on which the channel is open."""
    flows, moves = _under(table, dearer(table, price))
    contacts, days = (
        _for_ever(table, moves, flow)[0] for flow in (flows[:, 1] / table.cost, np.ones(len(flows)))
    )
    return float(7.0 * contacts / days)


def optimal_price(table: FatigueTable) -> FloatArray:
    """(n,) what a contact must gain to be worth it, by policy iteration (converged: the policy repeats)."""
    price, contacts = table.loss, np.zeros_like(table.gains, dtype=np.bool_)
    while not np.array_equal(contacts, table.gains > price[:, None]):
        contacts = table.gains > price[:, None]
        values = price_values(table, price)
        price = table.loss + table.discount * (table.rested @ values - table.tired @ values)
    return price


def best_constant_price(table: FatigueTable, tried: int = 60) -> FloatArray:
    """() the price that, the same at every level, is worth most to an unfatigued customer."""
    prices = np.linspace(0.0, table.gains.max(), tried)
    worth = [price_values(table, price)[0] for price in prices]
    return np.asarray(prices[np.argmax(worth)])


def best_affine_price(table: FatigueTable, tried: int = 12, rounds: int = 4) -> FloatArray:
    """(n,) the level + slope x fatigue that is worth most to an unfatigued customer, by a grid made finer."""
    top = float(table.gains.max())
    low, high = np.zeros(2), np.array([top, top])
    best, at = -np.inf, np.zeros(2)
    for _ in range(rounds):
        axes = [np.linspace(*ends, tried) for ends in zip(low, high, strict=True)]
        for tried_at in itertools.product(*axes):
            worth = price_values(table, tried_at[0] + tried_at[1] * table.levels)[0]
            if worth > best:
                best, at = worth, np.array(tried_at)
        step = (high - low) / (tried - 1)
        low, high = np.maximum(at - step, 0.0), at + step
    price: FloatArray = at[0] + at[1] * table.levels
    return price


PRICES: dict[str, Callable[[FatigueTable], FloatArray]] = {
    "optimal": optimal_price,
    "myopic": lambda table: np.zeros(()),
    "constant": best_constant_price,
}
