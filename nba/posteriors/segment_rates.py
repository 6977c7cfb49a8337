"""Conversion rates by segment and product: the propensity table of a business-as-usual campaign.

A Gamma posterior per cell, gross of what would have happened anyway: exactly what a bank's
response model without a control group measures, and therefore the honest baseline.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from msgspec import Struct, structs

from nba.arrays import Float32Array, FloatArray, IntArray, check_shape, rowwise, take_rows
from nba.catalogue import Catalogue
from nba.features import FeatureSchema
from nba.feedback import RoundBatch, watched
from nba.posteriors.base import Scoring
from nba.posteriors.settings import check_prior
from nba.posteriors.uncertainty import around


class RateDraws(NamedTuple):
    """M draws of the rate table."""

    rates: Float32Array  # (M, S, P)


class RateEvidence(NamedTuple):
    """Additive sufficient statistics of rounds."""

    conversions: FloatArray  # (S, P)
    exposure: FloatArray  # (S, P)
    watched: FloatArray  # (1,) rounds

    def __add__(self, other: object) -> RateEvidence:
        """Evidence of both sets of rounds."""
        assert isinstance(other, RateEvidence)
        return RateEvidence(*(one + two for one, two in zip(self, other, strict=True)))


class SegmentRates(Scoring, frozen=True, kw_only=True, eq=False, tag="segment_rates"):
    """Gamma posterior of each segment's conversion rate per contact, whatever channel and timing."""

    n_columns: int  # K
    segment_columns: IntArray  # (S,) columns of the feature matrix with the segment's one-hot code
    product_of: IntArray  # (A,)
    prior_conversions: FloatArray  # (S, P) Gamma shape
    prior_exposure: FloatArray  # (S, P) Gamma rate
    conversions: FloatArray  # (S, P)
    exposure: FloatArray  # (S, P)
    watched: FloatArray  # (1,) rounds, in whole attribution windows
    half_life_days: float | None = None

    @property
    def rounds(self) -> float:
        """Rounds watched so far, in whole attribution windows; forgotten ones count less."""
        return float(self.watched[0])

    def mean(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, A): expected conversions per contact, 0 for no-contact and unknown segments."""
        return self._spread(features, self.conversions / self.exposure)

    def organic(self, features: FloatArray) -> FloatArray | None:
        """None: the table is of gross rates, from contacts alone."""
        return None

    def stddev(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, A): posterior standard deviation of `mean`."""
        return self._spread(features, np.sqrt(self.conversions) / self.exposure)

    def reach(self, features: FloatArray, mean: FloatArray, width: float) -> FloatArray:
        """(B, K), means (B, A) to (B, A): mean + width standard deviations (see Spread)."""
        return mean + width * self.stddev(features)

    def bounds(self, features: FloatArray, mean: FloatArray, slack: float) -> FloatArray:
        """(2, B, A) lowest and highest expected reward within `slack` (see Spread)."""
        return around(mean, self.stddev(features), slack)

    def covariance(self) -> SegmentRates:
        """Itself: the table knows its own standard deviations."""
        return self

    def draw(self, n_draws: int, rng: np.random.Generator, scale: float = 1.0) -> RateDraws:
        """M independent draws of the table; `scale` multiplies their distance from the mean."""
        mean = self.conversions / self.exposure
        drawn = rng.gamma(self.conversions, 1.0 / self.exposure, size=(n_draws, *mean.shape))
        return RateDraws((mean + scale * (drawn - mean)).astype(np.float32))

    def mean_draw(self) -> RateDraws:
        """The posterior mean as a single draw."""
        return RateDraws((self.conversions / self.exposure)[None].astype(np.float32))

    def scores(self, draws: RateDraws, features: FloatArray) -> Float32Array:
        """(M, B, A) expected reward of each action under each draw; 0 for no-contact."""
        check_shape(features, (None, self.n_columns), "features")
        n_draws, n_segments, n_products = draws.rates.shape
        codes = features[:, self.segment_columns].astype(np.float32)
        table = draws.rates.transpose(1, 0, 2).reshape(n_segments, n_draws * n_products)
        by_product = rowwise(codes, table).reshape(-1, n_draws, n_products).transpose(1, 0, 2)
        scores: Float32Array = by_product[:, :, self.product_of]
        scores[:, :, 0] = 0.0
        return scores

    def evidence(self, rounds: RoundBatch) -> RateEvidence:
        """Conversions and exposure of contact rounds by segment and product."""
        contacted = rounds.actions > 0
        codes = rounds.features[np.ix_(contacted, self.segment_columns)]
        products = np.eye(self.conversions.shape[1])[rounds.products[contacted]]
        return RateEvidence(
            (codes * rounds.rewards[contacted, None]).T @ products,
            (codes * rounds.exposure[contacted, None]).T @ products,
            watched(rounds),
        )

    def absorb(self, evidence: RateEvidence) -> SegmentRates:
        """The posterior after some evidence."""
        return structs.replace(
            self,
            conversions=self.conversions + evidence.conversions,
            exposure=self.exposure + evidence.exposure,
            watched=self.watched + evidence.watched,
        )

    def fold(self, rounds: RoundBatch) -> SegmentRates:
        """The posterior after rounds, added one row at a time in order (see FactoredLinear.fold)."""
        folded = self
        for row in range(rounds.n_rows):
            one = take_rows(rounds, slice(row, row + 1))
            folded = folded.absorb(folded.evidence(one))
        return folded

    def decayed(self, elapsed_days: float) -> SegmentRates:
        """Forget towards the prior with the model's half-life; no half-life, no change."""
        if self.half_life_days is None or elapsed_days == 0:
            return self
        keep = float(np.exp2(-elapsed_days / self.half_life_days))
        return structs.replace(
            self,
            conversions=keep * self.conversions + (1 - keep) * self.prior_conversions,
            exposure=keep * self.exposure + (1 - keep) * self.prior_exposure,
            watched=keep * self.watched,
        )

    def _spread(self, features: FloatArray, table: FloatArray) -> FloatArray:
        """Read a table (S, P) for contexts (B, K) and actions: (B, A)."""
        out: FloatArray = (features[:, self.segment_columns] @ table)[:, self.product_of]
        out[:, 0] = 0.0
        return out


class SegmentRatesModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="segment_rates"):
    """Prior of the rate table: each product's forecast rate, worth `pseudo_contacts` contacts."""

    pseudo_contacts: float = 50.0
    half_life_days: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_prior(self, "model segment_rates")

    def prior(self, catalogue: Catalogue, schema: FeatureSchema) -> SegmentRates:
        """The posterior before any round."""
        shape = (len(schema.segments), len(catalogue.products))
        exposure = np.full(shape, self.pseudo_contacts)
        conversions = exposure * catalogue.forecast_rates
        return SegmentRates(
            n_columns=schema.n_columns,
            segment_columns=schema.segment_columns,
            product_of=catalogue.product_of,
            prior_conversions=conversions,
            prior_exposure=exposure,
            conversions=conversions,
            exposure=exposure,
            watched=np.zeros(1),
            half_life_days=self.half_life_days,
        )
