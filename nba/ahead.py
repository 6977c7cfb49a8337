"""The coming moments of some customers under a strategy: what they are worth, and the plan for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from nba.arrays import BoolArray, FloatArray, IntArray
from nba.context import ContextBatch
from nba.errors import InvalidConfig
from nba.longrun.plan import Ahead
from nba.longrun.waiting import Waiting
from nba.strategy import Strategy


class Known(NamedTuple):
    """What utilities take from contexts beside their features and fatigue; None where nothing asks for it."""

    held: FloatArray | None = None  # (B, n) 1 where a context weight's condition holds
    displaced: FloatArray | None = None  # (B, P) account currency of later contacts
    own: FloatArray | None = None  # (B, A) account currency for the customer's own rows of limits

    def take(self, rows: IntArray | slice) -> Known:
        """The same of some contexts."""
        return Known(*(None if part is None else part[rows] for part in self))


Values: TypeAlias = Callable[[ContextBatch, BoolArray, Known], FloatArray]  # (B, A) eligible to (B, A)


class PlannedContacts(NamedTuple):
    """The plan for each customer, dearest contact first; unused ranks hold action -1."""

    actions: IntArray  # (B, K)
    days: IntArray  # (B, K) days from the decision to the moment at which it is to be decided
    values: FloatArray  # (B, K) account currency, as seen today


class Coming(NamedTuple):
    """Later moments with their best contacts."""

    ahead: Ahead
    actions: IntArray  # (B, D, P) the best contact about each product

    @staticmethod
    def of(
        strategy: Strategy, contexts: ContextBatch, values: Values, own: FloatArray | None = None
    ) -> Coming:
        """Value every moment in the context that it will find, and under the rules and limits of then.

        `own` is as in `Known`: whose limits are used does not change. InvalidConfig for a strategy without
        `waiting`.
        """
        waiting, catalogue, policy = _waiting(strategy), strategy.catalogue, strategy.contact_policy
        n_products = len(catalogue.products)
        shape = (contexts.n_contexts, (catalogue.n_actions - 1) // n_products, n_products)
        worth, actions = [], []
        for number, days in enumerate(waiting.days):
            then = waiting.later(contexts, days, strategy.schema, strategy.fatigue, policy)
            mask = strategy.eligible(then).mask
            table = values(then, mask, Known(_held(strategy, then), own=own))[:, 1:].reshape(shape)
            best = table.argmax(axis=1)
            actions.append(1 + best * n_products + np.arange(n_products))
            worth.append(
                np.take_along_axis(table, best[:, None], axis=1)[:, 0] * waiting.kept ** (number + 1)
            )
        slots = waiting.slots(contexts, policy, catalogue)
        ahead = Ahead(np.stack(worth, axis=1), np.array(waiting.days), slots, policy.product_rest_days)
        return Coming(ahead, np.stack(actions, axis=1))

    def plan(self) -> PlannedContacts:
        """The plan as contacts on days."""
        plan, rows = self.ahead.plan(), np.arange(self.actions.shape[0])[:, None]
        actions = np.where(plan.moments < 0, -1, self.actions[rows, plan.moments, plan.products])
        return PlannedContacts(
            actions, np.where(plan.moments < 0, 0, self.ahead.days[plan.moments]), plan.values
        )


def known(strategy: Strategy, contexts: ContextBatch, values: Values, prices: FloatArray) -> Known:
    """What is asked of contexts; `values` are mean utilities of the strategy's contacts at prices (J,)."""
    held, own = _held(strategy, contexts), strategy.own_charges(contexts, prices)
    if strategy.waiting is None:
        return Known(held, own=own)
    return Known(held, Coming.of(strategy, contexts, values, own).ahead.displaced(), own)


def _held(strategy: Strategy, contexts: ContextBatch) -> FloatArray | None:
    return None if strategy.weighing is None else strategy.weighing.held(contexts)


def _waiting(strategy: Strategy) -> Waiting:
    if strategy.waiting is None:
        rule = "is missing: it says which moments a plan is made of"
        raise InvalidConfig(f"strategy {strategy.name}", "waiting", rule)
    return strategy.waiting
