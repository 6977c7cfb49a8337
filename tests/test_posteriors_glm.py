"""Logistic and hazard posteriors against textbook formulas and an independent optimiser."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from checks import posteriors as checks
from glm_fixtures import (
    ALL,
    FORECAST,
    MODELS,
    NAMES,
    STATE,
    late_rounds,
    log_likelihood,
    numeric_gradient,
    scores_of,
    start,
)
from msgspec import structs
from scipy.optimize import minimize
from scipy.special import logit
from small import cut

from nba.arrays import FloatArray
from nba.errors import InvalidConfig, NBAError, ShapeMismatch
from nba.policies import LinUCB, RegCB, ThompsonSampling
from nba.posteriors.glm_laplace import Curvature, NotConverged
from nba.posteriors.glm_models import LogisticModel

VARIANTS = [model for model in MODELS if model not in checks.instances()]
CASES = [
    pytest.param(model, check, id=f"{NAMES[MODELS.index(model)]}-{check.__name__}")
    for model in VARIANTS
    for check in checks.checks_of(model)
]


@pytest.mark.parametrize(("model", "check"), CASES)
def test_variants_pass_the_conformance_suite(model: Any, check: Any) -> None:
    check(model)


@ALL
def test_the_prior_is_at_the_forecast(model: Any) -> None:
    prior, _ = start(model)
    without = model.organic_rate if model.organic else 0.0
    expected = np.tile(FORECAST * (1.0 - without), 4)
    average = np.eye(1, prior.layout.n_columns)
    np.testing.assert_allclose(scores_of(prior, prior.parameters(), average[0]), expected, rtol=1e-9)
    np.testing.assert_allclose(prior.mean(average)[0, 1:], expected, rtol=1e-5)


@ALL
def test_a_refit_is_the_mode_that_an_independent_optimiser_finds(model: Any) -> None:
    prior, _ = start(model)
    rounds = late_rounds(model)
    likelihood, centre = log_likelihood(prior, rounds), prior.parameters()

    def loss(theta: FloatArray) -> float:
        return 0.5 * float(prior.prior_precision @ (theta - centre) ** 2) - likelihood(theta[:, None])[0]

    def slope(theta: FloatArray) -> FloatArray:
        return prior.prior_precision * (theta - centre) - numeric_gradient(likelihood, theta)

    found = minimize(loss, centre, jac=slope, method="BFGS", options={"gtol": 1e-9, "maxiter": 2000})
    refit = prior.refit(rounds)
    np.testing.assert_allclose(refit.parameters(), found.x, atol=1e-6)
    at, only = refit.parameters(), rounds.exposure.sum()
    curvature = prior.gradient_and_curvature(rounds, at)
    np.testing.assert_allclose(curvature.gradient, numeric_gradient(likelihood, at), atol=1e-6)
    np.testing.assert_allclose(refit.watched, [only])


@ALL
def test_the_covariance_is_the_inverse_of_the_fisher_information(model: Any) -> None:
    prior, _ = start(model)
    rounds = late_rounds(model)._replace(uplift_share=np.ones(240), organic_share=np.ones(240))
    refit = prior.refit(rounds)
    likelihood, at = log_likelihood(prior, rounds), refit.parameters()
    # With equal shares both links are canonical, and the information is the second derivative.
    steps = 1e-4 * np.eye(at.size)
    rows = [numeric_gradient(likelihood, at + s) - numeric_gradient(likelihood, at - s) for s in steps]
    precision = np.diag(prior.prior_precision) - np.array(rows) / 2e-4
    np.testing.assert_allclose(refit.parameter_covariance(), np.linalg.inv(precision), atol=1e-6)
    np.testing.assert_allclose(refit.parameter_covariance() @ refit.precision, np.eye(at.size), atol=1e-10)


@ALL
def test_draws_have_the_inverse_precision_for_covariance(model: Any) -> None:
    """Not the precision, its square or its root: a known defect of peers (estimators 4)."""
    prior, features = start(model)
    refit, n = prior.refit(late_rounds(model)), 20_000
    draws = refit.draw(n, np.random.default_rng(3))
    theta = draws.main.T.reshape(n, -1).astype(np.float64)
    layout, whole = refit.layout, refit.parameter_covariance()
    kept = np.r_[0 : layout.pair_start, layout.organic_start : refit.shift.size]
    wanted = whole[np.ix_(kept, kept)]
    error = np.sqrt((np.outer(np.diag(wanted), np.diag(wanted)) + wanted**2) / n)
    assert (np.abs(np.cov(theta.T) - wanted) < 4.5 * error).all()
    pairs = layout.pair_start + layout.pairs_of[7]
    ratio = draws.tables[:, 8].astype(np.float64).var() / whole[np.ix_(pairs, pairs)].sum()
    assert abs(ratio - 1.0) < 4.5 * np.sqrt(2.0 / n)
    # And each draw is transformed exactly.
    one = refit.draw(1, np.random.default_rng(4))
    noise = np.random.default_rng(4).standard_normal((refit.shift.size, 1))
    exact = refit.parameters() + np.linalg.solve(np.linalg.cholesky(refit.precision).T, noise)[:, 0]
    for row, x in enumerate(features[:3]):
        got = refit.scores(one, features)[0, row, 1:]
        np.testing.assert_allclose(got, scores_of(refit, exact, x), rtol=2e-5, atol=1e-6)


@ALL
def test_the_standard_deviation_is_the_delta_method(model: Any) -> None:
    prior, features = start(model)
    refit = prior.refit(late_rounds(model))
    at, covariance = refit.parameters(), refit.parameter_covariance()
    for row, x in enumerate(features[:4]):
        steps = 1e-5 * np.eye(at.size)
        up, down = ([scores_of(refit, at + sign * s, x) for s in steps] for sign in (1, -1))
        slopes = (np.array(up) - np.array(down)) / 2e-5
        wanted = np.sqrt(np.einsum("qa,qr,ra->a", slopes, covariance, slopes))
        np.testing.assert_allclose(refit.stddev(features)[row, 1:], wanted, rtol=1e-4)


@ALL
@pytest.mark.parametrize("width", [0.8, -0.8])
def test_the_reach_is_the_score_where_the_ellipsoid_ends_along_the_gradient(model: Any, width: float) -> None:
    prior, features = start(model)
    refit = prior.refit(late_rounds(model))
    at, covariance = refit.parameters(), refit.parameter_covariance()
    reach = refit.covariance().reach(features, refit.mean(features), width)
    for row, x in enumerate(features[:3]):
        steps = 1e-5 * np.eye(at.size)
        up, down = ([scores_of(refit, at + sign * s, x) for s in steps] for sign in (1, -1))
        slopes = (np.array(up) - np.array(down)) / 2e-5  # (Q, A - 1)
        ends = covariance @ slopes / np.sqrt(np.einsum("qa,qr,ra->a", slopes, covariance, slopes))
        wanted = [scores_of(refit, at + width * end, x)[action] for action, end in enumerate(ends.T)]
        np.testing.assert_allclose(reach[row, 1:], wanted, rtol=1e-4, atol=1e-7)


def test_no_point_of_the_ellipsoid_is_higher_than_the_reach_of_a_gross_rate() -> None:
    model = LogisticModel(organic=False)
    prior, features = start(model)
    refit, rng = prior.refit(late_rounds(model)), np.random.default_rng(0)
    reach = refit.covariance().reach(features, refit.mean(features), 1.5)
    directions = rng.standard_normal((300, refit.shift.size))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    factor = np.linalg.cholesky(refit.parameter_covariance())
    points = refit.parameters() + 1.5 * directions @ factor.T
    for row, x in enumerate(features[:3]):
        highest = np.max([scores_of(refit, point, x) for point in points], axis=0)
        assert (highest <= reach[row, 1:] + 1e-6).all()


def test_optimism_is_the_same_in_log_odds_however_small_a_rate_is_thought_to_be() -> None:
    gained, widths = [], []
    for rate in (0.9, 0.02):
        prior, features = start(LogisticModel(organic=False, contact_rate=rate))
        mean, spread = prior.mean(features), prior.covariance()
        reach = spread.reach(features, mean, 2.0)
        gained.append(logit(reach[:, 1:]) - logit(mean[:, 1:]))
        widths.append(spread.stddev(features)[:, 1:])
    np.testing.assert_allclose(gained[0], gained[1], rtol=1e-4)
    assert (widths[1] < 0.05 * widths[0]).all()  # in the score the width vanishes with the rate


@ALL
def test_a_batch_of_one_has_the_bits_of_a_row(model: Any) -> None:
    prior, features = start(model)
    for posterior in (prior, prior.refit(late_rounds(model))):
        draws = posterior.draw(16, np.random.default_rng(0))
        alone = [posterior.scores(draws, features[row : row + 1]) for row in range(12)]
        np.testing.assert_array_equal(posterior.scores(draws, features), np.concatenate(alone, axis=1))
    with pytest.raises(ShapeMismatch, match="features has shape"):
        prior.scores(prior.mean_draw(), features[:, :-1])


@ALL
def test_linucb_and_thompson_sampling_score_with_it(model: Any) -> None:
    prior, features = start(model)
    refit, rng = prior.refit(late_rounds(model)), np.random.default_rng(0)
    optimist, sampler = LinUCB(alpha=0.7), ThompsonSampling(n_draws=9)
    optimistic = optimist.scores(refit, optimist.freeze(refit, rng), features)
    wanted = refit.covariance().reach(features, refit.mean(features), 0.7)
    np.testing.assert_allclose(optimistic[0], wanted, rtol=1e-5, atol=1e-6)
    mean, low, high = RegCB(slack=0.3).scores(refit, RegCB().freeze(refit, rng), features)
    assert (low[:, 1:] < mean[:, 1:]).all() and (mean[:, 1:] < high[:, 1:]).all()
    drawn = sampler.scores(refit, sampler.freeze(refit, np.random.default_rng(1)), features)
    assert drawn.shape == (9, 12, 13) and drawn.dtype == np.float32
    assert (drawn[:, :, 1:].std(axis=0) > 0).all()


@ALL
def test_partitions_add(model: Any) -> None:
    prior, _ = start(model)
    rounds = late_rounds(model)
    parts, posterior = cut(rounds, 50, 51, 130), prior.refit(late_rounds(model, seed=1))
    merged = posterior.evidence(parts[0])
    for part in parts[1:]:
        merged = merged + posterior.evidence(part)
    for one, two in zip(merged, posterior.evidence(rounds), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-11, atol=1e-11)

    def total(at: FloatArray) -> Curvature:
        first, *others = (prior.gradient_and_curvature(part, at) for part in parts)
        for other in others:
            first = first + other
        return first

    whole, apart = posterior.refit(rounds), prior.laplace(total)
    for name in STATE:
        np.testing.assert_allclose(getattr(apart, name), getattr(whole, name), rtol=1e-9, atol=1e-9)


@ALL
def test_forgetting_injects_the_prior_again(model: Any) -> None:
    prior, _ = start(structs.replace(model, half_life_days=10.0))
    folded = prior.fold(late_rounds(model))
    half = folded.decayed(10.0)
    for name in ("precision", "shift", "watched"):
        wanted = (getattr(prior, name) + getattr(folded, name)) / 2.0
        np.testing.assert_allclose(getattr(half, name), wanted, rtol=1e-12, atol=1e-12)
    gone = folded.decayed(2000.0)
    for name in STATE:
        np.testing.assert_allclose(getattr(gone, name), getattr(prior, name), atol=1e-12)


def test_a_refit_that_cannot_reach_its_mode_says_what_to_do() -> None:
    prior, _ = start(LogisticModel())

    def endless(at: FloatArray) -> Curvature:
        """A slope that takes the prior's pull back wherever it is."""
        pull = prior.prior_precision * at - prior.prior_shift
        return Curvature(1.0 + pull, np.zeros((at.size, at.size)), np.array([3.0]))

    pulled = np.sqrt((1.0 / prior.prior_precision).sum())  # prior deviations that a slope of 1 goes in a step
    told = f"over 3 rounds is still {pulled:.1f} .* Scale the features"
    with pytest.raises(NotConverged, match=told) as caught:
        prior.laplace(endless)
    assert isinstance(caught.value, NBAError)


@pytest.mark.parametrize(
    "changes",
    [{"level_sd": 0.0}, {"pair_sd": np.inf}, {"organic_rate": 0.0}, {"contact_rate": 1.5}]
    + [{"refresh_rows": 0}, {"half_life_days": -1.0}, {"curvature": "observed"}],
)
def test_settings_are_checked(changes: dict[str, Any]) -> None:
    (name,) = changes
    with pytest.raises(InvalidConfig, match=f"model logistic: {name}: must be"):
        LogisticModel(**changes)
