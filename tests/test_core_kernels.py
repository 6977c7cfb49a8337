"""The two forms of a decision's inner loop, NumPy's and Numba's, agree to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import ids_of, open_strategy, small_contexts, small_rounds

from nba import propensity, randomness
from nba.arbitration import Money
from nba.policies import Greedy, ThompsonSampling
from nba.posteriors import DisjointModel, FactoredModel, NeuralLinearModel, factored_draws
from nba.posteriors.base import Scoring
from nba.propensity import Floor, draw_numpy, win_shares
from nba.randomness import Purpose, keyed_uniforms
from nba.snapshot import Snapshot

kernels = pytest.importorskip("nba.kernels.draws", reason="needs numba")
of_uniforms = pytest.importorskip("nba.kernels.randomness", reason="needs numba")
of_shares = pytest.importorskip("nba.kernels.propensity", reason="needs numba")
QUICK = settings(max_examples=150, deadline=None, derandomize=True, database=None)


def taught(n_draws: int = 32) -> Snapshot:
    strategy = open_strategy(policy=ThompsonSampling(n_draws=n_draws))
    return Snapshot.start(strategy).learn(small_rounds(strategy, 400), 400)


def drawn(seed: int, n: int = 200) -> tuple[Any, Any, Money, Any]:
    """Draws, features, money and a random eligible set for some contexts, some without any action.

    With an odd seed every context has values of its own; with seeds 2, 5, ... all have the same charges.
    """
    snapshot, rng = taught(), np.random.default_rng(seed)
    features = snapshot.strategy.encode(small_contexts(snapshot.strategy, n, seed=8)).features
    values = rng.uniform(0, 300, (n if seed % 2 else 1, 13))
    charges = rng.uniform(-1, 5, (1 if seed % 3 == 2 else n, 13))
    eligible = rng.random((n, 13)) < rng.choice([0.0, 0.1, 0.5, 1.0], size=(n, 1))
    return snapshot.frozen.ready.draws, features, Money.of(values, charges), eligible


@pytest.mark.parametrize("seed", range(4))
def test_win_shares_are_the_same_bit_for_bit_and_those_of_the_formula(seed: int) -> None:
    draws, features, money, eligible = drawn(seed)
    main = draws._main(features)
    one = draws.win_shares_numpy(main, money, eligible)
    np.testing.assert_array_equal(one, kernels.win_shares(draws, main, money, eligible))
    scores = np.array(draws.scores_numpy(main))
    by_formula = win_shares(money.utilities(scores), eligible)
    some = eligible.any(axis=1)
    np.testing.assert_array_equal(one[some], by_formula[some])
    assert (one > 0).any(axis=0).sum() > 8


@pytest.mark.parametrize("model", [FactoredModel(), DisjointModel()])
def test_a_customer_with_values_of_their_own_gets_the_same_among_others(model: Any) -> None:
    strategy = open_strategy(policy=ThompsonSampling(n_draws=16), model=model)
    snapshot, (_, features, money, eligible) = Snapshot.start(strategy), drawn(seed=1, n=20)
    eligible[:, 0] = True
    args = snapshot.posterior, snapshot.frozen.ready
    together = strategy.policy.distribution(*args, features, money, eligible)
    for row in range(20):
        one = slice(row, row + 1)
        alone = strategy.policy.distribution(*args, features[one], money.take(one), eligible[one])
        np.testing.assert_array_equal(alone[0], together[row])
    unlike = money._replace(values=money.values[::-1].copy())
    assert (strategy.policy.distribution(*args, features, unlike, eligible) != together).any()


def test_equal_utilities_go_to_the_smallest_row() -> None:
    draws, features, money, _ = drawn(0)
    main, eligible = draws._main(features), np.ones((200, 13), dtype=np.bool_)
    worthless = Money.of(np.zeros((1, 13)), np.zeros((200, 13)))
    for found in (
        draws.win_shares_numpy(main, worthless, eligible),
        kernels.win_shares(draws, main, worthless, eligible),
    ):
        assert (found[:, 0] == 1.0).all()
    eligible[:, :5] = False
    for found in (
        draws.win_shares_numpy(main, worthless, eligible),
        kernels.win_shares(draws, main, worthless, eligible),
    ):
        assert (found[:, 5] == 1.0).all()


def test_what_is_not_a_number_is_told_unless_nobody_may_choose_it() -> None:
    draws, features, money, _ = drawn(0)
    main, eligible = draws._main(features), np.ones((200, 13), dtype=np.bool_)
    for action in (0, 1, 12):
        money.charges[3, action] = np.nan
        for barred in (False, True):
            eligible[3, action] = not barred
            found = [
                draws.win_shares_numpy(main, money, eligible),
                kernels.win_shares(draws, main, money, eligible),
            ]
            assert [shares is None for shares in found] == [not barred] * 2
        eligible[3, action], money.charges[3, action] = True, 0.0


def test_mean_scores_are_the_same_bit_for_bit() -> None:
    snapshot = taught()
    draws = snapshot.posterior.mean_draw()
    features = snapshot.strategy.encode(small_contexts(snapshot.strategy, 50, seed=8)).features
    main = draws._main(features)
    np.testing.assert_array_equal(draws.scores_numpy(main)[0], kernels.scores(draws, main))


def test_a_network_counts_wins_as_its_scores_say() -> None:
    strategy = open_strategy(
        policy=ThompsonSampling(n_draws=16), model=NeuralLinearModel(hidden=(4,), steps=20)
    )
    snapshot = Snapshot.start(strategy).learn(small_rounds(strategy, 100), 100)
    (_, features, money, eligible), posterior = drawn(seed=1, n=30), snapshot.posterior
    eligible[:, 0] = True
    draws = snapshot.frozen.ready.draws
    got = strategy.policy.distribution(posterior, snapshot.frozen.ready, features, money, eligible)
    by_scores = win_shares(money.utilities(posterior.scores(draws, features)), eligible)
    np.testing.assert_array_equal(got, by_scores)
    mean = snapshot.frozen.mean_draw
    expected = Scoring.expected_values(posterior, mean, features, money, eligible)
    np.testing.assert_array_equal(posterior.expected_values(mean, features, money, eligible), expected)


def test_expected_values_are_the_same_bit_for_bit_and_masked() -> None:
    for seed in range(4):
        _, features, money, eligible = drawn(seed)
        posterior = taught().posterior
        draws = posterior.mean_draw()
        got = posterior.expected_values(draws, features, money, eligible)
        plain = draws.expected_values_numpy(draws._main(features), money, eligible)
        np.testing.assert_array_equal(got, plain)
        np.testing.assert_array_equal(
            got, Scoring.expected_values(posterior, draws, features, money, eligible)
        )
        assert np.isneginf(got[~eligible]).all() and np.isfinite(got[eligible]).all()


@QUICK
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.02, 1.0]), st.sampled_from([0.0, 1.0, 9.0]))
def test_floor_and_choice_are_the_same_bit_for_bit(seed: int, epsilon: float, max_cost: float) -> None:
    """Rows with and without silence, with and without cheap contacts; uniforms at the edges of the sum."""
    rng = np.random.default_rng(seed)
    eligible = rng.random((40, 13)) < rng.choice([0.1, 0.5, 1.0], size=(40, 1))
    eligible[:, 0] |= ~eligible.any(axis=1)
    base = eligible * rng.dirichlet(np.ones(13), 40)
    base /= base.sum(axis=1, keepdims=True)
    costs = rng.choice([0.0, 0.5, 2.0], 13)
    floor = Floor(epsilon=epsilon, no_contact_share=rng.random(), max_cost=max_cost)
    mixed = floor.mix_numpy(base, eligible, costs)
    np.testing.assert_array_equal(of_shares.mix(floor, base, eligible, costs), mixed)
    edge = mixed.cumsum(axis=1)[np.arange(40), rng.integers(0, 13, 40)]
    for uniforms in (rng.random(40), edge, np.nextafter(edge, 0), np.full(40, 1 - 2.0**-53)):
        uniforms = np.minimum(uniforms, 1 - 2.0**-53)
        actions, shares = of_shares.draw(mixed, uniforms)
        plain, plain_shares = draw_numpy(mixed, uniforms)
        np.testing.assert_array_equal(actions, plain)
        np.testing.assert_array_equal(shares, plain_shares)
        assert (mixed[np.arange(40), actions] > 0).all()


WORD = st.integers(0, 2**32 - 1)


@QUICK
@given(st.integers(0, 2**64 - 1), st.sampled_from(Purpose), st.integers(0, 2**56 - 1), WORD, WORD)
def test_a_single_uniform_is_the_same_bit_for_bit(
    seed: int, purpose: Purpose, one: int, day: int, block: int
) -> None:
    """The kernel, Python's own integers, and the array form, which days of its own for each key take."""
    keys, days = np.array([one, 1], dtype=np.uint64), np.array([day, 0])
    uniform = of_uniforms.uniforms(seed, int(purpose), keys[:1], day, block)[0]
    assert uniform == randomness.one_uniform_python(seed, int(purpose), one, day, block)
    assert uniform == keyed_uniforms(seed, purpose, keys, days, block)[0]
    assert uniform == keyed_uniforms(seed, purpose, keys, day, block)[0]


@pytest.mark.parametrize("policy", [ThompsonSampling(n_draws=16), Greedy()])
def test_decisions_without_numba_are_the_same(policy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = open_strategy(policy=policy)
    snapshot = Snapshot.start(strategy).learn(small_rounds(strategy, 400), 400)
    contexts = strategy.encode(small_contexts(strategy, 100, seed=8))
    fused = snapshot.decide(contexts, ids_of(100), limit=3)
    for module in (factored_draws, propensity, randomness):
        monkeypatch.setattr(module, "compiled", lambda name: None)
    plain = snapshot.decide(contexts, ids_of(100), limit=3)
    for name, got in fused._asdict().items():
        np.testing.assert_array_equal(got, getattr(plain, name), err_msg=name)


@pytest.mark.parametrize("policy", [ThompsonSampling(n_draws=4), Greedy()])
def test_a_warm_snapshot_decides_as_a_cold_one(policy: Any) -> None:
    strategy = open_strategy(policy=policy)
    cold, warm = (Snapshot.start(strategy).learn(small_rounds(strategy, 100), 100) for _ in range(2))
    warm.warm()
    contexts = strategy.encode(small_contexts(strategy, 10, seed=8))
    for one, other in zip(cold.decide(contexts, ids_of(10)), warm.decide(contexts, ids_of(10)), strict=True):
        np.testing.assert_array_equal(one, other)
