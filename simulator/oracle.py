"""The only module that may look behind the curtain: the true expected value of every action."""

from __future__ import annotations

import numpy as np

from nba.arrays import FloatArray, IntArray
from simulator.response import conversion_probability
from simulator.state import WorldState
from simulator.world import World


def expected_values(world: World, state: WorldState, rows: IntArray) -> FloatArray:
    """(B, A) expected net value of each action now, in account currency, 0 for no-contact.

    Myopic: the conversions this contact causes, minus its cost and the expected loss by opt-out and
    complaint; later fatigue and competition between contacts are left out.
    """
    catalogue, answer = world.config.catalogue, world.config.response
    tables = world.tables(state, rows)
    worth = conversion_probability(tables, answer.halo) * catalogue.margins
    lost = tables.opt_out * np.array(answer.opt_out.cost)[None, :, None]
    lost = lost + (tables.complaint * answer.complaint.cost)[:, :, None]
    worth -= (tables.delivered[None, :, None] * lost)[:, :, None, :]
    values = np.zeros((rows.size, catalogue.n_actions))
    values[:, 1:] = worth.reshape(rows.size, catalogue.n_actions - 1) - catalogue.costs[1:]
    return values
