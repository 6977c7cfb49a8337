"""The statistics of the report: small pure functions with exact answers on small inputs."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr
from scipy.stats import kendalltau, rankdata

from nba.arrays import BoolArray, FloatArray

_CHUNK = 100  # permutations at once


def predictive_tails(observed: FloatArray, simulated: FloatArray, errors: FloatArray) -> FloatArray:
    """(S,) posterior predictive P(replicated >= observed) of each statistic.

    `simulated` (M, S) are what M equally likely members expect; a replicated table scatters around that as
    the real one does, with standard errors `errors` (S,), so that chance is integrated out instead of drawn
    (Gelman, Meng, Stern 1996, Statistica Sinica 6).
    """
    tails: FloatArray = ndtr((simulated - observed) / errors).mean(axis=0)
    return tails


def two_sided(tails: FloatArray) -> FloatArray:
    """(S,) two-sided p-values of upper tails."""
    return np.minimum(1.0, 2.0 * np.minimum(tails, 1.0 - tails))


def auc(scores: FloatArray, labels: BoolArray) -> float:
    """Probability that a row with the label has a higher score than one without; ties count half."""
    n_with = int(labels.sum())
    u = rankdata(scores)[labels].sum() - n_with * (n_with + 1) / 2.0
    return float(u / (n_with * (labels.size - n_with)))


def auc_p_value(scores: FloatArray, labels: BoolArray, permutations: int, rng: np.random.Generator) -> float:
    """P(an AUC as large as this one) if labels (n,) say nothing about the rows that were scored.

    Rows held out from training are exchangeable then, whatever the classifier has learnt, so the rank of
    the true AUC among relabelled ones is uniform: exact in finite samples, however weak the classifier.
    """
    ranks = rankdata(scores)
    observed, as_large = ranks[labels].sum(), 0
    for start in range(0, permutations, _CHUNK):
        n = min(_CHUNK, permutations - start)
        shuffled = rng.permuted(np.broadcast_to(labels, (n, labels.size)), axis=1)
        as_large += int((shuffled @ ranks >= observed).sum())
    return (1 + as_large) / (1 + permutations)


def mean_ranks(values: FloatArray) -> FloatArray:
    """(K,) mean rank of K policies over members (M, K); the best of a member has rank 1."""
    ranks: FloatArray = rankdata(-values, axis=1).mean(axis=0)
    return ranks


def kendall(one: FloatArray, other: FloatArray) -> float:
    """Kendall's tau-b of two rankings (K,); nan if one of them has ties only."""
    return float(kendalltau(one, other).statistic)


def agreement(values: FloatArray) -> FloatArray:
    """(M, M) Kendall's tau of every two members' rankings of K policies, values (M, K)."""
    return np.array([[kendall(one, other) for other in values] for one in values])


class Pair(NamedTuple):
    """Two policies, and in what share of the members the first is worth more."""

    first: int
    second: int
    ahead: float

    @property
    def flips(self) -> bool:
        """Tell whether the members disagree."""
        return 0.0 < self.ahead < 1.0


def pairs(values: FloatArray) -> list[Pair]:
    """All pairs of policies, values (M, K), the one with the higher mean first; equal values count half."""
    order = np.argsort(-values.mean(axis=0), kind="stable").tolist()
    found = []
    for first, second in combinations(order, 2):
        gap = values[:, first] - values[:, second]
        found.append(Pair(first, second, float(((gap > 0) + 0.5 * (gap == 0)).mean())))
    return found
