"""Forgetting at a pace of its own for each kind of parameter (methods A7).

With kept shares rho, R = diag(sqrt(rho)) and the prior's diagonal precision Lambda_0,

    precision <- R precision R + (1 - R^2) Lambda_0        shift <- R precision R mu + (1 - R^2) shift_0

so the mean mu is held while belief about it widens, what is forgotten is replaced by the prior, and the
precision never falls below that of the prior. With equal half-lives this is rho x posterior +
(1 - rho) x prior. With unequal ones two steps differ a little from one step of the same length, because
the prior has pulled the mean in between: forget in steps of the publication rhythm.

The price of unequal half-lives: a row about the sum of a slow and a fast parameter comes to speak of the
slow one alone, so how a level is shared out among channel and product is believed more surely than it is
known (by a fifth at 21 and 45 days). Sums, which are what scores are made of, stay honest.
"""

from __future__ import annotations

from math import inf

import numpy as np
from msgspec import Struct, structs

from nba.arrays import FloatArray
from nba.errors import require
from nba.posteriors.layout import Layout


class HalfLives(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Half-lives in days of the factored model's parameters; one that is None, in TOML 1e9, never forgets.

    The defaults of the first three are those of methods A7. `contact` and `product` are levels, which
    multiply the intercept; `slope` is what multiplies features; `organic` is all that no-contact teaches.
    """

    contact: float | None = 21.0  # levels of channels and timings
    product: float | None = 45.0
    slope: float | None = 120.0
    pair: float | None = 45.0
    organic: float | None = 120.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name, days in structs.asdict(self).items():
            rule = f"must be finite and above 0, got {days}; 1e9 forgets nothing"
            require(days is None or 0 < days < inf, "half-lives", name, rule)

    def of_parameters(self, layout: Layout) -> FloatArray:
        """(Q,) half-life of each parameter in days, infinite where nothing is forgotten."""
        days = {name: inf if value is None else value for name, value in structs.asdict(self).items()}
        found = np.full(layout.n_parameters, days["slope"])
        first_product = (layout.n_channels + layout.n_timings) * layout.n_columns
        found[: first_product : layout.n_columns] = days["contact"]
        found[first_product : layout.pair_start : layout.n_columns] = days["product"]
        found[layout.pair_start : layout.organic_start] = days["pair"]
        found[layout.organic_start :] = days["organic"]
        return found


def kept(half_life_days: float | HalfLives, layout: Layout, elapsed_days: float) -> float | FloatArray:
    """Share of the evidence that is left after some days: one number, or (Q,) if parameters differ."""
    days = half_life_days.of_parameters(layout) if isinstance(half_life_days, HalfLives) else half_life_days
    if isinstance(days, float | int) or (days == days[0]).all():
        return float(np.exp2(-elapsed_days / np.ravel(days)[0]))
    return np.exp2(-elapsed_days / days)


def widened(precision: FloatArray, keep: FloatArray) -> FloatArray:
    """(Q, Q) R precision R for kept shares (Q,): symmetric to the last bit and positive definite."""
    root = np.sqrt(keep)
    scaled: FloatArray = precision * np.outer(root, root)
    return scaled
