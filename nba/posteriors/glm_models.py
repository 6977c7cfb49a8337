"""Priors of the generalised linear posteriors."""

from __future__ import annotations

from math import inf
from typing import TypeVar, get_args

import numpy as np
from msgspec import Struct

from nba.catalogue import Catalogue
from nba.errors import require
from nba.features import FeatureSchema
from nba.posteriors.glm import CurvatureKind, FactoredGlm, FactoredHazard, FactoredLogistic
from nba.posteriors.layout import Layout

Posterior = TypeVar("Posterior", bound=FactoredGlm)


class GlmModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the priors share: rates in multiples of the forecast, spreads on the predictor's scale.

    The prior median of a product's rate at average features is `contact_rate` times its forecast with a
    contact and `organic_rate` times without. A level_sd of 0.35 makes a block's effect on a rate (log) or
    its odds (logit) a factor of e^(-+ 0.35). Effects multiply: over 50 standardised features and three blocks
    the defaults spread a rate by about e^(-+ 0.9). A slope_sd of 0.2 would make that e^(-+ 2.6), and the best
    of 840 draws hundreds of times the forecast: Thompson sampling then chases fancies for months. Contact
    blocks are wider than organic ones, otherwise shrinkage pulls uplift to zero (methods A2). Without
    `organic` there are no organic blocks and scores are gross rates.
    """

    contact_rate: float = 1.0
    organic_rate: float = 0.3
    level_sd: float = 0.35
    slope_sd: float = 0.05
    pair_sd: float = 0.15
    organic_level_sd: float = 0.3
    organic_slope_sd: float = 0.03
    organic: bool = True
    refresh_rows: int = 256
    half_life_days: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        source = f"model {self.__struct_config__.tag}"
        for name in ("level_sd", "slope_sd", "pair_sd", "organic_level_sd", "organic_slope_sd"):
            value = getattr(self, name)
            require(0 < value < inf, source, name, f"must be finite and above 0, got {value}")
        for name in ("contact_rate", "organic_rate"):
            value = getattr(self, name)
            require(0 < value <= 1, source, name, f"must be above 0 and at most 1, got {value}")
        half_life, rows = self.half_life_days, self.refresh_rows
        rule = f"must be finite and above 0, got {half_life}"
        require(half_life is None or 0 < half_life < inf, source, "half_life_days", rule)
        require(rows >= 1, source, "refresh_rows", f"must be at least 1, got {rows}")

    def _start(
        self, kind: type[Posterior], catalogue: Catalogue, schema: FeatureSchema, keeps_covariance: bool
    ) -> Posterior:
        """The posterior of a kind before any round."""
        layout, k = Layout.of(catalogue, schema.n_columns), schema.n_columns
        start, size = layout.organic_start, layout.n_parameters if self.organic else layout.organic_start
        mean, sd = np.zeros(layout.n_parameters), np.full(layout.n_parameters, self.slope_sd)
        sd[: layout.pair_start : k] = self.level_sd
        sd[layout.pair_start : start] = self.pair_sd
        sd[start:] = self.organic_slope_sd
        sd[start::k] = self.organic_level_sd
        # A forecast of 1 is none: even odds, or one conversion per window, stand in for it.
        forecast = catalogue.forecast_rates
        offset = kind.link.offset(forecast)
        known = kind.link.rate(offset.copy())
        contact = kind.link.offset(known * self.contact_rate) - offset
        organic = kind.link.offset(known * self.organic_rate) - offset if self.organic else 0.0
        first_product = (layout.n_channels + layout.n_timings) * k
        mean[first_product : layout.pair_start : k] = contact - organic
        mean[start::k] = organic
        precision = sd[:size] ** -2.0
        covariance = (size, size) if keeps_covariance else (0, 0)
        return kind(
            layout=layout,
            offset=offset,
            prior_precision=precision,
            prior_shift=precision * mean[:size],
            precision=np.diag(precision),
            shift=precision * mean[:size],
            watched=np.zeros(1),
            anchor=np.zeros(size),
            anchor_covariance=np.zeros(covariance),
            pace=np.zeros(2),
            refresh_rows=self.refresh_rows,
            half_life_days=self.half_life_days,
        )


class LogisticModel(GlmModel, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="logistic"):
    """Prior of a logistic model (Bernoulli rewards known within hours: opened, clicked, answered).

    `curvature` "newton" takes p (1 - p) at the mean, "expected" its expectation under the present belief
    (R-VGA), which is wider and better calibrated while rows are few, and costs a covariance (Q, Q) of state.
    """

    curvature: CurvatureKind = "newton"

    def __post_init__(self) -> None:
        """Check the settings."""
        GlmModel.__post_init__(self)
        kinds = get_args(CurvatureKind)
        rule = f"must be one of {', '.join(kinds)}, got {self.curvature!r}"
        require(self.curvature in kinds, "model logistic", "curvature", rule)

    def prior(self, catalogue: Catalogue, schema: FeatureSchema) -> FactoredLogistic:
        """The posterior before any round."""
        return self._start(FactoredLogistic, catalogue, schema, self.curvature == "expected")


class HazardModel(GlmModel, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="hazard"):
    """Prior of a hazard model (Poisson rewards that come late: conversions, with an exposure ledger)."""

    def prior(self, catalogue: Catalogue, schema: FeatureSchema) -> FactoredHazard:
        """The posterior before any round."""
        return self._start(FactoredHazard, catalogue, schema, keeps_covariance=False)
