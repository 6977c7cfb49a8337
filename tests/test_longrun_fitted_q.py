"""Fitted Q iteration: exact on small problems, its conservative term at its fixed point, its refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import root
from small import open_strategy, small_catalogue, small_contexts, small_schema

from nba.arrays import FloatArray
from nba.bundle import load_bundle, save_bundle
from nba.catalogue import Catalogue
from nba.errors import InvalidConfig
from nba.longrun import FittedQ, Steps, ValuesDiverged, fit_q
from nba.ope import BadLog
from nba.policies import Greedy, ThompsonSampling
from nba.posteriors import FittedQModel
from nba.posteriors.forest import Forest
from nba.propensity import Floor
from nba.snapshot import Snapshot

DISCOUNT, N = 0.9, 2_000
# Two states, rested and tired; silence always leads to rest, a contact to tiredness.
REWARDS = np.array([[0.5, 2.0], [0.2, 1.0]])  # (state, silent or contact), costs included


def one_contact() -> Catalogue:
    whole = small_catalogue()
    return small_catalogue(
        channels=whole.channels[:1], timings=whole.timings[:1], products=whole.products[:1]
    )


def prior_of(model: FittedQModel, catalogue: Catalogue) -> Any:
    return model.prior(catalogue, small_schema())


def two_states(n: int = N, seed: int = 0) -> Steps:
    """Uniform states and actions; the second feature is the state."""
    rng = np.random.default_rng(seed)
    state, actions = rng.integers(2, size=n), rng.integers(2, size=n)
    features = np.zeros((n, small_schema().n_columns))
    after = features.copy()
    features[:, 1], after[:, 1] = state, actions
    both = np.ones((n, 2), dtype=np.bool_)
    return Steps(
        journeys=np.arange(n) // 10,
        features=features,
        actions=actions,
        propensities=np.full(n, 0.5),
        rewards=REWARDS[state, actions],
        days=np.ones(n),
        eligible=both,
        next_features=after,
        next_eligible=both,
        ends=np.zeros(n, dtype=np.bool_),
    )


def exact(discount: float = DISCOUNT) -> FloatArray:
    """(2, 2) Q of the best policy by value iteration."""
    q = np.zeros((2, 2))
    for _ in range(2_000):
        q = REWARDS + discount * q.max(axis=1)[None, :]
    return q


def model_of(**changes: Any) -> FittedQModel:
    parts = {"n_trees": 3, "least_leaf": 50, "discount": DISCOUNT, "tolerance": 1e-7, "most_sweeps": 60}
    return FittedQModel(**{**parts, **changes})


def fitted(model: FittedQModel, steps: Steps, catalogue: Catalogue) -> FittedQ:
    return fit_q(model, prior_of(model, catalogue), catalogue.costs, steps, np.random.default_rng(1))


@pytest.mark.parametrize("members", [1, 2, 3])
def test_two_states_by_value_iteration(members: int) -> None:
    catalogue, steps = one_contact(), two_states()
    found = fitted(model_of(n_members=members), steps, catalogue)
    states = np.zeros((2, small_schema().n_columns))
    states[1, 1] = 1.0
    gains = found.posterior.gains(states)[:, :, 0] - catalogue.costs[1]
    q = exact()
    np.testing.assert_allclose(gains, np.broadcast_to(q[:, 1] - q[:, 0], gains.shape), atol=1e-4)
    assert found.value == pytest.approx(q.max(axis=1)[steps.next_features[:, 1].astype(int)].mean(), abs=1e-3)
    assert q[0, 1] > q[0, 0] and q[1, 1] - q[1, 0] != REWARDS[1, 1] - REWARDS[1, 0], "the future counts"


def test_what_ends_has_no_future_and_days_discount() -> None:
    catalogue, steps = one_contact(), two_states()
    over = fitted(model_of(), steps._replace(ends=np.ones(N, dtype=np.bool_)), catalogue)
    states = np.zeros((2, small_schema().n_columns))
    states[1, 1] = 1.0
    gains = over.posterior.gains(states).mean(axis=0)[:, 0] - catalogue.costs[1]
    np.testing.assert_allclose(gains, REWARDS[:, 1] - REWARDS[:, 0], atol=1e-9)
    slow = fitted(model_of(), steps._replace(days=np.full(N, 3.0)), catalogue)
    q = exact(DISCOUNT**3)
    gains = slow.posterior.gains(states).mean(axis=0)[:, 0] - catalogue.costs[1]
    np.testing.assert_allclose(gains, q[:, 1] - q[:, 0], atol=1e-4)


def test_the_conservative_term_comes_to_its_fixed_point() -> None:
    """One state, no future: Q(a) = r(a) - alpha (softmax(Q)(a) / p(a) - 1), solved by a root finder."""
    catalogue, n = small_catalogue(), 6_000
    p, r, alpha = np.array([0.5, 0.4, 0.1]), np.array([0.0, 1.0, 1.5]), 0.3
    actions = np.repeat([0, 1, 2], (p * n).astype(int))
    steps = plain(actions, p[actions], r[actions], catalogue)
    steps.eligible[:, 3:] = False
    model = model_of(
        n_members=1, conservatism=alpha, temperature=1.0, most_ratio=100.0, least_leaf=20, tolerance=1e-5
    )
    found = fitted(model, steps, catalogue)

    def off(q: FloatArray) -> FloatArray:
        likes = np.exp(q - q.max())
        return q - r + alpha * (likes / likes.sum() / p - 1.0)

    q = root(off, r).x
    gains = found.posterior.gains(steps.features[:1])[0, 0, :2] - catalogue.costs[1:3]
    np.testing.assert_allclose(gains, q[1:] - q[0], atol=1e-4)
    plainly = fitted(model_of(n_members=1, least_leaf=20), steps, catalogue)
    free = plainly.posterior.gains(steps.features[:1])[0, 0, :2] - catalogue.costs[1:3]
    assert free.argmax() == 1 and gains.argmax() == 0, "the rare contact that the log likes loses its lead"


def plain(actions: Any, propensities: FloatArray, rewards: FloatArray, catalogue: Catalogue) -> Steps:
    """Decisions in one state that nothing follows."""
    n, features = actions.size, np.zeros((actions.size, small_schema().n_columns))
    eligible = np.ones((n, catalogue.n_actions), dtype=np.bool_)
    over = np.ones(n, dtype=np.bool_)
    return Steps(
        np.arange(n), features, actions, propensities, rewards, np.ones(n), eligible, features, eligible, over
    )


def test_a_forest_says_what_scikit_learn_says_and_averages_by_hand() -> None:
    from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor

    rng = np.random.default_rng(0)
    inputs, targets = rng.standard_normal((500, 4)), rng.standard_normal(500)
    grown = ExtraTreesRegressor(n_estimators=7, min_samples_leaf=9, random_state=0).fit(inputs, targets)
    forest, fresh = Forest.of(grown, "test"), rng.standard_normal((300, 4))
    np.testing.assert_allclose(forest.predict(fresh), grown.predict(fresh), rtol=1e-12)
    np.testing.assert_array_equal(forest.leaves(fresh), grown.apply(fresh) + forest.roots)
    np.testing.assert_allclose(
        forest.valued(forest.leaves(inputs), targets).predict(fresh), grown.predict(fresh)
    )
    stump = Forest(np.array([[0, 0.5, 1, 2, 9], [0, 0, 1, 1, 3.0], [0, 0, 2, 2, 4.0]]), np.array([0]))
    np.testing.assert_array_equal(stump.predict(np.array([[0.5], [0.6]])), [3.0, 4.0])
    again = stump.valued(np.array([[1], [1]]), np.array([1.0, 2.0]))
    np.testing.assert_array_equal(again.predict(np.array([[0.0], [1.0]])), [1.5, 4.0])
    assert not Forest.none().predict(fresh).any()
    with pytest.raises(InvalidConfig, match="no forest of averaged trees"):
        Forest.of(HistGradientBoostingRegressor(max_iter=1).fit(inputs, targets), "test")


@pytest.mark.parametrize("policy", [Greedy(), ThompsonSampling()])
def test_a_bundle_decides_as_its_snapshot_with_exact_propensities(policy: Any, tmp_path: Any) -> None:
    model = model_of(n_members=3)
    strategy = open_strategy(model=model, policy=policy, floor=Floor())
    rng, n = np.random.default_rng(2), 6_000
    actions = rng.integers(strategy.catalogue.n_actions, size=n)
    steps = plain(actions, np.full(n, 1 / 13), rng.normal(0.3 * actions, 1.0), strategy.catalogue)
    steps = steps._replace(features=rng.standard_normal((n, strategy.schema.n_columns)))
    start = Snapshot.start(strategy)
    contexts = strategy.encode(small_contexts(strategy, 40, 3))
    ids = np.array([f"d{number}" for number in range(40)], dtype=object)
    assert not start.decide(contexts, ids).actions.any(), "before any journey what costs is not done"
    found = fit_q(model, start.posterior, strategy.catalogue.costs, steps, np.random.default_rng(1))  # type: ignore[arg-type]
    snapshot = start.at(found.posterior, 1)
    again = load_bundle(save_bundle(snapshot, tmp_path / "bundle"))
    one, other = snapshot.decide(contexts, ids), again.decide(contexts, ids)
    np.testing.assert_array_equal(one.distribution, other.distribution)
    chosen = one.distribution[np.arange(40), one.actions]
    np.testing.assert_array_equal(one.propensities, chosen)
    np.testing.assert_allclose(one.distribution.sum(axis=1), 1.0)
    assert one.actions.any()
    gains = found.posterior.gains(contexts.features).mean(axis=0) - strategy.catalogue.costs[1:]
    np.testing.assert_allclose(
        one.expected_values[:, 1:], np.where(one.eligible[:, 1:], gains, -np.inf), atol=1e-4
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"propensities": np.zeros(N)}, "propensities: must lie in"),
        ({"rewards": np.full(N, np.nan)}, "rewards: must be finite"),
        ({"days": np.zeros(N)}, "days: must be above 0"),
        ({"eligible": np.zeros((N, 2), dtype=np.bool_)}, "eligible: must hold no-contact"),
    ],
)
def test_steps_that_cannot_be_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(BadLog, match=words):
        fitted(model_of(), two_states()._replace(**change), one_contact())


def test_too_few_journeys_and_values_that_move_are_refused() -> None:
    with pytest.raises(ValuesDiverged, match="give more journeys, fewer members or smaller leaves"):
        fitted(model_of(), two_states(100), one_contact())
    with pytest.raises(ValuesDiverged, match="values still change by"):
        fitted(model_of(most_sweeps=1, discount=0.999), two_states(), one_contact())


@pytest.mark.parametrize(
    ("field", "value"),
    [("n_members", 0), ("discount", 1.0), ("conservatism", -1.0), ("temperature", 0.0), ("tolerance", 0.0)],
)
def test_settings_that_cannot_be_are_refused(field: str, value: float) -> None:
    with pytest.raises(InvalidConfig, match=field):
        FittedQModel(**{field: value})  # type: ignore[arg-type]
