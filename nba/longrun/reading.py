"""What a utility that a policy goes by is worth in the mean: prices of means told to policies that draw.

Thompson sampling contacts where the best of many draws lies above the price, and the best of many draws lies
above their means by a surplus. A price that was learnt of means so silences next to nothing. With g(s) the
mean worth of the contact that a draw likes best at utility s, which rises in s, contacting where g(s) is over
the due is contacting where s is over g^-1(due): the same price, in the statistic that a policy compares.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression

from nba.arrays import FloatArray, check_shape
from nba.errors import require


class Reading(NamedTuple):
    """Knots of g, both rising; between them it is linear, and beyond them it runs on one for one."""

    seen: FloatArray  # (k,) utilities that the policy goes by, account currency
    worth: FloatArray  # (k,) their means

    @staticmethod
    def of(seen: FloatArray, worth: FloatArray) -> Reading:
        """From pairs (n,): least squares among all rising functions (isotonic regression)."""
        require(seen.size > 0, "reading", "seen", "must hold at least one contact that a policy may like")
        check_shape(worth, seen.shape, "worth")
        order = np.argsort(seen, kind="stable")
        fit = isotonic_regression(worth[order])
        sizes = np.diff(fit.blocks)
        return Reading(np.add.reduceat(seen[order], fit.blocks[:-1]) / sizes, fit.x[fit.blocks[:-1]])

    def expected(self, seen: FloatArray) -> FloatArray:
        """(...) what utilities (...) are worth in the mean; -inf stays -inf."""
        return _along(self.seen, self.worth, seen)

    def price(self, due: FloatArray) -> FloatArray:
        """(...) what the policy must see, so that a contact is worth what is due (...); never below 0."""
        price: FloatArray = np.maximum(_along(self.worth, self.seen, due), 0.0)
        return price


def _along(knots: FloatArray, values: FloatArray, at: FloatArray) -> FloatArray:
    """(...) the broken line through (knots, values), of slope 1 beyond its ends."""
    inside = np.clip(at, knots[0], knots[-1])
    line: FloatArray = np.interp(inside, knots, values) + (at - inside)
    return line
