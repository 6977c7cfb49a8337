"""The uniform of a single decision: Philox4x32-10 for one counter."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

_jit: Any = nb.njit(cache=True)
_LOW, _WORD = np.uint64(0xFFFFFFFF), np.uint64(32)


def one_uniform(seed: int, purpose: int, one: int, day: int, block: int) -> float:
    """As nba.randomness.one_uniform_python, the same bits."""
    low = 0xFFFFFFFF
    uniform: float = _one_uniform(seed & low, (seed >> 32) & low, purpose, one, day, block)
    return uniform


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
