"""Warm start from a log, its strength, and prequential losses by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from checks.posteriors import instances, prior_of, rounds_of, taught
from learning_fixtures import SCHEMA, drifting_days
from small import cut, small_catalogue

from nba.arrays import join_rows
from nba.bundle import posterior_bytes
from nba.errors import InvalidConfig
from nba.feedback import RoundBatch
from nba.learning import (
    Foresight,
    Loss,
    best_strength,
    expected_rates,
    judged,
    learnt_batch,
    prequential,
    row_losses,
    warm_start,
)
from nba.posteriors import DisjointModel, FactoredModel, Model, SegmentRatesModel

EVERY_MODEL = pytest.mark.parametrize("model", instances(), ids=lambda model: type(model).__name__)


# --- Warm start ---


@EVERY_MODEL
def test_a_log_of_full_strength_is_a_log_that_was_watched(model: Model) -> None:
    prior: Any = prior_of(model)
    evidence = prior.evidence(rounds_of(model))
    assert posterior_bytes(warm_start(prior, evidence, 1.0)) == posterior_bytes(taught(model))


@EVERY_MODEL
def test_rounds_of_a_log_count_by_its_strength(model: Model) -> None:
    prior: Any = prior_of(model)
    started = warm_start(prior, prior.evidence(rounds_of(model)), 0.25)
    assert started.rounds == pytest.approx(0.25 * taught(model).rounds)


def test_a_warm_start_is_the_prior_of_the_logs_posterior_at_a_share_of_its_precision() -> None:
    """N(theta_log, (kappa A_log)^-1) times the prior, with theta_log the log's own least squares."""
    prior: Any = prior_of(DisjointModel())
    evidence = prior.evidence(rounds_of(DisjointModel()))
    started = warm_start(prior, evidence, 0.3)
    for action in range(12):
        theta = np.linalg.pinv(evidence.gram[action]) @ evidence.moment[action]
        precision = np.diag(prior.prior_precision) + 0.3 * evidence.gram[action]
        np.testing.assert_allclose(started.precision[action], precision, rtol=1e-12)
        explained = evidence.gram[action] @ theta
        # Rewards told with exposure 0 lie outside what the log's own least squares explains.
        shift = prior.prior_shift + 0.3 * (explained + (evidence.moment[action] - explained))
        np.testing.assert_allclose(started.shift[action], shift, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("strength", [0.0, -0.5, 1.0001, float("nan"), float("inf")])
def test_a_strength_is_a_share(strength: float) -> None:
    prior: Any = prior_of(FactoredModel())
    evidence = prior.evidence(rounds_of(FactoredModel()))
    with pytest.raises(InvalidConfig, match=r"strength: must lie in \(0, 1\], got .*; without the log"):
        warm_start(prior, evidence, strength)
    with pytest.raises(InvalidConfig, match="strengths: must name at least one"):
        best_strength(prior, evidence, [rounds_of(FactoredModel())], ())


@pytest.mark.parametrize(("moved", "best"), [(0.0, (0.3, 1.0)), (1.0, (0.01, 0.03))])
def test_replay_trusts_a_log_of_the_same_world_and_not_one_of_another(moved: float, best: Any) -> None:
    """Lifts of products are 1 + moved x sin of their phase in the log, 1 - that in the newest rounds."""
    prior: Any = SegmentRatesModel(pseudo_contacts=5.0).prior(small_catalogue(), SCHEMA)
    log = join_rows(drifting_days(small_catalogue(), 10, 300, moved, seed=4, period=1e9))
    newest = drifting_days(small_catalogue(), 8, 200, -moved, seed=5, period=1e9)
    strengths = (0.01, 0.03, 0.1, 0.3, 1.0)
    found = best_strength(prior, prior.evidence(log), newest, strengths)
    assert strengths[found.best] in best, found
    assert found.means.shape == (5,) and found.errors[found.best] == 0.0


# --- Prequential losses ---


def rows(rewards: list[float], exposure: list[float]) -> RoundBatch:
    n = len(rewards)
    ones = np.ones(n)
    return RoundBatch(
        np.column_stack([ones, 0 * ones, 0 * ones]),
        np.array([1, 2, 3, 1][:n]),
        np.array([0, 1, 2, 0][:n]),
        np.array(rewards),
        np.array(exposure),
        ones,
        0 * ones,
    )


def test_losses_by_hand() -> None:
    rates = np.array([0.2, 0.5, -1.0])
    late = rows([1.0, 0.0, 2.0], [0.0, 1.0, 0.5])
    expected = [-np.log(0.2), 0.5, 0.5 * 0.01 - 2.0 * np.log(0.01)]
    np.testing.assert_allclose(row_losses(rates, late, "poisson", 0.01), expected)
    whole = rows([1.0, 0.0, 0.25], [1.0, 1.0, 1.0])
    expected = [-np.log(0.2), -np.log(0.5), -0.25 * np.log(0.01) - 0.75 * np.log(0.99)]
    np.testing.assert_allclose(row_losses(rates, whole, "bernoulli", 0.01), expected)


def test_a_conversion_may_be_told_at_once_or_with_its_interval() -> None:
    """Poisson losses add over the cuts of a window; a chance has no cuts."""
    apart, together = rows([1.0, 0.0], [0.0, 1.0]), rows([1.0], [1.0])
    rate = np.array([0.3, 0.3])
    assert (
        row_losses(rate, apart, "poisson", 1e-4).sum()
        == row_losses(rate[:1], together, "poisson", 1e-4).sum()
    )
    with pytest.raises(InvalidConfig, match="bernoulli needs rewards in .* exposure 1; use poisson"):
        row_losses(rate, apart, "bernoulli", 1e-4)
    with pytest.raises(InvalidConfig, match=r"least_rate: must lie in \(0, 0.5\), got 0"):
        row_losses(rate, apart, "poisson", 0.0)


@EVERY_MODEL
def test_a_day_is_scored_before_it_is_learnt(model: Model) -> None:
    rounds, prior = rounds_of(model), prior_of(model)
    days = cut(rounds, 80, 80, 160)
    found = prequential(prior, days)
    assert found.losses.shape == found.exposure.shape == (4,)
    assert found.losses[1] == found.exposure[1] == 0.0, "a day without rows"
    known: Any = prior
    for number, day in enumerate(days):
        again = prequential(known, [day])
        assert again.losses[0] == pytest.approx(found.losses[number], rel=1e-9)
        known = learnt_batch(known, day)


def test_expected_rates_are_rows_of_the_design_times_the_mean() -> None:
    posterior, rounds = taught(FactoredModel()), rounds_of(FactoredModel())
    mean = posterior.parameters()
    for row, rate in enumerate(expected_rates(posterior, rounds)[:60]):
        action, product = int(rounds.actions[row]), int(rounds.products[row])
        shares = (column[row : row + 1] for column in (rounds.uplift_share, rounds.organic_share))
        design = posterior.layout.design(rounds.features[row : row + 1], *shares, action > 0)[0]
        want = posterior.forecast[product] * design @ mean[posterior.layout.parameters_of(action, product)]
        assert rate == pytest.approx(want, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("loss", ["poisson", "bernoulli"])
def test_the_better_informed_foresees_better(loss: Loss) -> None:
    days = drifting_days(small_catalogue(), 10, 200, 0.0, seed=6)
    model = SegmentRatesModel(pseudo_contacts=1.0)
    prior: Any = model.prior(small_catalogue(), SCHEMA)
    informed = prior.absorb(prior.evidence(join_rows(drifting_days(small_catalogue(), 20, 500, 0.0, seed=7))))
    found = judged([prequential(one, days, loss) for one in (prior, informed)])
    assert found.best == 1 and found.excess[0] > 0.0 == found.excess[1]


def test_errors_of_a_comparison_are_paired_by_day() -> None:
    first = Foresight(np.array([3.0, 5.0, 4.0]), np.array([10.0, 20.0, 10.0]))
    second = Foresight(first.losses + [0.5, 1.0, 0.5], first.exposure)  # the same excess for each round
    found = judged([second, first])
    assert found.best == 1 and found.means[1] == pytest.approx(0.3)
    np.testing.assert_allclose(found.excess, [0.05, 0.0], atol=1e-15)
    np.testing.assert_allclose(found.errors, [0.0, 0.0], atol=1e-15)
    third = Foresight(first.losses + [1.0, 0.0, -0.2], first.exposure)
    misses = np.array([1.0, 0.0, -0.2]) - 0.02 * first.exposure
    assert judged([third, first]).errors[0] == pytest.approx(np.sqrt(3 * (misses**2).sum() / 2) / 40)
