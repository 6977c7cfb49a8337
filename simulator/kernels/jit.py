"""How kernels are compiled, and the numbers that Numba does not know."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

jit = nb.njit(cache=True)
inlined = nb.njit(cache=True, inline="always")

_MAGIC = np.float32(2.0**112)  # from the exponents of 16 bits to those of 32
_LOST = np.uint64(42)  # bits of a double's 52 that a half has no room for
_HALF_STEP = np.uint64((1 << 41) - 1)
_BIAS = np.uint32((1023 - 15) << 10)
_INFINITY = np.uint32(0x7C00)
_SMALLEST_NORMAL = 2.0**-14
_PER_STEP, _WHOLE = 2.0**24, 2.0**52  # subnormals in one; the lowest bits of the latter and more are units


def halves(array: NDArray[np.float16]) -> NDArray[np.uint16]:
    """The bits of an array of halves, which Numba cannot read."""
    if array.dtype != np.float16:  # a view of anything else would be silently wrong
        raise TypeError(f"Numba kernels take halves, not {array.dtype}; use the engine numpy")
    return array.view(np.uint16)


@jit
def from_half(bits: Any) -> Any:
    """The number that 16 bits mean, exactly; finite ones only."""
    size, sign = np.uint32(bits & np.uint16(0x7FFF)), np.uint32(bits & np.uint16(0x8000))
    wide = (size << np.uint32(13)) | (sign << np.uint32(16))
    return np.float64(np.uint32(wide).view(np.float32) * _MAGIC)


@jit
def to_half(number: Any) -> Any:
    """The bits of the nearest half of a number >= 0, ties to even, as NumPy rounds.

    Nothing branches, and all fits in 32 bits: so the processor takes some at once.
    """
    bits = np.float64(number).view(np.uint64)
    rounded = np.uint32((bits + _HALF_STEP + ((bits >> _LOST) & np.uint64(1))) >> _LOST)
    normal = min(np.uint32(rounded - _BIAS), _INFINITY)
    small = np.uint32(np.float64(number * _PER_STEP + _WHOLE).view(np.uint64))
    half: Any = small if number < _SMALLEST_NORMAL else normal
    return np.uint16(half)
