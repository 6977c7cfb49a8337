"""Who has which event, and who moves on (see simulator.behaviour and simulator.life_cycle)."""

from __future__ import annotations

from typing import Any

import numpy as np

from nba.arrays import FloatArray, IntArray
from simulator.behaviour import BehaviourLaw
from simulator.hazards import ACQUISITION
from simulator.kernels.jit import jit
from simulator.life_cycle import CHURNED, LifeCycleLaw
from simulator.population import Bytes
from simulator.state import WorldState


def kinds(law: BehaviourLaw, state: WorldState, rows: IntArray, uniforms: FloatArray) -> IntArray:
    """(n,) the events of behaviour.kinds."""
    found = np.empty(rows.size, dtype=np.int64)
    _kinds(law.rate, law.owners, (state.stage, state.owned, state.people.digital), rows, uniforms, found)
    return found


def move_logs(law: LifeCycleLaw, source: Bytes, covariates: FloatArray) -> FloatArray:
    """(n, 8) the log-odds of life_cycle.move_logs."""
    logs = np.empty((source.size, law.intercept.shape[1]))
    _move_logs(law.intercept, law.slopes, float(law.limit), source, covariates, logs)
    return logs


@jit
def _kinds(rate: Any, owners: Any, who: Any, rows: Any, uniforms: Any, found: Any) -> None:
    stage, owned, digital = who
    for n in range(rows.size):
        i, total, kind = rows[n], 0.0, 0
        for one in range(owners.size):
            holds = owners[one] == 0 or (np.int64(owned[i]) & owners[one]) != 0
            total += rate[digital[i], one] * holds
            kind += total <= uniforms[n]
        here = stage[i] != ACQUISITION and stage[i] != CHURNED
        found[n] = kind if here and uniforms[n] < total else 0


@jit
def _move_logs(intercept: Any, slopes: Any, limit: Any, source: Any, covariates: Any, logs: Any) -> None:
    for n in range(source.size):
        stage = source[n]
        for to in range(logs.shape[1]):
            index = 0.0
            for one in range(covariates.shape[0]):
                index += slopes[one, stage, to] * covariates[one, n]
            logs[n, to] = intercept[stage, to] + min(max(index, -limit), limit)
