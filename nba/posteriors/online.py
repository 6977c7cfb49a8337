"""The model "online": linear posteriors for a loop that learns from every round and publishes after it."""

from __future__ import annotations

from typing import get_args

import numpy as np
from msgspec import Struct

from nba.arrays import FloatArray
from nba.catalogue import Catalogue
from nba.errors import require
from nba.features import FeatureSchema
from nba.posteriors.online_design import Design, Kind
from nba.posteriors.online_linear import OnlineLinear
from nba.posteriors.settings import check_prior

__all__ = ["OnlineLinear", "OnlineModel"]

_MOST_PARAMETERS = 6_000  # of one vector: its covariance and precision take 16 bytes for each pair


class OnlineModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="online"):
    """Prior of the row-by-row linear models, in lifts relative to each product's forecast rate.

    With a forecast rate of 1 this is ridge regression with unit noise and penalty sd^-2. The mean lift lies
    in the product's block, which in the disjoint design is the action's.
    """

    design: Kind = "disjoint"
    lift_mean: float = 0.5
    level_sd: float = 0.5
    slope_sd: float = 0.2
    pair_sd: float = 0.3
    own_level_sd: float = 0.3
    own_slope_sd: float = 0.15
    half_life_days: float | None = None

    def __post_init__(self) -> None:
        """Check the design's name and the numbers."""
        source, known = "model online", get_args(Kind)
        rule = f"must be one of {', '.join(known)}, got {self.design!r}"
        require(self.design in known, source, "design", rule)
        check_prior(self, source)

    def prior(self, catalogue: Catalogue, schema: FeatureSchema) -> OnlineLinear:
        """The posterior before any round."""
        design = Design.of(self.design, catalogue, schema.n_columns)
        instead = "hybrid" if self.design == "hybrid" else "factored"
        rule = f"{self.design} has {design.size} parameters here, more than {_MOST_PARAMETERS}"
        few_enough = design.size <= _MOST_PARAMETERS
        require(few_enough, "model online", "design", f"{rule}; use the model {instead} instead")
        mean, sd = self._parameters(design, catalogue)
        precision = sd**-2
        return OnlineLinear(
            design=design,
            forecast=catalogue.forecast_rates[catalogue.product_of[1:]],
            prior_precision=precision,
            prior_shift=precision * mean,
            precision=(np.diag(precision),) * design.n_groups,
            shift=np.tile(precision * mean, (design.n_groups, 1)),
            covariances=(np.diag(sd**2),) * design.n_groups,
            centre=np.tile(mean, (design.n_groups, 1)),
            watched=np.zeros(1),
            half_life_days=self.half_life_days,
        )

    def _parameters(self, design: Design, catalogue: Catalogue) -> tuple[FloatArray, FloatArray]:
        """(N,) prior mean and standard deviation of a vector."""
        mean, sd = np.zeros(design.size), np.full(design.size, self.pair_sd)
        means, sds = (part[: design.start].reshape(design.n_blocks, -1) for part in (mean, sd))
        n_channels, n_timings, n_products = catalogue.shape
        first, own = n_channels + n_timings, n_channels + n_timings + n_products
        sds[:], sds[:, 0] = self.slope_sd, self.level_sd
        if self.design == "hybrid":
            sds[own:], sds[own:, 0] = self.own_slope_sd, self.own_level_sd
        means[0 if self.design == "disjoint" else slice(first, own), 0] = self.lift_mean
        return mean, sd
