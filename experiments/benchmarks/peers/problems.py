"""Bandit problems whose rewards are all known, so that every method meets the same customers and luck.

Shape letters: T rounds, K columns of the feature matrix (intercept first), A actions without no-contact.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.tables.bandit import row_order
from experiments.tables.columns import Encoded, Wish, read_schema
from experiments.tables.read import coded, read_table
from nba.arrays import AnyArray, FloatArray, IntArray
from nba.catalogue import Catalogue, Channel, Product, Timing
from nba.features import FeatureSchema, Numeric
from nba.randomness import Purpose, keyed_uniforms

_CUSTOMER_FEATURES = 10
_DIGITS_EPOCHS = 3
_MOST_ROWS = 3_000  # of a classification table that one run plays
# File and label column of each classification table.
TABLES = {
    "mushroom": ("mushroom.csv.gz", "class"),
    "adult": ("adult-train.csv.gz", "income"),
    "german": ("german.csv.gz", "class"),
    "segment": ("segment.csv.gz", "class"),
    "soybean": ("soybean.csv.gz", "class"),
}


class Problem(NamedTuple):
    """Rounds of a bandit with everything that could have happened."""

    catalogue: Catalogue
    schema: FeatureSchema
    features: FloatArray  # (T, K)
    rewards: AnyArray  # (T, A) what each action would bring
    expected: AnyArray  # (T, A) its expectation, by which a choice is judged

    @property
    def n_rounds(self) -> int:
        """T, the number of rounds."""
        return int(self.features.shape[0])

    def first(self, n_rounds: int | None) -> Problem:
        """The first rounds, all without a number."""
        parts = (part[:n_rounds] for part in (self.features, self.rewards, self.expected))
        return Problem(self.catalogue, self.schema, *parts)


class Signal(NamedTuple):
    """How much the 48-action simulation gives away, and for how long it runs."""

    intercept: float
    scale: float
    rounds: int
    oracle: float  # mean expected reward of the best action, over many worlds
    random: float  # of an even choice


# Intercept and scale solve for oracle and random as estimators.md 3.7 prints them (100 worlds).
SIGNALS = {
    "rich": Signal(intercept=-3.3332, scale=0.7581, rounds=30_000, oracle=0.361, random=0.075),
    "low": Signal(intercept=-4.6970, scale=0.5085, rounds=50_000, oracle=0.0644, random=0.0147),
}


def simulation(signal: Signal, seed: int) -> Problem:
    """Four channels, three timings, four products; each seed is a world of its own.

    Logistic response with customer x channel, customer x timing, customer x product and channel x timing
    effects, all of the same variance (estimators.md 3.7).
    """
    levels = {"channel": 4, "timing": 3, "product": 4}
    rng = np.random.default_rng(seed)
    weights = [rng.standard_normal((n, _CUSTOMER_FEATURES)) for n in levels.values()]
    pairs = rng.standard_normal((levels["channel"], levels["timing"]))
    customers = rng.standard_normal((signal.rounds, _CUSTOMER_FEATURES))
    channel, timing, product = (customers @ w.T / np.sqrt(_CUSTOMER_FEATURES) for w in weights)
    effects = channel[:, :, None] + timing[:, None, :] + pairs
    effects = (effects[:, :, :, None] + product[:, None, None, :]).reshape(signal.rounds, -1)
    expected = 1.0 / (1.0 + np.exp(-(signal.intercept + signal.scale * effects)))
    luck = keyed_uniforms(seed, Purpose.CONVERSION, np.arange(signal.rounds))
    return Problem(
        _catalogue(*levels.values()), _schema(_CUSTOMER_FEATURES), _with_intercept(customers),
        luck[:, None] < expected, expected.astype(np.float32),
    )  # fmt: skip


def digits(seed: int) -> Problem:
    """Handwritten digits (scikit-learn's 1,797), three epochs in an order of the seed: reward 1 if right."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    pixels = pixels[:, pixels.std(axis=0) > 0] / 16.0
    order = row_order(len(labels), _DIGITS_EPOCHS * len(labels), seed)
    return _of_labels(_schema(pixels.shape[1]), _with_intercept(pixels)[order], labels, order)


def classification(path: Path, label: str, seed: int) -> Problem:
    """A table as `nba bandit-test` encodes it, in an order of the seed: reward 1 for naming the label."""
    schema, features, labels = _table(path, label)
    order = row_order(labels.size, min(labels.size, _MOST_ROWS), seed)
    return _of_labels(schema, features[order], labels, order)


@lru_cache(maxsize=1)  # a process plays many runs of one table in a row
def _table(path: Path, label: str) -> tuple[FeatureSchema, FloatArray, IntArray]:
    """Schema, features (N, K) and labels (N,) of a whole table."""
    table = read_table(path, texts=(label,))
    schema = read_schema(table, (label,), Wish()).schema
    return schema, Encoded.of(table, schema).matrix(), coded(table.columns[label])[0]


def load(name: str, data: Path, seed: int, rounds: int | None = None) -> Problem:
    """The problem of a name: a signal's, digits or a table in the folder `data`; its first rounds, or all."""
    if name in SIGNALS:
        signal = SIGNALS[name]
        return simulation(signal._replace(rounds=rounds or signal.rounds), seed)
    if name == "digits":
        return digits(seed).first(rounds)
    file, label = TABLES[name]
    return classification(data / file, label, seed).first(rounds)


def _of_labels(schema: FeatureSchema, features: FloatArray, labels: IntArray, order: IntArray) -> Problem:
    """Labels (N,) of the whole table in order (T,), with features (T, K)."""
    is_right = labels[order][:, None] == np.arange(int(labels.max()) + 1)
    return Problem(_catalogue(1, 1, is_right.shape[1]), schema, features, is_right, is_right)


def _with_intercept(features: FloatArray) -> FloatArray:
    return np.column_stack([np.ones(features.shape[0]), features])


def _schema(n_features: int) -> FeatureSchema:
    columns = tuple(Numeric(name=f"x{number}") for number in range(n_features))
    return FeatureSchema(columns=columns, moments=False)


def _catalogue(n_channels: int, n_timings: int, n_products: int) -> Catalogue:
    """Everything is worth 1 and costs nothing; with a forecast of 1 linear models are ridge regression."""
    return Catalogue(
        channels=tuple(Channel(name=f"c{n}", family="digital", cost=0.0) for n in range(n_channels)),
        timings=tuple(Timing(name=f"t{n}") for n in range(n_timings)),
        products=tuple(
            Product(
                name=f"p{n}", family="any", value=1.0, forecast_rate=1.0, risk_class=1,
                attribution_window_days=4, decision_delay_days=1.0,
            )
            for n in range(n_products)
        ),
    )  # fmt: skip
