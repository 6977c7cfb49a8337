"""Array aliases and the check that opens public array functions.

Shape letters: B contexts, A actions, K columns of the feature matrix (intercept first), Q model
parameters, M posterior draws, C channels, T timings, P products, J shared resources, W windows.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nba.errors import ShapeMismatch

FloatArray: TypeAlias = NDArray[np.float64]
Float32Array: TypeAlias = NDArray[np.float32]
IntArray: TypeAlias = NDArray[np.int64]
KeyArray: TypeAlias = NDArray[np.uint64]
BoolArray: TypeAlias = NDArray[np.bool_]
TimeArray: TypeAlias = NDArray[np.datetime64]
StrArray: TypeAlias = NDArray[Any]  # of str objects
AnyArray: TypeAlias = NDArray[Any]


def check_shape(array: AnyArray, shape: tuple[int | None, ...], name: str) -> None:
    """Raise ShapeMismatch unless `array` has `shape`; None stands for any length."""
    fits = array.ndim == len(shape) and all(
        want is None or got == want for got, want in zip(array.shape, shape, strict=True)
    )
    if not fits:
        wanted = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
        raise ShapeMismatch(f"{name} has shape {array.shape}, expected {wanted}.")
