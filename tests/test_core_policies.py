"""Policies: the conformance suite over the union, and what each member means."""

from __future__ import annotations

import numpy as np
import pytest
from checks.policies import CHECKS, CONTEXTS, Check, contexts_of, instances, snapshot_of
from small import open_strategy, small_contexts, small_rounds

from nba.arbitration import Arbitration, FatiguePrice, Lever
from nba.arrays import FloatArray
from nba.policies import Greedy, LinUCB, NoContact, Policy, RandomEligible, ThompsonSampling
from nba.posteriors import DisjointModel, FactoredModel, Model, SegmentRatesModel
from nba.propensity import Floor
from nba.snapshot import Snapshot


@pytest.mark.parametrize("policy", instances(), ids=lambda policy: type(policy).__name__)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_policy(check: Check, policy: Policy) -> None:
    check(policy)


def taught(policy: Policy, model: Model | None = None, **changes: object) -> tuple[Snapshot, FloatArray]:
    """A snapshot without rules and floor, and the money by hand of some contexts: value x mean - cost."""
    strategy = open_strategy(policy=policy, model=model or FactoredModel(), floor=Floor(), **changes)
    snapshot = Snapshot.start(strategy).learn(small_rounds(strategy, 400), 400)
    features = strategy.encode(small_contexts(strategy, 40, seed=8)).features
    catalogue = strategy.catalogue
    return snapshot, catalogue.values * snapshot.posterior.mean(features) - catalogue.costs


def distribution(snapshot: Snapshot) -> FloatArray:
    strategy = snapshot.strategy
    return snapshot.action_distribution(strategy.encode(small_contexts(strategy, 40, seed=8)))


@pytest.mark.parametrize("model", [FactoredModel(), DisjointModel(), SegmentRatesModel()], ids=repr)
def test_greedy_plays_the_largest_mean_utility(model: Model) -> None:
    snapshot, money = taught(Greedy(), model)
    played = distribution(snapshot)
    assert set(np.unique(played)) == {0.0, 1.0}
    best = money.max(axis=1)
    np.testing.assert_allclose((played * money).sum(axis=1), best, atol=1e-4)


def test_linucb_adds_its_bonus_to_the_mean() -> None:
    for alpha in (0.0, 3.0):
        snapshot, money = taught(LinUCB(alpha=alpha))
        strategy = snapshot.strategy
        features = strategy.encode(small_contexts(strategy, 40, seed=8)).features
        optimistic = money + strategy.catalogue.values * alpha * snapshot.posterior.stddev(features)
        played = (distribution(snapshot) * optimistic).sum(axis=1)
        np.testing.assert_allclose(played, optimistic.max(axis=1), atol=1e-3)


def test_thompson_plays_shares_of_its_draws() -> None:
    snapshot, _ = taught(ThompsonSampling(n_draws=16))
    strategy, played = snapshot.strategy, distribution(snapshot)
    np.testing.assert_array_equal(played * 16, np.round(played * 16))
    features = strategy.encode(small_contexts(strategy, 40, seed=8)).features
    scores = snapshot.posterior.scores(snapshot.frozen.ready.draws, features).astype(np.float64)
    winners = (scores * strategy.catalogue.values - strategy.catalogue.costs).argmax(axis=2)
    for row in range(40):
        by_hand = np.bincount(winners[:, row], minlength=13) / 16
        np.testing.assert_allclose(played[row], by_hand, atol=1e-12)


def test_thompson_shares_approach_the_probability_of_being_best() -> None:
    """Two snapshots with 4 000 draws each agree as closely as independent multinomials do."""
    snapshot, _ = taught(ThompsonSampling(n_draws=4000))
    one, other = distribution(snapshot), distribution(snapshot.at(snapshot.posterior, 401))
    assert not np.array_equal(one, other), "another position in the log has other draws"
    error = np.sqrt((one * (1 - one) + other * (1 - other)) / 4000)
    assert (np.abs(one - other) <= 4.5 * error + 4 / 4000).all()


def test_no_contact_and_random_ignore_belief() -> None:
    silent, even = snapshot_of(NoContact(), 0.0), snapshot_of(RandomEligible(), 0.0)
    contexts = contexts_of(NoContact())
    assert (silent.action_distribution(contexts)[:, 0] == 1.0).all()
    eligible = even.strategy.eligible(contexts).mask
    np.testing.assert_allclose(
        even.action_distribution(contexts), eligible / eligible.sum(axis=1, keepdims=True)
    )


def test_a_decision_is_independent_of_its_place_in_the_tile() -> None:
    for policy in instances():
        snapshot, contexts = snapshot_of(policy), contexts_of(policy)
        row = int(snapshot.strategy.eligible(contexts).mask.sum(axis=1).argmax())
        rows = np.resize(np.arange(CONTEXTS), 24)
        seen = set()
        for place in range(16):
            rows_here = rows.copy()
            rows_here[place] = row
            seen.add(snapshot.action_distribution(contexts.take(rows_here))[place].tobytes())
        assert len(seen) == 1


def test_a_lever_a_shadow_price_and_a_fatigue_price_enter_the_utilities() -> None:
    arbitration = Arbitration(
        levers=(Lever(factor=2.0, product="card"),),
        fatigue_price=FatiguePrice(levels={"mail": 0.5}, otherwise=1.0, slope=0.2),
    )
    plain, money = taught(Greedy(), arbitration=arbitration)
    strategy, catalogue = plain.strategy, plain.strategy.catalogue
    prices = np.array([3.0, 0.25])
    snapshot = Snapshot(strategy=strategy, posterior=plain.posterior, prices=prices)
    contexts = strategy.encode(small_contexts(strategy, 40, seed=8))
    got = snapshot.decide(contexts, np.array([f"d{i}" for i in range(40)], dtype=object)).expected_values
    for action in range(1, 13):
        c, p = catalogue.channel_of[action], catalogue.product_of[action]
        reward = (money[:, action] + catalogue.costs[action]) * (2.0 if p == 1 else 1.0)
        fatigue_price = (1.0, 0.5)[c] + 0.2 * contexts.fatigue[:, c, 1]
        by_hand = reward - catalogue.costs[action] - prices[c] - fatigue_price
        np.testing.assert_allclose(got[:, action], by_hand, rtol=1e-4, atol=1e-3)
    assert not got[:, 0].any()
