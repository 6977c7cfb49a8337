"""Bagged regressors: members follow from the rows alone, and learn what a linear model cannot."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from math import exp, factorial
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec import structs
from nonlinear import TREE, Played, contexts, linear, played, random_log, standard_error, table, trees
from small import cut, open_strategy, small_contexts, small_rounds

from experiments.bagging import fit_members
from experiments.executor import RayExecutor, SerialExecutor, executor
from nba.arrays import FloatArray, join_rows
from nba.errors import InvalidConfig, ShapeMismatch
from nba.feedback import RoundBatch
from nba.policies import Falcon, LinUCB, Policy, RandomEligible, RegCB, SquareCB, ThompsonSampling
from nba.posteriors import DisjointModel
from nba.posteriors.bagged import BaggedModel, BaggedRegressors
from nba.posteriors.rows import RowEvidence, bootstrap, identities

ROUNDS = 240
HISTOGRAM = BaggedModel(n_members=3)
BOTH = pytest.mark.parametrize("model", [trees(), HISTOGRAM], ids=["trees", "boosting"])


@cache
def bank() -> Any:
    return open_strategy()


def prior_of(model: BaggedModel) -> BaggedRegressors:
    return model.prior(bank().catalogue, bank().schema)


@cache
def rounds_of(seed: int = 0) -> RoundBatch:
    return small_rounds(bank(), ROUNDS, seed)


def taught(model: BaggedModel) -> BaggedRegressors:
    prior = prior_of(model)
    return prior.absorb(prior.evidence(rounds_of()))


@cache
def features() -> FloatArray:
    return bank().encode(small_contexts(bank(), 12, 5)).features


def predictions(posterior: BaggedRegressors) -> FloatArray:
    return posterior.ensemble.predictions(features())


@BOTH
def test_neither_parts_nor_order_change_a_member(model: BaggedModel) -> None:
    prior, whole = prior_of(model), taught(model)
    parts = cut(rounds_of(), 50, 51, 130)
    shuffled = RoundBatch(*(column[np.random.default_rng(1).permutation(ROUNDS)] for column in rounds_of()))
    evidence = [prior.evidence(part) for part in parts]
    others = [
        prior.absorb(evidence[3] + evidence[1] + (evidence[0] + evidence[2])),
        prior.absorb(evidence[2]).absorb(evidence[0]).absorb(evidence[3]).absorb(evidence[1]),
        prior.absorb(prior.evidence(shuffled)),
        prior.fold(parts[0]).fold(join_rows(parts[1:])),
    ]
    for other in others:
        np.testing.assert_array_equal(other.rows, whole.rows)
        np.testing.assert_allclose(other.watched, whole.watched, rtol=1e-12)
    np.testing.assert_array_equal(predictions(others[0]), predictions(whole))


@BOTH
def test_the_state_brings_the_members_back(model: BaggedModel) -> None:
    posterior = taught(model)
    restored = structs.replace(prior_of(model), rows=posterior.rows.copy(), watched=posterior.watched)
    np.testing.assert_array_equal(predictions(restored), predictions(posterior))
    assert "ensemble" in posterior.__dict__ and "ensemble" not in structs.replace(posterior).__dict__


@pytest.mark.parametrize("kind", ["serial", pytest.param("ray", marks=pytest.mark.ray)])
def test_tasks_fit_the_same_members(kind: str) -> None:
    with executor(1 if kind == "serial" else 2) as run:
        assert isinstance(run, SerialExecutor if kind == "serial" else RayExecutor)
        for model in (trees(), HISTOGRAM):
            fitted = fit_members(taught(model), run)
            assert "ensemble" in fitted.__dict__ and fit_members(fitted, run) is fitted
            np.testing.assert_array_equal(predictions(fitted), predictions(taught(model)))


def test_a_seed_gives_its_own_members() -> None:
    one, again, other = (predictions(taught(trees(seed=seed))) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one[1:] != other[1:]).any()


def test_row_weights_are_poisson_of_mean_one() -> None:
    posterior = prior_of(trees()).absorb(RowEvidence.of(small_rounds(bank(), 4000, 3)))
    weights = np.concatenate([bootstrap(posterior.learnt, 0, member) for member in range(1, 26)])
    assert abs(weights.mean() - 1.0) < 4.0 / np.sqrt(weights.size)
    # Poisson(1) has a fourth central moment of 4, so its sample variance has variance 3 / n.
    assert abs(weights.var() - 1.0) < 4.0 * np.sqrt(3.0 / weights.size)
    for times in range(5):
        share = exp(-1) / factorial(times)
        assert abs((weights == times).mean() - share) < 4.0 * np.sqrt(share / weights.size)


def test_customers_who_look_alike_have_weights_of_their_own() -> None:
    alike = RoundBatch(*(np.repeat(column[:1], 500, axis=0) for column in rounds_of()))
    rows = RowEvidence.of(alike).rows
    assert identities(rows)[1].tolist() == list(range(500))
    rows[:, -2] = 1.0
    first, second = bootstrap(rows, 0, 1), bootstrap(rows, 0, 2)
    assert abs(first.mean() - 1.0) < 4.0 / np.sqrt(500)
    assert abs(np.corrcoef(first, second)[0, 1]) < 4.0 / np.sqrt(500)
    np.testing.assert_array_equal(bootstrap(rows[:200], 0, 1), first[:200])


def test_before_any_row_members_are_draws_of_the_prior() -> None:
    drawn = prior_of(trees(n_members=400, greedify=False, lift_mean=0.7, lift_sd=0.4))
    lifts = drawn.ensemble.predictions(features()[:1])[:, 0, 1:] / np.tile([0.2, 0.2, 0.05], 4)
    assert (np.abs(lifts.mean(axis=0) - 0.7) < 4.0 * 0.4 / 20.0).all()
    assert (np.abs(lifts.std(axis=0) / 0.4 - 1.0) < 4.0 / np.sqrt(800)).all()
    plain = prior_of(trees(n_members=1, lift_mean=0.7))
    np.testing.assert_allclose(plain.mean(features())[0, 1:], 0.7 * np.tile([0.2, 0.2, 0.05], 4))


def test_the_organic_part_is_taken_off() -> None:
    """Gross rate 0.5 where contacted, 0.3 where not: the members learn the difference."""
    rng, n = np.random.default_rng(0), 6000
    actions = rng.integers(0, 2, n)
    x = contexts(n, rng)
    rewards = (rng.random(n) < np.where(actions > 0, 0.5, 0.3)).astype(np.float64)
    ones = np.ones(n)
    rounds = RoundBatch(x, actions, 0 * actions, rewards, ones, (actions > 0) * 1.0, ones)
    prior = trees(settings={"max_depth": 2, "min_samples_leaf": 200}).prior(*table(1))
    after = prior.absorb(prior.evidence(rounds))
    assert after.mean(x[:200])[:, 1].mean() == pytest.approx(0.2, abs=0.04)
    gross = prior.absorb(prior.evidence(rounds._replace(organic_share=0.0 * ones)))
    assert gross.mean(x[:200])[:, 1].mean() == pytest.approx(0.5, abs=0.04)


def test_a_conversion_told_before_its_exposure_counts_once() -> None:
    """Half a conversion per contact: told in rows of exposure 0, the exposure in rows of reward 0."""
    rng, n = np.random.default_rng(1), 2000
    x, ones = contexts(n, rng), np.ones(n)
    rewards, told = (rng.random(n) < 0.5).astype(np.float64), np.ones(n, dtype=np.int64)
    watched = RoundBatch(x, told, 0 * told, 0.0 * ones, ones, ones, 0.0 * ones)
    news = RoundBatch(*(c[rewards > 0] for c in watched._replace(rewards=rewards, exposure=0.0 * ones)))
    prior = trees(settings={"max_depth": 1, "min_samples_leaf": 400}).prior(*table(1))
    after = prior.absorb(prior.evidence(join_rows([watched, news])))
    assert after.mean(x[:200])[:, 1].mean() == pytest.approx(0.5, rel=0.05)


def test_a_member_without_bootstrap_is_the_regressor_itself() -> None:
    """Under a weak prior member 0 is one fit of all rewards to contexts and labels: here least squares."""
    log = random_log(400, linear, 2, 3)
    lines = BaggedModel(regressor="sklearn.linear_model.LinearRegression", n_members=1, lift_sd=1e4)
    prior = lines.prior(*table(3))
    inputs = np.concatenate([log.features, np.eye(3)[log.products]], axis=1)
    slopes = np.linalg.lstsq(inputs, log.rewards)[0]
    x = contexts(50, np.random.default_rng(3))
    wanted = x @ slopes[:5, None] + slopes[5:]
    np.testing.assert_allclose(prior.absorb(prior.evidence(log)).mean(x)[:, 1:], wanted, atol=1e-5)


def test_the_version_space_grows_with_the_slack_and_is_never_empty() -> None:
    posterior = taught(trees())
    spread, mean, each = posterior.covariance(), posterior.mean(features()), predictions(posterior)
    assert posterior.losses.argmin() == 0, "with so few rows, the member that sees each of them once"
    two = [mean, each[0]]
    np.testing.assert_array_equal(spread.bounds(features(), mean, 0.0), [np.minimum(*two), np.maximum(*two)])
    ranges = [spread.bounds(features(), mean, slack) for slack in (0.0, 3.0, 30.0, 1e9)]
    for (low, high), (lower, higher) in pairwise(ranges):
        assert (lower <= low).all() and (higher >= high).all()
    np.testing.assert_array_equal(ranges[-1], [each.min(axis=0), each.max(axis=0)])


def test_losses_are_those_of_the_formula() -> None:
    posterior = taught(trees(n_members=2))
    rounds, total = rounds_of(), np.zeros(3)
    forecast = np.array([0.2, 0.2, 0.05])
    gross = posterior.ensemble.predictions(rounds.features)
    organic = [m.organics(rounds.features, rounds.products) for m in posterior.ensemble.members]
    for n in range(ROUNDS):
        f = forecast[rounds.products[n]]
        worth = f * max(rounds.exposure[n], 0.02)
        lift = gross[:, n, rounds.actions[n]] / f
        expected = rounds.uplift_share[n] * lift + rounds.organic_share[n] * np.array(organic)[:, n]
        total += worth * (rounds.rewards[n] / worth - np.append(expected, expected.mean())) ** 2
    np.testing.assert_allclose(posterior.losses, total, rtol=1e-10)


def test_scores_of_a_row_do_not_depend_on_its_batch() -> None:
    posterior = taught(trees())
    for draws in (posterior.mean_draw(), posterior.draw(1, np.random.default_rng(0), 0.5)):
        whole = posterior.scores(draws, features())
        for row in range(3):
            np.testing.assert_array_equal(posterior.scores(draws, features()[[row]])[:, 0], whole[:, row])
    with pytest.raises(ShapeMismatch, match="features"):
        posterior.mean(features()[:, :-1])


def test_learning_narrows_on_the_whole() -> None:
    """Single cells may widen: before a row, every member is constant over contexts."""
    idle = rounds_of()._replace(rewards=np.zeros(ROUNDS), exposure=np.full(ROUNDS, 5.0))
    prior = prior_of(trees())
    after = prior.absorb(prior.evidence(idle))
    assert after.stddev(features())[:, 1:].mean() < 0.6 * prior.stddev(features())[:, 1:].mean()


def test_one_action_and_constant_features_are_fitted() -> None:
    rng, ones = np.random.default_rng(0), np.ones(300)
    x, only = np.tile([1.0, 0.0, 0.0, 0.0, 0.0], (300, 1)), np.ones(300, dtype=np.int64)
    rewards = (rng.random(300) < 0.3).astype(np.float64)
    rounds = RoundBatch(x, only, 0 * only, rewards, ones, ones, 0.0 * ones)
    for model in (trees(), HISTOGRAM):
        prior = model.prior(*table(1))
        after = prior.absorb(prior.evidence(rounds))
        assert after.mean(x[:1])[0].tolist() == [0.0, pytest.approx(rewards.mean(), abs=0.05)]
        assert 0.0 < after.stddev(x[:1])[0, 1] < 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"regressor": "nowhere.Forest"}, "regressor: 'nowhere.Forest' cannot be imported"),
        ({"regressor": "sklearn.tree.Shrub"}, "regressor: 'sklearn.tree.Shrub' cannot be imported"),
        ({"regressor": "Forest"}, "must be a dotted path"),
        ({"regressor": "math.sqrt"}, "must be a class with fit"),
        ({"regressor": "sklearn.neighbors.KNeighborsRegressor"}, "must take sample_weight"),
        ({"settings": {"depth": 3}}, "settings: .* refuses {'depth': 3}"),
        ({"n_members": 0}, "n_members: must be at least 1"),
        ({"seed": -1}, "seed: must be at least 0"),
        ({"lift_sd": 0.0}, "lift_sd: must be finite and above 0"),
        ({"lift_mean": float("nan")}, "lift_mean: must be finite"),
        ({"most_rows": 0}, "most_rows: must be at least 1"),
        ({"refit_after": -0.1}, "refit_after: must be finite and >= 0"),
        ({"half_life_days": 0.0}, "half_life_days: must be finite and above 0"),
    ],
)
def test_a_wrong_setting_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConfig, match=f"model bagged: .*{message}"):
        prior_of(trees(**({"settings": {}} | changes)))


def test_what_a_regressor_refuses_at_fitting_is_named() -> None:
    with pytest.raises(InvalidConfig, match="model bagged: settings: DecisionTreeRegressor cannot be fitted"):
        taught(trees(settings={"max_depth": -1})).mean(features())


def test_the_model_is_read_from_configuration() -> None:
    text = b'{"type": "bagged", "regressor": "' + TREE.encode() + b'", "settings": {"max_depth": 6}}'
    model = msgspec.json.decode(text, type=BaggedModel)
    assert model == trees(settings={"max_depth": 6}) and hash(model) == hash(trees(settings={"max_depth": 6}))


@cache
def outcome(name: str) -> Played:
    """Four seeds of 1500 rounds of a bandit with a threshold interaction."""
    cases: dict[str, tuple[Any, Policy]] = {
        "uniform": (DisjointModel(), RandomEligible()),
        "linear": (DisjointModel(), LinUCB(alpha=0.1)),
        "thompson": (trees(), ThompsonSampling(scale=0.5)),
        "squarecb": (trees(), SquareCB()),
        "falcon": (trees(), Falcon(gamma=20.0)),
        "optimistic": (trees(), RegCB(slack=10.0)),
        "elimination": (trees(), RegCB(slack=10.0, play="elimination")),
    }
    return played(*cases[name], seeds=4)


@pytest.mark.parametrize(
    "name",
    [
        "thompson",
        "squarecb",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("falcon", "optimistic", "elimination")),
    ],
)
def test_every_policy_learns_a_threshold_over_trees(name: str) -> None:
    """Well above uniform play; all but the even play of elimination pass what a linear model ends at."""
    got, uniform, lines = outcome(name), outcome("uniform"), outcome("linear")
    error = 3.0 * np.hypot(standard_error(got.last), standard_error(lines.last))
    assert got.mean.mean() - uniform.mean.mean() > 3.0 * standard_error(got.mean)
    if name != "elimination":
        assert got.last.mean() - lines.last.mean() > error
