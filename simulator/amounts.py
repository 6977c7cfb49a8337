"""What a conversion brings in: its product's margin times a factor of the customer and of chance.

Given a conversion the amount is log-normal, with a heavy tail (methods A2):

    amount = margin exp(wealth_k + sd z - sd^2 / 2) / sum_j share_j exp(wealth_j)

for a customer of wealth tier k and a standard normal z, so that over the population the mean amount of a
product is its margin in the catalogue.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from nba.arrays import FloatArray, IntArray
from nba.randomness import Purpose, keyed_uniforms
from simulator.config import WorldConfig
from simulator.population import Population


class AmountLaw(NamedTuple):
    """How much a conversion is worth to the bank."""

    margins: FloatArray  # (P,) account currency, mean over the population
    log_wealth: FloatArray  # (N_WEALTH_TIERS,) log of a tier's mean factor
    sd: float  # of the log of a conversion's own factor, whose mean is 1

    @staticmethod
    def of(config: WorldConfig) -> AmountLaw:
        """Read a configuration."""
        wealth = np.array(config.amounts.wealth)
        mean = np.average(np.exp(wealth), weights=config.population.wealth_shares)
        return AmountLaw(config.catalogue.margins, wealth - np.log(mean), config.amounts.sd)

    @property
    def varies(self) -> bool:
        """Whether any conversion brings anything but its margin."""
        return self.sd > 0.0 or bool(self.log_wealth.any())

    def expected(self, people: Population, rows: IntArray) -> FloatArray:
        """(B, P) mean amount of each product's conversion for customers `rows` (B,), account currency."""
        factors = np.exp(self.log_wealth)[people.wealth[rows]]
        means: FloatArray = factors[:, None] * self.margins
        return means

    def drawn(
        self, seed: int, day: int, people: Population, rows: IntArray, products: IntArray
    ) -> FloatArray:
        """(n,) amounts of a day's conversions of `products` (n,) by customers `rows` (n,), account currency.

        Noise is keyed by (customer, day, product): the same conversion brings the same in two paired runs.
        """
        if not self.varies:
            return self.margins[products]
        uniforms = keyed_uniforms(seed, Purpose.AMOUNT, people.ids[rows], day, products)
        noise = ndtri(np.minimum(uniforms + 2.0**-54, 1.0 - 2.0**-53))  # neither 0 nor, rounded, 1
        logs = self.log_wealth[people.wealth[rows]] + self.sd * (noise - 0.5 * self.sd)
        amounts: FloatArray = self.margins[products] * np.exp(logs)
        return amounts
