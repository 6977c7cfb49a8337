"""Defects found in other libraries (estimators 4), each with the check that would find it here.

Two live elsewhere: the spread of logistic Thompson draws in `test_posteriors_glm`, and doubly robust
optimistic shrinkage with the evaluation of logs.
"""

from __future__ import annotations

import numpy as np
import pytest
from label_tables import columns, labels, random_table, table
from msgspec import structs

from nba.arbitration import Money
from nba.arrays import FloatArray
from nba.policies import LinUCB, Policy, RegCB, SquareCB, ThompsonSampling
from nba.posteriors import DisjointModel, FactoredModel, OnlineModel, Posterior
from nba.posteriors.base import PosteriorBase

LABELS, COLUMNS, ROWS = 10, 8, 3_000
FREE = Money.of(np.ones((1, LABELS + 1)), np.zeros((1, LABELS + 1)))


def contexts(n: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """(n, K) features and (n, LABELS + 1) the chance that each label is right; no-contact never is."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, COLUMNS))
    features[:, 0] = 1.0
    direction = np.random.default_rng(99).standard_normal((COLUMNS, LABELS))
    chances = np.zeros((n, LABELS + 1))
    chances[np.arange(n), 1 + (features @ direction).argmax(axis=1)] = 1.0
    return features, chances


def taught() -> Posterior:
    """A disjoint posterior of random play: greedy, it finds most of the right labels."""
    features, chances = contexts(ROWS, 1)
    actions = np.random.default_rng(2).integers(1, LABELS + 1, ROWS)
    prior = DisjointModel(lift_mean=0.0).prior(labels(LABELS), columns(COLUMNS))
    rewards = chances[np.arange(ROWS), actions]
    return prior.absorb(prior.evidence(table(features, actions, rewards)))


def expected(policy: Policy, posterior: Posterior, n: int = 500) -> float:
    """Mean reward of a policy's own distribution over fresh contexts."""
    features, chances = contexts(n, 3)
    eligible = np.ones((n, LABELS + 1), dtype=np.bool_)
    eligible[:, 0] = False
    money = FREE._replace(charges=np.repeat(FREE.charges, n, axis=0))
    ready = policy.freeze(posterior, np.random.default_rng(0))
    shares = policy.distribution(posterior, ready, features, money, eligible)
    return float((shares * chances).sum(axis=1).mean())


def test_sampling_is_not_at_chance_where_the_mean_is_good() -> None:
    """contextualbandits' LinTS scores 0.10, chance, for any variance, where its mean scores 0.92."""
    posterior = taught()
    best = expected(LinUCB(alpha=0.0), posterior)
    assert best > 0.65
    for scale in (0.1, 0.3, 1.0):
        assert expected(ThompsonSampling(scale=scale), posterior) > 0.7 * best
    # And the smaller the draws, the nearer to the mean.
    assert expected(ThompsonSampling(scale=1e-4), posterior) == pytest.approx(best, abs=0.005)


def test_seed_nought_is_a_seed() -> None:
    """contextualbandits rejects it."""
    posterior = taught()
    draws = [posterior.draw(4, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    features = contexts(5, 4)[0]
    zero, again, one = (posterior.scores(draw, features) for draw in draws)  # type: ignore[arg-type]
    np.testing.assert_array_equal(zero, again)
    assert not np.array_equal(zero, one)


def test_what_is_left_for_the_best_is_each_contexts_own() -> None:
    """Pearl's SquareCB takes it from a sum over the whole batch."""
    posterior, policy = taught(), SquareCB(gamma=20.0)
    features, _ = contexts(40, 5)
    eligible = np.ones((40, LABELS + 1), dtype=np.bool_)
    money = FREE._replace(charges=np.repeat(FREE.charges, 40, axis=0))
    ready = policy.freeze(posterior, np.random.default_rng(0))
    whole = policy.distribution(posterior, ready, features, money, eligible)
    np.testing.assert_allclose(whole.sum(axis=1), 1.0, atol=1e-12)
    for row in range(40):
        one = slice(row, row + 1)
        part = money._replace(charges=money.charges[one])
        alone = policy.distribution(posterior, ready, features[one], part, eligible[one])
        np.testing.assert_allclose(alone[0], whole[row], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("model", [DisjointModel(), OnlineModel(), FactoredModel()])
def test_before_the_first_row_the_covariance_is_the_priors(
    model: DisjointModel | OnlineModel | FactoredModel,
) -> None:
    """MABWiser stores lambda I where the inverse, I / lambda, belongs: its widths start lambda times off."""
    wide, narrow = (
        structs_with(model, sd).prior(labels(LABELS), columns(COLUMNS)).stddev(np.eye(COLUMNS)[:1])
        for sd in (1.0, 0.1)
    )
    np.testing.assert_allclose(wide[0, 1:], 10.0 * narrow[0, 1:], rtol=1e-6)


def structs_with(
    model: DisjointModel | OnlineModel | FactoredModel, sd: float
) -> DisjointModel | OnlineModel | FactoredModel:
    """The model with every standard deviation it has set to one value."""
    names = [name for name in model.__struct_fields__ if name.endswith("_sd")]
    return structs.replace(model, **dict.fromkeys(names, sd))


def test_an_update_is_of_rank_one_and_inverts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """MABWiser inverts a full matrix at every partial_fit."""
    posterior: PosteriorBase = OnlineModel().prior(labels(LABELS), columns(COLUMNS))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("inverted")

    for name in ("inv", "solve", "cholesky", "eigh"):
        monkeypatch.setattr(np.linalg, name, refuse)
    after = posterior.fold(random_table(20, LABELS, COLUMNS))  # type: ignore[attr-defined]
    monkeypatch.undo()
    assert after.rounds == 20.0 and (after.stddev(np.eye(COLUMNS)[:1]) < 1.0).all()


def test_what_survives_elimination_does_not_depend_on_the_order_of_actions() -> None:
    """VW's elimination counts a survivor only when a new minimum is met, hence by their order."""
    policy = RegCB(play="elimination")
    utilities = np.array(
        [[0.5, 0.3, 0.1, 0.45], [0.4, 0.2, 0.0, 0.35], [0.6, 0.4, 0.3, 0.55]], dtype=np.float32
    )
    ready = policy.freeze(taught(), np.random.default_rng(0))
    for order in np.array([[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]]):
        shares = policy.base_distribution(ready, utilities[:, None, order], np.ones((1, 4), dtype=np.bool_))
        # The highest lower value is 0.4: 0.6, 0.55 and 0.4 reach it, 0.3 does not.
        np.testing.assert_allclose(shares[0], (np.array([1, 1, 0, 1]) / 3.0)[order])


@pytest.mark.parametrize("policy", [RegCB(), SquareCB()])
def test_the_radius_of_round_nought_is_finite_and_explores(policy: Policy) -> None:
    """VW takes the logarithm of actions times rounds: of 0 at round 0."""
    prior = DisjointModel().prior(labels(LABELS), columns(COLUMNS))
    ready = policy.freeze(prior, np.random.default_rng(0))
    scores = policy.scores(prior, ready, contexts(3, 6)[0])
    assert np.isfinite(scores).all()
    if isinstance(policy, RegCB):
        assert (scores[2, :, 1:] > scores[1, :, 1:]).all()
    else:
        gamma = policy.sharpness(ready.rounds, np.full((1, 1), 10.0))
        assert np.isfinite(gamma).all() and (gamma > 0).all()
