"""What every policy must do: each check takes a policy and meets it inside a taught snapshot."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeAlias, get_args

import numpy as np
from msgspec import structs
from small import ids_of, small_contexts, small_rounds, small_strategy

from nba.arrays import BoolArray, FloatArray
from nba.context import ContextBatch
from nba.decision import DecisionBatch
from nba.policies import Policy
from nba.propensity import Floor, choose, probability_of
from nba.randomness import Purpose, decision_keys, keyed_uniforms
from nba.snapshot import Snapshot

Check: TypeAlias = Callable[[Policy], None]
CONTEXTS = 150
EPSILON = 0.08


def instances() -> list[Policy]:
    """One policy of every member of the union."""
    return [policy() for policy in get_args(Policy)]


@cache
def snapshot_of(policy: Policy, epsilon: float = EPSILON) -> Snapshot:
    """A policy that has learnt from some rounds, under all rules, with a floor."""
    strategy = small_strategy(policy=policy, floor=Floor(epsilon=epsilon))
    return Snapshot.start(strategy).learn(small_rounds(strategy, 400), 400)


@cache
def contexts_of(policy: Policy, n: int = CONTEXTS) -> ContextBatch:
    strategy = small_strategy(policy=policy)
    return strategy.encode(small_contexts(strategy, n, seed=8))


@cache
def eligible_of(policy: Policy) -> BoolArray:
    return snapshot_of(policy).strategy.eligible(contexts_of(policy)).mask


@cache
def distribution_of(policy: Policy, epsilon: float = EPSILON) -> FloatArray:
    return snapshot_of(policy, epsilon).action_distribution(contexts_of(policy))


def decisions_of(policy: Policy, prefix: str = "d", limit: int = 1) -> DecisionBatch:
    return snapshot_of(policy).decide(contexts_of(policy), ids_of(CONTEXTS, prefix), limit)


def distributions_sum_to_one(policy: Policy) -> None:
    for epsilon in (0.0, EPSILON, 1.0):
        distribution = distribution_of(policy, epsilon)
        assert distribution.shape == (CONTEXTS, 13) and (distribution >= 0).all()
        np.testing.assert_allclose(distribution.sum(axis=1), 1.0, rtol=0, atol=1e-12)


def ineligible_actions_have_no_chance(policy: Policy) -> None:
    eligible = eligible_of(policy)
    assert eligible.any(axis=0).all() and not eligible[:, 1:].all(axis=0).any(), "a real mixture"
    for epsilon in (0.0, EPSILON, 1.0):
        assert not distribution_of(policy, epsilon)[~eligible].any()


def no_contact_is_always_possible(policy: Policy) -> None:
    assert eligible_of(policy)[:, 0].all()
    # Also where a request allows nothing at all.
    nothing = np.zeros((CONTEXTS, 13), dtype=np.bool_)
    distribution = snapshot_of(policy).action_distribution(contexts_of(policy), nothing)
    np.testing.assert_array_equal(distribution[:, 0], 1.0)
    assert not distribution[:, 1:].any()


def the_floor_adds_epsilon_of_its_own_distribution(policy: Policy) -> None:
    """u by hand: half on no-contact, half even over the eligible contacts of at most 1 currency unit."""
    eligible, base = eligible_of(policy), distribution_of(policy, 0.0)
    cheap = eligible & (snapshot_of(policy).strategy.catalogue.costs <= 1.0)
    for row in range(CONTEXTS):
        contacts = np.flatnonzero(cheap[row])[1:]
        u = np.zeros(13)
        u[0] = 0.5 if contacts.size else 1.0
        u[contacts] = 0.5 / max(contacts.size, 1)
        got = distribution_of(policy)[row]
        np.testing.assert_allclose(got, (1 - EPSILON) * base[row] + EPSILON * u, rtol=0, atol=1e-14)
        assert (got[u > 0] >= EPSILON * u[u > 0] - 1e-15).all()


def the_floor_never_forces_a_dear_channel(policy: Policy) -> None:
    dear = snapshot_of(policy).strategy.catalogue.costs > 1.0
    assert not distribution_of(policy, 1.0)[:, dear].any()


def logged_propensities_are_those_of_the_distribution(policy: Policy) -> None:
    """A/A: the importance weights of target = logging are exactly 1."""
    batch = decisions_of(policy)
    target = snapshot_of(policy).action_distribution(contexts_of(policy))
    np.testing.assert_array_equal(batch.distribution, target)
    np.testing.assert_array_equal(probability_of(target, batch.actions) / batch.propensities, 1.0)


def chosen_actions_are_eligible(policy: Policy) -> None:
    for prefix in "abcdefgh":
        batch = decisions_of(policy, prefix)
        rows = np.arange(CONTEXTS)
        assert batch.eligible[rows, batch.actions].all() and (batch.propensities > 0).all()


def inverse_propensities_average_to_one(policy: Policy) -> None:
    """E[1{A = a} / pi(a)] = 1 wherever pi(a) > 0: a z-test for each action."""
    snapshot, n, repeats = snapshot_of(policy, 0.3), CONTEXTS, 60
    distribution = snapshot.action_distribution(contexts_of(policy))
    ratio = np.divide(
        1.0 - distribution, distribution, out=np.zeros_like(distribution), where=distribution > 0
    )
    weights = np.zeros(13)
    for repeat in range(repeats):
        batch = snapshot.decide(contexts_of(policy), ids_of(n, f"r{repeat}-"))
        weights += np.bincount(batch.actions, 1.0 / batch.propensities, minlength=13)
    expected = repeats * (distribution > 0).sum(axis=0)
    deviation = np.sqrt(repeats * ratio.sum(axis=0))
    assert (np.abs(weights - expected) <= 4.0 * deviation + 1e-9).all()


def repeated_decisions_follow_the_reported_propensity(policy: Policy) -> None:
    """Estimators T9: 1e5 decisions for one customer with different ids, total variation below 0.01."""
    snapshot, n, decided = snapshot_of(policy, 0.3), 100_000, 2_000
    widest = distribution_of(policy, 0.3).max(axis=1).argmin()
    batch = snapshot.decide(contexts_of(policy).take(np.full(decided, widest)), ids_of(decided))
    reported = batch.distribution[0]
    np.testing.assert_array_equal(batch.distribution, np.broadcast_to(reported, (decided, 13)))
    uniforms = keyed_uniforms(snapshot.strategy.seed, Purpose.DECISION, decision_keys(ids_of(n)))
    actions = choose(np.broadcast_to(reported, (n, 13)), uniforms)
    np.testing.assert_array_equal(actions[:decided], batch.actions)
    assert 0.5 * np.abs(np.bincount(actions, minlength=13) / n - reported).sum() < 0.01


def decisions_alone_and_in_a_batch_have_the_same_bytes(policy: Policy) -> None:
    snapshot, contexts = snapshot_of(policy), contexts_of(policy)
    together = snapshot.decide(contexts, ids_of(CONTEXTS), limit=3)
    for row in range(0, CONTEXTS, 7):
        alone = snapshot.decide(contexts.take(np.array([row])), ids_of(CONTEXTS)[[row]], limit=3)
        for name, got in alone._asdict().items():
            assert got[0].tobytes() == getattr(together, name)[row].tobytes(), (row, name)


def decisions_do_not_depend_on_their_neighbours(policy: Policy) -> None:
    snapshot, contexts = snapshot_of(policy), contexts_of(policy)
    order = np.random.default_rng(3).permutation(CONTEXTS)
    plain = snapshot.decide(contexts, ids_of(CONTEXTS), limit=2)
    mixed = snapshot.decide(contexts.take(order), ids_of(CONTEXTS)[order], limit=2)
    for name, got in mixed._asdict().items():
        np.testing.assert_array_equal(got, getattr(plain, name)[order], err_msg=name)


def ranked_lists_are_drawn_without_repeats_until_no_contact(policy: Policy) -> None:
    batch = decisions_of(policy, limit=4)
    np.testing.assert_array_equal(batch.ranked[:, 0], batch.actions)
    for row in batch.ranked:
        drawn = row[row >= 0]
        assert np.unique(drawn).size == drawn.size and (row[drawn.size :] == -1).all()
        # No-contact ends a list, and only a full list ends otherwise.
        assert (0 not in drawn[:-1]) and (drawn[-1] == 0 or drawn.size == 4)
    assert not batch.ranked_propensities[batch.ranked < 0].any()


def each_rank_is_drawn_from_what_is_left(policy: Policy) -> None:
    snapshot, contexts = snapshot_of(policy), contexts_of(policy)
    batch = snapshot.decide(contexts, ids_of(CONTEXTS), limit=4)
    left = np.ones((CONTEXTS, 13), dtype=np.bool_)
    for rank in range(4):
        alive = np.flatnonzero(batch.ranked[:, rank] >= 0)
        conditional = snapshot.action_distribution(contexts, left)[alive]
        actions = batch.ranked[alive, rank]
        np.testing.assert_array_equal(
            batch.ranked_propensities[alive, rank], probability_of(conditional, actions)
        )
        left[alive, actions] = False


def the_second_rank_is_drawn_with_noise_of_its_own(policy: Policy) -> None:
    """A z-test for each action: the inverse propensities of rank 2 count the lists that could have it."""
    snapshot, contexts = snapshot_of(policy, 1.0), contexts_of(policy)
    weights, expected, variance = np.zeros(13), np.zeros(13), np.zeros(13)
    for repeat in range(20):
        batch = snapshot.decide(contexts, ids_of(CONTEXTS, f"s{repeat}-"), limit=2)
        alive = np.flatnonzero(batch.ranked[:, 1] >= 0)
        left = np.ones((CONTEXTS, 13), dtype=np.bool_)
        left[np.arange(CONTEXTS), batch.actions] = False
        chances = snapshot.action_distribution(contexts, left)[alive]
        weights += np.bincount(
            batch.ranked[alive, 1], 1.0 / batch.ranked_propensities[alive, 1], minlength=13
        )
        expected += (chances > 0).sum(axis=0)
        odds = np.divide(1.0 - chances, chances, out=np.zeros_like(chances), where=chances > 0)
        variance += odds.sum(axis=0)
    assert expected.sum() > 500
    assert (np.abs(weights - expected) <= 4.0 * np.sqrt(variance) + 1e-9).all()


def the_first_rank_does_not_depend_on_the_length_of_the_list(policy: Policy) -> None:
    short, long = decisions_of(policy), decisions_of(policy, limit=3)
    np.testing.assert_array_equal(short.actions, long.actions)
    np.testing.assert_array_equal(short.propensities, long.propensities)


def another_seed_decides_otherwise_from_the_same_distribution(policy: Policy) -> None:
    snapshot = snapshot_of(policy, 1.0)
    other = structs.replace(snapshot, strategy=structs.replace(snapshot.strategy, seed=99))
    actions = [one.decide(contexts_of(policy), ids_of(CONTEXTS)).actions for one in (snapshot, other)]
    assert (actions[0] != actions[1]).any()


CHECKS: list[Check] = [
    distributions_sum_to_one,
    ineligible_actions_have_no_chance,
    no_contact_is_always_possible,
    the_floor_adds_epsilon_of_its_own_distribution,
    the_floor_never_forces_a_dear_channel,
    logged_propensities_are_those_of_the_distribution,
    chosen_actions_are_eligible,
    inverse_propensities_average_to_one,
    repeated_decisions_follow_the_reported_propensity,
    decisions_alone_and_in_a_batch_have_the_same_bytes,
    decisions_do_not_depend_on_their_neighbours,
    ranked_lists_are_drawn_without_repeats_until_no_contact,
    each_rank_is_drawn_from_what_is_left,
    the_second_rank_is_drawn_with_noise_of_its_own,
    the_first_rank_does_not_depend_on_the_length_of_the_list,
    another_seed_decides_otherwise_from_the_same_distribution,
]
