"""Posteriors: the conformance suite over the union, and each member against its closed form."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from checks.posteriors import (
    BY_NATURE,
    CHECKS,
    Check,
    checks_of,
    features_of,
    instances,
    prior_of,
    rounds_of,
    taught,
)
from scipy.stats import gamma

from nba.arrays import FloatArray
from nba.errors import ShapeMismatch
from nba.posteriors import STATE_FIELDS, DisjointModel, FactoredModel, Model, Posterior, SegmentRatesModel

CASES = [(model, check) for model in instances() for check in checks_of(model)]


@pytest.mark.parametrize(
    ("model", "check"), CASES, ids=[f"{type(model).__name__}-{check.__name__}" for model, check in CASES]
)
def test_posterior(model: Model, check: Check) -> None:
    check(model)


def test_what_cannot_hold_by_nature_is_a_check_that_exists() -> None:
    names = {check.__name__ for check in CHECKS}
    assert all(set(reasons) <= names for reasons in BY_NATURE.values())


def test_the_unions_and_the_table_of_state_name_the_same_posteriors() -> None:
    assert {type(prior_of(model)) for model in instances()} == set(get_args(Posterior)) == set(STATE_FIELDS)


# One row of the dense design, written from the formula of methods A1 and not from the layout's tables.


def dense_row(posterior: Any, x: FloatArray, action: int, product: int, shares: tuple[float, float]) -> Any:
    layout = posterior.layout
    n_channels, n_timings, n_products = layout.n_channels, layout.n_timings, layout.n_products
    uplift, organic = shares
    blocks = {name: np.zeros((n, x.size)) for name, n in zip("ctp", (2, 2, 3), strict=True)}
    tables = [
        np.zeros(shape)
        for shape in ((n_channels, n_timings), (n_channels, n_products), (n_timings, n_products))
    ]
    gross = np.zeros((n_products, x.size))
    if action > 0:
        c, t, p = np.unravel_index(action - 1, (n_channels, n_timings, n_products))
        blocks["c"][c], blocks["t"][t], blocks["p"][p] = uplift * x, uplift * x, uplift * x
        tables[0][c, t] = tables[1][c, p] = tables[2][t, p] = uplift
    gross[product] = organic * x
    return np.concatenate([part.ravel() for part in (*blocks.values(), *tables, gross)])


def dense_solution(model: FactoredModel) -> tuple[FloatArray, FloatArray]:
    """Posterior mean and covariance of weighted least squares with every row written out."""
    prior: Any = prior_of(model)
    rounds = rounds_of(model)
    rows = np.array(
        [
            dense_row(prior, x, a, p, (u, o))
            for x, a, p, u, o in zip(
                rounds.features,
                rounds.actions,
                rounds.products,
                rounds.uplift_share,
                rounds.organic_share,
                strict=True,
            )
        ]
    )
    weights = rounds.exposure * prior.forecast[rounds.products]
    precision = np.diag(prior.prior_precision) + rows.T @ np.diag(weights) @ rows
    covariance = np.linalg.inv(precision)
    return covariance @ (prior.prior_shift + rows.T @ rounds.rewards), covariance


def test_the_factored_posterior_is_weighted_least_squares() -> None:
    mean, covariance = dense_solution(FactoredModel())
    posterior = taught(FactoredModel())
    assert mean.shape == (posterior.layout.n_parameters,) == (7 * 8 + 16 + 3 * 8,)
    np.testing.assert_allclose(posterior.parameters(), mean, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(np.linalg.inv(posterior.precision), covariance, rtol=1e-8, atol=1e-8)


def test_the_factored_mean_and_stddev_are_those_of_the_dense_design() -> None:
    mean, covariance = dense_solution(FactoredModel())
    posterior, features = taught(FactoredModel()), features_of(FactoredModel())
    for action in range(1, 13):
        product = (action - 1) % 3
        rows = np.array([dense_row(posterior, x, action, product, (1.0, 0.0)) for x in features])
        rows *= posterior.forecast[product]
        sd = np.sqrt(np.einsum("bi,ij,bj->b", rows, covariance, rows))
        np.testing.assert_allclose(posterior.stddev(features)[:, action], sd, rtol=1e-8)
        # Scores are single precision.
        np.testing.assert_allclose(posterior.mean(features)[:, action], rows @ mean, rtol=2e-5, atol=2e-6)


def test_the_covariance_of_draws_is_the_inverse_precision() -> None:
    posterior = taught(FactoredModel())
    n_draws, layout = 40_000, posterior.layout
    drawn = posterior.draw(n_draws, np.random.default_rng(4))
    # The first block of parameters of each draw: channel "call".
    block = drawn.main.reshape(layout.n_columns, layout.n_factors, n_draws)[:, 0].astype(np.float64)
    covariance = np.linalg.inv(posterior.precision)[:8, :8]
    sd = np.sqrt(np.diag(covariance))
    error = np.sqrt((np.outer(sd, sd) ** 2 + covariance**2) / n_draws)
    assert (np.abs(np.cov(block) - covariance) < 4.5 * error).all()


def test_no_contact_rows_teach_the_organic_block_alone() -> None:
    prior: Any = prior_of(FactoredModel())
    silent = rounds_of(FactoredModel())
    silent = type(silent)(*(column[silent.actions == 0] for column in silent))
    after, start = prior.absorb(prior.evidence(silent)), prior.layout.organic_start
    np.testing.assert_array_equal(after.precision[:start], prior.precision[:start])
    np.testing.assert_array_equal(after.shift[:start], prior.shift[:start])
    assert (after.shift[start:] != prior.shift[start:]).any()


def test_the_prior_believes_the_forecast_times_the_lift() -> None:
    """At the mean context, every contact is expected to bring lift_mean times its forecast rate."""
    x = np.zeros((1, 8))
    x[0, 0] = 1.0
    forecast = np.tile([0.2, 0.2, 0.05], 4)
    for model in (FactoredModel(lift_mean=0.7), DisjointModel(lift_mean=0.7)):
        np.testing.assert_allclose(prior_of(model).mean(x)[0, 1:], 0.7 * forecast, rtol=1e-6)


def test_the_disjoint_posterior_is_one_regression_per_action() -> None:
    posterior, prior, rounds = taught(DisjointModel()), prior_of(DisjointModel()), rounds_of(DisjointModel())
    for action in range(1, 13):
        rows = rounds.actions == action
        x, weight = rounds.features[rows], rounds.exposure[rows] * [0.2, 0.2, 0.05][(action - 1) % 3]
        precision = np.diag(prior.prior_precision) + (x * weight[:, None]).T @ x
        shift = prior.prior_shift + x.T @ rounds.rewards[rows]
        np.testing.assert_allclose(posterior.precision[action - 1], precision, rtol=1e-10)
        got = np.linalg.solve(posterior.precision[action - 1], posterior.shift[action - 1])
        np.testing.assert_allclose(got, np.linalg.solve(precision, shift), rtol=1e-8)


def test_segment_rates_count_conversions_and_exposure() -> None:
    posterior, rounds = taught(SegmentRatesModel(pseudo_contacts=20.0)), rounds_of(SegmentRatesModel())
    segment = rounds.features[:, 3:5].argmax(axis=1)
    for s in range(2):
        for p, forecast in enumerate((0.2, 0.2, 0.05)):
            rows = (segment == s) & (rounds.products == p) & (rounds.actions > 0)
            assert posterior.conversions[s, p] == pytest.approx(20 * forecast + rounds.rewards[rows].sum())
            assert posterior.exposure[s, p] == pytest.approx(20 + rounds.exposure[rows].sum())


def test_segment_rates_are_gamma_distributed() -> None:
    posterior = taught(SegmentRatesModel())
    x = np.zeros((1, 8))
    x[0, [0, 4]] = 1.0  # affluent
    shape, rate = posterior.conversions[1, 2], posterior.exposure[1, 2]
    assert posterior.mean(x)[0, 3] == pytest.approx(gamma.mean(shape, scale=1 / rate))
    assert posterior.stddev(x)[0, 3] == pytest.approx(gamma.std(shape, scale=1 / rate))


def test_an_unknown_segment_is_expected_to_do_nothing() -> None:
    x = np.zeros((1, 8))
    x[0, 0] = 1.0
    assert not taught(SegmentRatesModel()).mean(x).any()


@pytest.mark.parametrize("model", [FactoredModel(), DisjointModel()], ids=lambda model: type(model).__name__)
def test_features_of_another_width_are_refused(model: Model) -> None:
    posterior = taught(model)
    with pytest.raises(ShapeMismatch, match="features"):
        posterior.scores(posterior.mean_draw(), features_of(model)[:, :-1])
