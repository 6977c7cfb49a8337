"""Logs of the simulated bank whose truth its oracle knows: on which channel, and when, to send a coupon.

The customers, their chances and their answers are those of the world retail-bank on its first day, where a
coupon converts in one of twenty contacts; people's time and platforms' caps are without end, so that all
contacts are made. Every log is of other customers, each decided once, and its reward is whether the contact
causes a conversion. The truth is the mean of the oracle's chances over half a million customers of no log.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from msgspec import structs

from experiments.benchmarks.evaluation.problems import UNIT
from nba.arrays import FloatArray
from nba.ope.estimators import DoublyRobust, Estimator, InversePropensity
from nba.ope.intervals import cressie_read, normal
from nba.ope.logged import LoggedRounds, folds_of
from nba.ope.reward_models import RewardRows, Ridge
from nba.ope.sequences import betting_sequence, predicted_from_past
from nba.ope.terms import Moments
from nba.propensity import choose
from simulator.config import only
from simulator.state import WorldState
from simulator.world import World, load_world

N_LOGS = 500
ESTIMATORS: tuple[Estimator, ...] = (InversePropensity(), DoublyRobust())
_NEVER = 1e-4  # beside the chances of who has left, which are 0
_OF_LOGS, _OF_NO_LOG, _PART = 2**31, 2**32, 50_000  # first customers, and how many at a time
METHODS = ("cressie-read", "normal")


class Cohort(NamedTuple):
    """Customers on the first day, and two policies for them."""

    state: WorldState
    features: FloatArray  # (n, K) that the bank sees, an intercept first
    chances: FloatArray  # (n, A) the truth: of a conversion caused
    logging: FloatArray  # (n, A)
    target: FloatArray  # (n, A)

    @property
    def value(self) -> float:
        """What the target is worth: its mean chance over these customers."""
        return float(np.einsum("na,na->n", self.target, self.chances).mean())


@cache
def coupon_world() -> World:
    """The retail bank with the coupon's 7 x 6 contacts, all of which are made."""
    config = load_world("retail-bank").config
    catalogue = config.catalogue
    channels, timings = [one.name for one in catalogue.channels], [one.name for one in catalogue.timings]
    config = only(config, channels, timings, ("coupon",))
    off = tuple(sorted({*config.mechanisms.off, "capacity", "platform_limits"}))
    return World(structs.replace(config, mechanisms=structs.replace(config.mechanisms, off=off)))


def cohort(first: int, n: int) -> Cohort:
    """Customers from number `first` on: logged by a poor belief and a third at random, judged for better."""
    world, rows, rng = coupon_world(), np.arange(n), np.random.default_rng(first)
    state = world.reset(0, first + rows)
    channels, timings, _ = (np.arange(size) for size in world.config.catalogue.shape)
    odds = world.odds(state, rows[:, None, None], channels[:, None], timings, np.zeros(1, dtype=np.int64))
    chances = odds.converts(world.config.response.halo).reshape(n, -1)
    poor, better = (
        softened(np.log(chances + _NEVER) + noise * rng.normal(size=chances.shape), share)
        for noise, share in ((2.0, 1.0 / 3.0), (1.0, 0.1))
    )
    return Cohort(state, world.observe(state, rows).features, chances, poor, better)


def coupon_log(some: Cohort, seed: int) -> LoggedRounds:
    """What these customers were sent and answered."""
    n = int(some.chances.shape[0])
    actions = choose(some.logging, np.random.default_rng(seed).random(size=n))
    due = coupon_world().respond(some.state, np.arange(n), 1 + actions).due
    return LoggedRounds(
        actions=actions,
        rewards=(due >= 0).astype(np.float64),
        propensities=some.logging[np.arange(n), actions],
        clusters=np.arange(n, dtype=np.uint64),
        logging=some.logging,
        reward_range=UNIT,
    )


@cache
def truth() -> float:
    """The target's value, to within a two-hundredth of the error of a log of 1,000 rounds."""
    return float(np.mean([cohort(_OF_NO_LOG + part * _PART, _PART).value for part in range(10)]))


def softened(scores: FloatArray, share: float) -> FloatArray:
    """(N, A) softmax of scores, mixed with a share of even chances."""
    sharp = np.exp(scores - scores.max(axis=1, keepdims=True))
    mixed: FloatArray = (1.0 - share) * sharp / sharp.sum(axis=1, keepdims=True) + share / scores.shape[1]
    return mixed


@cache
def simulated_coverage(n: int, n_logs: int = N_LOGS) -> dict[str, dict[str, float]]:
    """Share of logs of n rounds whose 95 % interval holds the truth: method, then estimator.

    DR's model is a ridge regression per action on what the bank sees, cross-fitted.
    """
    held = np.zeros((len(METHODS), len(ESTIMATORS)))
    for number in range(n_logs):
        some = cohort(_OF_LOGS + number * n, n)
        rounds = coupon_log(some, number)
        predicted = _predicted(rounds, some.features, some.target.shape[1])
        for place, one in enumerate(ESTIMATORS):
            moments = Moments.of(one.terms(rounds, some.target, predicted))
            for row, told in enumerate((cressie_read(moments), normal(moments, self_normalised=False))):
                held[row, place] += told.low <= truth() <= told.high
    names = [one.name for one in ESTIMATORS]
    shares = (held / n_logs).tolist()
    return {method: dict(zip(names, row, strict=True)) for method, row in zip(METHODS, shares, strict=True)}


def sequence_coverage(n: int, n_logs: int = N_LOGS) -> dict[str, float]:
    """Share of logs of n rounds whose 95 % betting sequence holds the truth at all of ten looks.

    Without a model, as IPS has none, and with ridge regressions on the rounds before each stretch.
    """
    looks, held = np.linspace(n // 10, n, 10).astype(np.int64), np.zeros(2)
    starts = np.unique(np.append(0, np.geomspace(50, n, 25).astype(np.int64)[:-1]))
    for number in range(n_logs):
        some = cohort(_OF_LOGS + number * n, n)
        rounds, n_actions = coupon_log(some, number), some.target.shape[1]
        rows = RewardRows.of(some.features, rounds)
        past = predicted_from_past(Ridge(precision=50.0), rows, n_actions, starts)
        for place, predicted in enumerate((np.zeros_like(past), past)):
            told = betting_sequence(rounds, some.target, predicted, looks)
            held[place] += bool(((told.lows <= truth()) & (truth() <= told.highs)).all())
    return {one.name: float(share) for one, share in zip(ESTIMATORS, held / n_logs, strict=True)}


def _predicted(rounds: LoggedRounds, features: FloatArray, n_actions: int) -> FloatArray:
    """(n, A) predictions, by models that did not see the customer."""
    folds, model = folds_of(rounds.clusters, 3, 0), Ridge(precision=50.0)
    sums = model.sums(RewardRows.of(features, rounds), folds, (3, n_actions))
    return np.clip(model.predict(sums, features, folds), 0.0, 1.0)
