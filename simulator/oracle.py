"""The only module that may look behind the curtain: the true expected value of every action."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.arrays import FloatArray, IntArray
from simulator.response import Odds
from simulator.state import Responses, WorldState
from simulator.world import World


def all_odds(world: World, state: WorldState, rows: IntArray) -> Odds:
    """The odds of every contact of customers `rows` (B,); the parts broadcast to (B, C, T, P)."""
    c, t, p = (np.arange(n) for n in world.config.catalogue.shape)
    return world.odds(state, rows[:, None, None, None], c[:, None, None], t[:, None], p)


def expected_values(world: World, state: WorldState, rows: IntArray) -> FloatArray:
    """(B, A) expected net value of each action now, in account currency, 0 for no-contact.

    Myopic: the conversions this contact causes, each at the mean of what it brings from this customer,
    minus its cost and the expected loss by opt-out and complaint; later fatigue, refusals, queues and
    competition between contacts are left out.
    """
    config, catalogue = world.laws.config, world.config.catalogue
    chances = all_odds(world, state, rows)
    amounts = world.laws.amounts.expected(state.people, rows)
    worth = chances.converts(config.response.halo) * amounts[:, None, None, :]
    left = -np.expm1(-chances.opt_out) * world.laws.opt_out_cost[:, None, None]
    loud = -np.expm1(-chances.complaint) * config.response.complaint.cost
    worth = worth - chances.delivered * (left + loud)
    values = np.zeros((rows.size, catalogue.n_actions))
    values[:, 1:] = worth.reshape(rows.size, catalogue.n_actions - 1) - catalogue.costs[1:]
    return values


def luck(
    world: World, state: WorldState, rows: IntArray, actions: IntArray, responses: Responses
) -> FloatArray:
    """(B,) by how much what contacts brought is above what was to be expected of them, in account currency.

    Counted are contacts that were delivered without a queue: whether the clock of a conversion was set, at
    the mean of what it brings, and the losses by opt-out and complaint. Given the state and the contact the
    mean is 0, whatever the policy: a net value less its luck has the same mean and less noise (a martingale
    control variate; Henderson and Glynn 2002).
    """
    config, catalogue = world.laws.config, world.config.catalogue
    met = np.flatnonzero(responses.delivered & (responses.queued == 0))
    who, acts = rows[met], actions[met]
    channels, products = catalogue.channel_of[acts], catalogue.product_of[acts]
    chances = world.odds(state, who, channels, catalogue.timing_of[acts], products)
    sure = chances._replace(delivered=np.ones(met.size))
    amounts = world.laws.amounts.expected(state.people, who)[np.arange(met.size), products]
    left = -np.expm1(-chances.opt_out) * world.laws.opt_out_cost[channels]
    loud = -np.expm1(-chances.complaint) * config.response.complaint.cost
    above = amounts * ((responses.due[met] >= 0) - sure.converts(config.response.halo))
    found = np.zeros(rows.size)
    found[met] = above - (responses.losses[met] - left - loud)
    return found


class Counterfactual(NamedTuple):
    """Two lives of the same customers under the same noise, that differ in today's actions only."""

    net: FloatArray  # (B,) account currency over the days simulated, under the actions asked about
    other: FloatArray  # (B,) the same under the others

    @property
    def difference(self) -> FloatArray:
        """(B,) what the actions were worth, for these very customers."""
        return self.net - self.other


def counterfactual(
    world: World, state: WorldState, rows: IntArray, actions: IntArray, others: IntArray, days: int
) -> Counterfactual:
    """Paired runs: customers `rows` (B,) get `actions` (B,) today, or `others` (B,), and then silence.

    Both runs meet the same noise, so what is not touched by the difference cancels exactly.
    """
    return Counterfactual(*(_net(world, state, rows, acts, days) for acts in (actions, others)))


def _net(world: World, state: WorldState, rows: IntArray, actions: IntArray, days: int) -> FloatArray:
    """(B,) amounts of all conversions of customers `rows`, organic ones too, minus cost and losses."""
    net = np.zeros(state.people.n_customers)
    nobody = np.zeros(0, dtype=np.int64)
    for number in range(days):
        today, acts = (rows, actions) if number == 0 else (nobody, nobody)
        responses = world.respond(state, today, acts)
        state, sold = world.advance(state, today, acts, responses)
        np.add.at(net, sold.customers, sold.amounts)
        net[today] -= responses.costs + responses.losses
    taken: FloatArray = net[rows]
    return taken
