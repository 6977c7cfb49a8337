"""Worlds with a known linear truth, as rows to learn from: families of products, and lifts that drift."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from small import product, small_catalogue

from nba.arrays import FloatArray, IntArray
from nba.catalogue import Catalogue
from nba.features import FeatureSchema, Numeric
from nba.feedback import RoundBatch

SCHEMA = FeatureSchema(columns=(Numeric(name="one"), Numeric(name="two")), moments=False)
FORECAST, ORGANIC = 0.1, 0.2  # conversions per contact; organic ones, as a lift
FAMILIES = ("lending", "cards", "benefit")


def family_catalogue(n_products: int) -> Catalogue:
    """2 channels x 2 timings x products of three families in turn, of equal forecast."""
    names = [f"p{number}" for number in range(n_products)]
    products = (
        product(name, family=FAMILIES[i % 3], forecast_rate=FORECAST, value=50.0 * (1 + i % 4))
        for i, name in enumerate(names)
    )
    return small_catalogue(products=tuple(products))


class Truth(NamedTuple):
    """Lifts of a catalogue: score = channel . x + product . x + pair tables."""

    channels: FloatArray  # (C, K)
    products: FloatArray  # (P, K)
    channel_pairs: FloatArray  # (C, P)
    timing_pairs: FloatArray  # (T, P)

    def lifts(self, catalogue: Catalogue, features: FloatArray, actions: IntArray) -> FloatArray:
        """(n,) true lift of contacts."""
        c, t, p = catalogue.channel_of[actions], catalogue.timing_of[actions], catalogue.product_of[actions]
        linear = np.einsum("nk,nk->n", features, self.channels[c] + self.products[p])
        lifts: FloatArray = linear + self.channel_pairs[c, p] + self.timing_pairs[t, p]
        return lifts


def family_truth(rng: np.random.Generator, n_products: int, own_sd: float = 0.1) -> Truth:
    """Family levels spread by 0.3 around 0.7, products by `own_sd` around their family (slopes by half)."""
    family = np.arange(n_products) % 3
    levels = 0.7 + 0.3 * rng.permutation([-1.0, 0.0, 1.0])[family] + own_sd * rng.normal(size=n_products)
    slopes = 0.15 * rng.normal(size=(3, 2))[family] + 0.5 * own_sd * rng.normal(size=(n_products, 2))
    pairs = 0.1 * rng.normal(size=(2, 2, n_products))
    channels = np.array([[0.1, 0.1, 0.0], [-0.1, 0.0, 0.1]])
    return Truth(channels, np.column_stack([levels, slopes]), *pairs)


def some_features(rng: np.random.Generator, n: int) -> FloatArray:
    """(n, 3) an intercept and two standardised columns."""
    return np.column_stack([np.ones(n), rng.normal(size=(n, 2))])


def family_rounds(
    rng: np.random.Generator, catalogue: Catalogue, truth: Truth, actions: IntArray
) -> RoundBatch:
    """Whole windows after some actions; no-contact rows watch a random product."""
    n = actions.size
    features, contacted = some_features(rng, n), actions > 0
    products = np.where(contacted, catalogue.product_of[actions], rng.integers(0, len(catalogue.products), n))
    lifts = np.where(contacted, truth.lifts(catalogue, features, actions), 0.0) + ORGANIC
    rewards = rng.poisson(FORECAST * np.maximum(lifts, 0.0)).astype(np.float64)
    ones = np.ones(n)
    return RoundBatch(features, actions, products, rewards, ones, contacted * ones, ones)


def drifting_days(
    catalogue: Catalogue, n_days: int, n_rows: int, drift: float, seed: int, period: float = 40.0
) -> list[RoundBatch]:
    """Days of contacts whose lift is 1 + drift sin(2 pi (day / period + phase of the product))."""
    rng, days = np.random.default_rng(seed), []
    for day in range(n_days):
        actions = rng.integers(1, catalogue.n_actions, n_rows)
        products = catalogue.product_of[actions]
        phase = day / period + products / len(catalogue.products)
        rates = catalogue.forecast_rates[products] * (1.0 + drift * np.sin(2.0 * np.pi * phase))
        rewards, ones = (rng.random(n_rows) < rates).astype(np.float64), np.ones(n_rows)
        days.append(
            RoundBatch(some_features(rng, n_rows), actions, products, rewards, ones, ones, np.zeros(n_rows))
        )
    return days
