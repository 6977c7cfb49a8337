"""What posteriors expect without contact, and rates that are made of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from checks.posteriors import rounds_of, strategy_of, taught

from nba.arrays import FloatArray
from nba.feedback import RoundBatch
from nba.learning import expected_rates, learnt_batch, prequential
from nba.posteriors import (
    BaggedModel,
    DisjointModel,
    EnsembleModel,
    FactoredModel,
    HazardModel,
    HybridModel,
    LogisticModel,
    Model,
    NeuralLinearModel,
    OnlineModel,
    SegmentRatesModel,
)

TREES = BaggedModel(
    regressor="sklearn.tree.DecisionTreeRegressor",
    settings={"max_depth": 4, "min_samples_leaf": 5},
    n_members=3,
)
UPLIFT = (
    FactoredModel(),
    EnsembleModel(members=3),
    HybridModel(),
    LogisticModel(),
    HazardModel(),
    TREES,
    NeuralLinearModel(steps=100),
)
GROSS = (DisjointModel(), OnlineModel(), SegmentRatesModel())
LIFTS, WINDOWS = np.array([0.05, 0.5, 0.8]), 30.0


def named(model: object) -> str:
    return type(model).__name__


def silent_rounds(n: int, forecast: FloatArray) -> RoundBatch:
    """Many windows without contact; each product is bought at its share of the forecast, exactly."""
    like = rounds_of(FactoredModel())
    features = like.features[np.arange(n) % like.n_rows]
    products, ones = np.arange(n) % 3, np.ones(n)
    none, rates = np.zeros(n, dtype=np.int64), (LIFTS * forecast)[products]
    return RoundBatch(features, none, products, WINDOWS * rates, WINDOWS * ones, np.zeros(n), ones)


@pytest.mark.parametrize("model", UPLIFT, ids=named)
def test_what_is_bought_without_contact_is_learnt_as_organic(model: Model) -> None:
    strategy = strategy_of(model)
    prior: Any = model.prior(strategy.catalogue, strategy.schema)
    forecast = strategy.catalogue.forecast_rates
    rounds = silent_rounds(1_500, forecast)
    seen, posterior = rounds.features[:60], learnt_batch(prior, rounds)
    before, after = (np.abs(one.organic(seen) / forecast - LIFTS).mean(axis=0) for one in (prior, posterior))
    assert posterior.organic(seen).shape == (60, 3)
    assert (after < 0.5 * before).all() and after.max() < 0.12, (before, after)


@pytest.mark.parametrize("model", UPLIFT, ids=named)
def test_rates_are_uplift_and_organic_by_their_shares(model: Model) -> None:
    posterior, rounds = taught(model), rounds_of(model)
    rates = expected_rates(posterior, rounds)
    scores, organic = posterior.mean(rounds.features), posterior.organic(rounds.features)
    assert organic is not None
    for row in range(0, rounds.n_rows, 7):
        action, product = rounds.actions[row], rounds.products[row]
        parts = scores[row, action], organic[row, product]
        shares = rounds.uplift_share[row], rounds.organic_share[row]
        assert rates[row] == pytest.approx(np.dot(parts, shares), rel=1e-4, abs=1e-6)
    assert np.isfinite(prequential(posterior, [rounds]).mean)


@pytest.mark.parametrize("model", GROSS, ids=named)
def test_gross_scores_have_no_organic_part_and_skip_silence(model: Model) -> None:
    posterior, rounds = taught(model), rounds_of(model)
    assert posterior.organic(rounds.features) is None
    found = prequential(posterior, [rounds])
    assert found.exposure[0] == pytest.approx(rounds.exposure[rounds.actions > 0].sum())


@pytest.mark.parametrize("model", [LogisticModel(organic=False), HazardModel(organic=False)], ids=named)
def test_rates_of_tables_have_no_organic_part(model: Model) -> None:
    posterior = taught(model)
    assert not np.asarray(posterior.organic(rounds_of(model).features)).any()


@pytest.mark.parametrize("model", [FactoredModel(), HybridModel()], ids=named)
def test_a_prior_expects_its_share_of_the_forecast(model: Any) -> None:
    strategy = strategy_of(model)
    posterior = model.prior(strategy.catalogue, strategy.schema)
    want = np.tile(model.organic_mean * strategy.catalogue.forecast_rates, (5, 1))
    np.testing.assert_allclose(posterior.organic(rounds_of(model).features[:5]), want, rtol=1e-12)
