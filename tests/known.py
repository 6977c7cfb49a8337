"""Closed forms that the simulator is held against, and a way to live in its worlds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from scipy.optimize import minimize
from scipy.special import gammaln, hyp2f1

from nba.arrays import BoolArray, FloatArray, IntArray
from simulator.state import WorldState
from simulator.world import World

Choose: TypeAlias = Callable[[WorldState, IntArray], IntArray]  # actions (B,) of customers `rows` (B,)


class Life(NamedTuple):
    """What a policy brought in a world, in account currency, by day and customer."""

    state: WorldState  # on the morning after
    margins: FloatArray  # (days, N) amounts of conversions, on their day
    costs: FloatArray  # (days, N) of contacts
    losses: FloatArray  # (days, N) by opt-outs and complaints


def discounted(amounts: FloatArray, discount: float) -> FloatArray:
    """(N,) value on the first day of amounts (days, N)."""
    return discount ** np.arange(amounts.shape[0]) @ amounts


def live(world: World, state: WorldState, days: int, choose: Choose) -> Life:
    """Some days in a world, with every customer who comes up for a decision contacted as chosen."""
    n = state.people.n_customers
    margins, costs, losses = np.zeros((3, days, n))
    for day in range(days):
        rows = world.due(state)
        actions = choose(state, rows)
        responses = world.respond(state, rows, actions)
        costs[day, rows], losses[day, rows] = responses.costs, responses.losses
        state, sold = world.advance(state, rows, actions, responses)
        np.add.at(margins[day], sold.customers, sold.amounts)
    return Life(state, margins, costs, losses)


def silence(state: WorldState, rows: IntArray) -> IntArray:
    """Nobody is contacted."""
    return np.zeros(rows.size, dtype=np.int64)


# --- Customer lifetime value as a Markov chain (Pfeifer and Carraway 2000) ---------------------------


class RecencyChain(NamedTuple):
    """Customers by periods since their last purchase, 1 to R; who has not bought for longer is gone."""

    purchase: FloatArray  # (R,) chance that a mailing is answered within the period
    contribution: float  # net of a purchase, counted in the period that follows it
    mailing: float  # cost
    discount: float  # share of its value that a sum has one period later


PFEIFER_CARRAWAY = RecencyChain(np.array([0.3, 0.2, 0.15, 0.05]), 40.0, 4.0, 1 / 1.2)


def chain_values(chain: RecencyChain, mailed: BoolArray) -> FloatArray:
    """(R,) lifetime value when just the customers of recency `mailed` (R,) are mailed, in every period.

    The contribution of the purchase that made somebody recency 1 is part of the value, as in the paper.
    """
    n = chain.purchase.size
    answers = np.where(mailed, chain.purchase, 0.0)
    moves = np.diag(1.0 - answers[:-1], k=1)
    moves[:, 0] = answers
    rewards = np.where(mailed, -chain.mailing, 0.0) + chain.contribution * (np.arange(n) == 0)
    return np.linalg.solve(np.eye(n) - chain.discount * moves, rewards)


def best_mailing(chain: RecencyChain) -> BoolArray:
    """(R,) whom to mail, by policy iteration from mailing nobody."""
    mailed = np.zeros(chain.purchase.size, dtype=np.bool_)
    while True:
        values = chain_values(chain, mailed)
        older = np.append(values[1:], 0.0)
        gain = chain.discount * chain.purchase * (values[0] - older) - chain.mailing
        if np.array_equal(gain > 0.0, mailed):
            return mailed
        mailed = gain > 0.0


# --- BG/NBD (Fader, Hardie and Lee 2005) ------------------------------------------------------------


class BuyTillDropOut(NamedTuple):
    """Purchases at a gamma rate until, after one of them, the customer drops out with a beta chance."""

    r: float
    alpha: float  # in the unit of time
    a: float
    b: float


CDNOW = BuyTillDropOut(0.243, 4.414, 0.793, 2.426)  # weeks


class Purchases(NamedTuple):
    """Repeat purchases of customers who made their first one at time 0."""

    count: IntArray  # (N,)
    last: FloatArray  # (N,) time of the last one, 0 if there was none
    until: FloatArray  # (N,) end of observation


class Fit(NamedTuple):
    """Estimates and the standard errors of their logarithms, from the observed information."""

    estimate: FloatArray  # (4,) in the order of BuyTillDropOut
    log_error: FloatArray  # (4,)

    def z(self, truth: BuyTillDropOut) -> FloatArray:
        """(4,) how many standard errors the estimates are above the truth."""
        return np.log(self.estimate / np.array(truth)) / self.log_error


def log_likelihood(model: BuyTillDropOut, seen: Purchases) -> FloatArray:
    """(N,) equation 6 of the paper, in logs: still there, or gone with the last purchase."""
    r, alpha, a, b = model
    x = seen.count
    rate = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
    stay = gammaln(a + b) + gammaln(b + x) - gammaln(b) - gammaln(a + b + x)
    alive = -(r + x) * np.log(alpha + seen.until)
    left = np.log(a) - np.log(np.maximum(b + x - 1.0, 1e-300)) - (r + x) * np.log(alpha + seen.last)
    return rate + stay + np.where(x > 0, np.logaddexp(alive, left), alive)


def fit_purchases(seen: Purchases) -> Fit:
    """Maximum likelihood over the logarithms of the parameters."""
    rows, times = np.unique(np.stack([seen.count, seen.last, seen.until], axis=1), axis=0, return_counts=True)
    grouped = Purchases(*rows.T)

    def loss(logs: FloatArray) -> float:
        return -float(times @ log_likelihood(BuyTillDropOut(*np.exp(logs)), grouped))

    # Divided by N, so that the search stops at the same relative height for any number of customers.
    best = minimize(lambda logs: loss(logs) / times.sum(), np.zeros(4), method="BFGS", options={"gtol": 1e-7})
    return Fit(np.exp(best.x), np.sqrt(np.diag(np.linalg.inv(_hessian(loss, best.x)))))


def _hessian(function: Any, at: FloatArray, step: float = 1e-3) -> FloatArray:
    """(K, K) second derivatives by central differences."""
    steps = step * np.eye(at.size)

    def second(one: FloatArray, two: FloatArray) -> float:
        corners = [(i * j, at + i * one + j * two) for i in (-1, 1) for j in (-1, 1)]
        return sum(sign * function(place) for sign, place in corners) / (4.0 * step**2)

    return np.array([[second(one, two) for two in steps] for one in steps])


def expected_purchases(model: BuyTillDropOut, time: float) -> float:
    """Mean number of repeat purchases up to a time (equation 9 of the paper)."""
    r, alpha, a, b = model
    gauss = hyp2f1(r, b, a + b - 1.0, time / (alpha + time))
    return float((a + b - 1.0) / (a - 1.0) * (1.0 - (alpha / (alpha + time)) ** r * gauss))


def draw_purchases(model: BuyTillDropOut, n: int, time: float, seed: int) -> Purchases:
    """Customers of the model in continuous time, all watched for the same time."""
    rng = np.random.default_rng(seed)
    rates, chances = rng.gamma(model.r, 1.0 / model.alpha, n), rng.beta(model.a, model.b, n)
    count, last, there = np.zeros(n, dtype=np.int64), np.zeros(n), np.arange(n)
    while there.size:
        coming = last[there] + rng.exponential(size=there.size) / np.maximum(rates[there], 1e-300)
        there, coming = there[coming < time], coming[coming < time]
        count[there] += 1
        last[there] = coming
        there = there[rng.random(there.size) >= chances[there]]
    return Purchases(count, last, np.full(n, time))
