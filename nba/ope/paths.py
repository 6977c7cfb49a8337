"""Several decisions in a row: a customer's contacts, or the slots of a ranked list.

In both the reward of a step depends on the actions up to it. The weight of step t is therefore the product
W_t of the ratios of steps 0 to t, not of those after it. Products explode: beyond some three contacts take
fitted Q evaluation or the marginalised ratio (nba.ope.fitted_q). Shape letters: N paths, T steps.
"""

from __future__ import annotations

from math import nan, sqrt
from typing import NamedTuple

import numpy as np

from nba.arrays import BoolArray, FloatArray, check_shape
from nba.ope.logged import BadLog
from nba.ope.terms import Estimate, Range, Tail, Terms, covering


class Paths(NamedTuple):
    """Paths of up to T steps; steps after the end of a path are not present and count for nothing.

    `discounts` are what a reward of each step is worth: powers of a discount, or the weights of the
    positions in a list.
    """

    rewards: FloatArray  # (N, T)
    propensities: FloatArray  # (N, T) of the logged actions, given the path so far
    targets: FloatArray  # (N, T) the target's probabilities of the logged actions
    present: BoolArray  # (N, T)
    discounts: FloatArray  # (T,)

    def checked(self) -> Paths:
        """The same paths; BadLog where chances or rewards are impossible, or steps are missing."""
        for name in ("propensities", "targets", "present"):
            check_shape(getattr(self, name), self.rewards.shape, name)
        check_shape(self.discounts, (self.rewards.shape[1],), "discounts")
        there, p = self.present, self.propensities
        rules = (
            ("propensities", "must lie in (0, 1]", there & ~((p > 0.0) & (p <= 1.0))),
            ("targets", "must lie in [0, 1]", there & ~((self.targets >= 0.0) & (self.targets <= 1.0))),
            ("rewards", "must be finite", there & ~np.isfinite(self.rewards)),
            ("present", "must not resume after the end", there[:, 1:] & ~there[:, :-1]),
        )
        faults = [
            f"{name}: {rule}; {bad.sum()} steps do not (first in path {np.argwhere(bad)[0][0]})."
            for name, rule, bad in rules
            if bad.any()
        ]
        if faults:
            raise BadLog(tuple(faults))
        return self

    def ratios(self) -> FloatArray:
        """(N, T) target over logging probability of each step; 1 after the end."""
        return np.divide(self.targets, self.propensities, out=np.ones_like(self.rewards), where=self.present)

    def products(self) -> FloatArray:
        """(N, T) W_t: products of the ratios up to and including each step."""
        products: FloatArray = np.multiply.accumulate(self.ratios(), axis=1)
        return products

    def worth(self) -> FloatArray:
        """(N, T) discounted rewards; 0 after the end."""
        return np.where(self.present, self.rewards, 0.0) * self.discounts


def per_step(paths: Paths) -> Terms:
    """E[sum_t g_t w_t r_t]: each step by its own ratio, as if no other mattered to it.

    Independent IPS of a ranked list (Li et al. 2018); right where the actions of earlier steps do not
    change the reward of a later one.
    """
    return _terms(paths, (paths.ratios() * paths.worth()).sum(axis=1))


def per_decision(paths: Paths) -> Terms:
    """E[sum_t g_t W_t r_t]. Precup, Sutton and Singh (2000); in a list reward-interaction IPS.

    McInerney et al. (2020) for lists: a reward depends on its slot and those above it.
    """
    return _terms(paths, (paths.products() * paths.worth()).sum(axis=1))


def sequential_doubly_robust(paths: Paths, q: FloatArray, v: FloatArray) -> Terms:
    """E[sum_t W_t (g_t r_t - q_t) + W_{t-1} v_t], unbiased if either propensities or model are right.

    q (N, T) is a model's worth of all rewards from step t on, seen from the start, given the logged action;
    v (N, T) the target's mean of it over actions. With a discount they are discount^t Q and discount^t V,
    cross-fitted (nba.ope.fitted_q). Jiang and Li (2016); Thomas and Brunskill (2016); over the slots of a
    list it is cascade-DR, Kiyohara et al. (2022).
    """
    for name, values in (("q", q), ("v", v)):
        check_shape(values, paths.rewards.shape, name)
    products = paths.products()
    before = np.hstack([np.ones((products.shape[0], 1)), products[:, :-1]])
    corrections = products * (paths.worth() - np.where(paths.present, q, 0.0))
    return _terms(paths, (corrections + before * np.where(paths.present, v, 0.0)).sum(axis=1))


def _terms(paths: Paths, scores: FloatArray) -> Terms:
    """Scores (N,) of whole paths as terms, whose ratio is that of the whole path."""
    ratios = paths.products()[:, -1]
    ones, spread = np.ones_like(scores), covering(scores)
    still = np.zeros_like(scores)
    possible = covering(ratios)
    return Terms(ratios, ones, still, scores, possible, Range(1.0, 1.0), spread, Tail.of(ratios))


class StepSums(NamedTuple):
    """Sums over paths for the self-normalised per-decision estimate; they add over partitions."""

    gram: FloatArray  # (2 T + 1, 2 T + 1) of 1, W_t for each t and W_t g_t r_t for each t

    @staticmethod
    def of(paths: Paths) -> StepSums:
        """The sums of one partition."""
        products = paths.products()
        columns = np.hstack([np.ones((products.shape[0], 1)), products, products * paths.worth()])
        return StepSums(columns.T @ columns)

    def __add__(self, other: object) -> StepSums:
        """The sums of both partitions."""
        return StepSums(self.gram + other.gram) if isinstance(other, StepSums) else NotImplemented

    def estimate(self) -> Estimate:
        """sum_t E[W_t g_t r_t] / E[W_t], with the standard error of its linear part (delta method).

        Biased by O(1/N), and much steadier than without the division. Precup, Sutton and Singh (2000).
        """
        n, steps = float(self.gram[0, 0]), (self.gram.shape[0] - 1) // 2
        means = self.gram[0] / n
        weights, rewards = means[1 : steps + 1], means[steps + 1 :]
        if not (weights > 0.0).all():
            return Estimate(nan, nan)
        loads = np.concatenate([[0.0], -rewards / weights**2, 1.0 / weights])
        covariance = self.gram / n - np.outer(means, means)
        variance = max(float(loads @ covariance @ loads), 0.0)
        return Estimate(float((rewards / weights).sum()), sqrt(variance / (n - 1.0)) if n > 1.0 else nan)
