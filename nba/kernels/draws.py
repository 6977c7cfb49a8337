"""The factored model: who wins under each draw, and what the mean expects."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from nba.arbitration import Money
from nba.arrays import BoolArray, Float32Array, FloatArray

_jit: Any = nb.njit(cache=True)


def win_shares(draws: Any, main: Float32Array, money: Money, eligible: BoolArray) -> FloatArray | None:
    """(B, A) as FactoredDraws.win_shares_numpy, the same bits; None where a utility is not a number."""
    shares = np.zeros(eligible.shape)
    return shares if _win_shares(*draws[1:], main, *money, eligible, shares) else None


def scores(draws: Any, main: Float32Array) -> Float32Array:
    """(B, A) as FactoredDraws.scores of a single draw, the same bits."""
    found = np.empty((main.shape[0], 1 + draws.channel_timing.size * draws.forecast.size), dtype=np.float32)
    _scores(*draws[1:], main, found)
    return found


def expected_values(draws: Any, main: Float32Array, money: Money, eligible: BoolArray) -> FloatArray:
    """(B, A) as FactoredDraws.expected_values_numpy, the same bits."""
    found = np.empty(eligible.shape)
    _expected_values(*draws[1:], main, *money, eligible, found)
    return found


@_jit  # type: ignore[untyped-decorator]
def _win_shares(
    when: Any, what: Any, pairs: Any, forecast: Any, main: Any, values: Any, charges: Any, eligible: Any,
    shares: Any,
) -> Any:  # fmt: skip
    """Count who wins; whether every utility is a number."""
    (n_channels, n_timings, n_draws), n_products = when.shape, forecast.size
    lift_when = np.empty((n_channels * n_timings, n_draws), np.float32)
    lift_what = np.empty((n_products, n_draws), np.float32)
    most, best = np.empty(n_draws, np.float32), np.empty(n_draws, np.float32)
    place = np.empty(n_draws, np.int32)
    for b in range(main.shape[0]):
        own, due = values[b % values.shape[0]], charges[b % charges.shape[0]]  # one row may stand for all
        best[:], place[:] = np.float32(0.0) * own[0] - due[0] if eligible[b, 0] else -np.inf, -1
        _climb(
            when, what, pairs, forecast, main[b], own, due, eligible[b], lift_when, lift_what, most, best,
            place,
        )  # fmt: skip
        for m in range(n_draws):
            winner = _first(
                place[m], best[m], m, lift_when, what, pairs, forecast, main[b], own, due, eligible[b]
            )
            if winner < 0:
                return False
            shares[b, winner] += 1.0
        for action in range(shares.shape[1]):
            shares[b, action] /= n_draws
    return True


@_jit  # type: ignore[untyped-decorator]
def _climb(
    when: Any, what: Any, pairs: Any, forecast: Any, main: Any, own: Any, due: Any, eligible: Any,
    lift_when: Any, lift_what: Any, most: Any, best: Any, place: Any,
) -> None:  # fmt: skip
    """For each channel and timing the best of all products, draws being the inner loop.

    Only maxima are kept there, since a processor takes eight at once; whose they are is asked at the end.
    """
    (n_channels, n_timings, n_draws), n_products = when.shape, forecast.size
    n_firsts = n_channels + n_timings
    for c in range(n_channels):
        for p in range(n_products):
            for m in range(n_draws):
                lift_what[p, m] = main[n_firsts + p, m] + what[c, p, m]
        for t in range(n_timings):
            row = c * n_timings + t
            first = 1 + row * n_products
            for m in range(n_draws):
                lift_when[row, m] = (main[c, m] + main[n_channels + t, m]) + when[c, t, m]
                most[m] = -np.inf
            for p in range(n_products):
                charge, value, rate = due[first + p], own[first + p], forecast[p]
                if not eligible[first + p]:
                    continue
                for m in range(n_draws):
                    lift = (lift_what[p, m] + pairs[t, p, m]) + lift_when[row, m]
                    most[m] = np.maximum(most[m], (lift * rate) * value - charge)
            for m in range(n_draws):
                place[m] = np.int32(row) if most[m] > best[m] else place[m]
                best[m] = np.maximum(best[m], most[m])  # what is not a number stays


@_jit  # type: ignore[untyped-decorator]
def _first(
    row: Any, best: Any, m: Any, lift_when: Any, what: Any, pairs: Any, forecast: Any, main: Any, own: Any,
    due: Any, eligible: Any,
) -> Any:  # fmt: skip
    """The first action of a channel and timing that has the best utility, -1 where it is not a number."""
    if best != best:
        return -1
    if row < 0:
        return 0
    (n_timings, n_products), n_channels = pairs.shape[:2], what.shape[0]
    c, t = row // n_timings, row % n_timings
    for p in range(n_products):
        action = 1 + row * n_products + p
        lift = ((main[n_channels + n_timings + p, m] + what[c, p, m]) + pairs[t, p, m]) + lift_when[row, m]
        if eligible[action] and (lift * forecast[p]) * own[action] - due[action] == best:
            return action
    return -1


@_jit  # type: ignore[untyped-decorator]
def _expected_values(
    when: Any, what: Any, pairs: Any, forecast: Any, main: Any, values: Any, charges: Any, eligible: Any,
    found: Any,
) -> None:  # fmt: skip
    rewards = np.empty(found.shape, np.float32)
    _scores(when, what, pairs, forecast, main, rewards)
    for b in range(found.shape[0]):
        own, due = values[b % values.shape[0]], charges[b % charges.shape[0]]
        for action in range(found.shape[1]):
            utility = rewards[b, action] * own[action] - due[action]
            found[b, action] = utility if eligible[b, action] else -np.inf


@_jit  # type: ignore[untyped-decorator]
def _scores(when: Any, what: Any, pairs: Any, forecast: Any, main: Any, found: Any) -> None:
    n_channels, n_timings = when.shape[:2]
    n_firsts = n_channels + n_timings
    for b in range(main.shape[0]):
        found[b, 0], action = 0.0, 0
        for c in range(n_channels):
            for t in range(n_timings):
                lift_when = (main[b, c, 0] + main[b, n_channels + t, 0]) + when[c, t, 0]
                for p in range(forecast.size):
                    action += 1
                    lift = ((main[b, n_firsts + p, 0] + what[c, p, 0]) + pairs[t, p, 0]) + lift_when
                    found[b, action] = lift * forecast[p]
