"""Uniforms of decisions: Philox4x32-10, one counter after the other."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from nba.arrays import FloatArray, KeyArray

_jit: Any = nb.njit(cache=True)
_LOW, _WORD = np.uint64(0xFFFFFFFF), np.uint64(32)


def uniforms(seed: int, purpose: int, ids: KeyArray, day: int, block: int) -> FloatArray:
    """Of each key what nba.randomness.one_uniform_python gives, the same bits."""
    low = 0xFFFFFFFF
    keys = np.ascontiguousarray(ids).ravel()
    found: FloatArray = _uniforms(seed & low, (seed >> 32) & low, purpose, keys, day, block)
    return found.reshape(ids.shape)


@_jit  # type: ignore[untyped-decorator]
def _uniforms(first: Any, second: Any, purpose: Any, keys: Any, day: Any, block: Any) -> Any:
    found = np.empty(keys.size)
    for place in range(keys.size):
        found[place] = _one_uniform(first, second, purpose, keys[place], day, block)
    return found


@_jit  # type: ignore[untyped-decorator]
def _one_uniform(first: Any, second: Any, purpose: Any, one: Any, day: Any, block: Any) -> Any:
    k0, k1, key = np.uint64(first), np.uint64(second), np.uint64(one)
    c0, c1 = key & _LOW, ((key >> _WORD) & np.uint64(0xFFFFFF)) | (np.uint64(purpose) << np.uint64(24))
    c2, c3 = np.uint64(day), np.uint64(block)
    for _ in range(10):
        left, right = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1 = (right >> _WORD) ^ c1 ^ k0, right & _LOW
        c2, c3 = (left >> _WORD) ^ c3 ^ k1, left & _LOW
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & _LOW, (k1 + np.uint64(0xBB67AE85)) & _LOW
    return (np.float64(c0 >> np.uint64(5)) * 2.0**26 + np.float64(c1 >> np.uint64(6))) / 2.0**53
