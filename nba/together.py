"""Decisions of one day about many customers, under limits that they share, with exact propensities.

    utilities of the draws -> prices -> everybody alone at these prices -> lottery where a limit overflows

Prices depend on who is there and not on what anybody draws, and a lottery only counts heads: given the
contexts of the day and what the others drew, the logged probabilities are exact (methods D5).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.allocation.lottery import draw
from nba.allocation.sharing import ChannelByChannel, Priced, Shared
from nba.arrays import BoolArray, Float32Array, FloatArray, IntArray, StrArray
from nba.context import ContextBatch
from nba.decision import DecisionBatch
from nba.errors import InvalidConfig
from nba.propensity import probability_of
from nba.randomness import Purpose, decision_keys, keyed_uniforms
from nba.snapshot import Snapshot

_CHUNK = 64  # contexts at a time: keeps what is made of them inside the cache


class Together(NamedTuple):
    """The decisions of a day, and what the limits came to."""

    decisions: DecisionBatch
    usage: FloatArray  # (J,) units
    limits: FloatArray  # (J,) units
    drawn: FloatArray  # (J,) units that would have been used without the lottery


def decide_together(
    snapshot: Snapshot, contexts: ContextBatch, decision_ids: StrArray, customers: int
) -> Together:
    """Decide for the customers of one day, who come from a group of so many `customers` of the bank.

    The strategy must have an `allocation`; what it shares is that of `customers`, whoever comes up today.
    """
    how = snapshot.strategy.allocation
    if isinstance(how, ChannelByChannel):
        return _channel_by_channel(snapshot, contexts, how, customers)
    return by_lottery(at_day_prices(snapshot, contexts, customers), contexts, decision_ids, customers)


def at_day_prices(snapshot: Snapshot, contexts: ContextBatch, customers: int) -> Snapshot:
    """The snapshot at the prices of a day: a function of who comes up, not of what anybody draws."""
    how, shared = snapshot.strategy.allocation, _shared(snapshot, customers)
    draws, reserve = (how.draws, how.reserve) if isinstance(how, Priced) else (1, 0.0)
    eligible = snapshot.strategy.eligible(contexts).mask
    rows = np.flatnonzero(eligible[:, 1:].any(axis=1))
    best = _best(snapshot, contexts.take(rows), eligible[rows], shared, draws)
    members = shared.members(contexts.take(rows).attributes)
    prices = shared.prices(decision_keys(contexts.customer_ids[rows]), best, reserve, members)
    charged = snapshot.prices.copy()
    charged[charged.size - prices.size :] += prices
    return snapshot.priced(charged, snapshot.price_version)


def by_lottery(
    snapshot: Snapshot, contexts: ContextBatch, decision_ids: StrArray, customers: int
) -> Together:
    """Decide at a snapshot's own prices, and settle what overflows; the rest gets no-contact."""
    seed, keys, shared = snapshot.strategy.seed, decision_keys(decision_ids), _shared(snapshot, customers)
    batch = snapshot.decide(contexts, decision_ids)
    uniforms, ranks = (keyed_uniforms(seed, one, keys) for one in (Purpose.DECISION, Purpose.LOTTERY))
    hard, members = shared.hard, shared.members(contexts.attributes)
    settled = None if members is None else members[:, hard]
    found = draw(batch.distribution, shared.uses[:, hard], shared.rows.limits[hard], uniforms, ranks, settled)
    usage, drawn = (shared.usage(actions, members) for actions in (found.actions, batch.actions))
    return Together(_with(batch, found.actions, found.distribution), usage, shared.rows.limits, drawn)


def _best(
    snapshot: Snapshot, contexts: ContextBatch, eligible: BoolArray, shared: Shared, draws: int
) -> Float32Array:
    """(M, B, V) best utilities that the policy chooses by, under some of its draws, evenly spread."""
    strategy, ready, parts = snapshot.strategy, snapshot.frozen.ready, []
    known = snapshot.known(contexts)
    for start in range(0, eligible.shape[0], _CHUNK):
        some = slice(start, start + _CHUNK)
        features = contexts.features[some]
        scores = strategy.policy.scores(snapshot.posterior, ready, features)
        few = scores[np.arange(min(draws, len(scores))) * len(scores) // min(draws, len(scores))]
        money = snapshot.money(features, contexts.fatigue[some], known.take(some))
        parts.append(shared.best(money.utilities(few), eligible[some]))
    return np.concatenate(parts, axis=1) if parts else np.zeros((1, 0, 0), dtype=np.float32)


def _shared(snapshot: Snapshot, customers: int) -> Shared:
    """What so many customers share on a day."""
    strategy = snapshot.strategy
    if strategy.allocation is None or strategy.shared is None:
        rule = "is missing: it says what customers share on a day"
        raise InvalidConfig(f"strategy {strategy.name}", "allocation", rule)
    return strategy.shared.of(customers / strategy.allocation.customers)


def _channel_by_channel(
    snapshot: Snapshot, contexts: ContextBatch, how: ChannelByChannel, customers: int
) -> Together:
    """Nothing is drawn: every decision has the probability 1."""
    strategy, shared = snapshot.strategy, _shared(snapshot, customers)
    eligibility = strategy.eligible(contexts)
    worth = snapshot.expected_values(contexts, eligibility.mask)
    members = shared.members(contexts.attributes)
    actions = how.taken(strategy.catalogue, shared, worth, members)
    sure, certain = np.ones(actions.size), np.zeros(worth.shape)
    certain[np.arange(actions.size), actions] = 1.0
    ranked = actions[:, None], sure[:, None]
    batch = DecisionBatch(actions, sure, *ranked, certain, worth, eligibility.mask, eligibility.removed_by)
    usage = shared.usage(actions, members)
    return Together(batch, usage, shared.rows.limits, usage)


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
