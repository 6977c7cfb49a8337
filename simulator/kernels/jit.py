"""How kernels are compiled, and the numbers that Numba does not know."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

jit = nb.njit(cache=True)
inlined = nb.njit(cache=True, inline="always")

_MAGIC = np.float32(2.0**112)  # from the exponents of 16 bits to those of 32
_BIAS = (1023 - 15) << 10
_INFINITY = 0x7C00
_SMALLEST_NORMAL = 2.0**-14
_PER_STEP, _WHOLE = 2.0**24, 2.0**52  # subnormals in one; adding and taking away the latter rounds


def halves(array: NDArray[np.float16]) -> NDArray[np.uint16]:
    """The bits of an array of halves, which Numba cannot read."""
    if array.dtype != np.float16:  # a view of anything else would be silently wrong
        raise TypeError(f"Numba kernels take halves, not {array.dtype}; use the engine numpy")
    return array.view(np.uint16)


@jit
def from_half(bits: Any) -> Any:
    """The number that 16 bits mean, exactly; finite ones only."""
    size = np.uint32((np.uint32(bits) & np.uint32(0x7FFF)) << np.uint32(13)).view(np.float32) * _MAGIC
    return -np.float64(size) if bits & np.uint16(0x8000) else np.float64(size)


@jit
def to_half(number: Any) -> Any:
    """The bits of the nearest half of a number >= 0, ties to even, as NumPy rounds."""
    if number < _SMALLEST_NORMAL:
        return np.uint16((number * _PER_STEP + _WHOLE) - _WHOLE)
    bits = np.float64(number).view(np.int64)
    rounded = (bits + ((1 << 41) - 1) + ((bits >> 42) & 1)) >> 42
    half: Any = min(rounded - _BIAS, _INFINITY)
    return np.uint16(half)
