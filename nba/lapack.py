"""LAPACK that lets other threads run: SciPy's wrappers keep the interpreter's lock until they are done.

Whoever publishes while serving factors a matrix of thousands of parameters, for hundreds of milliseconds, in
a thread beside the one that answers. The routines are those that SciPy calls itself, found where it offers
them to compiled code (`scipy.linalg.cython_lapack`), and so are the bits; ctypes gives the lock away.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from nba.arrays import FloatArray


def cholesky(matrix: FloatArray) -> FloatArray:
    """(n, n) lower factor L of a symmetric positive definite matrix L L', column by column in memory.

    What stands above the diagonal is not set to zero. LinAlgError for a matrix that is not definite.
    """
    factor = np.array(matrix, dtype=np.float64, order="F")
    n = ctypes.c_int(factor.shape[0])
    failed = _called("dpotrf", b"L", n, factor, n)
    if failed:
        raise np.linalg.LinAlgError(f"{failed}-th leading minor not positive definite")
    return factor


def solved(factor: FloatArray, right: FloatArray) -> FloatArray:
    """X of L L' x = right (n,), from the factor of `cholesky`."""
    found, n = np.array(right, dtype=np.float64), ctypes.c_int(factor.shape[0])
    _called("dpotrs", b"L", n, ctypes.c_int(1), factor, n, found, n)
    return found


def solved_upper(factor: FloatArray, right: FloatArray) -> FloatArray:
    """X of L' X = right (n, m), from the factor of `cholesky`."""
    found, n = np.array(right, dtype=np.float64, order="F"), ctypes.c_int(factor.shape[0])
    _called("dtrtrs", b"L", b"T", b"N", n, ctypes.c_int(right.shape[1]), factor, n, found, n)
    return found


def _called(name: str, *arguments: Any) -> int:
    """Call a routine and give its `info`; arrays are given as they lie in memory."""
    info = ctypes.c_int(0)
    told = (one.ctypes.data_as(ctypes.c_void_p) if isinstance(one, np.ndarray) else one for one in arguments)
    by_reference = (ctypes.byref(one) if isinstance(one, ctypes.c_int) else one for one in told)
    _routine(name)(*by_reference, ctypes.byref(info))
    return info.value


@cache
def _routine(name: str) -> Callable[..., None]:
    """A routine of the LAPACK that SciPy brings."""
    from scipy.linalg import cython_lapack

    capsule, api = cython_lapack.__pyx_capi__[name], ctypes.pythonapi
    told = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", api))
    address = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", api)
    )
    routine: Callable[..., None] = ctypes.CFUNCTYPE(None)(address(capsule, told(capsule)))
    return routine
