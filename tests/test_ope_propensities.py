"""Propensities that were not logged: estimated without peeking, calibrated, and called weak."""

from __future__ import annotations

import numpy as np
import pytest
from ope_fixtures import UNIT, Problem, mild_problem

from nba.arrays import FloatArray
from nba.ope.estimators import InversePropensity
from nba.ope.evaluate import Evaluation, Settings
from nba.ope.logged import LoggedRounds
from nba.ope.propensities import Calibration, ChoiceModel, estimated_logging, softmax

SNIPS = InversePropensity(name="snips", self_normalised=True)


def test_softmax_by_hand() -> None:
    told = softmax(np.log([[1.0, 3.0, 5.0]]), np.array([[True, True, False]]))
    assert told == pytest.approx(np.array([[0.25, 0.75, 0.0]]))


def test_the_choice_model_is_that_of_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    features = np.column_stack([np.ones(500), rng.normal(size=(500, 2))])
    actions = rng.integers(3, size=500)
    coefficients = ChoiceModel(precision=2.0).fit(features, actions, np.ones((500, 3), dtype=np.bool_))
    peer = LogisticRegression(C=0.5, fit_intercept=False, tol=1e-10, max_iter=5_000).fit(features, actions)
    assert coefficients == pytest.approx(peer.coef_, abs=1e-4)


def one_hot(problem: Problem, contexts: np.ndarray) -> FloatArray:
    return np.hstack([np.ones((contexts.size, 1)), np.eye(problem.rates.shape[0])[contexts]])


def test_estimated_propensities_serve_and_are_called_weak() -> None:
    problem = mild_problem(2, rate=0.3)
    rounds, target, contexts = problem.log(12_000, np.random.default_rng(3))
    everything = np.ones(target.shape, dtype=np.bool_)
    logging, calibration = estimated_logging(
        ChoiceModel(precision=0.1), one_hot(problem, contexts), rounds.actions, rounds.clusters, everything
    )
    assert np.nanmax(np.abs(calibration.z)) < 4.0 and calibration.error < 0.05
    guessed = LoggedRounds(
        rounds.actions, rounds.rewards, rounds.at(logging), rounds.clusters, logging, everything, UNIT
    )
    settings = Settings(estimators=(SNIPS,), propensities_estimated=True)
    report = Evaluation.of(settings, guessed, target).report()
    assert report.verdict == "weak" and "propensities were estimated" in report.reasons[-1]
    assert abs(report.estimates[0].value - problem.truth) < 4 * report.estimates[0].stderr


def test_a_model_without_the_features_is_seen_to_be_off() -> None:
    """Predicted by the wrong customers, probabilities do not match what was chosen."""
    problem = mild_problem(4)
    rounds, _, contexts = problem.log(6_000, np.random.default_rng(5))
    swapped = problem.logging[(contexts + 1) % 20]
    assert np.nanmax(np.abs(Calibration.of(swapped, rounds.actions).z)) > 8.0
    right = Calibration.of(problem.logging[contexts], rounds.actions)
    assert np.nanmax(np.abs(right.z)) < 4.0
    halves = [
        Calibration.of(problem.logging[contexts[s]], rounds.actions[s])
        for s in (slice(3_000), slice(3_000, None))
    ]
    assert np.allclose(np.array(halves[0] + halves[1]), np.array(right))


def test_rounds_of_the_same_customers_ask_for_the_bootstrap() -> None:
    problem = mild_problem(6, rate=0.3)
    rounds, target, _ = problem.log(4_000, np.random.default_rng(7))
    again = rounds._replace(clusters=rounds.clusters // np.uint64(4))
    report = Evaluation.of(Settings(estimators=(SNIPS,)), again, target).report()
    assert report.verdict == "weak" and report.reasons == (
        "75 % of rounds are of customers who had one before, and these intervals take rounds as "
        "independent; set n_replicates (--replicates) to draw customers.",
    )
    asked = Evaluation.of(Settings(estimators=(SNIPS,), n_replicates=100), again, target).report()
    assert asked.verdict == "supported" and asked.estimates[0].method == "cluster-bootstrap"
