"""Reward models by hand and against scikit-learn, cross-fitting that peeks at nothing, and the audit."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from ope_fixtures import UNIT, by_hand, mild_problem

from experiments.reward_models import Boosting
from nba.arrays import FloatArray
from nba.errors import InvalidConfig
from nba.ope.audit import audit, split_of
from nba.ope.estimators import MRDR, DirectMethod, DoublyRobust, EstimatorLike, InversePropensity
from nba.ope.logged import LoggedRounds, folds_of
from nba.ope.reward_models import Logistic, RewardModel, RewardRows, Ridge, cross_fitted, mrdr_weights
from nba.ope.terms import Moments


def rows_of(seed: int, n: int = 600) -> RewardRows:
    """Rounds whose reward depends on two features and three actions."""
    rng = np.random.default_rng(seed)
    features = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    actions = rng.integers(3, size=n)
    chances = 1 / (1 + np.exp(-(features @ [-1.0, 1.0, -0.5] + np.array([0.0, 0.5, 1.0])[actions])))
    return RewardRows(features, actions, (rng.random(n) < chances).astype(np.float64), np.ones(n))


def test_ridge_without_features_is_a_shrunk_mean() -> None:
    rows = RewardRows(np.ones((5, 1)), np.array([0, 0, 0, 1, 1]), np.array([1.0, 1, 0, 0, 0]), np.ones(5))
    predicted = Ridge(precision=2.0).fit(rows, 3)(np.ones((1, 1)))
    # The mean of all is 0.4: (2 + 2 x 0.4) / (3 + 2), (0 + 0.8) / (2 + 2), and 0.4 for the unseen action.
    assert predicted == pytest.approx(np.array([[0.56, 0.2, 0.4]]))


def test_ridge_cross_fits_by_leaving_out_the_sums_of_a_fold() -> None:
    rows, model = rows_of(1), Ridge(precision=3.0)
    folds = np.random.default_rng(2).integers(3, size=600)
    predicted = model.predict(model.sums(rows, folds, (3, 3)), rows.features, folds)
    for fold in range(3):
        seen = RewardRows(*(column[folds != fold] for column in rows))
        expected = model.fit(seen, 3)(rows.features[folds == fold])
        assert predicted[folds == fold] == pytest.approx(expected)
    halves = [
        model.sums(RewardRows(*(c[s] for c in rows)), folds[s], (3, 3)) for s in (slice(250), slice(250, 600))
    ]
    merged = model.predict(halves[0] + halves[1], rows.features, folds)
    assert merged == pytest.approx(predicted)


def test_weighted_rounds_count_for_many() -> None:
    rows = rows_of(3, 200)
    counts = np.random.default_rng(4).integers(0, 4, size=200)
    again = RewardRows(*(np.repeat(column, counts, axis=0) for column in rows))
    weighted = rows._replace(weights=counts.astype(np.float64))
    models: tuple[RewardModel, ...] = (Ridge(), Logistic())
    for model in models:
        one, other = (model.fit(some, 3)(rows.features) for some in (weighted, again))
        assert one == pytest.approx(other, abs=1e-8)


def test_the_logistic_model_is_that_of_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    rows, cells = rows_of(5), np.arange(3)
    peer = LogisticRegression(C=0.5, tol=1e-10, max_iter=1_000)
    peer.fit(np.hstack([rows.features[:, 1:], np.eye(3)[rows.actions]]), rows.rewards)
    predicted = Logistic(precision=2.0).fit(rows, 3)(rows.features)
    for action in cells:
        design = np.hstack([rows.features[:, 1:], np.tile(np.eye(3)[action], (600, 1))])
        assert predicted[:, action] == pytest.approx(peer.predict_proba(design)[:, 1], abs=1e-5)
    with pytest.raises(InvalidConfig, match=r"logistic: rewards: must lie in \[0, 1\]"):
        Logistic().fit(rows._replace(rewards=rows.rewards * 2.0), 3)


@pytest.mark.parametrize(
    "model", [Ridge(), Logistic(), Boosting(rounds=5)], ids=["ridge", "logistic", "boosting"]
)
def test_a_prediction_never_knew_its_own_fold(model: RewardModel) -> None:
    """Turning round the rewards of one fold changes the predictions of all others, and none of its own."""
    rows = rows_of(6)
    keys = np.arange(600, dtype=np.uint64) // np.uint64(2)  # customers with two rounds each
    rounds = LoggedRounds(rows.actions, rows.rewards, np.full(600, 1 / 3), keys, reward_range=UNIT)
    folds = folds_of(keys, 3, seed=7)
    turned = rounds._replace(rewards=np.where(folds == 1, 1.0 - rounds.rewards, rounds.rewards))
    one, other = (cross_fitted(model, rows.features, log, 3, seed=7) for log in (rounds, turned))
    assert (one[folds == 1] == other[folds == 1]).all()
    assert (np.abs(one - other).max(axis=1) > 0.0)[folds != 1].mean() > 0.9
    assert one.min() >= 0.0 and one.max() <= 1.0


def test_boosting_takes_rewards_in_money() -> None:
    rows = rows_of(8)
    predicted = Boosting(rounds=30).fit(rows._replace(rewards=20.0 * rows.rewards + rows.features[:, 1]), 3)(
        rows.features
    )
    assert np.corrcoef(predicted[:, 2], rows.features[:, 1])[0, 1] > 0.5 and predicted.max() > 5.0


def test_mrdr_weights_by_hand() -> None:
    rounds, target, _ = by_hand()
    assert mrdr_weights(rounds, target) == pytest.approx([2 * 0.5 / 0.5, 2.5 * 0.8 / 0.2, 1.5, 0.0])


def test_mrdr_has_less_variance_than_dr_with_the_same_class_of_models() -> None:
    problem = mild_problem(9, rate=0.4)._replace(target=mild_problem(10).target ** 3)
    problem = problem._replace(target=problem.target / problem.target.sum(axis=1, keepdims=True))
    rounds, target, _ = problem.log(20_000, np.random.default_rng(11))
    ones = np.ones((20_000, 1))
    stderrs = []
    for one, weights in ((DoublyRobust(), None), (MRDR, mrdr_weights(rounds, target))):
        predicted = cross_fitted(Ridge(), ones, rounds, 6, weights=weights)
        value, stderr = Moments.of(one.terms(rounds, target, predicted)).estimate(self_normalised=False)
        assert abs(value - problem.truth) < 4 * stderr
        stderrs.append(stderr)
    assert stderrs[1] < stderrs[0]


def test_a_split_makes_two_logs_of_known_policies() -> None:
    problem = mild_problem(12, rate=0.3)
    rounds, target, _ = problem.log(4_000, np.random.default_rng(13))
    split = split_of(rounds, target, share=0.2)
    assert split.target.sum(axis=1) == pytest.approx(np.ones(4_000))
    assert rounds.logging is not None
    assert (rounds.logging * split.chances).sum(axis=1) == pytest.approx(np.full(4_000, 0.2))
    assert 0.2 * split.target + 0.8 * split.logging == pytest.approx(rounds.logging)
    pseudo, real = split.target / split.logging, target / rounds.logging
    spread = np.log(pseudo / real)
    assert spread == pytest.approx(np.repeat(spread[:, :1], 6, axis=1))  # proportional within a context
    rare = np.eye(6)[np.full(4_000, 2)]
    assert split_of(rounds, rare, share=0.9).share == pytest.approx(0.5 * rounds.logging[:, 2].min())


def by_audit(predictor: RewardModel, features: FloatArray, rounds: LoggedRounds, target: FloatArray) -> int:
    estimators: list[EstimatorLike] = [DirectMethod(), InversePropensity(), DoublyRobust()]
    told = audit(estimators, rounds, target, features, predictor, np.random.default_rng(1), n_splits=8)
    assert told.errors.shape == (3,) and 0.1 < told.likeness < 3.0
    return told.best


def test_the_audit_trusts_a_model_that_is_right_and_no_other() -> None:
    problem = mild_problem(14, rate=0.3)
    rounds, target, contexts = problem.log(12_000, np.random.default_rng(15))
    features = np.hstack([np.ones((12_000, 1)), np.eye(20)[contexts]])
    assert by_audit(Ridge(), features, rounds, target) in (0, 2)
    tilted = problem._replace(target=np.where(problem.rates > problem.rates.mean(), problem.target, 1e-3))
    tilted = tilted._replace(target=tilted.target / tilted.target.sum(axis=1, keepdims=True))
    rounds, target, _ = tilted.log(12_000, np.random.default_rng(16))
    assert by_audit(Ridge(precision=1e6), np.ones((12_000, 1)), rounds, target) != 0


def test_lightgbm_serves_where_it_is_installed_and_is_missed_by_name() -> None:
    if find_spec("lightgbm") is None:
        with pytest.raises(InvalidConfig, match="LightGBM is not installed"):
            Boosting(library="lightgbm")
        return
    rng = np.random.default_rng(21)
    features, actions = np.column_stack([np.ones(4_000), rng.normal(size=4_000)]), rng.integers(0, 2, 4_000)
    rates = np.where(features[:, 1] > 0.0, 0.8, 0.2) * (1.0 - 0.5 * actions)
    rows = RewardRows(features, actions, (rng.random(4_000) < rates).astype(float), np.ones(4_000))
    at = np.array([[1.0, -1.0], [1.0, 1.0]])
    ours, theirs = (
        Boosting(rounds=30, library=name).fit(rows, 2)(at) for name in ("scikit-learn", "lightgbm")
    )
    np.testing.assert_allclose(theirs, ours, atol=0.1)
    np.testing.assert_allclose(theirs, [[0.2, 0.1], [0.8, 0.4]], atol=0.1)
