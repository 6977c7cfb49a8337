"""Delayed conversions: naive labels underestimate the rate, a hazard model with an exposure ledger does not.

Methods B3: contacts of the last 28 days, evenly, whose conversions come with a delay; the truth is the
rate within 28 days. Four simulations of each delay, judged by the mean ratio of estimate to truth.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pytest

from nba.arrays import FloatArray, IntArray
from nba.catalogue import Catalogue, Channel, Product, Timing
from nba.errors import InvalidConfig
from nba.features import FeatureSchema, Numeric
from nba.feedback import RoundBatch
from nba.posteriors.glm_delay import pooled_completion
from nba.posteriors.glm_models import HazardModel, LogisticModel

WINDOW, ROWS, SEEDS = 28.0, 60_000, 4
CUTS = np.array([0.0, 0.25, 1.0, 2.0, 4.0, 7.0, 11.0, 16.0, 22.0, WINDOW])
PIECES = CUTS.size - 1
Delays: TypeAlias = Callable[[FloatArray, np.random.Generator], FloatArray]


class Simulated(NamedTuple):
    features: FloatArray  # (n, 3), intercept first
    ages: FloatArray  # (n,) days from the contact to the analysis
    delays: FloatArray  # (n,) days to the conversion, inf without
    truth: float  # mean probability of a conversion within the window


def exponential(x: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Mean 7 days, and depending on the customer."""
    return rng.exponential(7.0 * np.exp(0.3 * x[:, 1]))


def mixture(x: FloatArray, rng: np.random.Generator) -> FloatArray:
    """35 % at once, the rest lognormal with median 6 days."""
    late = np.exp(np.log(6.0) + 0.9 * rng.standard_normal(x.shape[0]))
    return np.where(rng.random(x.shape[0]) < 0.35, 0.01, late)


def simulated(delays: Delays, seed: int) -> Simulated:
    """Contacts whose conversions within the window have the truncated delay, so that the truth is known."""
    rng = np.random.default_rng(seed)
    features = np.concatenate([np.ones((ROWS, 1)), rng.standard_normal((ROWS, 2))], axis=1)
    rate = 1.0 / (1.0 + np.exp(2.2 - features[:, 1:] @ np.array([0.5, -0.4])))
    drawn = delays(features, rng)
    while (late := drawn > WINDOW).any():
        drawn[late] = delays(features[late], rng)
    converts = rng.random(ROWS) < rate
    return Simulated(
        features, rng.uniform(0.0, WINDOW, ROWS), np.where(converts, drawn, np.inf), float(rate.mean())
    )


def rounds(data: Simulated, rows: IntArray, rewards: FloatArray, exposure: FloatArray) -> RoundBatch:
    one, none = np.ones(rows.size), np.zeros(rows.size)
    action, product = np.ones(rows.size, dtype=np.int64), np.zeros(rows.size, dtype=np.int64)
    return RoundBatch(data.features[rows], action, product, rewards, exposure, one, none)


@cache
def bank() -> tuple[Catalogue, FeatureSchema]:
    offer = Product(
        name="loan", family="credit", value=1.0, forecast_rate=0.1, risk_class=1,
        attribution_window_days=28, decision_delay_days=7.0,
    )  # fmt: skip
    channels = (Channel(name="mail", family="digital", cost=0.0),)
    columns = (Numeric(name="a"), Numeric(name="b"))
    schema = FeatureSchema(columns=columns, segment=None, moments=False)
    return Catalogue(channels=channels, timings=(Timing(name="now"),), products=(offer,)), schema


def ratio(model: Any, data: Simulated, taught: RoundBatch) -> float:
    """Mean estimated rate over the truth."""
    posterior = model.prior(*bank()).refit(taught)
    return float(posterior.mean(data.features)[:, 1].mean()) / data.truth


def naive(data: Simulated) -> float:
    """Whoever has not converted yet counts as a failure."""
    converted = (data.delays <= data.ages).astype(np.float64)
    taught = rounds(data, np.arange(ROWS), converted, np.ones(ROWS))
    return ratio(LogisticModel(organic=False), data, taught)


def ledger(data: Simulated) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
    """Rows (contact, piece), conversions and shares of the piece watched, as far as each contact is old."""
    shares = np.clip((data.ages[:, None] - CUTS[:-1]) / np.diff(CUTS), 0.0, 1.0)
    contacts, pieces = np.nonzero(shares)
    piece_of = np.searchsorted(CUTS, data.delays, side="left") - 1
    came = (piece_of[contacts] == pieces) & (data.delays <= data.ages)[contacts]
    return contacts, pieces, came.astype(np.float64), shares[contacts, pieces]


def with_exposure(data: Simulated) -> float:
    """The hazard model on the ledger, with the pooled completion curve of the same ledger."""
    contacts, pieces, came, watched = ledger(data)
    exposure = pooled_completion(pieces, came, watched, PIECES)[pieces] * watched
    return ratio(HazardModel(organic=False), data, rounds(data, contacts, came, exposure))


@pytest.mark.parametrize(
    ("delays", "lowest", "highest"),
    [
        pytest.param(exponential, 0.72, 0.78, id="exponential"),
        pytest.param(mixture, 0.80, 0.86, id="mixture", marks=pytest.mark.slow),
    ],
)
def test_the_exposure_ledger_removes_the_bias_of_naive_labels(
    delays: Delays, lowest: float, highest: float
) -> None:
    worlds = [simulated(delays, seed) for seed in range(SEEDS)]
    plain, mended = ([method(world) for world in worlds] for method in (naive, with_exposure))
    error = [np.std(ratios, ddof=1) / np.sqrt(SEEDS) for ratios in (plain, mended)]
    print(f"\nnaive {np.mean(plain):.3f} +- {error[0]:.3f}, hazard {np.mean(mended):.3f} +- {error[1]:.3f}")
    assert lowest < np.mean(plain) < highest
    assert 0.97 < np.mean(mended) < 1.03
    assert max(error) < 0.012  # the ranges are wider than chance


def test_the_pooled_completion_is_the_share_of_each_interval() -> None:
    # Ten contacts watched the first interval and four conversions came; five watched half of the second.
    intervals = np.array([0] * 10 + [1] * 5)
    came = np.array([1.0] * 4 + [0.0] * 6 + [1.0] + [0.0] * 4)
    watched = np.array([1.0] * 10 + [0.5] * 5)
    np.testing.assert_allclose(pooled_completion(intervals, came, watched, 2), [0.5, 0.5])


def test_a_completion_that_cannot_be_estimated_says_why() -> None:
    intervals, one = np.array([0, 2]), np.ones(2)
    with pytest.raises(InvalidConfig, match=r"each of 0 to 2 must have been watched.*\[1.0, 0.0, 1.0\]"):
        pooled_completion(intervals, one, one, 3)
    with pytest.raises(InvalidConfig, match="wait for the first that contacts cause"):
        pooled_completion(np.array([0, 1]), np.zeros(2), one, 2)
