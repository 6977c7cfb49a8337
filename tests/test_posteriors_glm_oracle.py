"""Fast logistic posteriors against exact Polya-Gamma Gibbs sampling, and the sampler against its moments."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from msgspec import structs
from scipy.special import expit
from test_posteriors_delay import bank

from nba.arrays import FloatArray
from nba.errors import ShapeMismatch
from nba.feedback import RoundBatch
from nba.posteriors.glm_models import LogisticModel
from nba.posteriors.polya_gamma import polya_gamma, polya_gamma_draws

DRAWS = 2000


@pytest.mark.parametrize("tilt", [0.0, 0.3, 1.0, 3.0, -3.3, 8.0, 60.0])
def test_polya_gamma_variables_have_their_mean_and_variance(tilt: float) -> None:
    """Mean tanh(z / 2) / (2 z), variance (sinh z - z) / (4 z^3 cosh^2(z / 2))."""
    n, z = 100_000, abs(tilt)
    drawn = polya_gamma(np.full(n, tilt), np.random.default_rng(11))
    mean = np.tanh(z / 2) / (2 * z) if z else 0.25
    variance = (np.tanh(z / 2) - z / 2 / np.cosh(z / 2) ** 2) / (2 * z**3) if z else 1 / 24
    assert (drawn > 0).all()
    assert abs(drawn.mean() - mean) < 4.5 * np.sqrt(variance / n)
    kurtosis = ((drawn - mean) ** 4).mean() / variance**2
    assert abs(drawn.var() / variance - 1.0) < 4.5 * np.sqrt((kurtosis - 1.0) / n)


def test_the_sampler_agrees_with_numerical_integration() -> None:
    """One parameter, three rows: the posterior's mean and variance on a grid."""
    design, rewards = np.array([[1.0], [2.0], [-1.0]]), np.array([1.0, 1.0, 0.0])
    grid = np.linspace(-8.0, 10.0, 20_001)
    logs = np.log(expit(np.where(rewards > 0, 1, -1)[:, None] * design * grid)).sum(axis=0)
    weights = np.exp(logs - 0.5 * (grid - 0.3) ** 2 / 1.5)
    weights /= weights.sum()
    mean = weights @ grid
    drawn = polya_gamma_draws(
        design, rewards, np.array([0.3]), np.array([[1 / 1.5]]), 4000, np.random.default_rng(5)
    )[:, 0]
    assert abs(drawn.mean() - mean) < 0.06
    assert abs(drawn.var() / (weights @ (grid - mean) ** 2) - 1.0) < 0.12


def test_the_sampler_checks_its_shapes() -> None:
    with pytest.raises(ShapeMismatch, match="rewards has shape"):
        polya_gamma_draws(np.ones((3, 2)), np.ones(2), np.zeros(2), np.eye(2), 1, np.random.default_rng(0))


def posterior(curvature: Any) -> Any:
    """A wide prior of one offer with even odds: 3 blocks of 3 columns and 3 pairs."""
    catalogue, schema = bank()
    offers = tuple(structs.replace(offer, forecast_rate=0.5) for offer in catalogue.products)
    even = structs.replace(catalogue, products=offers)
    model = LogisticModel(curvature=curvature, organic=False, level_sd=1.0, slope_sd=1.0, refresh_rows=1)
    return model.prior(even, schema)


@cache
def data(n: int) -> RoundBatch:
    rng, one = np.random.default_rng(n), np.ones(n)
    features = np.concatenate([np.ones((n, 1)), rng.standard_normal((n, 2))], axis=1)
    rewards = (rng.random(n) < expit(features @ np.array([0.5, 1.5, -1.0]))).astype(np.float64)
    where = np.ones(n, dtype=np.int64)
    return RoundBatch(features, where, 0 * where, rewards, one, one, 0 * one)


PLACES = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, -1.0, 0.5], [1.0, 0.0, -1.5]])


def predictors(x: FloatArray) -> FloatArray:
    """(n, 12) design rows of the only action."""
    return np.concatenate([x, x, x, np.ones((x.shape[0], 3))], axis=1)


@cache
def exact(n: int) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of the predictor at PLACES."""
    rounds, prior = data(n), posterior("newton")
    rng = np.random.default_rng(1)
    drawn = polya_gamma_draws(
        predictors(rounds.features), rounds.rewards, prior.parameters(), prior.precision, DRAWS, rng
    )
    at = drawn @ predictors(PLACES).T
    return at.mean(axis=0), at.std(axis=0)


def approximate(of: Any) -> tuple[FloatArray, FloatArray]:
    rows = predictors(PLACES)
    return rows @ of.parameters(), np.sqrt(np.diag(rows @ of.parameter_covariance() @ rows.T))


@pytest.mark.parametrize(
    ("how", "curvature", "off", "ratio"),
    [("refit", "newton", 0.25, 0.08), ("fold", "newton", 0.5, 0.12), ("fold", "expected", 0.3, 0.15)],
)
def test_fast_posteriors_agree_with_the_exact_one(how: str, curvature: Any, off: float, ratio: float) -> None:
    """400 rows: means within `off` exact standard deviations, standard deviations within a share `ratio`."""
    rounds, (mean, sd) = data(400), exact(400)
    fast_mean, fast_sd = approximate(getattr(posterior(curvature), how)(rounds))
    assert (np.abs(fast_mean - mean) < off * sd).all()
    assert (np.abs(fast_sd / sd - 1.0) < ratio).all()


def test_the_expected_curvature_is_nearer_to_the_exact_width_where_rows_are_few() -> None:
    rounds, (_, sd) = data(15), exact(15)
    widths = {kind: approximate(posterior(kind).fold(rounds))[1] for kind in ("newton", "expected")}
    assert (widths["expected"] > widths["newton"]).mean() > 0.5
    miss = {kind: np.abs(np.log(width / sd)).mean() for kind, width in widths.items()}
    assert miss["expected"] < miss["newton"]
