"""Stages of the customer life cycle, and the daily hazards of moving between them."""

from __future__ import annotations

import numpy as np

from nba.arrays import IntArray
from nba.randomness import Purpose, keyed_uniforms
from simulator.config import LifeCycleConfig
from simulator.state import WorldState

# In the order of STAGES: onboarding, growth, mature, at_risk, dormant.
_WORSE = np.array([3, 3, 3, 4, 4])
_BETTER = np.array([1, 2, 2, 1, 3])


def next_stage(config: LifeCycleConfig, state: WorldState) -> IntArray:
    """(N,) stage of tomorrow: fatigue drives customers away, engagement brings them back."""
    total_fatigue = state.fatigue[:, :, 1].sum(axis=1)
    worse = np.array(config.worse)[state.stage] * np.exp(config.fatigue * total_fatigue)
    better = np.array(config.better)[state.stage] * np.exp(config.engaged * state.engagement)
    total = worse + better
    clock = -np.log1p(-keyed_uniforms(state.seed, Purpose.LIFE_CYCLE, state.people.ids, state.day))
    moves, for_worse = clock < total, clock < worse
    return np.where(moves, np.where(for_worse, _WORSE[state.stage], _BETTER[state.stage]), state.stage)
