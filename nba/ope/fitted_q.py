"""The value of a target over a long horizon: fitted Q evaluation, and the marginalised ratio.

Both look at single transitions instead of whole paths, so that no weights multiply. What they ask for is a
state that says all the past has to say, the fatigue of a customer among it, and features that hold the value.
Shape letters: n transitions, K features, A actions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from msgspec import Struct

from nba.arrays import BoolArray, FloatArray, IntArray, check_shape
from nba.errors import NBAError, require
from nba.ope.reward_models import Predictor, RewardModel, RewardRows
from nba.ope.terms import Range, Tail, Terms, covering

_SLACK = 0.01  # of the range of values, by which a regression may overshoot it without notice


class QDiverged(NBAError, ArithmeticError):
    """Fitted Q evaluation does not settle with these features; no value may be told."""


class Transitions(NamedTuple):
    """Steps of logged journeys; what follows a last step is never looked at."""

    features: FloatArray  # (n, K) of the state, the intercept first
    actions: IntArray  # (n,)
    rewards: FloatArray  # (n,)
    next_features: FloatArray  # (n, K)
    next_target: FloatArray  # (n, A) the target's distribution in the next state
    is_last: BoolArray  # (n,)


class FittedQ(NamedTuple):
    """A settled Q, with how it came about."""

    predict: Predictor  # features (n, K) to values (n, A), not clamped
    n_iterations: int
    clamped_share: float  # of the last targets, which the clamp alone kept within the range


class FittedQEvaluation(Struct, frozen=True, kw_only=True, tag="fitted_q_evaluation"):
    """Iterates Q <- regression of r + discount sum_a' pi(a'|s') Q(s', a') on (s, a).

    Le, Voloshin and Yue (2019, 1903.08738). Targets are clamped to the range of possible values. It must
    settle: where it does not, or a tenth of the targets lies beyond the clamp, QDiverged is raised.
    """

    discount: float
    n_iterations: int = 200
    tolerance: float = 1e-5  # of the range of values
    most_clamped: float = 0.1

    def __post_init__(self) -> None:
        """Check the discount and the numbers."""
        require(0.0 <= self.discount <= 1.0, "fqe", "discount", f"must lie in [0, 1], got {self.discount}")
        require(self.n_iterations >= 1, "fqe", "n_iterations", f"must be >= 1, got {self.n_iterations}")

    def fit(self, model: RewardModel, steps: Transitions, n_actions: int, values: Range) -> FittedQ:
        """Q of the target, clamped to the range of values that a state could have."""
        check_shape(steps.next_target, (steps.actions.size, n_actions), "next_target")
        raw = following = np.zeros(steps.actions.size)  # of the next state, before and after the clamp
        slack = _SLACK * values.width
        for iteration in range(1, self.n_iterations + 1):
            clamped = np.clip(steps.rewards + self.discount * following, values.low, values.high)
            rows = RewardRows(steps.features, steps.actions, clamped, np.ones_like(clamped))
            predict = model.fit(rows, n_actions)
            ahead = np.einsum("na,na->n", steps.next_target, predict(steps.next_features))
            raw, before = np.where(steps.is_last, 0.0, ahead), following
            following = np.where(steps.is_last, 0.0, np.clip(ahead, values.low, values.high))
            change = float(np.abs(following - before).max(initial=0.0))
            if change <= self.tolerance * values.width:
                beyond = np.abs(steps.rewards + self.discount * raw - clamped) > slack
                return self._within(FittedQ(predict, iteration, float(beyond.mean())))
        raise QDiverged(
            f"fqe: values still change by {change:.4g} after {self.n_iterations} iterations; allow more of "
            "them, or take richer features, a stronger penalty or a smaller discount."
        )

    def _within(self, settled: FittedQ) -> FittedQ:
        """The settled Q, unless the clamp alone held it."""
        if settled.clamped_share > self.most_clamped:
            raise QDiverged(
                f"fqe: {settled.clamped_share:.3f} of the targets lie outside the possible values, and at "
                f"most {self.most_clamped:g} may; the regression does not contract with these features."
            )
        return settled


class OccupancySums(NamedTuple):
    """Sums over transitions for the marginalised ratio; they add over partitions.

    With features f of state and action, the ratio rho = f'theta of how often the target meets a state and
    action to how often the log did solves sum rho (f - discount f(s', pi)) = sum_{s0} f(s0, pi).
    """

    flow: FloatArray  # (D, D) sum of (f - discount f(s', pi)) f'
    start: FloatArray  # (D,) sum of f(s0, pi) over journeys
    reward: FloatArray  # (D,) sum of r f
    n_journeys: int

    @staticmethod
    def of(steps: Transitions, starts: tuple[FloatArray, FloatArray], discount: float) -> OccupancySums:
        """The sums of whole journeys; starts are features (N, K) and target (N, A) of their first states."""
        n_actions = steps.next_target.shape[1]
        chosen = np.eye(n_actions)[steps.actions]
        here = _crossed(steps.features, chosen)
        ahead = _crossed(steps.next_features, np.where(steps.is_last[:, None], 0.0, steps.next_target))
        flow = (here - discount * ahead).T @ here
        return OccupancySums(flow, _crossed(*starts).sum(axis=0), here.T @ steps.rewards, starts[0].shape[0])

    def __add__(self, other: object) -> OccupancySums:
        """The sums of both partitions."""
        if not isinstance(other, OccupancySums):
            return NotImplemented
        flow, start, reward = (one + its for one, its in zip(self[:3], other[:3], strict=True))
        return OccupancySums(flow, start, reward, self.n_journeys + other.n_journeys)

    def weights(self, precision: float = 1e-6) -> FloatArray:
        """(D,) theta of the ratio, lightly penalised so that pairs never met get none."""
        left = self.flow + precision * np.eye(self.start.size)
        return np.asarray(np.linalg.solve(left, self.start), dtype=np.float64)

    def value(self, precision: float = 1e-6) -> float:
        """E[sum rho r] per journey. Liu, Li, Tang and Zhou (2018); Uehara, Huang and Jiang (2020)."""
        return float(self.reward @ self.weights(precision)) / self.n_journeys


def occupancy_ratios(steps: Transitions, theta: FloatArray) -> FloatArray:
    """(n,) ratio of each transition's state and action, by the theta of OccupancySums."""
    ratios: FloatArray = _crossed(steps.features, np.eye(steps.next_target.shape[1])[steps.actions]) @ theta
    return ratios


def double_reinforcement(
    steps: Transitions, journeys: IntArray, starts: FloatArray, ratios: FloatArray, errors: FloatArray
) -> Terms:
    """DRL: V(s0) + sum over a journey of rho (r + discount V(s') - Q(s, a)). Kallus and Uehara (2020).

    journeys (n,) numbers the journey of each transition below N, starts (N,) are V(s0), ratios (n,) rho and
    errors (n,) what stands in the bracket; ratios and values from other folds. Unbiased to first order in
    the errors of both. Its terms are one per journey.
    """
    check_shape(journeys, steps.actions.shape, "journeys")
    corrections: FloatArray = np.zeros(starts.size)
    np.add.at(corrections, journeys, ratios * errors)
    ones = np.ones_like(starts)  # how much occupancy a journey should have is not known: no mean to hold
    one = Range(1.0, 1.0)
    return Terms(ones, ones, starts, corrections, one, one, covering(corrections), Tail.of(ones))


def _crossed(features: FloatArray, shares: FloatArray) -> FloatArray:
    """(n, A K) features once per action, weighted by shares (n, A)."""
    crossed: FloatArray = np.einsum("na,nk->nak", shares, features)
    return crossed.reshape(features.shape[0], -1)
