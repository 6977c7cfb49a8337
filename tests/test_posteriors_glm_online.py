"""Online folding of generalised linear posteriors: textbook updates, cuts, and data that break naive code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from glm_fixtures import ALL, FORECAST, STATE, dense, late_rounds, start
from msgspec import structs
from scipy.special import expit
from small import cut, open_strategy

from nba.arrays import FloatArray
from nba.bundle import posterior_bytes, posterior_from_bytes
from nba.feedback import RoundBatch
from nba.posteriors.glm_models import HazardModel, LogisticModel


def online_newton(prior: Any, rounds: RoundBatch, expected: bool) -> tuple[FloatArray, FloatArray]:
    """Mean and covariance by the rank-one formula of estimators 1.1 (b) and (c), whole rounds."""
    contact, organic = dense(prior, rounds)
    offset = np.log(FORECAST / (1 - FORECAST))[rounds.products]
    mean, covariance = prior.parameters(), prior.parameter_covariance()
    for f, shift, r in zip(contact + organic, offset, rounds.rewards, strict=True):
        wide = 1.0 / np.sqrt(1.0 + np.pi / 8.0 * f @ covariance @ f) if expected else 1.0
        p = expit(wide * (shift + f @ mean))
        k, s = wide * p * (1.0 - p), covariance @ f
        covariance = covariance - k * np.outer(s, s) / (1.0 + k * f @ s)
        mean = mean + covariance @ f * (r - p)
    return mean, covariance


@pytest.mark.parametrize("curvature", ["newton", "expected"])
def test_folding_with_a_fresh_anchor_for_each_row_is_online_newton(curvature: Any) -> None:
    prior, _ = start(LogisticModel(curvature=curvature, refresh_rows=1))
    rounds = late_rounds(LogisticModel())._replace(exposure=np.ones(240))
    folded = prior.fold(rounds)
    mean, covariance = online_newton(prior, rounds, expected=curvature == "expected")
    np.testing.assert_allclose(folded.parameters(), mean, atol=1e-9)
    np.testing.assert_allclose(folded.parameter_covariance(), covariance, atol=1e-9)


@ALL
def test_the_bits_of_folding_do_not_depend_on_cuts(model: Any) -> None:
    prior, _ = start(model)
    rounds = late_rounds(model)
    whole = prior.fold(rounds)
    for places in ((1,), (7, 8, 100), tuple(range(1, 240))):
        folded = prior
        for part in cut(rounds, *places):
            folded = folded.fold(part)
        for name in STATE:
            np.testing.assert_array_equal(getattr(folded, name), getattr(whole, name), err_msg=name)
    np.testing.assert_array_equal(whole.precision, whole.precision.T)
    np.testing.assert_array_equal(prior.fold(cut(rounds, 0)[0]).pace, prior.pace)


@ALL
def test_a_bundle_kept_in_the_middle_of_a_fold_goes_on_with_the_same_bits(model: Any) -> None:
    prior, _ = start(model)
    whole = posterior_bytes(prior.fold(late_rounds(model)))
    for place in range(198, 210):  # at any age of an anchor
        first, second = cut(late_rounds(model), place)
        stored = posterior_bytes(prior.fold(first))
        again: Any = posterior_from_bytes(stored, open_strategy(model=model))
        assert posterior_bytes(again.fold(second)) == whole


@ALL
def test_folding_comes_close_to_the_mode(model: Any) -> None:
    """3000 rounds of a world drawn from the prior: distance of the means in posterior standard deviations."""
    prior, features = start(model)
    rounds = truthful_rounds(prior, late_rounds(model, 3000))
    refit, folded = prior.refit(rounds), prior.fold(rounds)
    gap = refit.parameters() - folded.parameters()
    distance = np.abs(gap) / np.sqrt(np.diag(refit.parameter_covariance()))
    assert distance.mean() < 0.1  # a fifth is the alarm of methods A3
    ratio = folded.stddev(features)[:, 1:] / refit.stddev(features)[:, 1:]
    assert 0.8 < np.median(ratio) < 1.25


def truthful_rounds(prior: Any, rounds: RoundBatch) -> RoundBatch:
    """Rewards of rounds under parameters drawn from the prior."""
    rng = np.random.default_rng(9)
    theta = prior.parameters() + rng.standard_normal(prior.shift.size) / np.sqrt(prior.prior_precision)
    contact, organic = dense(prior, rounds)
    forecast = FORECAST[rounds.products]
    offset = np.log(forecast / (1.0 - forecast)) if "logistic" in prior.__struct_config__.tag else 0.0
    eta = (contact + organic) @ theta
    if isinstance(offset, float):
        return rounds._replace(rewards=rng.poisson(mean_of(rounds, forecast, eta, organic @ theta, prior)))
    whole = np.ones(rounds.n_rows)
    return rounds._replace(rewards=(rng.random(rounds.n_rows) < expit(offset + eta)) * whole, exposure=whole)


def mean_of(rounds: RoundBatch, forecast: Any, eta: FloatArray, without: FloatArray, prior: Any) -> Any:
    rest = rounds.organic_share - rounds.uplift_share
    if prior.shift.size == prior.layout.organic_start:
        rest = np.zeros(rounds.n_rows)
    mean = rounds.uplift_share * np.exp(eta) + rest * np.exp(without)
    return rounds.exposure * forecast * mean


def test_the_expected_curvature_is_wider_while_rows_are_few() -> None:
    one, features = start(LogisticModel(level_sd=1.5))
    other, _ = start(LogisticModel(level_sd=1.5, curvature="expected"))
    rounds = late_rounds(LogisticModel(), 12)
    newton, expected = one.fold(rounds), other.fold(rounds)
    determinants = [np.linalg.slogdet(posterior.precision)[1] for posterior in (newton, expected)]
    assert determinants[1] < determinants[0]
    sd = [np.sqrt(np.diag(posterior.parameter_covariance())).mean() for posterior in (newton, expected)]
    assert sd[1] > sd[0]
    assert np.isfinite(expected.stddev(features)).all()


def test_the_quasi_likelihood_of_early_intervals_is_unbiased() -> None:
    """Rewards equal to their means bring back the truth, where a contact harms and means are negative too."""
    wide = HazardModel(level_sd=0.5, slope_sd=0.2, pair_sd=0.3, organic_slope_sd=0.1)
    (prior, features), rounds = start(wide), late_rounds(wide, 3000)
    rng, contacted = np.random.default_rng(2), rounds.actions > 0
    uplift = np.where(contacted, rng.uniform(0.2, 1.95, 3000), 0.0)
    rounds = rounds._replace(
        exposure=np.full(3000, 1e6), uplift_share=uplift, organic_share=np.where(contacted, 2 - uplift, 1.0)
    )
    theta = prior.parameters() + rng.standard_normal(prior.shift.size) / np.sqrt(prior.prior_precision)
    contact, organic = dense(prior, rounds)
    rewards = mean_of(rounds, FORECAST[rounds.products], (contact + organic) @ theta, organic @ theta, prior)
    assert (rewards < 0).any()
    refit = prior.refit(rounds._replace(rewards=rewards))
    truth = structs.replace(prior, shift=prior.precision @ theta)
    np.testing.assert_allclose(refit.mean(features), truth.mean(features), rtol=1e-3, atol=1e-5)


def test_a_conversion_told_before_its_exposure_teaches_the_same() -> None:
    for model in (LogisticModel(), HazardModel()):
        prior, _ = start(model)
        rounds = late_rounds(model)
        told = rounds._replace(exposure=np.zeros(240)), rounds._replace(rewards=np.zeros(240))
        apart = prior.evidence(told[0]) + prior.evidence(told[1])
        for one, two in zip(apart, prior.evidence(rounds), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-11, atol=1e-11)


@ALL
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e6], ids=["tiny", "constant", "huge"])
def test_separable_data_of_any_scale_stay_finite(model: Any, scale: float) -> None:
    """The first feature decides the reward alone; another is constant at `scale`."""
    prior, _ = start(model)
    rounds = late_rounds(model)
    features = rounds.features.copy()
    features[:, 1] *= scale
    features[:, 2] = scale
    rewards = (features[:, 1] > 0).astype(np.float64)
    rounds = rounds._replace(features=features, rewards=rewards, exposure=np.ones(240))
    taught = [prior.absorb(prior.evidence(rounds)), prior.fold(rounds), prior.refit(rounds)]
    for posterior in taught:
        draws = posterior.draw(8, np.random.default_rng(0))
        assert np.isfinite(posterior.mean(features)).all() and np.isfinite(posterior.stddev(features)).all()
        assert np.isfinite(posterior.scores(draws, features)).all()
