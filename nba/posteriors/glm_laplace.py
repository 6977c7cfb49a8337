"""The mode of a generalised linear posterior by iteratively reweighted least squares."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from nba.arrays import FloatArray
from nba.errors import NBAError

MOST_STEPS, MOST_HALVINGS = 200, 60
CLOSE = 1e-16  # squared distance to the mode, in posterior standard deviations
RECOIL = 0.5  # a step may overshoot until the slope back is this share of the slope that it started with


class NotConverged(NBAError, ArithmeticError):
    """A refit did not reach the mode."""


class Curvature(NamedTuple):
    """First and second derivative of a log-likelihood, additive over partitions of its rows."""

    gradient: FloatArray  # (Q,)
    curvature: FloatArray  # (Q, Q) Fisher information
    watched: FloatArray  # (1,) rounds

    def __add__(self, other: object) -> Curvature:
        """Derivatives over both sets of rows."""
        assert isinstance(other, Curvature)
        return Curvature(*(one + two for one, two in zip(self, other, strict=True)))


def find_mode(
    prior_precision: FloatArray, prior_shift: FloatArray, total: Callable[[FloatArray], Curvature]
) -> tuple[FloatArray, Curvature]:
    """The posterior mode (Q,) and the likelihood's derivatives there; the prior is in information form.

    `total` gives the derivatives over all rows at parameters (Q,). From the prior mean, each step is halved
    until it overshoots by little, judged by the slope where it ends: this needs no objective, and so serves
    the quasi-likelihood of Log too. Raises NotConverged.
    """
    from scipy.linalg import cho_factor, cho_solve

    at = cho_solve(cho_factor(prior_precision), prior_shift)
    here = total(at)
    distance = np.inf
    for _ in range(MOST_STEPS):
        gradient = here.gradient + prior_shift - prior_precision @ at
        step = cho_solve(cho_factor(here.curvature + prior_precision), gradient)
        distance = float(gradient @ step)
        if distance <= CLOSE:
            return at, here
        for halving in range(MOST_HALVINGS):
            there = at + 0.5**halving * step
            found = total(there)
            slope = float((found.gradient + prior_shift - prior_precision @ there) @ step)
            if slope >= -RECOIL * distance:
                break
        else:
            break
        at, here = there, found
    raise NotConverged(
        f"The refit over {here.watched[0]:.0f} rounds is still {distance**0.5:.2g} posterior standard "
        "deviations from its mode. Scale the features to about unit size, or narrow the model's prior "
        "(level_sd, slope_sd)."
    )
