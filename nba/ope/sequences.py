"""Confidence sequences: intervals that may be looked at after every round and acted upon at any time.

The betting sequence holds for every n, for rewards of a known range and for logging policies that were
learning meanwhile; rounds must come in their order of time and the model may know only the past. The
asymptotic one holds from a few hundred effective rounds on and needs sums alone.
"""

from __future__ import annotations

from functools import cache
from math import ceil, log, pi, sqrt
from typing import NamedTuple

import numpy as np

from nba.arrays import FloatArray, IntArray, check_shape
from nba.errors import require
from nba.ope.intervals import CONFIDENCE, check_confidence
from nba.ope.logged import LoggedRounds
from nba.ope.reward_models import RewardRows, Ridge
from nba.ope.terms import Estimate

# Shares of the wealth that the worst round would take, and the stakes they begin with. Bold bets suit the few
# thousand rounds of a first look under large weights; the others take over as rounds grow a hundredfold.
_BETS = 0.95 * 0.6 ** np.arange(8)
_STAKES = 1.0 / np.arange(1, 9) ** 2 / (1.0 / np.arange(1, 9) ** 2).sum()
_NODES = 100  # of the integral over a walk, beside some per step, whose deviation is 1
_PRECISION = 2.0**-16  # of the ends, in ranges of the rewards


class ConfidenceSequence(NamedTuple):
    """Ends after some numbers of rounds; the probability that the value is ever outside is bounded."""

    looks: IntArray  # (L,) numbers of rounds
    lows: FloatArray  # (L,) rising
    highs: FloatArray  # (L,) falling


def betting_sequence(
    rounds: LoggedRounds,
    target: FloatArray,
    predicted: FloatArray,
    looks: IntArray,
    *,
    bound: float | None = None,
    confidence: float = CONFIDENCE,
) -> ConfidenceSequence:
    """The doubly robust betting sequence, for rewards of a stated range.

    For the lower end a gambler bets that the value exceeds m, on

        P_t = w_t (r_t - min(q_t, k/w_t)) + sum_a pi(a) min(q_t(a), k/w(a)) >= -k,

    whose mean is the value whatever q_t. If m were the value the wealth prod (1 + l (P_t - m)) would be a
    martingale, and ever reach 1/alpha with probability alpha. For the upper end 1 - r and 1 - q take the
    place of r and q. Bets l of several sizes below the ruinous 1 / (k + m) are placed side by side: their
    joint wealth is a martingale too.

    k is `bound`, fixed before the rewards are seen: the largest weight that there can be. By default it is
    the largest that the contexts of this log allow; for a learning policy give `bound`, such as 1/floor.
    A smaller one is narrower only at small n with very large weights. Rounds stand in order of time,
    predicted (n, A) may use the rounds before each one only (`predicted_from_past`), and looks
    (L,) rise. Where the target has mass on what the log could not choose, the ends stay valid and wide.
    Waudby-Smith, Wu, Ramdas, Karampatziakis and Mineiro (2022, 2210.10768);
    mixed bets in place of their plug-in bet.
    """
    check_shape(predicted, target.shape, "predicted")
    rising = (
        looks.size > 0 and looks[0] >= 1 and looks[-1] <= rounds.n_rounds and bool((np.diff(looks) > 0).all())
    )
    require(rising, "betting sequence", "looks", f"must rise from at least 1 to at most {rounds.n_rounds}")
    low, high = rounds.possible_rewards
    known = rounds.reward_range is not None and high > low
    require(known, "betting sequence", "reward_range", "must be stated: all rewards, seen or not, lie in it")
    ratios = rounds.all_ratios(target)
    largest = float(ratios[np.isfinite(ratios)].max()) if bound is None else bound
    require(largest > 0.0, "betting sequence", "bound", f"must be > 0, got {largest}")
    rewards = (rounds.rewards - low) / (high - low)
    beliefs = np.clip((predicted - low) / (high - low), 0.0, 1.0)
    alpha = (1.0 - check_confidence(confidence)) / 2.0
    ends = []
    for turn in (False, True):
        reward, belief = (1.0 - rewards, 1.0 - beliefs) if turn else (rewards, beliefs)
        scores = _scores(rounds, target, ratios, reward, belief, largest)
        ends.append(_lower_ends(scores, largest, looks, alpha))
    return ConfidenceSequence(looks, low + (high - low) * ends[0], low + (high - low) * (1.0 - ends[1]))


def asymptotic_reach(estimate: Estimate, n: int, planned_n: int, confidence: float = CONFIDENCE) -> float:
    """Half the width of an asymptotic confidence sequence after n rounds, from sums that merge.

    sd sqrt(2 (n rho^2 + 1) / (n^2 rho^2) log(sqrt(n rho^2 + 1) / alpha)), with rho for the narrowest at
    planned_n rounds. Holds for independent rounds and for logs of a learning policy, whose scores are
    martingale differences. Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024, 2103.06476).
    """
    alpha = 1.0 - check_confidence(confidence)
    require(n >= 2, "asymptotic sequence", "n", f"must be at least 2, got {n}")
    require(planned_n >= 1, "asymptotic sequence", "planned_n", f"must be at least 1, got {planned_n}")
    rho2 = (-2.0 * log(alpha) + log(1.0 - 2.0 * log(alpha))) / planned_n
    spread = estimate.stderr * sqrt(n)
    return spread * sqrt(2.0 * (n * rho2 + 1.0) / (n * n * rho2) * log(sqrt(n * rho2 + 1.0) / alpha))


def t_reach(deviation: float, n: int, confidence: float = CONFIDENCE, effect: float = 3.0) -> float:
    """Half the width of a confidence sequence for the mean of n normal numbers, of any variance.

    For few and costly rounds, such as the means of whole simulations: exact from n = 2 on, infinite until n
    is large enough. deviation is the sample's, with n - 1; effect the size of effects, in deviations, for
    which it is narrowest. The Bayes factor of a normal prior N(0, effect^2) on mean / deviation against 0,
    with nu = n - 1 and k = 1 + n effect^2,

        k^(-1/2) ((1 + t^2 / nu) / (1 + t^2 / (nu k)))^(n/2),

    is an e-process under the right Haar prior on the deviation, and it stays below 1/alpha inside. Wang and
    Ramdas (2023, 2310.03722), Perez-Ortiz, Lardy, de Heide and Grunwald (2024, 2208.07610).
    """
    alpha = 1.0 - check_confidence(confidence)
    require(n >= 2, "t sequence", "n", f"must be at least 2, got {n}")
    require(0.0 < effect < float("inf"), "t sequence", "effect", f"must be finite and > 0, got {effect}")
    k = 1.0 + n * effect * effect
    ratio = (sqrt(k) / alpha) ** (2.0 / n)
    if ratio >= k:
        return float("inf")
    return float(deviation * sqrt((n - 1.0) * (ratio - 1.0) / (1.0 - ratio / k) / n))


@cache
def naive_alarms(n_looks: int, confidence: float = CONFIDENCE) -> float:
    """How often a fixed-size interval, looked at after each of n equal stages, ever excludes the truth.

    By integrating the walk that has not been stopped from look to look: for 95 % it is 0.142 at 5 looks and
    0.374 at 100. To print beside a sequence's own rate. Armitage, McPherson and Rowe (1969).
    """
    from scipy.special import ndtri

    reach = float(ndtri(0.5 + check_confidence(confidence) / 2.0))
    points, shares = np.polynomial.legendre.leggauss(_NODES + ceil(10.0 * sqrt(n_looks)))
    walk, mass = np.zeros(1), np.ones(1)  # where the walk that was not stopped may be, and how likely
    for look in range(1, n_looks + 1):
        edge = reach * sqrt(look)
        steps = edge * points[:, None] - walk
        mass = edge * shares * (np.exp(-0.5 * steps * steps) @ mass) / sqrt(2.0 * pi)
        walk = edge * points
    return float(1.0 - mass.sum())


def predicted_from_past(model: Ridge, rows: RewardRows, n_actions: int, starts: IntArray) -> FloatArray:
    """(n, A) predictions by models that know only rounds before the stretch that a round is in.

    Stretches begin at `starts` (S,), rising from 0; the first is predicted by 0.
    """
    n = rows.actions.size
    stretch = np.searchsorted(starts, np.arange(n), side="right") - 1
    sums = model.sums(rows, stretch, (starts.size, n_actions))
    predicted = np.zeros((n, n_actions))
    for number in range(1, starts.size):
        some = stretch == number
        predicted[some] = rows.features[some] @ model.coefficients(*sums.before(number)).T
    return predicted


def _scores(
    rounds: LoggedRounds,
    target: FloatArray,
    ratios: FloatArray,
    rewards: FloatArray,
    beliefs: FloatArray,
    bound: float,
) -> FloatArray:
    """(n,) doubly robust scores, none below -bound."""
    most = np.divide(bound, ratios, out=np.full_like(ratios, np.inf), where=ratios > 0.0)
    held = np.minimum(beliefs, most)
    scores: FloatArray = rounds.at(ratios) * (rewards - rounds.at(held)) + np.einsum("na,na->n", target, held)
    return scores


def _lower_ends(scores: FloatArray, bound: float, looks: IntArray, alpha: float) -> FloatArray:
    """(L,) smallest values in [0, 1] against which the wealth never reached 1/alpha; scores are >= -bound.

    A bet l = c / (k + m) wins c (P - m) / (k + m), which falls as m rises: the values that are refuted are
    all those below an end, and halving finds it, always rounded down.
    """
    ends, end = np.zeros(looks.size), 0.0
    for place, look in enumerate(looks):
        above = 1.0
        while above - end > _PRECISION:
            middle = 0.5 * (end + above)
            if _refuted(scores[:look], bound, middle, alpha):
                end = middle
            else:
                above = middle
        ends[place] = end
    return ends


def _refuted(scores: FloatArray, bound: float, value: float, alpha: float) -> bool:
    """Whether betting that the mean exceeds a value ever multiplied the wealth by 1/alpha."""
    gains = (scores - value) / (bound + value)
    wealth = np.zeros(scores.size)
    with np.errstate(over="ignore"):  # infinite wealth refutes as well
        for bet, stake in zip(_BETS, _STAKES, strict=True):
            wealth += stake * np.exp(np.cumsum(np.log1p(bet * gains)))
            if wealth.max(initial=0.0) >= 1.0 / alpha:
                return True
    return False
