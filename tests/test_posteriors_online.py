"""Row-by-row linear posteriors against the closed form, over many rows, at odd scales, and in a bandit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from label_tables import columns, labels, played, random_table, table
from small import cut, open_strategy, small_catalogue, small_contexts, small_rounds, small_schema

from nba.arrays import FloatArray
from nba.bundle import posterior_bytes, posterior_from_bytes
from nba.catalogue import Catalogue, Channel, Timing
from nba.errors import InvalidConfig, ShapeMismatch
from nba.feedback import RoundBatch
from nba.policies import Greedy, LinUCB, Policy, ThompsonSampling
from nba.posteriors.online import OnlineLinear, OnlineModel

DESIGNS = ("disjoint", "shared", "hybrid")
RIDGE: dict[str, Any] = {
    name: 1.0 for name in ("level_sd", "slope_sd", "pair_sd", "own_level_sd", "own_slope_sd")
} | {"lift_mean": 0.0}


def ridge(design: Any, n_labels: int, k: int) -> OnlineLinear:
    return OnlineModel(design=design, **RIDGE).prior(labels(n_labels), columns(k))


def taught(posterior: OnlineLinear, rounds: RoundBatch) -> OnlineLinear:
    return posterior.absorb(posterior.evidence(rounds))


def dense(kind: str, catalogue: Catalogue, x: FloatArray, action: int) -> FloatArray:
    """One row of the whole design, from the formulas: blocks of every factor, own blocks, pair tables."""
    c, t, p = np.unravel_index(action - 1, catalogue.shape)
    n_c, n_t, n_p = catalogue.shape
    own = np.kron(np.eye(catalogue.n_actions - 1)[action - 1], x)
    if kind == "disjoint":
        return own
    blocks = [np.kron(np.eye(n)[i], x) for n, i in ((n_c, c), (n_t, t), (n_p, p))]
    pairs = [
        np.eye(n * m)[i * m + j] for n, m, i, j in ((n_c, n_t, c, t), (n_c, n_p, c, p), (n_t, n_p, t, p))
    ]
    return np.concatenate([*blocks, *([own] if kind == "hybrid" else []), *pairs])


def closed_form(prior: OnlineLinear, kind: str, rounds: RoundBatch) -> tuple[FloatArray, FloatArray]:
    """Mean and covariance of weighted least squares over contact rows, every row written out."""
    catalogue, n = small_catalogue(), prior.design.n_groups
    told = np.flatnonzero(rounds.actions > 0)
    rows = np.array([dense(kind, catalogue, rounds.features[i], int(rounds.actions[i])) for i in told])
    weights = rounds.exposure[told] * prior.forecast[rounds.actions[told] - 1]
    precision = np.diag(np.tile(prior.prior_precision, n)) + rows.T @ (rows * weights[:, None])
    shift = np.tile(prior.prior_shift, n) + rows.T @ rounds.rewards[told]
    covariance = np.linalg.inv(precision)
    return covariance @ shift, covariance


@pytest.fixture(scope="module")
def bank_rounds() -> RoundBatch:
    return small_rounds(open_strategy(), 400)


def bank_features(n: int) -> FloatArray:
    strategy = open_strategy()
    return strategy.encode(small_contexts(strategy, n, seed=5)).features


@pytest.mark.parametrize("kind", DESIGNS)
@pytest.mark.parametrize("way", ["fold", "absorb"])
def test_mean_and_stddev_are_those_of_the_closed_form(kind: Any, way: str, bank_rounds: RoundBatch) -> None:
    catalogue, features = small_catalogue(), bank_features(9)
    prior = OnlineModel(design=kind).prior(catalogue, small_schema())
    posterior = prior.fold(bank_rounds) if way == "fold" else taught(prior, bank_rounds)
    mean, covariance = closed_form(prior, kind, bank_rounds)
    for action in range(1, catalogue.n_actions):
        rows = (
            np.array([dense(kind, catalogue, x, action) for x in features]) * posterior.forecast[action - 1]
        )
        sd = np.sqrt(np.einsum("bi,ij,bj->b", rows, covariance, rows))
        np.testing.assert_allclose(posterior.stddev(features)[:, action], sd, rtol=1e-8)
        np.testing.assert_allclose(posterior.mean(features)[:, action], rows @ mean, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(posterior.centre.ravel(), mean, rtol=1e-8, atol=1e-9)


def test_the_first_inverse_is_one_over_lambda_and_not_lambda() -> None:
    prior = OnlineModel(design="disjoint", level_sd=0.5, slope_sd=0.25).prior(labels(3), columns(4))
    for covariance, precision in zip(prior.covariances, prior.precision, strict=True):
        np.testing.assert_array_equal(covariance, np.diag([0.25, 0.0625, 0.0625, 0.0625]))
        np.testing.assert_array_equal(precision, np.diag([4.0, 16.0, 16.0, 16.0]))


def test_a_round_is_the_update_of_linucb() -> None:
    """Li et al. 2010, algorithm 1, with lambda = 1: A += x x', b += r x."""
    rounds = random_table(60, 4, 5)
    posterior = ridge("disjoint", 4, 5).fold(rounds)
    for label in range(4):
        x = rounds.features[rounds.actions == label + 1]
        a, b = np.eye(5) + x.T @ x, x.T @ rounds.rewards[rounds.actions == label + 1]
        np.testing.assert_allclose(posterior.covariances[label], np.linalg.inv(a), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(posterior.centre[label], np.linalg.solve(a, b), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("kind", "n_labels", "k"), [("disjoint", 3, 6), ("shared", 3, 4)])
def test_fifty_thousand_rounds_later_it_is_still_the_closed_form(kind: Any, n_labels: int, k: int) -> None:
    rounds = random_table(50_000, n_labels, k)
    rounds.features[:, 1:] *= 10.0 ** np.linspace(-2, 2, k - 1)
    prior = ridge(kind, n_labels, k)
    online, closed = prior.fold(rounds), taught(prior, rounds)
    for one, other in zip(online.covariances, closed.covariances, strict=True):
        size = np.sqrt(np.outer(other.diagonal(), other.diagonal()))
        assert (np.abs(one - other) / size).max() < 1e-6
    np.testing.assert_allclose(online.centre, closed.centre, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", DESIGNS)
def test_the_order_of_rows_does_not_matter(kind: Any, bank_rounds: RoundBatch) -> None:
    prior = OnlineModel(design=kind).prior(small_catalogue(), small_schema())
    order = np.random.default_rng(2).permutation(bank_rounds.n_rows)
    one, other = prior.fold(bank_rounds), prior.fold(RoundBatch(*(column[order] for column in bank_rounds)))
    for name in ("precision", "shift", "covariances", "centre"):
        left, right = np.asarray(getattr(one, name)), np.asarray(getattr(other, name))
        np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("kind", DESIGNS)
def test_cuts_restarts_and_bytes_change_no_bit(kind: Any, bank_rounds: RoundBatch) -> None:
    strategy = open_strategy(model=OnlineModel(design=kind))
    prior: Any = strategy.model.prior(strategy.catalogue, strategy.schema)
    whole, stopped = posterior_bytes(prior.fold(bank_rounds)), prior
    for part in cut(bank_rounds, 1, 40, 41, 300):
        stopped = posterior_from_bytes(posterior_bytes(stopped.fold(part)), strategy)
    assert posterior_bytes(stopped) == whole
    # Also after what is learnt through the precision, whose inverse might lie otherwise in memory.
    first, second = cut(bank_rounds, 200)
    half = taught(prior, first)
    restored = posterior_from_bytes(posterior_bytes(half), strategy)
    assert posterior_bytes(restored.fold(second)) == posterior_bytes(half.fold(second))


def test_a_round_copies_one_action_and_shares_the_others() -> None:
    before = ridge("disjoint", 4, 5).fold(random_table(30, 4, 5))
    kept = [matrix.copy() for matrix in (*before.precision, *before.covariances)]
    after = before.fold(table(np.ones((1, 5)), np.array([3]), np.ones(1)))
    shared = [one is other for one, other in zip(after.covariances, before.covariances, strict=True)]
    assert shared == [True, True, False, True]
    for matrix, copy in zip((*before.precision, *before.covariances), kept, strict=True):
        np.testing.assert_array_equal(matrix, copy)


@pytest.mark.parametrize("kind", DESIGNS)
def test_one_action_empty_batches_and_no_contact_rows(kind: Any) -> None:
    posterior = ridge(kind, 1, 3).fold(random_table(20, 1, 3))
    nothing, _ = cut(random_table(2, 1, 3), 0)
    silent = random_table(5, 1, 3)._replace(actions=np.zeros(5, dtype=np.int64), products=np.zeros(5, int))
    for rounds, watched in ((nothing, 20.0), (silent, 25.0)):
        for after in (posterior.fold(rounds), taught(posterior, rounds)):
            np.testing.assert_array_equal(after.covariances, posterior.covariances)
            np.testing.assert_array_equal(after.centre, posterior.centre)
            assert after.rounds == watched
    assert posterior.mean(np.ones((4, 3))).shape == (4, 2)
    assert posterior.mean(np.ones((0, 3))).shape == posterior.stddev(np.ones((0, 3))).shape == (0, 2)
    drawn = posterior.scores(posterior.draw(6, np.random.default_rng(0)), np.ones((4, 3)))
    assert drawn.shape == (6, 4, 2)


@pytest.mark.parametrize("kind", DESIGNS)
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e3, 1e6])
def test_constant_tiny_and_huge_features_stay_finite(kind: Any, scale: float) -> None:
    """Scale 0: every row alike. Blocks that share features cancel, and at 1e6 leave few digits."""
    rounds = random_table(400, 3, 4)
    rounds.features[:, 1:] *= scale
    posterior = ridge(kind, 3, 4)
    posterior = posterior.fold(rounds)
    drawn = posterior.scores(posterior.draw(20, np.random.default_rng(1)), rounds.features[:30])
    sd = posterior.stddev(rounds.features[:30])
    assert np.isfinite(drawn).all() and np.isfinite(sd).all() and (sd[:, 1:] > 0).all()
    assert all((matrix.diagonal() > 0).all() for matrix in posterior.covariances)
    same = taught(ridge(kind, 3, 4), rounds)
    close = 0.1 if scale == 1e6 and kind != "disjoint" else 1e-4
    np.testing.assert_allclose(posterior.mean(rounds.features), same.mean(rounds.features), atol=close)
    if kind == "disjoint":  # a row that is news goes through the precision, else 1e-5 of this would be lost
        np.testing.assert_allclose(sd, same.stddev(rounds.features[:30]), rtol=1e-9)


@pytest.mark.parametrize("kind", DESIGNS)
def test_draws_have_the_joint_covariance_of_all_scores(kind: Any, bank_rounds: RoundBatch) -> None:
    prior = OnlineModel(design=kind).prior(small_catalogue(), small_schema())
    posterior, x = prior.fold(bank_rounds), bank_features(3)
    _, covariance = closed_form(prior, kind, bank_rounds)
    n, scale = 40_000, 0.7
    draws = posterior.scores(posterior.draw(n, np.random.default_rng(4), scale), x).astype(np.float64)
    for row in range(3):
        rows = np.array([dense(kind, small_catalogue(), x[row], a) for a in range(1, 13)])
        rows *= posterior.forecast[:, None]
        wanted = scale**2 * rows @ covariance @ rows.T
        got = np.cov(draws[:, row, 1:].T)
        error = np.sqrt((np.outer(wanted.diagonal(), wanted.diagonal()) + wanted**2) / n)
        assert (np.abs(got - wanted) < 4.5 * error).all()


def test_actions_of_a_shared_design_are_drawn_together() -> None:
    """What independent draws by action would miss: siblings that share two factors rise and fall together."""
    prior = OnlineModel(design="shared").prior(small_catalogue(), small_schema())
    drawn = prior.scores(prior.draw(20_000, np.random.default_rng(0)), bank_features(1))[:, 0, 1:]
    correlation = np.corrcoef(drawn.T)
    assert correlation[0, 1] > 0.3 and np.linalg.eigvalsh(correlation)[0] < 0.5


def test_many_actions_are_drawn_by_their_parameters() -> None:
    names = [f"n{i}" for i in range(9)]
    bank = Catalogue(
        channels=tuple(Channel(name=n, family="f", cost=0.0) for n in names[:6]),
        timings=tuple(Timing(name=n) for n in names[:5]),
        products=labels(9).products,
    )
    posterior = OnlineModel(design="shared").prior(bank, columns(3))
    x = np.array([[1.0, 0.5, -2.0], [1.0, 0.0, 1.0]])
    draws = posterior.draw(20_000, np.random.default_rng(3))
    assert draws.noise is None and bank.n_actions == 271
    drawn, sd = posterior.scores(draws, x), posterior.stddev(x)[:, 1:]
    assert (np.abs(drawn[:, :, 1:].std(axis=0) / sd - 1.0) < 4.5 / np.sqrt(2 * 20_000)).all()


@pytest.mark.parametrize("kind", DESIGNS)
def test_a_batch_of_one_has_the_bits_of_a_row_of_many(kind: Any, bank_rounds: RoundBatch) -> None:
    posterior = OnlineModel(design=kind).prior(small_catalogue(), small_schema()).fold(bank_rounds)
    x, spread = bank_features(11), posterior.covariance()
    for draws in (posterior.draw(5, np.random.default_rng(0)), posterior.mean_draw()):
        together = posterior.scores(draws, x)
        np.testing.assert_array_equal(together, posterior.scores(draws, x))
        for row in range(11):
            one = slice(row, row + 1)
            np.testing.assert_array_equal(posterior.scores(draws, x[one])[:, 0], together[:, row])
            np.testing.assert_array_equal(spread.stddev(x[one])[0], spread.stddev(x)[row])


@pytest.mark.parametrize("kind", DESIGNS)
@pytest.mark.parametrize("policy", [ThompsonSampling(n_draws=1, scale=0.2), LinUCB(alpha=0.3)], ids=str)
def test_sampling_and_exploiting_both_solve_an_easy_bandit(kind: Any, policy: Policy) -> None:
    """A peer's Thompson sampling scored at chance, while its exploitation did well; seed 0 is allowed."""
    reward, learnt = played(policy, ridge(kind, 3, 4), 500, seed=0)
    exploited, _ = played(Greedy(), learnt, 100, seed=0)
    assert reward > 0.9 and exploited == 1.0


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="design: must be one of disjoint, shared, hybrid, got 'own'"):
        OnlineModel(design="own")  # type: ignore[arg-type]
    with pytest.raises(InvalidConfig, match="slope_sd: must be above 0"):
        OnlineModel(slope_sd=0.0)
    with pytest.raises(InvalidConfig, match=r"hybrid has 6\d\d\d parameters.*use the model hybrid"):
        OnlineModel(design="hybrid").prior(labels(150), columns(20))
    posterior = ridge("shared", 3, 4)
    with pytest.raises(ShapeMismatch, match="features"):
        posterior.scores(posterior.mean_draw(), np.ones((2, 5)))
