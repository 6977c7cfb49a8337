"""The hybrid model against one model over the written-out concatenation, and the printed algorithm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from label_tables import columns, labels, played, random_table
from small import cut, open_strategy, product, small_catalogue, small_contexts, small_rounds, small_schema

from nba.arrays import FloatArray
from nba.catalogue import Catalogue, Channel, Timing
from nba.errors import InvalidConfig, ShapeMismatch
from nba.feedback import RoundBatch
from nba.policies import LinUCB, ThompsonSampling
from nba.posteriors import FactoredModel
from nba.posteriors.hybrid import HybridLinear, HybridModel
from nba.posteriors.online import OnlineModel

RIDGE: dict[str, Any] = {
    name: 1.0 for name in ("level_sd", "slope_sd", "pair_sd", "own_level_sd", "own_slope_sd")
} | {"lift_mean": 0.0}


@pytest.fixture(scope="module")
def rounds() -> RoundBatch:
    return small_rounds(open_strategy(), 400)


@pytest.fixture(scope="module")
def prior() -> HybridLinear:
    return HybridModel().prior(small_catalogue(), small_schema())


@pytest.fixture(scope="module")
def taught(prior: HybridLinear, rounds: RoundBatch) -> HybridLinear:
    return prior.absorb(prior.evidence(rounds))


def bank_features(n: int) -> FloatArray:
    strategy = open_strategy()
    return strategy.encode(small_contexts(strategy, n, seed=5)).features


def dense(x: FloatArray, action: int, offer: int, uplift: float, organic: float) -> FloatArray:
    """One row over [channel, timing, product, pairs, organic, own blocks], from the formula."""
    n_c, n_t, n_p = small_catalogue().shape
    sizes = ((n_c * x.size), n_t * x.size, n_p * x.size, n_c * n_t, n_c * n_p, n_t * n_p)
    contact, own = np.zeros(sum(sizes)), np.zeros(12 * x.size)
    if action > 0:
        c, t, p = np.unravel_index(action - 1, (n_c, n_t, n_p))
        blocks = [np.kron(np.eye(n)[i], x) for n, i in ((n_c, c), (n_t, t), (n_p, p))]
        shapes = ((n_c * n_t, c * n_t + t), (n_c * n_p, c * n_p + p), (n_t * n_p, t * n_p + p))
        contact = uplift * np.concatenate([*blocks, *(np.eye(n)[i] for n, i in shapes)])
        own = uplift * np.kron(np.eye(12)[action - 1], x)
    return np.concatenate([contact, np.kron(np.eye(n_p)[offer], organic * x), own])


def concatenated(prior: HybridLinear, rounds: RoundBatch) -> tuple[FloatArray, FloatArray]:
    """Mean and covariance of one model over all Q + 12 K parameters."""
    columns = (rounds.features, rounds.actions, rounds.products, rounds.uplift_share, rounds.organic_share)
    rows = np.array([dense(*row) for row in zip(*columns, strict=True)])
    weights = rounds.exposure * prior.forecast[rounds.products]
    diagonal = np.concatenate([prior.prior_precision, np.tile(prior.own_precision, 12)])
    start = np.concatenate([prior.prior_shift, np.zeros(12 * rounds.features.shape[1])])
    covariance = np.linalg.inv(np.diag(diagonal) + rows.T @ (rows * weights[:, None]))
    return covariance @ (start + rows.T @ rounds.rewards), covariance


def contacts(x: FloatArray) -> FloatArray:
    """(12, Q + 12 K) what the scores of all contacts read at a context."""
    forecast = np.tile([0.2, 0.2, 0.05], 4)
    return np.array([dense(x, a, (a - 1) % 3, 1.0, 0.0) for a in range(1, 13)]) * forecast[:, None]


@pytest.mark.parametrize("way", ["fold", "absorb"])
def test_it_is_the_shared_model_on_the_concatenation(
    prior: HybridLinear, taught: HybridLinear, rounds: RoundBatch, way: str
) -> None:
    posterior, features = prior.fold(rounds) if way == "fold" else taught, bank_features(8)
    mean, covariance = concatenated(prior, rounds)
    for x, got, sd in zip(features, posterior.mean(features), posterior.stddev(features), strict=True):
        rows = contacts(x)
        np.testing.assert_allclose(got[1:], rows @ mean, rtol=2e-5, atol=2e-6)  # single precision
        np.testing.assert_allclose(sd[1:] ** 2, np.diag(rows @ covariance @ rows.T), rtol=1e-8)


def test_mean_and_joint_covariance_hold_to_the_eighth_digit(
    prior: HybridLinear, taught: HybridLinear, rounds: RoundBatch
) -> None:
    """Draws are mean + linear map of normal noise: the map, column by column, gives their covariance."""
    mean, covariance = concatenated(prior, rounds)
    shared, own = taught.layout.n_parameters, 12 * 8
    noise = np.eye(shared + own)
    parts = taught._eliminated()
    blocks, pairs = parts.lifts(noise[:shared], noise[shared:].reshape(12, 8, -1))
    blocks0, pairs0 = parts.lifts(np.zeros((shared, 1)), np.zeros((12, 8, 1)))
    x = bank_features(1)[0]
    rows, forecast = contacts(x), np.tile([0.2, 0.2, 0.05], 4)
    centre = (np.einsum("akm,k->am", blocks0, x) + pairs0) * forecast[:, None]
    moved = (np.einsum("akm,k->am", blocks - blocks0, x) + pairs - pairs0) * forecast[:, None]
    np.testing.assert_allclose(centre[:, 0], rows @ mean, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(moved @ moved.T, rows @ covariance @ rows.T, rtol=1e-8, atol=1e-10)


def test_draws_follow_the_joint_covariance(
    prior: HybridLinear, taught: HybridLinear, rounds: RoundBatch
) -> None:
    x, n = bank_features(1), 30_000
    rows, (_, covariance) = contacts(x[0]), concatenated(prior, rounds)
    wanted = rows @ covariance @ rows.T
    drawn = taught.scores(taught.draw(n, np.random.default_rng(0)), x)[:, 0, 1:].astype(np.float64)
    error = np.sqrt((np.outer(wanted.diagonal(), wanted.diagonal()) + wanted**2) / n)
    assert (np.abs(np.cov(drawn.T) - wanted) < 4.5 * error).all()


def test_it_is_the_printed_algorithm_of_hybrid_linucb() -> None:
    """Li et al. 2010, algorithm 2, line by line, with z the shared features and unit penalties."""
    rounds, shared = random_table(150, 3, 3, seed=1), FactoredModel().prior(labels(3), columns(3)).layout
    size, k = shared.organic_start, 3
    a0, b0 = np.eye(size), np.zeros(size)
    a, b, own = np.tile(np.eye(k), (3, 1, 1)), np.zeros((3, k, size)), np.zeros((3, k))

    def z_of(x: FloatArray, arm: int) -> FloatArray:
        pairs = np.concatenate([[1.0], np.eye(3)[arm], np.eye(3)[arm]])
        return np.concatenate([x, x, np.kron(np.eye(3)[arm], x), pairs])

    for x, action, reward in zip(rounds.features, rounds.actions, rounds.rewards, strict=True):
        arm, z = action - 1, z_of(x, action - 1)
        a0 += b[arm].T @ np.linalg.solve(a[arm], b[arm])
        b0 += b[arm].T @ np.linalg.solve(a[arm], own[arm])
        a[arm], b[arm], own[arm] = (
            a[arm] + np.outer(x, x),
            b[arm] + np.outer(x, z),
            own[arm] + reward * x,
        )
        a0 += np.outer(z, z) - b[arm].T @ np.linalg.solve(a[arm], b[arm])
        b0 += reward * z - b[arm].T @ np.linalg.solve(a[arm], own[arm])
    posterior = HybridModel(**RIDGE).prior(labels(3), columns(3)).fold(rounds)
    beta, x = np.linalg.solve(a0, b0), np.array([1.0, 0.3, -1.2])
    for arm in range(3):
        z, seen = z_of(x, arm), np.linalg.solve(a[arm], x)
        theta = np.linalg.solve(a[arm], own[arm] - b[arm] @ beta)
        back = np.linalg.solve(a0, b[arm].T @ seen)
        s = z @ np.linalg.solve(a0, z) - 2 * z @ back + x @ seen + seen @ b[arm] @ back
        assert posterior.mean(x[None])[0, 1 + arm] == pytest.approx(z @ beta + x @ theta, rel=1e-5)
        assert posterior.stddev(x[None])[0, 1 + arm] == pytest.approx(np.sqrt(s), rel=1e-8)


def test_row_by_row_and_eliminated_hybrids_agree_on_a_table() -> None:
    rounds, x = random_table(300, 4, 5), random_table(6, 4, 5, seed=3).features
    one = HybridModel(**RIDGE).prior(labels(4), columns(5)).fold(rounds)
    other = OnlineModel(design="hybrid", **RIDGE).prior(labels(4), columns(5)).fold(rounds)
    np.testing.assert_allclose(one.mean(x), other.mean(x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(one.stddev(x), other.stddev(x), rtol=1e-8)


def test_with_narrow_own_blocks_it_is_the_factored_model(rounds: RoundBatch) -> None:
    x, both = bank_features(6), (small_catalogue(), small_schema())
    narrow = HybridModel(own_level_sd=1e-6, own_slope_sd=1e-6).prior(*both).fold(rounds)
    plain = FactoredModel().prior(*both).fold(rounds)
    np.testing.assert_allclose(narrow.mean(x), plain.mean(x), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(narrow.stddev(x), plain.stddev(x), rtol=1e-6)


def test_no_contact_rows_teach_the_organic_blocks_alone(prior: HybridLinear, rounds: RoundBatch) -> None:
    silent = RoundBatch(*(column[rounds.actions == 0] for column in rounds))
    after, start = prior.fold(silent), prior.layout.organic_start
    assert not after.cross.any() and not after.own_moment.any()
    np.testing.assert_array_equal(after.precision[:start], prior.precision[:start])
    assert (after.shift[start:] != prior.shift[start:]).any()


def test_the_order_of_rows_does_not_matter(prior: HybridLinear, rounds: RoundBatch) -> None:
    order, x = np.random.default_rng(2).permutation(rounds.n_rows), bank_features(5)
    shuffled = prior.fold(RoundBatch(*(column[order] for column in rounds)))
    np.testing.assert_allclose(shuffled.stddev(x), prior.fold(rounds).stddev(x), rtol=1e-9)
    np.testing.assert_allclose(shuffled.cross, prior.fold(rounds).cross, rtol=1e-9, atol=1e-9)


def test_840_actions_of_50_features_fit() -> None:
    """The square matrix over all parameters would take 15 GB; the statistics take 0.11 GB."""
    names = [f"n{i}" for i in range(21)]
    bank = Catalogue(
        channels=tuple(Channel(name=n, family="f", cost=0.0) for n in names[:5]),
        timings=tuple(Timing(name=n) for n in names[:8]),
        products=tuple(product(n) for n in names),
    )
    prior = HybridModel().prior(bank, columns(50))
    numbers = prior.precision.size + prior.cross.size + prior.own_moment.size
    assert bank.n_actions == 841 and numbers * 8 < 0.12e9
    assert (prior.layout.organic_start + 840 * 50) ** 2 * 8 > 15e9


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e6])
def test_odd_scales_one_action_and_no_rows_stay_finite(scale: float) -> None:
    rounds = random_table(200, 1, 4)
    rounds.features[:, 1:] *= scale
    prior = HybridModel(**RIDGE).prior(labels(1), columns(4))
    for posterior in (prior, prior.fold(cut(rounds, 0)[0]), prior.absorb(prior.evidence(rounds))):
        drawn = posterior.scores(posterior.draw(9, np.random.default_rng(0)), rounds.features[:20])
        assert drawn.shape == (9, 20, 2) and np.isfinite(drawn).all()
        sd = posterior.stddev(rounds.features[:20])
        assert np.isfinite(sd).all() and (sd[:, 1:] > 0).all()


def test_a_batch_of_one_has_the_bits_of_a_row_of_many(taught: HybridLinear) -> None:
    x, spread, draws = bank_features(7), taught.covariance(), taught.draw(5, np.random.default_rng(0))
    for row in range(7):
        one = slice(row, row + 1)
        np.testing.assert_array_equal(taught.scores(draws, x[one])[:, 0], taught.scores(draws, x)[:, row])
        np.testing.assert_array_equal(spread.stddev(x[one])[0], spread.stddev(x)[row])


@pytest.mark.parametrize("policy", [ThompsonSampling(n_draws=1, scale=0.2), LinUCB(alpha=0.3)], ids=str)
def test_it_solves_an_easy_bandit(policy: Any) -> None:
    assert played(policy, HybridModel(**RIDGE).prior(labels(3), columns(4)), 400, seed=0)[0] > 0.9


def test_what_cannot_be_is_refused(taught: HybridLinear) -> None:
    with pytest.raises(InvalidConfig, match="model hybrid: own_slope_sd: must be above 0"):
        HybridModel(own_slope_sd=0.0)
    with pytest.raises(ShapeMismatch, match="features"):
        taught.scores(taught.mean_draw(), np.ones((2, 5)))
