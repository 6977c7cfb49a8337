"""Snapshots with stages and amounts: what they decide, what a bundle keeps, and nothing where nothing is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from msgspec import structs
from small import ids_of, open_strategy, small_contexts, small_rounds

from nba.bundle import load_bundle, outcomes_from_bytes, posterior_bytes, save_bundle
from nba.errors import BundleError
from nba.outcomes import STAGES, Aftermath, ContactRows, RevenueModel, SaleRows, StageModel
from nba.snapshot import Snapshot
from nba.strategy import Strategy

LOUD = StageModel(stage="complained", rate=0.02, rates={"call": 0.05}, otherwise=-40.0)
LEFT = StageModel(stage="opted_out", rate=0.03, money={"mail": -15.0}, half_life_days=20.0)
SEEN = StageModel(stage="seen", rate=0.5, otherwise=0.1)


def rich(**changes: object) -> Strategy:
    return open_strategy(**({"stages": (LOUD, LEFT, SEEN), "revenue": RevenueModel()} | changes))


def aftermath(strategy: Strategy, n: int = 150, seed: int = 4) -> Aftermath:
    rng = np.random.default_rng(seed)
    features = strategy.encode(small_contexts(strategy, n, seed)).features
    events, products = (rng.random((n, len(STAGES))) < 0.2).astype(np.float64), rng.integers(0, 3, n)
    amounts = strategy.catalogue.margins[products] * np.exp(rng.normal(0.3, 0.5, n))
    contacts = ContactRows(features, rng.integers(0, 2, n), events, np.ones(n))
    return Aftermath(contacts, SaleRows(features, products, amounts))


def taught(strategy: Strategy) -> Snapshot:
    return Snapshot.start(strategy).learn(small_rounds(strategy, 300), 300, aftermath(strategy))


def test_money_is_value_times_ratio_minus_charges_plus_the_worth_of_stages() -> None:
    strategy = rich()
    snapshot, contexts = taught(strategy), strategy.encode(small_contexts(strategy, 9, 8))
    catalogue, believed = strategy.catalogue, snapshot.outcomes
    frozen = [one.frozen() for one in believed.stages]
    worth = sum(
        one.probabilities(contexts.features) * price
        for one, price in zip(frozen, ([-40.0, -40.0], [0.0, -15.0], [0.1, 0.1]), strict=True)
    )
    assert believed.revenue is not None
    amounts = believed.revenue.amounts(contexts.features)
    scores = snapshot.posterior.mean(contexts.features)
    expected = scores[:, 1:] * amounts[:, catalogue.product_of[1:]] - catalogue.costs[1:]
    expected += np.asarray(worth)[:, catalogue.channel_of[1:]]
    found = snapshot.decide(contexts, ids_of(9)).expected_values
    np.testing.assert_allclose(found[:, 1:], expected, rtol=1e-4, atol=1e-4)
    assert not found[:, 0].any(), "silence meets no stage and sells nothing"


def test_without_stages_and_amounts_nothing_changes() -> None:
    plain, free = open_strategy(), open_strategy(stages=(structs.replace(SEEN, otherwise=0.0),))
    contexts = plain.encode(small_contexts(plain, 80, 8))
    one, other = taught(plain), taught(free)
    assert posterior_bytes(one.posterior, one.outcomes) == posterior_bytes(one.posterior)
    assert (
        one.frozen.outcomes.worth(contexts.features) is None is one.frozen.outcomes.ratios(contexts.features)
    )
    first, second = one.decide(contexts, ids_of(80)), other.decide(contexts, ids_of(80))
    assert np.array_equal(first.distribution, second.distribution), "a stage worth nothing decides nothing"
    assert np.array_equal(first.expected_values, second.expected_values)


def test_a_batch_of_one_is_a_row_of_many() -> None:
    snapshot = taught(rich())
    contexts = snapshot.strategy.encode(small_contexts(snapshot.strategy, 70, 8))
    many = snapshot.decide(contexts, ids_of(70))
    for row in (0, 33, 69):
        one = snapshot.decide(contexts.take(slice(row, row + 1)), ids_of(70)[row : row + 1])
        assert np.array_equal(one.distribution[0], many.distribution[row])
        assert np.array_equal(one.expected_values[0], many.expected_values[row])


def test_a_bundle_keeps_every_bit_and_learning_goes_on(tmp_path: Path) -> None:
    snapshot = taught(rich())
    loaded = load_bundle(save_bundle(snapshot, tmp_path))
    assert posterior_bytes(loaded.posterior, loaded.outcomes) == posterior_bytes(
        snapshot.posterior, snapshot.outcomes
    )
    more = small_rounds(snapshot.strategy, 60, 9), 360, aftermath(snapshot.strategy, 60, 9)
    straight, resumed = (one.decayed(2.0).learn(*more) for one in (snapshot, loaded))
    contexts = snapshot.strategy.encode(small_contexts(snapshot.strategy, 20, 8))
    first, second = straight.decide(contexts, ids_of(20)), resumed.decide(contexts, ids_of(20))
    assert np.array_equal(first.distribution, second.distribution)


def test_a_bundle_of_other_stages_is_refused() -> None:
    snapshot = taught(rich())
    data = posterior_bytes(snapshot.posterior, snapshot.outcomes)
    other = rich(stages=(StageModel(stage="engaged", rate=0.1),))
    with pytest.raises(BundleError, match=r"does not fit the stages and revenue: .*outcomes\.engaged"):
        outcomes_from_bytes(data, other)


def test_each_stage_forgets_at_its_own_pace() -> None:
    loud, left, _ = taught(rich()).decayed(20.0).outcomes.stages
    kept, halved, _ = taught(rich()).outcomes.stages
    assert np.array_equal(loud.shift, kept.shift)
    np.testing.assert_allclose(left.shift, halved.shift / 2, rtol=1e-14)
