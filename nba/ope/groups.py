"""Weights of groups of actions instead of single ones, for catalogues in which actions share a structure.

An action is a channel x timing x product. Where the reward depends on the action through a part of it, or
where a model knows the differences within a group, the weight of the group is enough, and far smaller.
Shape letter: E values of an embedding.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from msgspec import Struct

from nba.arrays import FloatArray, IntArray, check_shape
from nba.catalogue import Catalogue
from nba.errors import require
from nba.ope.logged import LoggedRounds
from nba.ope.pieces import REWARD_MODEL, modelled, table_tail
from nba.ope.terms import Range, Tail, Terms


class MarginalInversePropensity(Struct, frozen=True, kw_only=True, tag="marginal_inverse_propensity"):
    """MIPS: E[w(x, g) r] with w(x, g) = pi(g|x) / mu(g|x), the group g of the action being its embedding.

    Unbiased if the reward depends on the action through (x, g) alone, and for that it needs support of
    groups only. Saito and Joachims (2022), with an embedding that the action determines.
    """

    groups: tuple[int, ...]  # (A,) group of each action
    name: str = "mips"
    self_normalised: bool = False
    model: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Check the groups."""
        _check_groups(self.name, self.groups)

    def terms(self, rounds: LoggedRounds, target: FloatArray, predicted: FloatArray | None = None) -> Terms:
        """Base 0, weight of the group, residual the reward."""
        ratios, possible, tail = group_ratios(rounds, target, self.groups)
        silent, spread = np.zeros(rounds.n_rounds), rounds.possible_rewards
        return Terms(ratios, ratios, silent, rounds.rewards, possible, possible, spread, tail)


class GroupedDoublyRobust(Struct, frozen=True, kw_only=True, tag="grouped_doubly_robust"):
    """OffCEM: E[q(x, pi) + w(x, g)(r - q(x, a))], weights of groups for what the model gets wrong of a group.

    Unbiased if the model is right about the differences between the actions of a group; its level in
    the group is corrected by the rewards. Natural groups are channel x product family. Saito, Ren and
    Joachims (2023).
    """

    groups: tuple[int, ...]  # (A,) group of each action
    name: str = "offcem"
    self_normalised: bool = False
    model: ClassVar[str] = REWARD_MODEL

    def __post_init__(self) -> None:
        """Check the groups."""
        _check_groups(self.name, self.groups)

    def terms(self, rounds: LoggedRounds, target: FloatArray, predicted: FloatArray | None) -> Terms:
        """Base q(x, pi), weight of the group, residual r - q(x, a)."""
        bases, residuals, spread = modelled(self.name, rounds, target, predicted)
        ratios, possible, tail = group_ratios(rounds, target, self.groups)
        return Terms(ratios, ratios, bases, residuals, possible, possible, spread, tail)


def channel_family_groups(catalogue: Catalogue) -> tuple[int, ...]:
    """(A,) group of each action of a catalogue: its channel x the family of its product; no-contact alone."""
    families = sorted({product.family for product in catalogue.products})
    family_of = np.array([families.index(product.family) for product in catalogue.products])
    grouped = 1 + catalogue.channel_of[1:] * len(families) + family_of[catalogue.product_of[1:]]
    return 0, *grouped.tolist()


def group_ratios(
    rounds: LoggedRounds, target: FloatArray, groups: tuple[int, ...]
) -> tuple[FloatArray, Range, Tail]:
    """(n,) weights of the groups of the logged actions, and the range and tail of those of all groups."""
    require(len(groups) == target.shape[1], "groups", "", f"must name {target.shape[1]} actions' groups")
    table = np.eye(max(groups) + 1)[list(groups)]
    return embedded_ratios(rounds, target, table, np.array(groups, dtype=np.int64)[rounds.actions])


def embedded_ratios(
    rounds: LoggedRounds, target: FloatArray, table: FloatArray, embeddings: IntArray
) -> tuple[FloatArray, Range, Tail]:
    """(n,) weights of the observed embeddings (n,), and the range and tail of those of all embeddings.

    table (A, E) is p(e|a), a row one-hot where the action determines its embedding. The weight is
    sum_a pi(a|x) p(e|a) / sum_a mu(a|x) p(e|a), which is E[w(x, a) | x, e] under the logging policy.
    """
    check_shape(table, (target.shape[1], None), "table")
    wanted, logged = target @ table, rounds.whole_logging() @ table
    possible = logged > 0.0
    ratios = np.divide(wanted, logged, out=np.zeros_like(wanted), where=possible)
    return ratios[np.arange(rounds.n_rounds), embeddings], *table_tail(wanted, logged)


def counted_embedding(
    actions: IntArray, embeddings: IntArray, shape: tuple[int, int], prior: float
) -> FloatArray:
    """(A, E) estimate of p(e|a) from pairs (n,), with `prior` pseudo-counts spread as all actions' share.

    For an embedding that the action does not determine, such as the time a message was in fact read.
    """
    counts = np.bincount(actions * shape[1] + embeddings, minlength=shape[0] * shape[1]).reshape(shape)
    overall = counts.sum(axis=0) / max(counts.sum(), 1)
    smoothed = counts + prior * overall
    total = smoothed.sum(axis=1, keepdims=True)
    table: FloatArray = np.divide(smoothed, total, out=np.tile(overall, (shape[0], 1)), where=total > 0.0)
    return table


def _check_groups(name: str, groups: tuple[int, ...]) -> None:
    require(len(groups) > 0 and min(groups) >= 0, name, "groups", "must give every action a group >= 0")
