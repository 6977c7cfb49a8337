"""Whether the arms hold as many customers as were assigned to them: what is lost on the way is not random."""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import numpy as np

from nba.arrays import BoolArray, FloatArray, check_shape
from nba.errors import require

_SURPRISE = 1e-3  # probability of a right ratio that strays as far, below which it is taken for wrong


class SampleRatio(NamedTuple):
    """Customers of two arms beside those that the chances of being treated foretell."""

    n: int
    n_treated: int
    expected: float
    z: float  # n_treated less expected, in standard errors
    p: float  # two-sided, normal

    @property
    def is_wrong(self) -> bool:
        """Whether right chances would so seldom stray so far that something was lost between the arms."""
        return self.p < _SURPRISE


def sample_ratio(treated: BoolArray, chances: FloatArray) -> SampleRatio:
    """The check over customers (n,) of two arms with their chances (n,) of being treated.

    A sample-ratio mismatch makes a trial worthless, whatever its lift: Fabijan et al. (2019).
    """
    from scipy.special import ndtr

    check_shape(chances, treated.shape, "chances")
    holds = bool(((chances > 0.0) & (chances < 1.0)).all())
    require(holds, "sample ratio", "chances", "must lie strictly between 0 and 1 (--chance)")
    n_treated, expected = int(treated.sum()), float(chances.sum())
    z = (n_treated - expected) / sqrt(float(np.sum(chances * (1.0 - chances))))
    return SampleRatio(treated.size, n_treated, expected, z, float(2.0 * ndtr(-abs(z))))
