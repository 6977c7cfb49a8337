"""Array aliases and the check that opens public array functions.

Shape letters: B contexts, A actions, K columns of the feature matrix (intercept first), Q model
parameters, M posterior draws, C channels, T timings, P products, J shared resources, W windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

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


Scalars = TypeVar("Scalars", FloatArray, Float32Array)
Columns = TypeVar("Columns", bound=NamedTuple)


def take_rows(columns: Columns, rows: IntArray | BoolArray | slice) -> Columns:
    """The rows of a named tuple whose arrays all have the same first axis."""
    return columns._make(column[rows] for column in columns)


def join_rows(parts: Sequence[Columns]) -> Columns:
    """The rows of some named tuples of one type, in their order; there must be at least one part."""
    return parts[0]._make(np.concatenate(columns) for columns in zip(*parts, strict=True))


def rowwise(rows: Scalars, table: Scalars) -> Scalars:
    """The product of (B, K) rows and a (K, N) table, (B, N), one row at a time.

    The bits of a matrix product depend on its shape. Multiplied alone, a row gives the same bits in
    any batch, so that a single decision is exactly a batch of one and a replay may demand equality.
    """
    product: Scalars = np.matmul(rows[:, None, :], table)[:, 0, :]
    return product


def check_shape(array: AnyArray, shape: tuple[int | None, ...], name: str) -> None:
    """Raise ShapeMismatch unless `array` has `shape`; None stands for any length."""
    if array.shape == shape:  # asked several times in every decision
        return
    fits = array.ndim == len(shape)
    for got, want in zip(array.shape, shape, strict=False):
        fits &= want is None or got == want
    if not fits:
        wanted = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
        raise ShapeMismatch(f"{name} has shape {array.shape}, expected {wanted}.")
