"""The price of a contact learnt from a log of the one-channel problem: nothing is read from its programme.

Customers are contacted at random, each at a rate of their own. Two halves of them teach one model each of
conversions (log-linear in the offer and in fatigue) and of opt-outs (a hazard that is log-linear in fatigue);
after-state value iteration turns both into prices. Shape letters: n days of customers, L levels, K offers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from experiments.longrun.one_channel import FatigueProblem, FatigueTable
from nba.arrays import BoolArray, FloatArray, IntArray, join_rows, take_rows
from nba.fatigue import FatigueKernel
from nba.longrun import AfterStateIteration, LongRun, Moments

_HIGHEST = 4.0  # of a log hazard: after exp(4) nobody is left
# Beliefs before any contact, means and standard deviations: of log conversions per contact over level, log
# offer and fatigue, and of the log hazard of an opt-out over level and fatigue.
_CONVERTS = np.array([np.log(0.02), 0.0, 0.0]), np.array([2.0, 2.0, 1.0])
_LEAVES = np.array([np.log(1e-3), 0.0]), np.array([2.0, 1.0])


Loss = Callable[[FloatArray], tuple[float, FloatArray]]


class ContactLog(NamedTuple):
    """Days of customers whose channel was open that morning."""

    customers: IntArray  # (n,)
    fatigue: FloatArray  # (n,) in the morning
    offers: FloatArray  # (n,)
    contacted: BoolArray  # (n,)
    converted: BoolArray  # (n,)
    left: BoolArray  # (n,)


class LearntPrice(NamedTuple):
    """What was learnt: values, and both halves' models."""

    values: LongRun
    converts: FloatArray  # (2, 3) coefficients of log conversions
    leaves: FloatArray  # (2, 2) coefficients of the log hazard

    def contacts(self, problem: FatigueProblem, table: FatigueTable) -> BoolArray:
        """(L, K) where a contact is believed to gain more than its long-run price."""
        levels = np.repeat(table.levels, problem.offers.size)
        offers = np.tile(problem.offers, table.levels.size)
        gains = np.mean([gain(problem, one, offers, levels) for one in self.converts], axis=0)
        fatigue = np.broadcast_to(table.levels[:, None, None], (table.levels.size, 1, 2))
        prices = self.values.prices(fatigue, np.ones((table.levels.size, 1), dtype=np.bool_))
        leaves = np.mean([chance(one, table.levels) for one in self.leaves], axis=0)[:, None]
        due = prices.due(leaves, np.zeros_like(leaves))
        worth_it: BoolArray = gains.reshape(table.gains.shape) > due
        return worth_it


def random_log(problem: FatigueProblem, customers: int, days: int, rng: np.random.Generator) -> ContactLog:
    """Contacts at random; rates are squares of uniforms, so that most customers are seen little tired."""
    decay = 2.0 ** (-1.0 / problem.half_life_days)
    rates, fatigue = rng.random(customers) ** 2, np.zeros(customers)
    alive, rows = np.arange(customers), []
    for _ in range(days):
        offers = rng.choice(problem.offers, size=alive.size, p=problem.chances)
        contacted = rng.random(alive.size) < rates[alive]
        tired = fatigue[alive]
        mass = problem.mass * np.exp(-problem.habituation * tired) * offers
        converts = -np.expm1(-mass) if problem.saturates else mass
        converted = contacted & (rng.random(alive.size) < converts)
        hazard = problem.opt_out * np.exp(tired)
        left = contacted & (rng.random(alive.size) < -np.expm1(-hazard))
        rows.append(ContactLog(alive, tired, offers, contacted, converted, left))
        fatigue[alive] = decay * (tired + contacted)
        alive = alive[~left]
    return join_rows(rows)


def learnt_price(
    problem: FatigueProblem, log: ContactLog, rng: np.random.Generator, moments: int = 8_000
) -> LearntPrice:
    """Values and models from a log; `moments` of its days, drawn by `rng`, teach the values."""
    halves = [log.contacted & (log.customers % 2 == side) for side in (0, 1)]
    converts = np.array([_converts(take_rows(log, half)) for half in halves])
    leaves = np.array([_leaves(take_rows(log, half)) for half in halves])
    met = take_rows(log, rng.choice(log.fatigue.size, size=min(moments, log.fatigue.size), replace=False))
    n = met.fatigue.size
    seen = Moments(
        fatigue=np.broadcast_to(met.fatigue[:, None, None], (n, 1, 2)),
        is_open=np.ones((n, 1), dtype=np.bool_),
        gains=np.array([gain(problem, one, met.offers, met.fatigue) for one in converts])[..., None],
        leaves=np.array([chance(one, met.fatigue) for one in leaves])[..., None],
        ends=np.zeros((2, n, 1)),
    )
    kernel = FatigueKernel(
        short_half_life_days=problem.half_life_days, long_half_life_days=problem.half_life_days
    )
    flows = np.array([problem.relationship * (1.0 - problem.discount)])
    found = AfterStateIteration(discount=problem.discount).fit(seen, kernel, np.ones((1, 1)), flows, rng)
    return LearntPrice(found, converts, leaves)


def gain(
    problem: FatigueProblem, converts: FloatArray, offers: FloatArray, fatigue: FloatArray
) -> FloatArray:
    """(n,) believed margin of a contact less its cost."""
    rates = np.exp(_of_contact(offers, fatigue) @ converts)
    return problem.value * rates - problem.cost


def chance(leaves: FloatArray, fatigue: FloatArray) -> FloatArray:
    """(n,) believed chance that a contact ends in an opt-out."""
    log_hazard = np.minimum(leaves[0] + leaves[1] * fatigue, _HIGHEST)
    left: FloatArray = -np.expm1(-np.exp(log_hazard))
    return left


def _of_contact(offers: FloatArray, fatigue: FloatArray) -> FloatArray:
    return np.stack([np.ones_like(fatigue), np.log(offers), fatigue], axis=1)


def _converts(log: ContactLog) -> FloatArray:
    """(3,) mode of a Poisson regression."""
    design, counts = _of_contact(log.offers, log.fatigue), log.converted.astype(np.float64)

    def loss(theta: FloatArray) -> tuple[float, FloatArray]:
        linear = np.minimum(design @ theta, _HIGHEST)
        rates = np.exp(linear)
        return float(rates.sum() - counts @ linear), design.T @ (rates - counts)

    return _mode(loss, *_CONVERTS)


def _leaves(log: ContactLog) -> FloatArray:
    """(2,) mode of a regression of opt-outs with the complementary log-log link."""
    design = np.stack([np.ones_like(log.fatigue), log.fatigue], axis=1)

    def loss(theta: FloatArray) -> tuple[float, FloatArray]:
        hazards = np.exp(np.minimum(design @ theta, _HIGHEST))
        odds = np.where(log.left, hazards / np.expm1(np.maximum(hazards, 1e-12)), -hazards)
        likelihood = np.where(log.left, np.log(-np.expm1(-np.maximum(hazards, 1e-12))), -hazards)
        return -float(likelihood.sum()), -(design.T @ odds)

    return _mode(loss, *_LEAVES)


def _mode(loss: Loss, means: FloatArray, sds: FloatArray) -> FloatArray:
    """The most probable coefficients under a normal belief and a loss of which the gradient is known."""
    from scipy.optimize import minimize

    def penalised(theta: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = loss(theta)
        off = (theta - means) / sds
        return value + 0.5 * float(off @ off), gradient + off / sds

    found: FloatArray = minimize(penalised, means, jac=True, method="BFGS").x
    return found
