"""The terms of expected values: what an action is believed to bring, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from math import fsum
from typing import NamedTuple

import numpy as np

from nba.ahead import Known
from nba.arbitration import Money, Tariff
from nba.arrays import FloatArray, IntArray
from nba.decision import Terms
from nba.outcomes import FrozenOutcomes
from nba.strategy import Strategy

_PARTS = (
    "conversion",
    "cost",
    "shadow_price",
    "fatigue_price",
    "waiting",
)  # with stages, of an expected value


class Reckoning(NamedTuple):
    """All that the utilities of B customers are made of."""

    strategy: Strategy
    tariff: Tariff
    outcomes: FrozenOutcomes
    features: FloatArray  # (B, K)
    fatigue: FloatArray  # (B, C, 2)
    known: Known
    scores: FloatArray  # (B, A) mean expected rewards
    expected_values: FloatArray  # (B, A) as they are served

    @staticmethod
    def unit(n_actions: int) -> Money:
        """The money under which utilities are scores."""
        return Money.of(np.ones((1, n_actions)), np.zeros((1, n_actions)))

    def terms(self, actions: IntArray) -> list[tuple[Terms, ...]]:
        """The terms of some actions (B, L) of each customer, without those that are -1."""
        rows, places = (actions >= 0).nonzero()
        found: list[list[Terms]] = [[] for _ in actions]
        for row, terms in zip(rows.tolist(), self._each(rows, actions[rows, places]), strict=True):
            found[row].append(terms)
        return [tuple(each) for each in found]

    def _each(self, rows: IntArray, actions: IntArray) -> Iterator[Terms]:
        """The terms of action n of customer n: rows (n,) and actions (n,)."""
        cells = self._cells(rows, actions)
        table = zip(*(each.tolist() for each in cells.values()), strict=True)
        for values, stages in zip(table, self._stages(rows, actions), strict=True):
            one = dict(zip(cells, values, strict=True))
            rest = one["expected_value"] - fsum((*(one[name] for name in _PARTS), *stages.values()))
            yield Terms(stages=stages, rounding=rest, **one)

    def _cells(self, rows: IntArray, actions: IntArray) -> dict[str, FloatArray]:
        """(n,) the terms that are numbers, by name."""
        parts, n = self.tariff.parts, actions.size
        weighing, held, displaced = self.strategy.weighing, self.known.held, self.known.displaced
        score, value, factor = (
            self.scores[rows, actions],
            self._values(rows, actions),
            parts.lever_factor[actions],
        )
        weight = np.ones(n) if weighing is None or held is None else weighing.factors(held)[rows, actions]
        product = self.strategy.catalogue.product_of[actions]
        later = np.zeros(n) if displaced is None else np.where(product < 0, 0.0, displaced[rows, product])
        own = np.zeros(n) if self.known.own is None else self.known.own[rows, actions]
        return {
            "score": score,
            "value": value,
            "lever_factor": factor,
            "context_factor": weight,
            "conversion": score * value * factor * weight,
            "cost": 0.0 - parts.cost[actions],
            "shadow_price": 0.0 - parts.shadow_price[actions] - own,
            "fatigue_price": 0.0 - parts.fatigue_level[actions] - self._slopes(rows, actions),
            "waiting": 0.0 - later,
            "expected_value": self.expected_values[rows, actions],
        }

    def _slopes(self, rows: IntArray, actions: IntArray) -> FloatArray:
        """(n,) what fatigue adds to the fatigue price."""
        channel, more = self.strategy.catalogue.channel_of[actions], self.strategy.surcharges
        slopes = self.tariff.slope * self.fatigue[rows, channel, 1]
        if more is not None:
            slopes += more.of(self.features, self.fatigue)[rows, channel]
        return np.where(channel >= 0, slopes, 0.0)

    def _values(self, rows: IntArray, actions: IntArray) -> FloatArray:
        """(n,) account currency that a conversion brings the customer."""
        margins: FloatArray = self.tariff.parts.margin[actions]
        ratios = self.outcomes.ratios(self.features) if self.strategy.arbitration.has("value") else None
        return (
            margins if ratios is None else margins * ratios[rows, self.strategy.catalogue.product_of[actions]]
        )

    def _stages(self, rows: IntArray, actions: IntArray) -> list[dict[str, float]]:
        """Probability x money of every stage, for each action (n,); no-contact has none."""
        channel = self.strategy.catalogue.channel_of[actions]
        if not self.strategy.arbitration.has("stages") or not self.outcomes.stages:
            return [{} for _ in channel]
        tables = [one.probabilities(self.features) * one.money for one in self.outcomes.stages]
        names = [one.stage for one in self.outcomes.stages]
        values = zip(*(table[rows, channel].tolist() for table in tables), strict=True)
        return [
            dict(zip(names, each, strict=True)) if on >= 0 else {}
            for on, each in zip(channel, values, strict=True)
        ]
