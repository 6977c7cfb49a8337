"""The terms of expected values: what an action is believed to bring, and what it costs."""

from __future__ import annotations

from math import fsum
from typing import NamedTuple

import numpy as np

from nba.ahead import Known
from nba.arbitration import Money, Tariff
from nba.arrays import FloatArray, IntArray
from nba.decision import Terms
from nba.outcomes import FrozenOutcomes
from nba.strategy import Strategy


class Reckoning(NamedTuple):
    """All that the utilities of one customer are made of."""

    strategy: Strategy
    tariff: Tariff
    outcomes: FrozenOutcomes
    features: FloatArray  # (1, K)
    fatigue: FloatArray  # (1, C, 2)
    known: Known  # B = 1
    scores: FloatArray  # (A,) mean expected rewards
    expected_values: FloatArray  # (A,) as they are served

    @staticmethod
    def unit(n_actions: int) -> Money:
        """The money under which utilities are scores."""
        return Money.of(np.ones((1, n_actions)), np.zeros((1, n_actions)))

    def terms(self, actions: IntArray) -> tuple[Terms, ...]:
        """The terms of some actions (n,)."""
        catalogue = self.strategy.catalogue
        factors, weighing, known = self.tariff.parts.lever_factor, self.strategy.weighing, self.known
        weights = np.ones(catalogue.n_actions)
        if weighing is not None and known.held is not None:
            weights = weighing.factors(known.held)[0]
        values, stages = self._values(), self._stages()
        charges, fatigue = self.tariff.parts, self.fatigue[0, :, 1]
        surcharge, more = np.zeros(fatigue.size), self.strategy.surcharges
        if more is not None:
            surcharge = more.of(self.features, self.fatigue)[0]
        found = []
        for action in actions.tolist():
            channel = int(catalogue.channel_of[action])
            slope = self.tariff.slope * float(fatigue[channel]) if channel >= 0 else 0.0
            slope += float(surcharge[channel]) if channel >= 0 else 0.0
            score, value = float(self.scores[action]), float(values[action])
            factor, weight = float(factors[action]), float(weights[action])
            parts = {
                "conversion": score * value * factor * weight,
                "cost": 0.0 - float(charges.cost[action]),
                "shadow_price": 0.0 - float(charges.shadow_price[action]),
                "fatigue_price": 0.0 - float(charges.fatigue_level[action]) - slope,
                "waiting": 0.0 - self._displaced(action),
            }
            of_stages = {name: float(row[channel]) for name, row in stages.items()} if channel >= 0 else {}
            expected = float(self.expected_values[action])
            rest = expected - fsum((*parts.values(), *of_stages.values()))
            found.append(
                Terms(
                    score=score,
                    value=value,
                    lever_factor=factor,
                    context_factor=weight,
                    stages=of_stages,
                    rounding=rest,
                    expected_value=expected,
                    **parts,
                )
            )
        return tuple(found)

    def _displaced(self, action: int) -> float:
        """Account currency of later contacts that an action displaces."""
        product, displaced = int(self.strategy.catalogue.product_of[action]), self.known.displaced
        return 0.0 if displaced is None or product < 0 else float(displaced[0, product])

    def _values(self) -> FloatArray:
        """(A,) account currency that a conversion brings this customer."""
        arbitration, catalogue = self.strategy.arbitration, self.strategy.catalogue
        margins = self.tariff.parts.margin
        ratios = self.outcomes.ratios(self.features) if arbitration.has("value") else None
        if ratios is None:
            return margins
        own: FloatArray = ratios[0].take(catalogue.product_of, mode="wrap")
        return margins * own

    def _stages(self) -> dict[str, FloatArray]:
        """Probability x money (C,) of every stage."""
        if not self.strategy.arbitration.has("stages"):
            return {}
        return {one.stage: one.probabilities(self.features)[0] * one.money for one in self.outcomes.stages}
