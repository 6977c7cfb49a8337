"""Stages of contacts: exact posteriors, rare rates that stay, and learning that is addition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import root
from scipy.special import expit
from small import open_strategy, small_contexts, small_schema, small_strategy

from nba.arrays import FloatArray, take_rows
from nba.errors import InvalidConfig
from nba.outcomes import STAGES, ContactRows, StageModel, StagePosterior

STRATEGY = open_strategy()
BOTH = pytest.mark.parametrize("stage", ["engaged", "opted_out"])


def prior(stage: Any = "opted_out", rate: float = 0.05, **changes: Any) -> StagePosterior:
    model = StageModel(stage=stage, rate=rate, **changes)
    return model.prior(STRATEGY.catalogue, STRATEGY.schema)


def contacts(stage: str, n: int, seed: int = 0, rate: float = 0.2) -> ContactRows:
    """Contacts on both channels whose customers differ; events are likelier with the app."""
    rng = np.random.default_rng(seed)
    features = STRATEGY.encode(small_contexts(STRATEGY, n, seed)).features
    events = np.zeros((n, len(STAGES)))
    events[:, STAGES.index(stage)] = rng.random(n) < rate * (0.5 + features[:, 2])  # type: ignore[call-overload]
    return ContactRows(features, rng.integers(0, 2, n), events, np.ones(n))


def pieces(rows: ContactRows, *places: int) -> list[ContactRows]:
    edges = [0, *places, rows.n_rows]
    return [take_rows(rows, slice(a, b)) for a, b in zip(edges, edges[1:], strict=False)]


def mode(stage: str, belief: StagePosterior, rows: ContactRows, channel: int) -> FloatArray:
    """The mode of one channel by a root finder on the derivative, written from the definition."""
    own = rows.channels == channel
    x, y, e = rows.features[own], rows.events[own, STAGES.index(stage)], rows.exposure[own]  # type: ignore[call-overload]
    rate, offset = (np.exp, np.log(0.05)) if stage == "opted_out" else (expit, np.log(0.05 / 0.95))
    weight = belief.prior_precision[channel]

    def gradient(beta: FloatArray) -> FloatArray:
        slope: FloatArray = x.T @ (y - e * rate(offset + x @ beta)) - weight * beta
        return slope

    found = root(gradient, np.zeros(x.shape[1]), method="hybr", tol=1e-13)
    assert np.abs(found.fun).max() < 1e-9
    return np.asarray(found.x)


@BOTH
def test_the_mode_of_many_contacts_is_that_of_an_independent_solver(stage: str) -> None:
    start, rows = prior(stage), contacts(stage, 400)
    learnt = start.laplace(rows).frozen()
    for channel in range(2):
        expected = mode(stage, start, rows, channel)
        np.testing.assert_allclose(learnt.theta[:, channel], expected, rtol=0, atol=1e-8)


def test_the_curvature_at_the_mode_is_that_of_the_likelihood() -> None:
    start, rows = prior(), contacts("opted_out", 300)
    after, own = start.laplace(rows), rows.channels == 1
    x, at = rows.features[own], after.frozen().theta[:, 1]
    hazard = 0.05 * np.exp(x @ at)
    expected = np.diag(start.prior_precision[1]) + (x * hazard[:, None]).T @ x
    np.testing.assert_allclose(after.precision[1], expected, rtol=1e-10, atol=1e-10)


@BOTH
def test_evidence_of_parts_adds_up_and_an_event_may_be_told_before_its_trial(stage: str) -> None:
    start, rows = prior(stage).absorb(prior(stage).evidence(contacts(stage, 50, 5))), contacts(stage, 120)
    whole = start.evidence(rows)
    one, two, three = (start.evidence(part) for part in pieces(rows, 40, 41))
    events = start.evidence(rows._replace(exposure=np.zeros(rows.n_rows)))
    trials = start.evidence(rows._replace(events=np.zeros_like(rows.events)))
    assert not events.gram.any(), "an event has no curvature"
    for sums in (one + two + three, events + trials):
        for got, wanted in zip(sums, whole, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-11)


@BOTH
def test_folding_does_not_depend_on_cuts(stage: str) -> None:
    start, rows = prior(stage), contacts(stage, 60)
    rows = rows._replace(exposure=np.tile([0.0, 1.0], 30))  # events ahead of their trials
    whole, cut = start.fold(rows), start
    for part in pieces(rows, 1, 17, 18, 59):
        cut = cut.fold(part)
    assert np.array_equal(whole.precision, cut.precision) and np.array_equal(whole.shift, cut.shift)


def test_folding_many_contacts_comes_close_to_their_mode() -> None:
    rows = contacts("opted_out", 3_000)
    features = rows.features[:50]
    folded, exact = (way(rows).frozen().probabilities(features) for way in (prior().fold, prior().laplace))
    assert np.abs(folded / exact - 1.0).max() < 0.1


def test_before_any_contact_the_rates_are_those_configured() -> None:
    belief = prior("complained", 0.001, rates={"call": 0.002})
    found = belief.frozen().probabilities(contacts("complained", 5).features)
    np.testing.assert_allclose(found, [[0.002, 0.001]] * 5, rtol=1e-12)


@pytest.mark.parametrize("n", [100, 1_000, 10_000])
def test_a_rare_event_that_never_came_does_not_become_impossible(n: int) -> None:
    """No event in n contacts: the mode solves m r b + n r exp(b) = 0 for m pseudo-contacts of rate r."""
    rate, pseudo = 0.002, 1_000.0
    x = np.zeros((n, STRATEGY.schema.n_columns))
    x[:, 0] = 1.0
    rows = ContactRows(x, np.zeros(n, dtype=np.int64), np.zeros((n, len(STAGES))), np.ones(n))
    found = prior(rate=rate, pseudo_contacts=pseudo).laplace(rows).frozen().probabilities(x[:1])[0]
    b = np.log(found[0] / rate)
    assert pseudo * b + n * np.exp(b) == pytest.approx(0.0, abs=1e-4)
    assert rate / (1 + n / pseudo) < found[0] < rate, "above the share (0 + m r) / (m + n) of a beta prior"
    assert found[1] == pytest.approx(rate, rel=1e-12), "the other channel has not been tried"


def test_forgetting_halves_the_evidence_and_ends_at_the_prior() -> None:
    start = prior(half_life_days=30.0)
    taught = start.laplace(contacts("opted_out", 500))
    half = taught.decayed(30.0)
    np.testing.assert_allclose(half.shift, taught.shift / 2, rtol=1e-14)
    np.testing.assert_allclose(half.precision, (taught.precision + start.precision) / 2, rtol=1e-14)
    long_after = taught.decayed(30.0 * 60)
    np.testing.assert_allclose(long_after.precision, start.precision, rtol=1e-12, atol=1e-12)
    assert np.abs(long_after.shift).max() < 1e-12
    assert taught.decayed(0.0) is taught and prior().decayed(9.0).precision is not None


def test_learning_returns_a_new_belief() -> None:
    start, rows = prior(), contacts("opted_out", 40)
    before = start.precision.copy(), start.shift.copy()
    for after in (start.fold(rows), start.laplace(rows), start.absorb(start.evidence(rows))):
        assert not np.array_equal(after.shift, before[1])
    assert np.array_equal(start.precision, before[0]) and np.array_equal(start.shift, before[1])


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"rate": 0.0}, "rate"),
        ({"rate": 1.0}, "rate"),
        ({"rates": {"mail": -0.1}}, "rates.mail"),
        ({"pseudo_contacts": 0.0}, "pseudo_contacts"),
        ({"slope_sd": float("nan")}, "slope_sd"),
        ({"half_life_days": -1.0}, "half_life_days"),
        ({"otherwise": 5.0}, "otherwise"),
        ({"money": {"mail": 5.0}}, "money.mail"),
        ({"money": {"mail": float("-inf")}}, "money.mail"),
    ],
)
def test_a_stage_that_means_nothing_is_refused(changes: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        StageModel(**({"stage": "complained", "rate": 0.01} | changes))
    assert caught.value.source == "stage complained" and caught.value.pointer == name


def test_a_strategy_refuses_a_stage_twice_and_a_channel_it_does_not_know() -> None:
    one = StageModel(stage="opted_out", rate=0.01)
    with pytest.raises(InvalidConfig, match="strategy small: stages: a stage has one model, got opted_out"):
        small_strategy(stages=(one, one))
    for changes in ({"rates": {"fax": 0.1}}, {"money": {"fax": -1.0}}):
        with pytest.raises(InvalidConfig, match="strategy small: stages: .*fax"):
            small_strategy(stages=(StageModel(stage="opted_out", rate=0.01, **changes),))  # type: ignore[arg-type]
    assert small_schema().n_columns == prior().shift.shape[1]


def test_folding_events_with_their_trials_keeps_true_rates() -> None:
    """500 contacts of which a share p is seen or opts out, told in rows of event and trial: p comes back.

    Events days ahead of their trials carried the mean away, and a logit at its cap never came back.
    """
    for stage, rate in (("delivered", 0.95), ("seen", 0.3), ("opted_out", 0.004)):
        strategy = open_strategy()
        prior = StageModel(stage=stage, rate=rate).prior(strategy.catalogue, strategy.schema)
        k, n = strategy.schema.n_columns, 500
        features, events = np.zeros((n, k)), np.zeros((n, len(STAGES)))
        features[:, 0] = 1.0
        events[: round(rate * n), STAGES.index(stage)] = 1.0
        order = np.random.default_rng(1).permutation(n)
        rows = ContactRows(features, np.zeros(n, dtype=np.int64), events[order], np.ones(n))
        found = prior.fold(rows).frozen().probabilities(features[:1])[0, 0]
        assert found == pytest.approx(rate, rel=0.02), stage
