"""What every posterior must do, whatever it believes: each check takes the model that starts it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias, get_args

import numpy as np
from msgspec import structs
from small import cut, open_strategy, small_contexts, small_rounds

from nba.arrays import FloatArray
from nba.bundle import posterior_bytes, posterior_from_bytes
from nba.feedback import RoundBatch
from nba.posteriors import (
    BaggedModel,
    EnsembleModel,
    FittedQModel,
    HazardModel,
    LogisticModel,
    Model,
    NeuralLinearModel,
    OnlineModel,
    Posterior,
    state_of,
)
from nba.strategy import Strategy

Check: TypeAlias = Callable[[Model], None]
ROUNDS, DRAWS = 240, 20_000


def instances() -> list[Model]:
    """One model of every member of the union, and of the designs of those that have several."""
    return [
        *(model() for model in get_args(Model) if model is not NeuralLinearModel),
        NeuralLinearModel(refit_after=0.0, steps=200),  # by default it is refitted only now and then
        OnlineModel(design="shared"),
        OnlineModel(design="hybrid"),
    ]


def checks_of(model: Model) -> list[Check]:
    """The checks that a model must pass: all that its nature allows."""
    return [check for check in CHECKS if check.__name__ not in BY_NATURE.get(type(model), {})]


@cache
def strategy_of(model: Model) -> Strategy:
    return open_strategy(model=model)


@cache
def prior_of(model: Model) -> Posterior:
    strategy = strategy_of(model)
    return strategy.model.prior(strategy.catalogue, strategy.schema)


@cache
def rounds_of(model: Model, seed: int = 0) -> RoundBatch:
    return small_rounds(strategy_of(model), ROUNDS, seed)


def taught(model: Model, seed: int = 0) -> Any:
    prior: Any = prior_of(model)
    return prior.absorb(prior.evidence(rounds_of(model, seed)))


@cache
def features_of(model: Model, n: int = 12, seed: int = 5) -> FloatArray:
    strategy = strategy_of(model)
    return strategy.encode(small_contexts(strategy, n, seed)).features


def same_state(one: Posterior, other: Posterior, tolerance: float = 0.0) -> None:
    for name, array in state_of(one).items():
        again = state_of(other)[name]
        if tolerance == 0.0:
            np.testing.assert_array_equal(array, again, err_msg=name)
        else:
            np.testing.assert_allclose(array, again, rtol=tolerance, atol=tolerance, err_msg=name)


def learning_changes_something(model: Model) -> None:
    assert posterior_bytes(taught(model)) != posterior_bytes(prior_of(model))
    change = np.abs(taught(model).mean(features_of(model)) - prior_of(model).mean(features_of(model)))
    assert (change.max(axis=0)[1:] > 1e-6).all(), "every action was tried, so every mean moves"


def order_of_batches_does_not_matter(model: Model) -> None:
    prior: Any = prior_of(model)
    parts = [prior.evidence(part) for part in cut(rounds_of(model), 50, 51, 130)]
    forwards, backwards = prior, prior
    for part in parts:
        forwards = forwards.absorb(part)
    for part in reversed(parts):
        backwards = backwards.absorb(part)
    same_state(forwards, backwards, 1e-12)
    same_state(forwards, taught(model), 1e-12)


def order_of_rows_does_not_matter(model: Model) -> None:
    prior: Any = prior_of(model)
    shuffled = np.random.default_rng(1).permutation(ROUNDS)
    rounds = RoundBatch(*(column[shuffled] for column in rounds_of(model)))
    same_state(prior.absorb(prior.evidence(rounds)), taught(model), 1e-12)


def evidence_adds(model: Model) -> None:
    prior: Any = prior_of(model)
    first, second = (prior.evidence(part) for part in cut(rounds_of(model), 90))
    same_state(prior.absorb(first + second), prior.absorb(first).absorb(second), 1e-12)
    for array in (first + second)[:]:
        assert array.dtype == np.float64


def folding_equals_absorbing(model: Model) -> None:
    prior: Any = prior_of(model)
    same_state(prior.fold(rounds_of(model)), taught(model), 1e-9)


def folding_does_not_depend_on_cuts(model: Model) -> None:
    prior: Any = prior_of(model)
    whole, rounds = prior.fold(rounds_of(model)), rounds_of(model)
    for places in ((1,), (7, 8, 100), tuple(range(1, ROUNDS))):
        folded = prior
        for part in cut(rounds, *places):
            folded = folded.fold(part)
        same_state(folded, whole)
        assert posterior_bytes(folded) == posterior_bytes(whole)


def no_rounds_teach_nothing(model: Model) -> None:
    posterior = taught(model)
    nothing, _ = cut(rounds_of(model), 0)
    assert nothing.n_rows == 0
    same_state(posterior.absorb(posterior.evidence(nothing)), posterior)
    same_state(posterior.fold(nothing), posterior)


def learning_does_not_mutate(model: Model) -> None:
    prior: Any = prior_of(model)
    before, rounds = posterior_bytes(prior), rounds_of(model)
    columns = [column.copy() for column in rounds]
    evidence = prior.evidence(rounds)
    kept = [array.copy() for array in evidence]
    prior.absorb(evidence).absorb(evidence)
    prior.fold(rounds)
    structs.replace(prior, half_life_days=3.0).decayed(2.0)
    prior.scores(prior.draw(3, np.random.default_rng(0)), features_of(model))
    assert posterior_bytes(prior) == before
    for column, copy in zip([*rounds, *evidence], columns + kept, strict=True):
        np.testing.assert_array_equal(column, copy)


def draws_follow_mean_and_stddev(model: Model) -> None:
    posterior, features = taught(model), features_of(model, n=3)
    drawn = posterior.scores(posterior.draw(DRAWS, np.random.default_rng(7)), features).astype(np.float64)
    mean, sd = posterior.mean(features), posterior.stddev(features)
    assert (sd[:, 1:] > 0).all()
    error = drawn.std(axis=0, ddof=1)[:, 1:] / np.sqrt(DRAWS)
    assert (np.abs(drawn.mean(axis=0) - mean)[:, 1:] < 4.5 * error).all()
    # The standard error of a variance is sqrt((kurtosis - 1) / n); take the kurtosis from the draws.
    centred = (drawn - drawn.mean(axis=0))[:, :, 1:]
    kurtosis = (centred**4).mean(axis=0) / (centred**2).mean(axis=0) ** 2
    ratio = (centred**2).mean(axis=0) / sd[:, 1:] ** 2
    assert (np.abs(ratio - 1.0) < 4.5 * np.sqrt((kurtosis - 1.0) / DRAWS)).all()


def scale_widens_the_draws_about_the_mean(model: Model) -> None:
    posterior, features = taught(model), features_of(model, n=2)
    centre = posterior.scores(posterior.mean_draw(), features)[0]
    plain, double, none = (
        posterior.scores(posterior.draw(5, np.random.default_rng(3), scale), features)
        for scale in (1.0, 2.0, 0.0)
    )
    np.testing.assert_allclose(double - centre, 2.0 * (plain - centre), atol=1e-5)
    np.testing.assert_allclose(none, np.broadcast_to(centre, none.shape), atol=1e-6)


def the_mean_draw_is_the_mean(model: Model) -> None:
    posterior, features = taught(model), features_of(model)
    scores = posterior.scores(posterior.mean_draw(), features)
    assert scores.shape == (1, 12, 13) and scores.dtype == np.float32
    np.testing.assert_allclose(scores[0], posterior.mean(features), rtol=1e-5, atol=1e-6)


def no_contact_scores_nothing(model: Model) -> None:
    posterior, features = taught(model), features_of(model)
    drawn = posterior.scores(posterior.draw(8, np.random.default_rng(0)), features)
    assert not drawn[:, :, 0].any()
    assert not posterior.mean(features)[:, 0].any() and not posterior.stddev(features)[:, 0].any()


def covariance_prepared_once_is_stddev(model: Model) -> None:
    posterior, features = taught(model), features_of(model)
    np.testing.assert_array_equal(posterior.covariance().stddev(features), posterior.stddev(features))


def learning_narrows(model: Model) -> None:
    """Watching without a conversion adds precision and never a conversion."""
    rounds = rounds_of(model)._replace(rewards=np.zeros(ROUNDS), exposure=np.full(ROUNDS, 5.0))
    prior: Any = prior_of(model)
    after, features = prior.absorb(prior.evidence(rounds)), features_of(model)
    assert (after.stddev(features)[:, 1:] < prior.stddev(features)[:, 1:]).all()


def forgetting_goes_towards_the_prior(model: Model) -> None:
    forgetful: Any = structs.replace(taught(model), half_life_days=10.0)
    prior = prior_of(model)
    same_state(forgetful.decayed(0.0), forgetful)
    same_state(forgetful.decayed(2000.0), prior, 1e-12)
    same_state(forgetful.decayed(3.0).decayed(4.5), forgetful.decayed(7.5), 1e-12)
    for name, start in state_of(prior).items():
        half = (start + state_of(forgetful)[name]) / 2.0
        np.testing.assert_allclose(state_of(forgetful.decayed(10.0))[name], half, rtol=1e-12, atol=1e-12)


def without_half_life_nothing_is_forgotten(model: Model) -> None:
    posterior = taught(model)
    same_state(posterior.decayed(365.0), posterior)


def bytes_bring_the_posterior_back(model: Model) -> None:
    posterior, strategy = taught(model), strategy_of(model)
    data = posterior_bytes(posterior)
    again = posterior_from_bytes(data, strategy)
    assert type(again) is type(posterior) and posterior_bytes(again) == data
    same_state(again, posterior)
    features = features_of(model)
    np.testing.assert_array_equal(again.mean(features), posterior.mean(features))
    draws = (one.scores(one.draw(4, np.random.default_rng(2)), features) for one in (again, posterior))
    np.testing.assert_array_equal(*draws)


def equal_posteriors_have_equal_bytes(model: Model) -> None:
    assert posterior_bytes(taught(model)) == posterior_bytes(taught(model))
    assert posterior_bytes(taught(model)) != posterior_bytes(taught(model, seed=1))


# What cannot hold for some posteriors, and why; each has tests of its own for what holds instead.
BY_NATURE: dict[type, dict[str, str]] = {
    OnlineModel: {
        "forgetting_goes_towards_the_prior": "precision and shift go half the way, their inverse does not",
    },
    EnsembleModel: {
        # Members meet noise that is keyed by the rounds so far: the same distribution under another cut.
        "order_of_batches_does_not_matter": "another cut gives other members",
        "order_of_rows_does_not_matter": "noise passes a Cholesky factor: to 1e-7 only",
        "evidence_adds": "another cut gives other members",
        "folding_equals_absorbing": "another cut gives other members",
        "forgetting_goes_towards_the_prior": "noise keeps the square root, so that its variance halves",
        "draws_follow_mean_and_stddev": "a draw is the members, however many are asked for",
    },
    **dict.fromkeys(
        (LogisticModel, HazardModel),
        {
            "folding_equals_absorbing": "each linearises at another mean",
            "draws_follow_mean_and_stddev": "draws are transformed exactly, the stddev is the delta method's",
            "scale_widens_the_draws_about_the_mean": "true of parameters, not of scores",
        },
    ),
    BaggedModel: {
        "forgetting_goes_towards_the_prior": "the state is rows, of which the prior has none",
        "learning_narrows": "members that were constants come to differ by context; they narrow on average",
    },
    FittedQModel: {  # rounds teach it nothing, they are counted: journeys do, see test_longrun_fitted_q.py
        "learning_changes_something": "rounds are counted only",
        "learning_narrows": "rounds are counted only",
        "draws_follow_mean_and_stddev": "a draw is the members, which agree before any journey",
    },
    NeuralLinearModel: {
        "forgetting_goes_towards_the_prior": "the state is rows, of which the prior has none",
    },
}

CHECKS: list[Check] = [
    learning_changes_something,
    order_of_batches_does_not_matter,
    order_of_rows_does_not_matter,
    evidence_adds,
    folding_equals_absorbing,
    folding_does_not_depend_on_cuts,
    no_rounds_teach_nothing,
    learning_does_not_mutate,
    draws_follow_mean_and_stddev,
    scale_widens_the_draws_about_the_mean,
    the_mean_draw_is_the_mean,
    no_contact_scores_nothing,
    covariance_prepared_once_is_stddev,
    learning_narrows,
    forgetting_goes_towards_the_prior,
    without_half_life_nothing_is_forgotten,
    bytes_bring_the_posterior_back,
    equal_posteriors_have_equal_bytes,
]
