"""Conversions against the integral of the true hazards (methods F4)."""

from __future__ import annotations

import numpy as np
from scipy.stats import gamma

from experiments.world_report.check import Check
from experiments.world_report.formulas import families_of
from experiments.world_report.trace import Trace
from nba.arrays import FloatArray, IntArray
from simulator.mechanisms import switched

LIMIT = 4.0  # standard errors; by chance once in 16,000 numbers
_FEWEST = 5.0  # expected conversions below which a family is not near enough to normal


def organic(run: Trace) -> Check:
    """Conversions on the customers' own account: neither more nor fewer than the hazards say."""
    names, place = families_of(run.world.config)
    free = run.sales.product[~run.sales.caused]
    observed = np.bincount(place[free], minlength=len(names)).astype(np.float64)
    expected, variance = run.organic.sum(axis=0)
    scores = _scores(observed, expected, variance)
    return Check(
        name="organic conversions",
        what="organic conversions, in all and by product family, are as many as the integral of the organic "
        f"hazards says, within {LIMIT:g} standard errors either way",
        cases=scores.size,
        violations=int((np.abs(scores) > LIMIT).sum()),
        detail=f"{observed.sum():.0f} conversions, {expected.sum():.1f} expected, z {scores[-1]:+.2f}; "
        f"widest family z {_widest(scores[:-1]):+.2f}",
    )


def caused(run: Trace) -> Check:
    """Conversions that contacts caused: not more than the hazards that they lifted."""
    names, place = families_of(run.world.config)
    chance = due_chances(run)
    family = place[run.masses.product]
    bound, variance = (
        np.bincount(family, part, minlength=len(names)).astype(np.float64)
        for part in (chance, chance * (1.0 - chance))
    )
    found = run.sales.product[run.sales.caused]
    observed = np.bincount(place[found], minlength=len(names)).astype(np.float64)
    scores = _scores(observed, bound, variance)
    return Check(
        name="caused conversions",
        what="conversions caused by contacts, in all and by product family, are at most the integral of the "
        f"hazards that contacts lifted, within {LIMIT:g} standard errors",
        cases=scores.size,
        violations=int((scores > LIMIT).sum()),
        detail=f"{observed.sum():.0f} conversions, {bound.sum():.1f} possible, z {scores[-1]:+.2f}; what is "
        "missing was bought before, replaced by a substitute, or lost to churn",
    )


def due_chances(run: Trace) -> FloatArray:
    """(m,) probability that a contact's own clock rings before the log ends."""
    config, one = switched(run.world.config), run.masses
    mean = np.array([product.decision_delay_days for product in config.catalogue.products])[one.product]
    shape, left = config.response.delay_shape, np.maximum(run.n_days - one.contact_day, 0)
    chance: FloatArray = -np.expm1(-one.mass * gamma.cdf(left, shape, scale=mean / shape))
    return chance


def _scores(observed: FloatArray, expected: FloatArray, variance: FloatArray) -> FloatArray:
    """Scores (z) of each family that is expected often enough, then of all together."""
    kept: IntArray = np.flatnonzero(expected >= _FEWEST)
    pairs = [
        (observed[kept] - expected[kept], variance[kept]),
        (np.array([observed.sum() - expected.sum()]), np.array([variance.sum()])),
    ]
    gap, spread = (np.concatenate(part) for part in zip(*pairs, strict=True))
    # Nothing possible and nothing seen is no deviation; nothing possible and something seen is infinite.
    return np.where(gap == 0.0, 0.0, gap / np.sqrt(np.maximum(spread, 1e-12)))


def _widest(scores: FloatArray) -> float:
    return float(scores[np.abs(scores).argmax()]) if scores.size else 0.0
