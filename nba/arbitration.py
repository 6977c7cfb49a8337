"""Turning scores into money: value of the expected reward, minus cost, shadow prices and fatigue price."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from msgspec import Struct

from nba.arrays import BoolArray, Float32Array, FloatArray, IntArray, rowwise
from nba.catalogue import Catalogue
from nba.conditions import Ask, Condition, Vocabulary, within
from nba.context import ContextBatch
from nba.errors import InvalidConfig, require
from nba.fatigue import FatiguePrice
from nba.scope import EVERYTHING, Names, Scope

Term: TypeAlias = Literal[
    "value", "cost", "stages", "shadow_prices", "fatigue_price", "levers", "context_weights"
]


class Lever(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A business multiplier on the value of the actions that match all that is named.

    Either a `factor`, which multiplies others, or a `weight` in per cent: the weights of all levers that
    match an action make one factor 1 + sum / 100 (behaviours 1.12).
    """

    factor: float | None = None
    weight: float | None = None
    goal: Names | None = None
    group: Names | None = None
    tag: Names | None = None  # of products
    product: Names | None = None
    channel: Names | None = None
    timing: Names | None = None

    @property
    def scope(self) -> Scope:
        """The actions that it is about."""
        return Scope(**{level: getattr(self, level) for level in Scope.__struct_fields__})


class ContextWeight(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A weight in per cent on the value of actions in scope, for customers of whom a condition holds.

    Weights that hold make one factor 1 + sum / 100, which is never below 0. One that is not known to hold
    counts nothing.
    """

    weight: float
    when: Condition
    scope: Scope = EVERYTHING


class Arbitration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the business adds to belief: levers, weights by context and the fatigue price.

    `off` names terms of a utility that are left out; without "value" every conversion counts one unit of
    account currency. An action's utility is

        P(conversion) x value x levers x context weights - cost + stages - shadow prices - fatigue price,

    with the stages' probability x money summed over opt-outs, complaints and the like (methods B6).
    """

    levers: tuple[Lever, ...] = ()
    fatigue_price: FatiguePrice = FatiguePrice()
    context_weights: tuple[ContextWeight, ...] = ()
    off: tuple[Term, ...] = ()

    def __post_init__(self) -> None:
        """Check levers and weights."""
        for index, lever in enumerate(self.levers):
            pointer = f"levers[{index}]"
            one = "needs a factor or a weight, and not both"
            require((lever.factor is None) != (lever.weight is None), "arbitration", pointer, one)
            if lever.factor is not None:
                finite = 0 <= lever.factor < np.inf
                require(finite, "arbitration", f"{pointer}.factor", "must be finite and >= 0")
        weights = {f"levers[{n}].weight": lever.weight or 0.0 for n, lever in enumerate(self.levers)}
        weights |= {f"context_weights[{n}].weight": one.weight for n, one in enumerate(self.context_weights)}
        for pointer, weight in weights.items():
            require(bool(np.isfinite(weight)), "arbitration", pointer, f"must be finite, got {weight}")

    def has(self, term: Term) -> bool:
        """Whether a term is on."""
        return term not in self.off

    def margins(self, catalogue: Catalogue) -> FloatArray:
        """(A,) account currency per conversion before levers; 1 for every contact without "value"."""
        return catalogue.values if self.has("value") else (catalogue.channel_of >= 0).astype(np.float64)

    def lever_factors(self, catalogue: Catalogue) -> FloatArray:
        """(A,) product of the factors and of the weights' factor; InvalidConfig where weights go below it."""
        factors, weights = np.ones(catalogue.n_actions), np.zeros(catalogue.n_actions)
        if not self.has("levers"):
            return factors
        for lever in self.levers:
            hit = lever.scope.rows(catalogue)
            factors[hit] *= 1.0 if lever.factor is None else lever.factor
            weights[hit] += lever.weight or 0.0
        if weights.min() < -100.0:
            worst = catalogue.action_ids[int(weights.argmin())]
            rule = f"weights must not add up to less than -100, got {weights.min():g} for {worst}"
            raise InvalidConfig("arbitration", "arbitration.levers", rule)
        return factors * (1.0 + weights / 100.0)

    def weighing(self, known: Vocabulary) -> Weighing | None:
        """The context weights made ready, or None; InvalidConfig or UnknownAction for unknown names."""
        if not self.context_weights:
            return None
        weights = list(enumerate(self.context_weights))
        places = [f"arbitration.context_weights[{n}].when" for n, _ in weights]
        asks = [within(places[n], one.when, known, source="arbitration") for n, one in weights]
        table = [one.weight / 100.0 * one.scope.rows(known.catalogue) for one in self.context_weights]
        return Weighing(tuple(asks), np.array(table)) if self.has("context_weights") else None

    def tariff(self, catalogue: Catalogue, prices: FloatArray, use: FloatArray | None = None) -> Tariff:
        """What actions cost at the shadow prices (J,) of resources; unknown channels are an UnknownAction.

        use (A, J) is what a contact takes of each resource, the catalogue's `resource_use` without it.
        """
        use = catalogue.resource_use if use is None else use
        fatigue, is_priced = self.fatigue_price, self.has("fatigue_price")
        levels = fatigue.per_channel(catalogue) * is_priced
        margins, factors = self.margins(catalogue), self.lever_factors(catalogue)
        parts = Parts(
            margins,
            factors,
            catalogue.costs * self.has("cost"),
            use @ prices * self.has("shadow_prices"),
            np.where(catalogue.channel_of >= 0, levels[catalogue.channel_of], 0.0),
        )
        fixed = parts.cost + parts.shadow_price
        fixed += parts.fatigue_level
        return Tariff(
            (margins * factors).astype(np.float32),
            fixed,
            fixed.astype(np.float32),
            catalogue.channel_of,
            catalogue.product_of,
            fatigue.slope * is_priced,
            parts,
        )


class Parts(NamedTuple):
    """What makes up values and costs before anything is known of the customer, in account currency."""

    margin: FloatArray  # (A,) per conversion, before levers
    lever_factor: FloatArray  # (A,)
    cost: FloatArray  # (A,) of the contact
    shadow_price: FloatArray  # (A,) of the resources it uses
    fatigue_level: FloatArray  # (A,) fatigue price of an unfatigued customer


class Weighing(NamedTuple):
    """Context weights, ready to be asked."""

    asks: tuple[Ask, ...]  # n
    table: FloatArray  # (n, A) what each adds to the factor where it holds

    def held(self, contexts: ContextBatch) -> FloatArray:
        """(B, n) 1 where a weight's condition is known to hold."""
        return np.array([ask(contexts).holds for ask in self.asks], dtype=np.float64).T

    def factors(self, held: FloatArray) -> FloatArray:
        """(B, n) to (B, A): factors on values."""
        return np.maximum(1.0 + rowwise(held, self.table), 0.0)


class Tariff(NamedTuple):
    """Values and costs of actions as they are for an unfatigued customer."""

    values: Float32Array  # (A,) account currency per expected reward, levers included
    fixed: FloatArray  # (A,) account currency: contact, shadow prices, fatigue price's level
    charges: Float32Array  # (A,) `fixed` as it is served
    channel_of: IntArray  # (A,) -1 for no-contact
    product_of: IntArray  # (A,) -1 for no-contact
    slope: float  # account currency per unit of the channel's long fatigue counter
    parts: Parts

    def money(
        self,
        fatigue: FloatArray,
        worth: FloatArray | None = None,
        ratios: FloatArray | None = None,
        weights: FloatArray | None = None,
        surcharge: FloatArray | None = None,
        displaced: FloatArray | None = None,
        own: FloatArray | None = None,
    ) -> Money:
        """For customers with fatigue counters (B, C, 2).

        `worth` (B, C) is account currency that a contact on a channel brings beside conversions (methods B6),
        `ratios` (B, P) what a conversion is expected to bring in multiples of its product's value,
        `weights` (B, A) factors on values by context, `surcharge` (B, C) what the fatigue price of the
        customer's segment adds, `displaced` (B, P) the later contacts that one
        now displaces (nba.longrun.plan), and `own` (B, A) shadow prices of the customer's own rows of limits.
        """
        charges = self.charges[None]  # where all customers cost the same
        if surcharge is not None:
            worth = -surcharge if worth is None else worth - surcharge
        if self.slope or any(part is not None for part in (worth, displaced, own)):
            charges = self.charges[None].repeat(fatigue.shape[0], axis=0)
            charges[:, 1:] = self._due(fatigue, worth, displaced, own)
        values = self.values[None]
        if ratios is not None:
            values = values * ratios.astype(np.float32).take(self.product_of, axis=1, mode="wrap")
        if weights is not None:
            values = values * weights.astype(np.float32)
        return Money(values, charges)

    def _due(
        self,
        fatigue: FloatArray,
        worth: FloatArray | None,
        displaced: FloatArray | None,
        own: FloatArray | None,
    ) -> FloatArray:
        """(B, A - 1) what each contact costs each customer, in 64 bits."""
        due, channels = self.fixed[None, 1:], self.channel_of[1:]
        if self.slope:
            due = due + self.slope * fatigue[:, channels, 1]
        if displaced is not None:
            due = due + displaced.take(self.product_of[1:], axis=1)
        if own is not None:
            due = due + own[:, 1:]
        return due if worth is None else due - worth.take(channels, axis=1)


class Money(NamedTuple):
    """From expected rewards to utilities, in 32 bits as they are served."""

    values: Float32Array  # (1, A) for all customers or (B, A): account currency per expected reward
    charges: Float32Array  # (1, A) or (B, A): account currency

    @staticmethod
    def of(values: FloatArray, charges: FloatArray) -> Money:
        """From 64 bits: values and charges, each (1, A) or (B, A)."""
        return Money(values.astype(np.float32), charges.astype(np.float32))

    def take(self, rows: IntArray | slice) -> Money:
        """The money of some customers."""
        return Money(*(part if part.shape[0] == 1 else part[rows] for part in self))

    def utilities(self, scores: Float32Array) -> Float32Array:
        """(M, B, A) scores to (M, B, A) utilities, in place of the scores."""
        scores *= self.values
        scores -= self.charges
        return scores


def masked(utilities: Float32Array, eligible: BoolArray) -> FloatArray:
    """(B, A) utilities in 64 bits, -inf where not eligible."""
    return np.where(eligible, utilities.astype(np.float64), -np.inf)
