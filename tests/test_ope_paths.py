"""Several decisions in a row: by hand, against exact values of a small fatigue world, and its refusals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from nba.arrays import FloatArray, IntArray
from nba.errors import InvalidConfig
from nba.ope.fitted_q import (
    FittedQEvaluation,
    OccupancySums,
    QDiverged,
    Transitions,
    double_reinforcement,
    occupancy_ratios,
)
from nba.ope.intervals import cressie_read
from nba.ope.logged import BadLog
from nba.ope.paths import Paths, StepSums, per_decision, per_step, sequential_doubly_robust
from nba.ope.reward_models import Predictor, RewardRows, Ridge
from nba.ope.terms import Estimate, Moments, Range, Terms
from nba.propensity import choose

CONVERSION = np.array([[0.02, 0.30], [0.02, 0.15], [0.02, 0.05]])  # (fatigue, silent or contact)
LOGGING = np.array([[0.4, 0.6], [0.5, 0.5], [0.6, 0.4]])
TARGET = np.array([[0.1, 0.9], [0.8, 0.2], [0.9, 0.1]])
DISCOUNT, ENDS = 0.95, 0.1


def small() -> Paths:
    """Two paths of two steps with ratios 2, 0.5 and 0, 3."""
    return Paths(
        rewards=np.array([[1.0, 1.0], [1.0, 0.0]]),
        propensities=np.array([[0.5, 0.8], [0.5, 0.2]]),
        targets=np.array([[1.0, 0.4], [0.0, 0.6]]),
        present=np.ones((2, 2), dtype=np.bool_),
        discounts=np.array([1.0, 0.5]),
    ).checked()


def value(terms: Terms) -> float:
    return Moments.of(terms).value(self_normalised=False)


def test_by_hand() -> None:
    paths, ones = small(), np.ones((2, 1))
    assert value(per_step(paths)) == pytest.approx((2.0 + 0.25) / 2)
    assert value(per_decision(paths)) == pytest.approx((2.0 + 0.5) / 2)
    assert StepSums.of(paths).estimate().value == pytest.approx(2.0 / 2.0 + 0.5 / 1.0)
    q, v = ones * [0.5, 0.2], ones * [0.6, 0.3]
    assert value(sequential_doubly_robust(paths, q, v)) == pytest.approx((2.5 + 0.6) / 2)
    assert value(sequential_doubly_robust(paths, 0 * q, 0 * v)) == value(per_decision(paths))


def test_steps_after_the_end_count_for_nothing() -> None:
    paths = small()
    longer = Paths(
        *(
            np.hstack([column, np.full((2, 1), fill)])
            for column, fill in zip(paths[:3], (7.0, 0.1, 0.9), strict=True)
        ),
        present=np.hstack([paths.present, np.zeros((2, 1), dtype=np.bool_)]),
        discounts=np.array([1.0, 0.5, 0.25]),
    )
    assert value(per_decision(longer)) == value(per_decision(paths))
    assert value(per_step(longer)) == value(per_step(paths))


def test_sums_of_paths_merge() -> None:
    paths = logged_paths(500, np.random.default_rng(1))
    parts = [
        Paths(*(column[some] for column in paths[:4]), paths.discounts)
        for some in (slice(200), slice(200, 500))
    ]
    merged = StepSums.of(parts[0]) + StepSums.of(parts[1])
    assert merged.estimate() == pytest.approx(StepSums.of(paths).estimate())


def test_impossible_paths_are_refused() -> None:
    paths = small()
    with pytest.raises(BadLog, match=r"propensities: .*; 1 steps do not \(first in path 1\)"):
        paths._replace(propensities=np.array([[0.5, 0.8], [0.5, 0.0]])).checked()
    with pytest.raises(BadLog, match="present: must not resume after the end; 2 steps"):
        paths._replace(present=np.array([[False, True], [False, True]])).checked()


def walk(fatigue: IntArray, actions: IntArray, rng: np.random.Generator) -> IntArray:
    """Contacts tire, silence lets rest with probability 0.7."""
    rested = np.where(rng.random(fatigue.size) < 0.7, np.maximum(fatigue - 1, 0), fatigue)
    return np.where(actions == 1, np.minimum(fatigue + 1, 2), rested)


def moves(policy: FloatArray) -> FloatArray:
    """(3, 3) probabilities from fatigue to fatigue under a policy (3, 2)."""
    tired = np.array([[0, 1, 0], [0, 0, 1], [0, 0, 1]])
    rested = np.array([[1, 0, 0], [0.7, 0.3, 0], [0, 0.7, 0.3]])
    return policy[:, :1] * rested + policy[:, 1:] * tired


def logged_paths(n: int, rng: np.random.Generator, steps: int = 3) -> Paths:
    """Journeys of three decisions from no fatigue."""
    fatigue, columns = np.zeros(n, dtype=np.int64), []
    for _ in range(steps):
        actions = choose(LOGGING[fatigue], rng.random(n))
        rewards = (rng.random(n) < CONVERSION[fatigue, actions]).astype(np.float64)
        columns.append((rewards, LOGGING[fatigue, actions], TARGET[fatigue, actions]))
        fatigue = walk(fatigue, actions, rng)
    rewards, propensities, targets = (np.column_stack(column) for column in zip(*columns, strict=True))
    there = np.ones((n, steps), dtype=np.bool_)
    return Paths(rewards, propensities, targets, there, DISCOUNT ** np.arange(steps)).checked()


def test_three_contacts_against_the_exact_value() -> None:
    gain, exact, at = (TARGET * CONVERSION).sum(axis=1), 0.0, np.array([1.0, 0.0, 0.0])
    for step in range(3):
        exact, at = exact + DISCOUNT**step * float(at @ gain), at @ moves(TARGET)
    paths = logged_paths(20_000, np.random.default_rng(3))
    plain = Moments.of(per_decision(paths)).estimate(self_normalised=False)
    normalised = StepSums.of(paths).estimate()
    assert abs(plain.value - exact) < 4 * plain.stderr
    assert abs(normalised.value - exact) < 4 * normalised.stderr
    assert normalised.stderr < plain.stderr
    # What ignores the earlier steps' weights judges the log's fatigue, not the target's.
    naive = Moments.of(per_step(paths)).estimate(self_normalised=False)
    assert abs(naive.value - exact) > 4 * naive.stderr
    low, high, _ = cressie_read(Moments.of(per_decision(paths)))
    assert low < exact < high


class Journeys(NamedTuple):
    """Journeys of unknown length, as transitions."""

    steps: Transitions
    journeys: IntArray
    fatigue: IntArray


def journeys_of(n: int, rng: np.random.Generator) -> Journeys:
    fatigue, alive, parts = np.zeros(n, dtype=np.int64), np.arange(n), []
    while alive.size:
        actions = choose(LOGGING[fatigue], rng.random(alive.size))
        rewards = (rng.random(alive.size) < CONVERSION[fatigue, actions]).astype(np.float64)
        after, ended = walk(fatigue, actions, rng), rng.random(alive.size) < ENDS
        parts.append((fatigue, actions, rewards, after, ended, alive))
        fatigue, alive = after[~ended], alive[~ended]
    before, actions, rewards, after, ended, who = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Journeys(
        Transitions(coded(before), actions, rewards, coded(after), TARGET[after], ended), who, before
    )


def coded(fatigue: IntArray) -> FloatArray:
    """(n, 3) intercept and indicators of fatigue 1 and 2."""
    return np.column_stack([np.ones(fatigue.size), fatigue == 1, fatigue == 2]).astype(np.float64)


def fresh(n: int) -> tuple[FloatArray, FloatArray]:
    """Features and target of n journeys' first states."""
    return coded(np.zeros(n, dtype=np.int64)), np.tile(TARGET[0], (n, 1))


def exact_values() -> FloatArray:
    gain = (TARGET * CONVERSION).sum(axis=1)
    return np.linalg.solve(np.eye(3) - DISCOUNT * (1 - ENDS) * moves(TARGET), gain)


def test_a_long_horizon_against_the_exact_value() -> None:
    """Fitted Q, the marginalised ratio and both together, on journeys of ten contacts on average."""
    steps, who, fatigue = journeys_of(10_000, np.random.default_rng(4))
    exact, most = exact_values(), Range(0.0, 1.0 / (1.0 - DISCOUNT))
    fitted = FittedQEvaluation(discount=DISCOUNT).fit(Ridge(precision=1e-3), steps, 2, most)
    values = (TARGET * fitted.predict(coded(np.arange(3)))).sum(axis=1)
    assert values == pytest.approx(exact, rel=0.06) and fitted.clamped_share == 0.0

    sums = OccupancySums.of(steps, fresh(10_000), DISCOUNT)
    assert sums.value() == pytest.approx(exact[0], rel=0.05)
    ratios = occupancy_ratios(steps, sums.weights())
    assert ratios.min() > -0.05

    q, ahead = fitted.predict(steps.features), fitted.predict(steps.next_features)
    later = np.where(steps.is_last, 0.0, (steps.next_target * ahead).sum(axis=1))
    errors = steps.rewards + DISCOUNT * later - q[np.arange(who.size), steps.actions]
    told = drl(steps, who, np.full(10_000, values[0]), ratios, errors)
    assert abs(told.value - exact[0]) < 4 * told.stderr
    # Either of model and ratio may be wrong.
    no_model = drl(steps, who, np.zeros(10_000), ratios, steps.rewards)
    assert no_model.value == pytest.approx(exact[0], rel=0.05)
    assert fatigue.max() == 2


def drl(
    steps: Transitions, who: IntArray, starts: FloatArray, ratios: FloatArray, errors: FloatArray
) -> Estimate:
    terms = double_reinforcement(steps, who, starts, ratios, errors)
    return Moments.of(terms).estimate(self_normalised=False)


def test_occupancy_sums_merge() -> None:
    steps, who, _ = journeys_of(300, np.random.default_rng(5))
    first = who < 100
    parts = [
        OccupancySums.of(Transitions(*(column[some] for column in steps)), fresh(n), DISCOUNT)
        for some, n in ((first, 100), (~first, 200))
    ]
    whole = OccupancySums.of(steps, fresh(300), DISCOUNT)
    assert (parts[0] + parts[1]).value() == pytest.approx(whole.value())


class Growing:
    """A regression that does not contract: it predicts 1.5 times the mean target everywhere."""

    def fit(self, rows: RewardRows, n_actions: int) -> Predictor:
        mean = 1.5 * float(rows.rewards.mean())
        return lambda features: np.full((features.shape[0], n_actions), mean)


def test_fitted_q_tells_that_it_does_not_settle() -> None:
    steps, _, _ = journeys_of(200, np.random.default_rng(6))
    with pytest.raises(QDiverged, match="of the targets lie outside the possible values"):
        FittedQEvaluation(discount=0.95).fit(Growing(), steps, 2, Range(0.0, 1.0))
    with pytest.raises(QDiverged, match="values still change by .* after 3 iterations"):
        FittedQEvaluation(discount=0.95, n_iterations=3).fit(Ridge(), steps, 2, Range(0.0, 20.0))
    with pytest.raises(InvalidConfig, match=r"fqe: discount: must lie in \[0, 1\], got 1.5"):
        FittedQEvaluation(discount=1.5)


def test_a_ranked_list_whose_slots_hide_each_other() -> None:
    """Cascade: a slot is seen only if none above it was taken; with the exact model DR is sharper."""
    rng, n, slots = np.random.default_rng(7), 20_000, 3
    taken = np.array([0.5, 0.2])  # chance that an item of either kind is taken when seen
    logged, wanted = np.array([0.5, 0.5]), np.array([0.2, 0.8])
    kinds = choose(np.tile(logged, (n * slots, 1)), rng.random(n * slots)).reshape(n, slots)
    unseen, rewards = np.zeros(n, dtype=np.bool_), np.zeros((n, slots))
    for slot in range(slots):
        rewards[:, slot] = ~unseen & (rng.random(n) < taken[kinds[:, slot]])
        unseen |= rewards[:, slot] > 0
    worth = np.array([1.0, 0.8, 0.5])
    there = np.ones((n, slots), dtype=np.bool_)
    paths = Paths(rewards, logged[kinds], wanted[kinds], there, worth).checked()
    missed = 1.0 - float(wanted @ taken)
    exact = sum(worth[slot] * missed**slot * (1.0 - missed) for slot in range(slots))
    later = [worth[s + 1 :] @ (missed ** np.arange(slots - s - 1)) * (1 - missed) for s in range(slots)]
    seen = np.hstack([np.ones((n, 1)), 1.0 - np.minimum(rewards.cumsum(axis=1), 1.0)[:, :-1]])
    by_kind = worth[:, None] * taken + (1.0 - taken) * np.array(later)[:, None]  # (slots, kinds)
    q = seen * by_kind[np.arange(slots), kinds]
    v = seen * (by_kind @ wanted)
    plain = Moments.of(per_decision(paths)).estimate(self_normalised=False)
    robust = Moments.of(sequential_doubly_robust(paths, q, v)).estimate(self_normalised=False)
    alone = Moments.of(per_step(paths)).estimate(self_normalised=False)
    assert abs(plain.value - exact) < 4 * plain.stderr and abs(robust.value - exact) < 4 * robust.stderr
    assert robust.stderr < 0.95 * plain.stderr
    assert abs(alone.value - exact) > 4 * alone.stderr  # slots do matter to each other
