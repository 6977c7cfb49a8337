"""Decisions of one day about many customers, under limits that they share, with exact propensities.

    mean utilities of the day -> prices -> everybody alone at these prices -> lottery where a limit overflows

Prices depend on who is there and not on what anybody draws, and a lottery only counts heads: given the
contexts of the day and what the others drew, the logged probabilities are exact (methods D5).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.allocation.lottery import draw
from nba.allocation.sharing import ChannelByChannel, Priced, Shared
from nba.arrays import FloatArray, IntArray, StrArray
from nba.catalogue import NO_ACTION
from nba.context import ContextBatch
from nba.decision import DecisionBatch
from nba.errors import require
from nba.propensity import probability_of
from nba.randomness import Purpose, decision_keys, keyed_uniforms
from nba.snapshot import Snapshot


class Together(NamedTuple):
    """The decisions of a day, and what the limits came to."""

    decisions: DecisionBatch
    prices: FloatArray  # (J,) account currency per unit, 0 where no prices were made
    usage: FloatArray  # (J,) units
    limits: FloatArray  # (J,) units
    drawn: FloatArray  # (J,) units that would have been used without the lottery


def decide_together(
    snapshot: Snapshot, contexts: ContextBatch, decision_ids: StrArray, customers: int
) -> Together:
    """Decide for the customers of one day, who come from a group of so many `customers` of the bank.

    The strategy must have an `allocation`; what it shares is that of `customers`, whoever comes up today.
    """
    strategy = snapshot.strategy
    how, shared = strategy.allocation, strategy.shared
    if how is None or shared is None:
        require(False, f"strategy {strategy.name}", "allocation", "is missing: what customers share")
        raise AssertionError
    shared = shared.of(customers / how.customers)
    if isinstance(how, ChannelByChannel):
        return _channel_by_channel(snapshot, contexts, shared, how)
    return _priced(snapshot, contexts, decision_ids, shared, how)


def _priced(
    snapshot: Snapshot, contexts: ContextBatch, decision_ids: StrArray, shared: Shared, how: Priced
) -> Together:
    strategy, keys = snapshot.strategy, decision_keys(decision_ids)
    plain = snapshot.expected_values(contexts, strategy.eligible(contexts).mask)
    prices = shared.prices(keys, plain, how.reserve)
    charged = snapshot.prices.copy()
    charged[charged.size - prices.size :] += prices
    batch = snapshot.at_prices(charged).decide(contexts, decision_ids)
    uniforms, ranks = (
        keyed_uniforms(strategy.seed, purpose, keys) for purpose in (Purpose.DECISION, Purpose.LOTTERY)
    )
    hard = shared.hard
    found = draw(batch.distribution, shared.uses[:, hard], shared.rows.limits[hard], uniforms, ranks)
    before = shared.uses[batch.actions].sum(axis=0)
    batch = _with(batch, found.actions, found.distribution)
    return Together(batch, prices, shared.uses[batch.actions].sum(axis=0), shared.rows.limits, before)


def _channel_by_channel(
    snapshot: Snapshot, contexts: ContextBatch, shared: Shared, how: ChannelByChannel
) -> Together:
    """Nothing is drawn: every decision has the probability 1."""
    strategy = snapshot.strategy
    eligibility = strategy.eligible(contexts)
    worth = snapshot.expected_values(contexts, eligibility.mask)
    actions = how.taken(strategy.catalogue, shared, worth)
    certain = np.zeros(worth.shape)
    certain[np.arange(actions.size), actions] = 1.0
    nothing = np.zeros(actions.size)
    batch = DecisionBatch(
        actions, nothing, actions[:, None], nothing[:, None], certain, worth, *eligibility
    )  # probabilities follow
    usage = shared.uses[actions].sum(axis=0)
    batch = _with(batch, actions, certain)
    return Together(batch, np.zeros(usage.size), usage, shared.rows.limits, usage)


def _with(batch: DecisionBatch, actions: IntArray, distribution: FloatArray) -> DecisionBatch:
    """The decisions with other actions, and the distribution (B, A) that these were drawn from."""
    shares = probability_of(distribution, actions)
    return batch._replace(
        actions=actions,
        propensities=shares,
        ranked=actions[:, None],
        ranked_propensities=shares[:, None],
        distribution=distribution,
    )
