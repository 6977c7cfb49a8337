"""Why, and why not: what is left of all contacts after each layer, and what took away the rest."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from nba.allocation.owners import NO_OWNER
from nba.arrays import BoolArray, IntArray
from nba.conditions import Vocabulary
from nba.constraints import LAYERS, Rule
from nba.constraints.reasons import reasons_of
from nba.constraints.rulebook import OPT_OUT
from nba.context import AttributeValue, Context
from nba.decision import DecisionBatch, Terms
from nba.eligibility import Eligibility
from nba.strategy import Strategy

# The layers of a funnel: what exists, what was asked for, the rules', and the contact policy as a whole.
FUNNEL = ("catalogue", "request", *LAYERS)

_NEEDS = {
    "catalogue": "an action that the catalogue does not exclude",
    "request": "an action that was asked for",
    OPT_OUT: "no opt-out from the channel",
    NO_OWNER: "a known value of the attributes that say whose budget or limit the contact uses",
    "budget": "room for the contact in every budget",
    "silence": "no contact that is eligible",
}


class Removal(Struct, frozen=True, kw_only=True):
    """Actions that one rule was the first to remove for one customer.

    `needs` says what must be so, `values` what is known of the customer, null where nothing is.
    """

    rule: str
    layer: str
    needs: str
    values: dict[str, AttributeValue]
    actions: tuple[str, ...]


class FunnelStep(Struct, frozen=True, kw_only=True):
    """What a layer of rules leaves, and how much each of its rules was the first to remove.

    `actions` counts pairs of a customer and a contact, `customers` those to whom some contact is left.
    """

    layer: str
    actions: int
    customers: int
    removed: dict[str, int]


class Candidate(Struct, frozen=True, kw_only=True):
    """An action that may be drawn: how probably as the first, and why."""

    action_id: str
    probability: float
    terms: Terms


class Funnel(NamedTuple):
    """How many contacts each rule removed, and whom each layer leaves some; funnels of blocks add up."""

    removed: IntArray  # (R,) by `Strategy.rule_names`
    customers: IntArray  # (1 + L,) with a contact before and after each of FUNNEL
    actions: IntArray  # (1,) pairs of customer and contact before any layer

    def __add__(self, other: object) -> Funnel:
        """The funnel of both sets of customers."""
        assert isinstance(other, Funnel)
        return Funnel(*(one + two for one, two in zip(self, other, strict=True)))

    @staticmethod
    def of(strategy: Strategy, eligibility: Eligibility) -> Funnel:
        """The funnel of some customers."""
        contacts = eligibility.removed_by[:, 1:].view(np.uint8)  # what nothing removed comes last, as 255
        removed = np.bincount(contacts.ravel(), minlength=256)[: len(strategy.rule_names)]
        latest = contacts.max(axis=1, initial=0)
        places = [FUNNEL.index(layer) for layer in strategy.rule_layers if layer in FUNNEL]
        passed = [0, *(sum(place <= number for place in places) for number in range(len(FUNNEL)))]
        customers = [int(np.count_nonzero(latest >= first)) for first in passed]
        return Funnel(removed.astype(np.int64), np.array(customers), np.array([contacts.size]))

    def steps(self, strategy: Strategy) -> tuple[FunnelStep, ...]:
        """The funnel as records, from all contacts to those that may be drawn."""
        left, steps = int(self.actions[0]), []
        for number, layer in enumerate(FUNNEL):
            rows = zip(strategy.rule_names, strategy.rule_layers, self.removed.tolist(), strict=True)
            removed = {name: count for name, of_layer, count in rows if of_layer == layer}
            left -= sum(removed.values())
            customers = int(self.customers[1 + number])
            steps.append(FunnelStep(layer=layer, actions=left, customers=customers, removed=removed))
        return tuple(steps)


class Explanation(Struct, frozen=True, kw_only=True):
    """All actions of one customer: those that may be drawn, the best first, and the others."""

    customer_id: str
    at: datetime
    funnel: tuple[FunnelStep, ...]
    candidates: tuple[Candidate, ...]
    removed: tuple[Removal, ...]

    @staticmethod
    def of(
        strategy: Strategy,
        context: Context,
        requested: BoolArray | None,
        batch: DecisionBatch,
        found: tuple[IntArray, tuple[Terms, ...]],
    ) -> Explanation:
        """From a batch of one, and the actions (n,) that may be drawn with their terms."""
        actions, terms = found
        shares, ids = batch.distribution[0, actions].tolist(), strategy.catalogue.action_ids
        rows = zip(actions.tolist(), shares, terms, strict=True)
        eligibility = Eligibility(batch.eligible, batch.removed_by)
        return Explanation(
            customer_id=context.customer_id,
            at=context.at,
            funnel=Funnel.of(strategy, eligibility).steps(strategy),
            candidates=tuple(Candidate(action_id=ids[a], probability=p, terms=t) for a, p, t in rows),
            removed=why_not(strategy, context, requested),
        )


def why_not(strategy: Strategy, context: Context, requested: BoolArray | None = None) -> tuple[Removal, ...]:
    """Every action that a customer may not have now, by the first rule against it; requested is (1, A)."""
    contexts, catalogue = strategy.encode([context]), strategy.catalogue
    removed_by = strategy.eligible(contexts, requested).removed_by[0]
    rules = {one.name: one.rule for one in strategy.rulebook.asked}
    found, known = [], strategy.rulebook.known
    for place in np.unique(removed_by[removed_by >= 0]).tolist():
        name, removed = strategy.rule_names[place], removed_by == place
        if name in rules:
            needs, values = _needs(rules[name], known), _values(context, _asked(rules[name], known))
        elif name in strategy.contact_policy.names:
            mine = removed[1:].reshape(catalogue.shape)
            reasons = reasons_of(strategy.contact_policy, known, contexts, name, mine)
            needs = "; ".join(reason.needs for reason in reasons)
            values = {key: value for reason in reasons for key, value in reason.values.items()}
        else:
            needs, values = _NEEDS[name], _known(strategy, context, name)
        actions = tuple(catalogue.action_ids[action] for action in np.flatnonzero(removed).tolist())
        layer = strategy.rule_layers[place]
        found.append(Removal(rule=name, layer=layer, needs=needs, values=values, actions=actions))
    return tuple(found)


def _needs(rule: Rule, known: Vocabulary) -> str:
    """What must be so, in words, and for whom."""
    return rule.needs(known) + ("" if rule.whom is None else f", for customers with {rule.whom.text}")


def _asked(rule: Rule, known: Vocabulary) -> tuple[str, ...]:
    """Names of the attributes that decide, those that say whom the rule is about last."""
    return rule.asked(known) + (() if rule.whom is None else rule.whom.asked(known))


def _known(strategy: Strategy, context: Context, name: str) -> dict[str, AttributeValue]:
    """What is known of a remover that is no rule: whose limits these are, what is left, and opt-outs."""
    if name == OPT_OUT:
        return {"opted_out": list(context.opted_out)}
    if name == NO_OWNER and strategy.owners is not None:
        return {attribute: context.attributes.get(attribute) for attribute in strategy.owners.attributes}
    return dict(context.left) if name == "budget" else {}


def _values(context: Context, names: tuple[str, ...]) -> dict[str, AttributeValue]:
    """What a context says of some attributes; opt-outs go with consents."""
    values = {name: context.attributes.get(name) for name in names}
    if "consents" in values and context.opted_out:
        values["opted_out"] = list(context.opted_out)
    return values
