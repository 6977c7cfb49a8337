"""A classification table played as a bandit: the class of a row is the one action that pays.

Progressive validation (Blum, Kalai, Langford 1999): every round is decided before it is learnt from, so
that the mean reward of the run needs no held-out rows. Decisions are those of the policy's own code.
Shape letters: N rows, K columns, A actions with no-contact, R rounds.
"""

from __future__ import annotations

from math import ceil
from time import process_time
from typing import Any, NamedTuple

import numpy as np
from msgspec import structs

from experiments.executor import Report
from nba.arbitration import Money
from nba.arrays import BoolArray, FloatArray, IntArray
from nba.catalogue import NO_ACTION, Catalogue
from nba.features import FeatureSchema
from nba.feedback import RoundBatch
from nba.policies import PolicyLike, Ready, ThompsonSampling
from nba.posteriors import Model
from nba.propensity import Floor, choose
from nba.randomness import Purpose, draw_generator, keyed_uniforms

LAST_SHARE = 0.1  # of the rounds, over which the last reward is the mean
_REPORTS = 50  # a run


class Game(NamedTuple):
    """A table as a bandit: everything that the runs of all seeds share."""

    catalogue: Catalogue
    schema: FeatureSchema
    features: FloatArray  # (N, K)
    labels: IntArray  # (N,) action that pays
    model: Model
    policy: Any
    floor: Floor
    rounds: int
    batch: int = 1  # rounds decided by one belief

    @property
    def player(self) -> PolicyLike:
        """The policy; where it is frozen for a single round, one draw says as much as many.

        A round is then won by each action with the probability that a draw is, and no draw is used twice.
        """
        if self.batch == 1 and isinstance(self.policy, ThompsonSampling):
            return structs.replace(self.policy, n_draws=1)
        player: PolicyLike = self.policy
        return player


class Run(NamedTuple):
    """What a seed has come to."""

    seed: int
    mean_reward: float
    last_reward: float  # mean over the last tenth of the rounds
    us_per_round: float  # CPU time of deciding and learning


def play(game: Game, seed: int, report: Report) -> Run:
    """Play all rounds of a seed, which sets the order of the rows, the draws and the choices."""
    order = row_order(game.labels.size, game.rounds, seed)
    features, labels = np.ascontiguousarray(game.features[order]), game.labels[order]
    uniforms = keyed_uniforms(seed, Purpose.DECISION, np.arange(order.size))
    started = process_time()
    rewards = _rewards(game, features, labels, uniforms, draw_generator(seed, 0), report)
    spent = process_time() - started
    last = rewards[-ceil(LAST_SHARE * rewards.size) :]
    return Run(seed, float(rewards.mean()), float(last.mean()), 1e6 * spent / rewards.size)


def row_order(n_rows: int, rounds: int, seed: int) -> IntArray:
    """(R,) rows in random order, one permutation of the table after the other."""
    rng = np.random.default_rng([seed, n_rows])
    epochs = [rng.permutation(n_rows) for _ in range(ceil(rounds / n_rows))]
    return np.concatenate(epochs)[:rounds].astype(np.int64)


def _rewards(
    game: Game,
    features: FloatArray,
    labels: IntArray,
    uniforms: FloatArray,
    rng: np.random.Generator,
    report: Report,
) -> FloatArray:
    """(R,) rewards of rounds that are decided and learnt in their order."""
    policy, n_rounds = game.player, labels.size
    posterior: Any = game.model.prior(game.catalogue, game.schema)
    ready = policy.freeze(posterior, rng)
    rewards, ones, zeros = np.zeros(n_rounds), np.ones(n_rounds), np.zeros(n_rounds)
    choices = _Choices.of(game, policy)
    step = max(n_rounds // _REPORTS, 1)
    for start in range(0, n_rounds, game.batch):
        rows = slice(start, start + game.batch)
        seen = features[rows]
        actions = choices.make(posterior, ready, seen, uniforms[rows])
        rewards[rows] = actions == labels[rows]
        products = choices.product_of[actions]
        learnt = RoundBatch(seen, actions, products, rewards[rows], ones[rows], ones[rows], zeros[rows])
        posterior = posterior.fold(learnt)
        if policy.publishes(ready.rounds, posterior.rounds):
            ready = policy.freeze(posterior, rng)
        done = min(start + game.batch, n_rounds)
        if done // step > start // step:
            report((done // step - start // step) * step)
    return rewards


class _Choices(NamedTuple):
    """How a policy chooses where any label may be, a right one is worth 1 and none costs anything."""

    policy: PolicyLike
    floor: Floor
    product_of: IntArray  # (A,)
    costs: FloatArray  # (A,)
    eligible: BoolArray  # (batch, A)
    money: Money  # the same for all

    @staticmethod
    def of(game: Game, policy: PolicyLike) -> _Choices:
        catalogue, shape = game.catalogue, (game.batch, game.catalogue.n_actions)
        eligible = np.ones(shape, dtype=np.bool_)
        eligible[:, NO_ACTION] = False
        money = Money.of(np.ones((1, shape[1])), np.zeros((1, shape[1])))
        return _Choices(policy, game.floor, catalogue.product_of, catalogue.costs, eligible, money)

    def make(self, posterior: Any, ready: Ready, features: FloatArray, uniforms: FloatArray) -> IntArray:
        """(B,) actions, B at most a batch: the steps of Snapshot, without rules."""
        n = uniforms.size
        eligible = self.eligible[:n]
        distribution = self.policy.distribution(posterior, ready, features, self.money, eligible)
        distribution = self.floor.mix(distribution, eligible, self.costs)
        if self.floor.most_exploration < 1.0:
            mean = posterior.scores(posterior.mean_draw(), features)[0]
            distribution = self.floor.capped(distribution, np.where(eligible, mean, -np.inf))
        return choose(distribution, uniforms)
