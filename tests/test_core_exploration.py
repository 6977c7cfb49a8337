"""How policies explore: the formulas of the gap, softmax, cover and version-space policies by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec import structs
from scipy.optimize import minimize
from small import ids_of, open_strategy, small_contexts, small_rounds, small_strategy

from nba.errors import InvalidConfig
from nba.policies import (
    Cover,
    EpsilonGreedy,
    Falcon,
    FastCB,
    Greedy,
    NoContact,
    Policy,
    Ready,
    RegCB,
    Softmax,
    SquareCB,
    ThompsonSampling,
)
from nba.propensity import Floor
from nba.snapshot import Snapshot

ALL = np.ones((1, 4), dtype=np.bool_)
MONEY = np.array([[[0.0, 1.0, 0.5, -2.0]]], dtype=np.float32)


def played(policy: Policy, rounds: float = 0.0, eligible: Any = ALL, money: Any = MONEY) -> Any:
    return policy.base_distribution(Ready(None, rounds), money, eligible)[0]


def test_epsilon_schedules() -> None:
    even, best = np.full(4, 0.25), np.array([0.0, 1.0, 0.0, 0.0])
    for rounds, epsilon in ((0.0, 0.3), (7.0, 0.15), (999.0, 0.03)):
        got = played(EpsilonGreedy(epsilon=0.3, schedule="cube_root"), rounds)
        np.testing.assert_allclose(got, (1 - epsilon) * best + epsilon * even, atol=1e-12)
    first = EpsilonGreedy(epsilon=0.0, schedule="explore_first", first_rounds=10)
    np.testing.assert_array_equal(played(first, 9.5), even)
    np.testing.assert_array_equal(played(first, 10.0), best)


def test_softmax_follows_utility_and_never_leaves_the_eligible_set() -> None:
    eligible = np.array([[True, False, True, True]])
    got = played(Softmax(inverse_temperature=2.0, growth=0.5), 3.0, eligible)
    weights = np.exp(4.0 * np.array([0.0, -np.inf, 0.5, -2.0]))
    np.testing.assert_allclose(got, weights / weights.sum(), rtol=1e-12)
    huge = played(Softmax(inverse_temperature=1e6), money=1e6 * MONEY)
    np.testing.assert_array_equal(huge, [0.0, 1.0, 0.0, 0.0])


def test_inverse_gaps_and_what_they_leave() -> None:
    """K = 4, gamma_0 = 10: 1 / (4 + 10 gap); each context keeps its own remainder (a defect of others)."""
    money = np.concatenate([MONEY, 3.0 * MONEY], axis=1)
    got = SquareCB(gamma=10.0).base_distribution(Ready(None), money, np.ones((2, 4), dtype=np.bool_))
    for row, scale in enumerate((1.0, 3.0)):
        others = 1.0 / (4 + 10 * scale * np.array([1.0, 0.5, 3.0]))
        np.testing.assert_allclose(got[row, [0, 2, 3]], others, rtol=1e-6)
        assert got[row, 1] == pytest.approx(1 - others.sum()) and got[row].sum() == pytest.approx(1.0)
    later = played(SquareCB(gamma=10.0, power=0.5, scale=2.0), 99.0)
    np.testing.assert_allclose(later[[0, 2, 3]], 1 / (4 + 100 * np.array([0.5, 0.25, 1.5])), rtol=1e-6)


def test_only_the_best_are_among_those_explored() -> None:
    got = played(SquareCB(gamma=1.0, among=2))
    np.testing.assert_allclose(got, [0.0, 1 - 1 / 2.5, 1 / 2.5, 0.0], rtol=1e-6)
    eligible = np.array([[True, False, True, True]])
    np.testing.assert_allclose(
        played(SquareCB(gamma=1.0, among=2), eligible=eligible), [1 / 2.5, 0.0, 1 - 1 / 2.5, 0.0], rtol=1e-6
    )


def test_fastcb_explores_less_where_rewards_are_rare() -> None:
    got = played(FastCB(gamma=10.0))
    np.testing.assert_allclose(got[[0, 2, 3]], 1.0 / (4 + 10 * np.array([1.0, 0.5, 3.0])), rtol=1e-6)
    rare = played(FastCB(gamma=10.0), money=0.01 * MONEY)
    np.testing.assert_allclose(rare[[0, 2, 3]], 0.01 / (0.04 + 0.1 * np.array([1.0, 0.5, 3.0])), rtol=1e-5)
    worthless = played(FastCB(), money=np.minimum(MONEY, -1.0))
    np.testing.assert_array_equal(worthless, [1.0, 0.0, 0.0, 0.0])


def test_falcon_refits_when_rounds_have_doubled() -> None:
    falcon = Falcon(gamma=2.0, complexity=10.0, delta=0.1)
    gamma = 2.0 * np.sqrt(4 * 500 / (10 + np.log(10)))
    got = played(falcon, 500.0)
    np.testing.assert_allclose(got[[0, 2, 3]], 1 / (4 + gamma * np.array([1.0, 0.5, 3.0])), rtol=1e-6)
    published, then = [], 0.0
    for now in range(1, 70):
        if falcon.publishes(then, now):
            published.append(now)
            then = now
    assert published == [1, 3, 7, 15, 31, 63]
    assert Greedy().publishes(5.0, 5.0)


def test_sparsemax_is_the_projection_on_the_simplex() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        money = rng.normal(size=(1, 1, 5)).astype(np.float32)
        got = played(Cover(psi=0.7), eligible=np.ones((1, 5), dtype=np.bool_), money=money)
        wanted = money[0, 0].astype(np.float64) / 0.7
        found = minimize(
            lambda p, z: ((p - z) ** 2).sum(),
            np.full(5, 0.2),
            (wanted,),
            method="SLSQP",
            bounds=[(0, 1)] * 5,
            constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
            options={"ftol": 1e-14},
        )
        np.testing.assert_allclose(got, found.x, atol=1e-5)


def test_cover_is_the_limit_of_votes_handed_out_one_by_one() -> None:
    """Synthetic cover: each of N votes goes to the least adjusted cost, which then rises by psi / N."""
    n, psi, cost = 20_000, 1.5, -MONEY[0, 0].astype(np.float64)
    votes = np.zeros(4)
    for _ in range(n):
        votes[(cost + psi * votes / n).argmin()] += 1
    np.testing.assert_allclose(played(Cover(psi=psi)), votes / n, atol=2e-4)


def test_regcb_plays_the_optimist_or_whatever_may_be_best() -> None:
    low, high = MONEY - np.float32(0.6), MONEY + np.float32([[[1.2, 0.1, 0.1, 0.1]]])
    bounds = np.concatenate([MONEY, low, high])
    np.testing.assert_array_equal(played(RegCB(), money=bounds), [1.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(
        played(RegCB(play="elimination"), money=bounds), [1 / 3, 1 / 3, 1 / 3, 0.0], atol=1e-12
    )


def test_regcb_over_a_linear_posterior_is_linucb_with_a_growing_bonus() -> None:
    strategy = open_strategy(policy=RegCB(slack=0.5))
    snapshot = Snapshot.start(strategy).learn(small_rounds(strategy, 400), 400)
    features = strategy.encode(small_contexts(strategy, 20, seed=8)).features
    mean, low, high = strategy.policy.scores(snapshot.posterior, snapshot.frozen.ready, features)
    rounds = small_rounds(strategy, 400).exposure.sum()
    wide = np.sqrt(0.5 * np.log(13 * (rounds + 1))) * snapshot.posterior.stddev(features)
    np.testing.assert_allclose(high - mean, wide, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(mean - low, wide, rtol=1e-4, atol=1e-6)
    # Round 0: log 1, not log 0.
    first = Snapshot.start(strategy)
    assert np.isfinite(strategy.policy.scores(first.posterior, first.frozen.ready, features)).all()


@pytest.mark.parametrize("policy", [EpsilonGreedy(epsilon=0.9), ThompsonSampling(), SquareCB(gamma=0.01)])
def test_exploration_is_capped_and_nothing_loses_all_its_probability(policy: Policy) -> None:
    floor = Floor(epsilon=0.2, most_exploration=0.15)
    strategy = small_strategy(policy=policy, floor=floor)
    snapshot = Snapshot.start(strategy).learn(small_rounds(strategy, 400), 400)
    free = structs.replace(
        snapshot, strategy=structs.replace(strategy, floor=structs.replace(floor, most_exploration=1.0))
    )
    contexts = strategy.encode(small_contexts(strategy, 60, seed=8))
    one, other = (each.decide(contexts, ids_of(60)) for each in (snapshot, free))
    best = one.expected_values.argmax(axis=1)
    explored, rows = 1.0 - one.distribution[np.arange(60), best], np.arange(60)
    assert explored.max() <= 0.15 + 1e-12 and (explored > 0.149).any()
    np.testing.assert_allclose(one.distribution.sum(axis=1), 1.0, atol=1e-12)
    assert ((one.distribution > 0) >= (other.distribution > 0)).all()
    little = 1.0 - other.distribution[rows, best] <= 0.15
    np.testing.assert_array_equal(one.distribution[little], other.distribution[little])


def test_without_silence_some_contact_is_chosen_wherever_one_is_eligible() -> None:
    for policy in (NoContact(), Greedy(), ThompsonSampling()):
        strategy = small_strategy(policy=policy, floor=Floor(epsilon=0.1), silence=False)
        snapshot = Snapshot.start(strategy).learn(small_rounds(strategy, 200), 200)
        contexts = strategy.encode(small_contexts(strategy, 80, seed=8))
        batch = snapshot.decide(contexts, ids_of(80))
        possible = batch.eligible[:, 1:].any(axis=1)
        assert possible.any() and not possible.all()
        assert not batch.distribution[possible, 0].any() and (batch.distribution[~possible, 0] == 1.0).all()
        np.testing.assert_allclose(batch.distribution.sum(axis=1), 1.0, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "pointer"),
    [
        (lambda: EpsilonGreedy(epsilon=1.5), "epsilon"),
        (lambda: Softmax(inverse_temperature=-1.0), "inverse_temperature"),
        (lambda: SquareCB(gamma=0.0), "gamma"),
        (lambda: FastCB(scale=float("nan")), "scale"),
        (lambda: SquareCB(among=-1), "among"),
        (lambda: Falcon(delta=1.0), "delta"),
        (lambda: RegCB(slack=-0.1), "slack"),
        (lambda: Cover(psi=0.0), "psi"),
        (lambda: Floor(most_exploration=1.1), "most_exploration"),
    ],
)
def test_a_wrong_number_names_its_field(make: Any, pointer: str) -> None:
    with pytest.raises(InvalidConfig, match=pointer):
        make()
