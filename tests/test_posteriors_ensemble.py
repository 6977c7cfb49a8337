"""Ensemble sampling: members are draws of the exact posterior, however they were taught."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from label_tables import columns, labels, played, random_table
from msgspec import structs
from small import cut, open_strategy, small_catalogue, small_contexts, small_rounds, small_schema

from nba.arrays import FloatArray
from nba.errors import InvalidConfig
from nba.feedback import RoundBatch
from nba.policies import ThompsonSampling
from nba.posteriors import FactoredModel
from nba.posteriors.ensemble import EnsembleLinear, EnsembleModel
from nba.posteriors.forgetting import HalfLives

MANY = 4_000


@pytest.fixture(scope="module")
def rounds() -> RoundBatch:
    return small_rounds(open_strategy(), 300)


@pytest.fixture(scope="module")
def many() -> EnsembleLinear:
    return prior_of(members=MANY)


def prior_of(**settings: Any) -> EnsembleLinear:
    return EnsembleModel(**settings).prior(small_catalogue(), small_schema())


def absorbed(posterior: EnsembleLinear, *parts: RoundBatch) -> EnsembleLinear:
    for part in parts:
        posterior = posterior.absorb(posterior.evidence(part))
    return posterior


def bank_features(n: int) -> FloatArray:
    strategy = open_strategy()
    return strategy.encode(small_contexts(strategy, n, seed=5)).features


def assert_draws_of_the_posterior(posterior: EnsembleLinear) -> None:
    """z-tests of every mean and every covariance of the members."""
    members, covariance = posterior.members(), np.linalg.inv(posterior.precision)
    variance = covariance.diagonal()
    error = (members.mean(axis=0) - posterior.parameters()) / np.sqrt(variance / MANY)
    assert np.abs(error).max() < 4.5 and 0.8 < error.std() < 1.2
    deviation = np.sqrt((np.outer(variance, variance) + covariance**2) / MANY)
    z = ((np.cov(members.T) - covariance) / deviation)[np.triu_indices(variance.size)]
    assert np.abs(z).max() < 5.5 and 0.9 < z.std() < 1.1


def test_members_of_the_prior_are_draws_of_it(many: EnsembleLinear) -> None:
    assert_draws_of_the_posterior(many)


def test_members_taught_in_batches_are_draws_of_the_posterior(
    many: EnsembleLinear, rounds: RoundBatch
) -> None:
    assert_draws_of_the_posterior(absorbed(many, rounds))
    assert_draws_of_the_posterior(absorbed(many, *cut(rounds, 3, 40, 200)))


def test_members_taught_row_by_row_are_draws_of_the_posterior(
    many: EnsembleLinear, rounds: RoundBatch
) -> None:
    assert_draws_of_the_posterior(many.fold(rounds))


@pytest.mark.parametrize("half_life", [20.0, HalfLives(contact=10.0, pair=None)], ids=["one", "by block"])
def test_members_that_forget_are_draws_of_the_wider_posterior(
    many: EnsembleLinear, rounds: RoundBatch, half_life: Any
) -> None:
    forgetful = structs.replace(many, half_life_days=half_life)
    # Long watching, so that what is forgotten is data and not the prior.
    first, second = cut(rounds._replace(exposure=np.full(rounds.n_rows, 20.0)), 150)
    aged = absorbed(forgetful, first).decayed(15.0)
    assert (aged.noise != absorbed(forgetful, first).noise).any()
    assert_draws_of_the_posterior(absorbed(aged, second))
    assert_draws_of_the_posterior(aged.decayed(5.0))


def test_mean_and_covariance_are_those_of_the_factored_model(rounds: RoundBatch) -> None:
    """Noise goes to the members alone; evidence has none and adds."""
    exact = FactoredModel().prior(small_catalogue(), small_schema())
    posterior, x = absorbed(prior_of(), rounds), bank_features(6)
    plain = exact.absorb(exact.evidence(rounds))
    np.testing.assert_array_equal(posterior.mean(x), plain.mean(x))
    np.testing.assert_array_equal(posterior.stddev(x), plain.stddev(x))
    first, second = (posterior.evidence(part) for part in cut(rounds, 90))
    for one, other in zip(first + second, posterior.evidence(rounds), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_draw_returns_the_members_and_scale_stretches_them(rounds: RoundBatch) -> None:
    posterior, x = absorbed(prior_of(members=7), rounds), bank_features(4)
    plain, wide, none = (
        posterior.scores(posterior.draw(99, np.random.default_rng(0), scale), x) for scale in (1.0, 2.0, 0.0)
    )
    assert plain.shape == (7, 4, 13)
    centre = posterior.scores(posterior.mean_draw(), x)[0]
    np.testing.assert_allclose(wide - centre, 2.0 * (plain - centre), atol=1e-5)
    np.testing.assert_allclose(none, np.broadcast_to(centre, none.shape), atol=1e-6)


def test_it_is_reproducible_and_seeds_differ(rounds: RoundBatch) -> None:
    one, again, other = (absorbed(prior_of(seed=seed), rounds) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.members(), again.members())
    assert (one.prior_noise != other.prior_noise).all()
    np.testing.assert_array_equal(one.precision, other.precision)


def test_noise_is_new_in_every_row_member_and_batch(rounds: RoundBatch) -> None:
    """Equal rows one after the other: were noise used twice, increments would agree."""
    prior = prior_of()
    row = RoundBatch(*(column[rounds.exposure > 0][:1] for column in rounds))
    states, posterior = [], prior
    for _ in range(4):
        posterior = posterior.fold(row)
        states.append(posterior.noise)
    steps = np.diff([prior.noise, *states], axis=0)
    told = np.flatnonzero(steps[0].any(axis=1))[0]
    assert np.unique(np.abs(steps[:, told]).round(9)).size == 4 * 30
    batches = absorbed(prior, row, row)
    assert (batches.noise != 2.0 * absorbed(prior, row).noise)[batches.noise != 0].all()


def test_state_arrays_bring_the_members_back(rounds: RoundBatch) -> None:
    """Save, load, continue equals the uninterrupted run, bit for bit."""
    first, second = cut(rounds, 120)
    half = prior_of().fold(first)
    stored = {name: getattr(half, name).copy() for name in ("precision", "shift", "noise", "watched")}
    restored = structs.replace(prior_of(), **stored)
    whole = prior_of().fold(rounds)
    for name in stored:
        np.testing.assert_array_equal(getattr(restored.fold(second), name), getattr(whole, name), name)
    np.testing.assert_array_equal(restored.fold(second).members(), whole.members())


def test_folding_does_not_depend_on_cuts(rounds: RoundBatch) -> None:
    whole, parts = prior_of().fold(rounds), prior_of()
    for part in cut(rounds, 1, 2, 50, 51, 299):
        parts = parts.fold(part)
    np.testing.assert_array_equal(parts.noise, whole.noise)
    np.testing.assert_array_equal(parts.precision, whole.precision)


def test_the_order_of_rows_in_a_batch_hardly_matters(rounds: RoundBatch) -> None:
    order = np.random.default_rng(2).permutation(rounds.n_rows)
    one = absorbed(prior_of(), rounds)
    other = absorbed(prior_of(), RoundBatch(*(column[order] for column in rounds)))
    np.testing.assert_allclose(other.noise, one.noise, rtol=1e-6, atol=1e-6)


def test_empty_batches_change_nothing(rounds: RoundBatch) -> None:
    posterior, nothing = absorbed(prior_of(), rounds), cut(rounds, 0)[0]
    for after in (posterior.fold(nothing), absorbed(posterior, nothing)):
        np.testing.assert_array_equal(after.noise, posterior.noise)
        np.testing.assert_array_equal(after.shift, posterior.shift)


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e6])
def test_odd_scales_and_one_action_stay_finite(scale: float) -> None:
    rounds = random_table(200, 1, 4)
    rounds.features[:, 1:] *= scale
    prior = EnsembleModel(members=5).prior(labels(1), columns(4))
    for posterior in (prior.fold(rounds), absorbed(prior, rounds)):
        drawn = posterior.scores(posterior.draw(5, np.random.default_rng(0)), rounds.features[:9])
        assert drawn.shape == (5, 9, 2) and np.isfinite(drawn).all()


def test_it_solves_an_easy_bandit() -> None:
    wide = EnsembleModel(members=10, lift_mean=0.0, level_sd=1.0, slope_sd=1.0, pair_sd=1.0)
    policy = ThompsonSampling(n_draws=1, scale=0.2)
    assert played(policy, wide.prior(labels(3), columns(4)), 400, seed=0)[0] > 0.9


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="model ensemble: members: must be at least 1, got 0"):
        EnsembleModel(members=0)
    with pytest.raises(InvalidConfig, match="model ensemble: seed: must lie in"):
        EnsembleModel(seed=-1)
    with pytest.raises(InvalidConfig, match="slope_sd: must be above 0"):
        EnsembleModel(slope_sd=-1.0)
