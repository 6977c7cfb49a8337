"""Apprentice mode: who decides, what is counted, when it switches, and exact propensities on both sides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec import json, structs
from scipy.stats import binomtest
from small import ids_of, open_strategy, small_contexts, small_strategy

from nba.apprentice import Apprentice, Comparison, Tutored, match_bound
from nba.arrays import take_rows
from nba.decision import DecisionBatch
from nba.errors import InvalidConfig
from nba.feedback import RoundBatch
from nba.policies import Greedy, NoContact, ThompsonSampling
from nba.posteriors import FactoredModel, SegmentRatesModel
from nba.propensity import Floor, probability_of
from nba.snapshot import Snapshot

CONTEXTS = 60


def snapshot(model: Any = FactoredModel(), policy: Any = Greedy(), **changes: Any) -> Snapshot:  # noqa: B008
    return Snapshot.start(open_strategy(**({"model": model, "policy": policy, "floor": Floor()} | changes)))


def rules(**changes: Any) -> Snapshot:
    """Business as usual: response rates by segment, with a little exploration."""
    return snapshot(
        SegmentRatesModel(), Greedy(), **({"floor": Floor(epsilon=0.1), "name": "rules"} | changes)
    )


def compared(*agreements: float) -> Comparison:
    return Comparison(np.array(agreements), np.ones(len(agreements)), np.arange(len(agreements)))


# --- Counting ---


def test_a_full_window_above_the_bound_puts_the_learner_in_charge() -> None:
    strict = Apprentice(required_match=0.6, window_rounds=50, least_rounds=0)
    bound = match_bound(0.72, 50)
    assert bound >= 0.6 > match_bound(0.70, 50)
    passed = strict.after(compared(*[1.0] * 36, *[0.0] * 14))
    assert passed.in_charge and passed.last_match == 0.72 and passed.last_bound == bound
    assert passed.last_gain == 1.0 and passed.seen == 0 and passed.seen_before == 50
    failed = strict.after(compared(*[1.0] * 35, *[0.0] * 15))
    assert not failed.in_charge and failed.last_match == 0.7 and failed.match is None
    assert strict.after(compared(*[1.0] * 49)).match == 1.0, "a window that is not full is not judged"


def test_the_bound_is_wilsons() -> None:
    for hits, n in ((0, 10), (7, 10), (160, 200), (200, 200)):
        exact = binomtest(hits, n, alternative="greater").proportion_ci(0.95, method="wilson").low
        assert match_bound(hits / n, n) == pytest.approx(exact, abs=1e-12)


def test_the_bound_rarely_passes_who_does_not_match() -> None:
    """Of apprentices that match at just the required rate, about one in twenty passes a window."""
    rng, mode = np.random.default_rng(1), Apprentice(required_match=0.7, window_rounds=200, least_rounds=0)
    passed = [mode.after(compared(*(rng.random(200) < 0.7))).in_charge for _ in range(600)]
    assert np.mean(passed) < 0.05 + 3.0 * np.sqrt(0.05 * 0.95 / 600)


def test_old_windows_neither_help_nor_hurt_but_rounds_count() -> None:
    mode = Apprentice(required_match=0.6, window_rounds=20, least_rounds=60)
    for rounds in (20, 40):
        mode = mode.after(compared(*[1.0] * 20))
        assert not mode.in_charge and mode.seen_before == rounds
    assert mode.after(compared(*[0.0] * 20)).after(compared(*[1.0] * 20)).in_charge
    assert mode.after(compared(*[1.0] * 20)).in_charge


def test_counting_does_not_depend_on_cuts() -> None:
    rng = np.random.default_rng(0)
    agreements, gains = rng.random(173), rng.normal(size=173)
    whole = parts = Apprentice(required_match=0.3, window_rounds=40, least_rounds=120)
    everything = Comparison(agreements, gains, np.arange(173))
    whole = whole.after(everything)
    for edges in ((0, 1), (1, 39), (39, 100), (100, 173)):
        parts = parts.after(take_rows(everything, slice(*edges)))
    assert parts == whole and whole.in_charge and whole.seen_before == 120
    assert json.decode(json.encode(whole), type=Apprentice) == whole
    assert whole.after(everything) == whole, "who is in charge is no longer counted"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"required_match": 1.0}, "required_match: must be above 0 and below 1, got 1.0; no window"),
        ({"required_match": 0.0}, "required_match: must be above 0"),
        ({"required_match": float("nan")}, "required_match: must be above 0"),
        ({"window_rounds": 0}, "window_rounds: must be at least 1, got 0"),
        ({"least_rounds": -1}, "least_rounds: must be at least 0"),
        (
            {"required_match": 0.9, "window_rounds": 20},
            "window_rounds: cannot show 0.9: all of 20 show 0.881",
        ),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConfig, match=f"apprentice: {message}"):
        Apprentice(**changes)


# --- Deciding ---


def decided(pair: Tutored, seed: int = 0) -> tuple[Any, Any, DecisionBatch]:
    contexts = pair.strategy.encode(small_contexts(pair.strategy, CONTEXTS, seed))
    ids = ids_of(CONTEXTS, f"s{seed}-")
    return contexts, ids, pair.decide(contexts, ids)


def test_each_phase_has_the_exact_propensities_of_who_decides() -> None:
    pair = Tutored(learner=snapshot(policy=ThompsonSampling(n_draws=16)), rules=rules())
    promoted = structs.replace(pair, apprentice=structs.replace(pair.apprentice, in_charge=True))
    for tutored, speaks in ((pair, pair.rules), (promoted, pair.learner)):
        contexts, ids, batch = decided(tutored)
        alone = speaks.decide(contexts, ids)
        for name in ("actions", "propensities", "distribution", "expected_values"):
            np.testing.assert_array_equal(getattr(batch, name), getattr(alone, name))
        exact = speaks.action_distribution(contexts)
        np.testing.assert_array_equal(batch.propensities, probability_of(exact, batch.actions))


def test_comparing_is_the_learners_probability_of_what_was_done() -> None:
    pair = Tutored(learner=snapshot(policy=ThompsonSampling(n_draws=16)), rules=rules())
    contexts, ids, batch = decided(pair)
    found = pair.compare(contexts, ids, batch)
    own = pair.learner.action_distribution(contexts)
    np.testing.assert_array_equal(found.agreements, probability_of(own, batch.actions))
    values = pair.learner.decide(contexts, ids).expected_values
    gains = (own * values).sum(axis=1) - values[np.arange(CONTEXTS), batch.actions]
    np.testing.assert_allclose(found.gains, gains, rtol=1e-12)
    after = pair.observe(found).apprentice
    assert after.seen == CONTEXTS and after.match == pytest.approx(found.agreements.mean())
    assert pair.apprentice.seen == 0


def test_where_there_is_no_choice_nothing_is_compared() -> None:
    """Silence that both are forced to would pass for agreement."""
    bound = small_strategy(floor=Floor())
    pair = Tutored(
        learner=Snapshot.start(structs.replace(bound, policy=Greedy())),
        rules=Snapshot.start(structs.replace(bound, model=SegmentRatesModel(), policy=NoContact())),
    )
    contexts, ids, batch = decided(pair)
    n_open = int((bound.eligible(contexts).mask.sum(axis=1) > 1).sum())
    found = pair.compare(contexts, ids, batch)
    assert 0 < n_open < CONTEXTS and found.agreements.size == n_open
    assert (bound.eligible(contexts).mask[found.decisions].sum(axis=1) > 1).all()


def test_what_the_learner_may_not_do_agrees_with_nothing() -> None:
    learner = snapshot(rules=small_strategy().rules)
    pair = Tutored(learner=learner, rules=rules())
    contexts, ids, batch = decided(pair)
    found = pair.compare(contexts, ids, batch)
    mask = learner.strategy.eligible(contexts).mask
    banned = ~mask[np.arange(CONTEXTS), batch.actions][mask.sum(axis=1) > 1]
    assert banned.any() and not found.agreements[banned].any() and not found.gains[banned].any()
    assert np.isfinite(found.gains).all()


def test_rules_of_another_bank_are_refused() -> None:
    whole = rules().strategy.catalogue
    catalogue = structs.replace(whole, products=whole.products[:2])
    with pytest.raises(InvalidConfig, match="catalogue: must be the one of the rules"):
        Tutored(learner=snapshot(), rules=rules(catalogue=catalogue))


def outcomes(batch: DecisionBatch, features: Any, products: Any, seed: int) -> RoundBatch:
    """A world in which the rules are right: the product they like best brings 16 a contact, others 2."""
    n, rng = batch.actions.size, np.random.default_rng(seed)
    product = np.where(batch.actions > 0, products[batch.actions], 0)
    rates = np.where(batch.actions > 0, np.array([0.2, 0.03, 0.01])[product], 0.0)
    made = (batch.actions > 0).astype(np.float64)
    return RoundBatch(
        features, batch.actions, product, (rng.random(n) < rates) * made, np.ones(n), made, 1.0 - made
    )


def test_a_learner_of_another_opinion_comes_round_and_takes_over() -> None:
    """It begins with no hope of any contact; what the rules bring in teaches it, then it decides."""
    mode = Apprentice(required_match=0.7, window_rounds=120, least_rounds=240)
    doubt = FactoredModel(lift_mean=-1.0, level_sd=1.0)
    pair = Tutored(learner=snapshot(doubt), rules=rules(), apprentice=mode)
    matches, spoke = [], []
    for step in range(40):
        contexts, ids, batch = decided(pair, step)
        spoke.append(pair.speaking.strategy.name)
        compared_now = pair.compare(contexts, ids, batch)
        matches.append(float(compared_now.agreements.mean()))
        taught = outcomes(batch, contexts.features, pair.strategy.catalogue.product_of, step)
        pair = pair.observe(compared_now).learn(taught, step + 1)
        if pair.apprentice.in_charge:
            break
    assert matches[0] < 0.2 and pair.apprentice.in_charge and set(spoke) == {"rules"}, matches
    assert pair.apprentice.last_bound is not None and pair.apprentice.last_bound >= 0.7
    assert pair.strategy is pair.learner.strategy and pair.posterior_seq == len(spoke)
    assert decided(pair, 99)[2].actions.shape == (CONTEXTS,)
