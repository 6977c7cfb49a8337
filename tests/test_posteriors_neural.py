"""Neural-linear: the network's gradients, what it can learn, and the exact head on its features."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec import structs
from nonlinear import contexts, greedy_reward, linear, parity, played, random_log, standard_error, table
from small import cut, open_strategy, small_contexts, small_rounds

from nba.arrays import FloatArray
from nba.errors import InvalidConfig, ShapeMismatch
from nba.feedback import RoundBatch
from nba.policies import RandomEligible, RegCB, SquareCB, ThompsonSampling
from nba.posteriors import FactoredModel
from nba.posteriors.network import Activation, Targets, hidden_features, loss_and_gradients, started
from nba.posteriors.neural import NeuralLinear, NeuralLinearModel

QUICK = NeuralLinearModel(steps=100, refit_after=0.0)
ROUNDS = 240


@cache
def bank() -> Any:
    return open_strategy()


def prior_of(model: NeuralLinearModel) -> NeuralLinear:
    return model.prior(bank().catalogue, bank().schema)


@cache
def rounds_of() -> RoundBatch:
    return small_rounds(bank(), ROUNDS)


def taught(model: NeuralLinearModel) -> NeuralLinear:
    prior = prior_of(model)
    return prior.absorb(prior.evidence(rounds_of()))


@cache
def features() -> FloatArray:
    return bank().encode(small_contexts(bank(), 12, 5)).features


def some_targets(rng: np.random.Generator) -> Targets:
    n = 30
    return Targets(
        inputs=np.concatenate([np.ones((n, 1)), rng.standard_normal((n, 3))], axis=1),
        blocks=rng.random((n, 5)),
        offset=rng.random(n),
        weight=np.where(rng.random(n) < 0.3, 0.0, rng.random(n)),
        rewards=rng.random(n),
    )


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("hidden", [(6,), (6, 4)])
def test_gradients_are_those_of_finite_differences(activation: Activation, hidden: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    rows, weights = some_targets(rng), started((4, *hidden), 5, rng)
    _, gradients = loss_and_gradients(weights, rows, activation, 0.7)
    assert [g.shape for g in gradients] == [w.shape for w in weights]
    step = 1e-6
    for number, matrix in enumerate(weights):
        for at in np.ndindex(matrix.shape):
            shifted = []
            for sign in (1.0, -1.0):
                moved = [one.copy() for one in weights]
                moved[number][at] += sign * step
                shifted.append(loss_and_gradients(tuple(moved), rows, activation, 0.7)[0])
            slope = (shifted[0] - shifted[1]) / (2.0 * step)
            assert gradients[number][at] == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_the_loss_is_weighted_squared_error_up_to_a_constant() -> None:
    rng = np.random.default_rng(4)
    rows = some_targets(rng)._replace(weight=rng.uniform(0.1, 1.0, 30))
    observed = rows.rewards / rows.weight

    def both(weights: tuple[FloatArray, ...]) -> tuple[float, float]:
        z = hidden_features(weights, rows.inputs, "tanh")
        lift = rows.offset + ((rows.blocks @ weights[-1]) * z).sum(axis=1)
        return loss_and_gradients(weights, rows, "tanh", 0.0)[0], float(
            np.mean(rows.weight * (observed - lift) ** 2) / 2.0
        )

    first, second = (both(started((4, 6), 5, rng)) for _ in range(2))
    assert first[0] - second[0] == pytest.approx(first[1] - second[1])


def test_the_head_is_the_factored_posterior_on_the_learnt_features() -> None:
    posterior = taught(QUICK)
    hidden = posterior.hidden(features())
    assert hidden.shape == (12, 33) and (hidden[:, 0] == 1.0).all()
    rounds = rounds_of()._replace(features=posterior.hidden(rounds_of().features))
    wanted = posterior.head_prior.absorb(posterior.head_prior.evidence(rounds))
    np.testing.assert_allclose(posterior.head.precision, wanted.precision, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(posterior.mean(features()), wanted.mean(hidden), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(posterior.stddev(features()), wanted.stddev(hidden), rtol=1e-9)
    mean = posterior.mean(features())
    np.testing.assert_array_equal(
        posterior.covariance().bounds(features(), mean, 2.0),
        posterior.head.covariance().bounds(hidden, mean, 2.0),
    )


def test_neither_parts_nor_order_change_what_is_learnt() -> None:
    prior, whole = prior_of(QUICK), taught(QUICK)
    parts = [prior.evidence(part) for part in cut(rounds_of(), 50, 51, 130)]
    for other in (
        prior.absorb(parts[3]).absorb(parts[0] + parts[2]).absorb(parts[1]),
        prior.fold(rounds_of()),
        structs.replace(prior, rows=whole.rows.copy(), watched=whole.watched),
    ):
        np.testing.assert_array_equal(other.rows, whole.rows)
        np.testing.assert_array_equal(other.mean(features()), whole.mean(features()))
        np.testing.assert_array_equal(other.head.precision, whole.head.precision)


def test_between_refreshes_new_rows_teach_the_head_alone() -> None:
    first, more = cut(rounds_of(), 200)
    prior = prior_of(NeuralLinearModel(steps=50))
    early = prior.absorb(prior.evidence(first))
    assert len(early.network) == 2
    later = early.absorb(early.evidence(more))
    for one, other in zip(early.network, later.network, strict=True):
        assert one is other
    assert (later.stddev(features())[:, 1:] < early.stddev(features())[:, 1:]).all()


def test_a_seed_gives_its_own_network() -> None:
    one, again, other = (taught(structs.replace(QUICK, seed=seed)).mean(features()) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one[:, 1:] != other[:, 1:]).all()


def test_before_any_row_the_head_believes_the_forecast() -> None:
    prior = prior_of(NeuralLinearModel(head=FactoredModel(lift_mean=0.7)))
    wanted = np.tile([0.14, 0.14, 0.035], (12, 4))
    np.testing.assert_allclose(prior.mean(features())[:, 1:], wanted, rtol=1e-6)
    assert (prior.stddev(features())[:, 1:] > 0).all()


def test_one_action_and_constant_features_are_learnt() -> None:
    rng, ones = np.random.default_rng(0), np.ones(400)
    x, only = np.tile([1.0, 0.0, 0.0, 0.0, 0.0], (400, 1)), np.ones(400, dtype=np.int64)
    rewards = (rng.random(400) < 0.3).astype(np.float64)
    prior = NeuralLinearModel().prior(*table(1))
    after = prior.absorb(prior.evidence(RoundBatch(x, only, 0 * only, rewards, ones, ones, 0.0 * ones)))
    assert after.mean(x[:1])[0].tolist() == [0.0, pytest.approx(rewards.mean(), abs=0.02)]


def test_scores_of_a_row_do_not_depend_on_its_batch() -> None:
    posterior = taught(QUICK)
    draws = posterior.draw(5, np.random.default_rng(0))
    whole = posterior.scores(draws, features())
    for row in range(3):
        np.testing.assert_array_equal(posterior.scores(draws, features()[[row]])[:, 0], whole[:, row])
    with pytest.raises(ShapeMismatch, match="features"):
        posterior.mean(features()[:, :-1])


def test_it_learns_what_no_linear_model_can_and_loses_nothing_where_one_is_enough() -> None:
    """Greedy reward after 2000 random rounds: parity pays 0.8 where it is seen, 0.5 where it is not."""
    rewards = {
        (truth.__name__, type(model).__name__): np.array(
            [greedy_reward(model, truth, 2000, s)[0] for s in range(3)]
        )
        for truth in (parity, linear)
        for model in (FactoredModel(), NeuralLinearModel())
    }
    assert (
        rewards["parity", "NeuralLinearModel"].min() > 0.74 > 0.55 > rewards["parity", "FactoredModel"].max()
    )
    lead = rewards["linear", "NeuralLinearModel"] - rewards["linear", "FactoredModel"]
    assert lead.mean() > -0.005 - 3.0 * standard_error(lead)


@pytest.mark.parametrize(
    "policy",
    [
        ThompsonSampling(scale=0.3),
        *(pytest.param(one, marks=pytest.mark.slow) for one in (RegCB(), SquareCB())),
    ],
)
def test_policies_learn_a_threshold_over_it(policy: Any) -> None:
    uniform = played(FactoredModel(), RandomEligible(), seeds=3, rounds=1000, every=200)
    got = played(NeuralLinearModel(steps=800), policy, seeds=3, rounds=1000, every=200)
    error = np.hypot(standard_error(uniform.last), standard_error(got.last))
    assert got.last.mean() - uniform.last.mean() > max(0.15, 3.0 * error)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": ()}, "hidden: must be one or two sizes"),
        ({"hidden": (4, 4, 4)}, "hidden: must be one or two sizes"),
        ({"hidden": (0,)}, "hidden: must be one or two sizes"),
        ({"steps": 0}, "steps: must be at least 1"),
        ({"batch": 0}, "batch: must be at least 1"),
        ({"rate": 0.0}, "rate: must be above 0"),
        ({"l2": -1.0}, "l2: must be at least 0"),
        ({"seed": -1}, "seed: must be at least 0"),
        ({"most_rows": 0}, "most_rows: must be at least 1"),
        ({"refit_after": -1.0}, "refit_after: must be finite and >= 0"),
        ({"head": FactoredModel(half_life_days=3.0)}, "head.half_life_days: forget with"),
    ],
)
def test_a_wrong_setting_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConfig, match=f"model neural: {message}"):
        NeuralLinearModel(**changes)


def test_the_model_is_read_from_configuration() -> None:
    text = b'{"type": "neural", "hidden": [8, 4], "head": {"slope_sd": 0.4}}'
    model = msgspec.json.decode(text, type=NeuralLinearModel)
    assert model == NeuralLinearModel(hidden=(8, 4), head=FactoredModel(slope_sd=0.4))
    x = contexts(5, np.random.default_rng(0))
    prior = model.prior(*table(2))
    assert prior.absorb(prior.evidence(random_log(50, linear, 0, 2))).mean(x).shape == (5, 3)
