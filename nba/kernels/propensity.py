"""The floor and the choice: one walk over the actions in place of a dozen passes."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from nba.arrays import BoolArray, FloatArray, IntArray

_jit: Any = nb.njit(cache=True)


def mix(floor: Any, base: FloatArray, eligible: BoolArray, costs: FloatArray) -> FloatArray:
    """(B, A) as Floor.mix_numpy, the same bits."""
    mixed = np.empty(base.shape)
    _mix(base, eligible, costs, floor.epsilon, floor.no_contact_share, floor.max_cost, mixed)
    return mixed


def draw(distribution: FloatArray, uniforms: FloatArray) -> tuple[IntArray, FloatArray]:
    """(B,) actions and their probabilities as nba.propensity.draw_numpy, the same bits."""
    actions, shares = np.empty(uniforms.size, dtype=np.int64), np.empty(uniforms.size)
    _draw(distribution, uniforms, actions, shares)
    return actions, shares


@_jit  # type: ignore[untyped-decorator]
def _mix(
    base: Any, eligible: Any, costs: Any, epsilon: Any, no_contact_share: Any, max_cost: Any, mixed: Any
) -> None:
    for b in range(base.shape[0]):
        silent, n_open, n_cheap = eligible[b, 0], 0, 0
        for action in range(1, base.shape[1]):
            n_open += eligible[b, action]
            n_cheap += eligible[b, action] and costs[action] <= max_cost
        limit, n_spread = max_cost, n_cheap
        if n_cheap == 0 and not silent:  # then any contact must do
            limit, n_spread = np.inf, n_open
        contact_share = 0.0
        if n_spread > 0:
            contact_share = 1.0 - no_contact_share if silent else 1.0
        each = contact_share / max(n_spread, 1) * epsilon
        mixed[b, 0] = (1.0 - contact_share) * epsilon + (1.0 - epsilon) * base[b, 0]
        for action in range(1, base.shape[1]):
            spread = each if eligible[b, action] and costs[action] <= limit else 0.0
            mixed[b, action] = spread + (1.0 - epsilon) * base[b, action]


@_jit  # type: ignore[untyped-decorator]
def _draw(distribution: Any, uniforms: Any, actions: Any, shares: Any) -> None:
    for b in range(uniforms.size):
        total, last, found = 0.0, distribution.shape[1] - 1, -1
        for action in range(distribution.shape[1]):
            share = distribution[b, action]
            total += share
            if share > 0.0:
                last = action
            if total > uniforms[b]:
                found = action
                break
        actions[b] = found if found >= 0 else last
        shares[b] = distribution[b, actions[b]]
