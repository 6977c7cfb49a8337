"""One Bayesian linear model over the factors channel, timing, product and their pairs.

Methods A1-A4. The expected reward of a contact is the product's forecast rate times a linear lift,
so one channel or timing effect serves products whose rates differ a hundredfold. With the forecast
as offset and variance proportional to the mean (quasi-Poisson, identity link), a row adds

    precision += exposure * forecast * r r'        shift += reward * r

where r holds the features scaled by the row's uplift and organic shares. Nothing depends on the
current mean, therefore evidence simply adds, in any cut of the log.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from msgspec import Struct, structs

from nba.arbitration import Money
from nba.arrays import BoolArray, Float32Array, FloatArray, check_shape, take_rows
from nba.catalogue import Catalogue
from nba.features import FeatureSchema
from nba.feedback import RoundBatch, watched, watched_by_row
from nba.lapack import cholesky, solved, solved_upper
from nba.posteriors.base import PosteriorBase
from nba.posteriors.by_product import ByProduct
from nba.posteriors.factored_draws import FactoredDraws
from nba.posteriors.forgetting import HalfLives, kept, widened
from nba.posteriors.gram import gram_of, moment_of
from nba.posteriors.hierarchy import Hierarchy
from nba.posteriors.layout import Layout
from nba.posteriors.settings import check_prior
from nba.posteriors.uncertainty import QuadraticSpread

Factoring: TypeAlias = Literal["whole", "by_product"]


class FactoredEvidence(NamedTuple):
    """Additive sufficient statistics of rounds."""

    gram: FloatArray  # (Q, Q)
    moment: FloatArray  # (Q,)
    watched: FloatArray  # (1,) rounds

    def __add__(self, other: object) -> FactoredEvidence:
        """Evidence of both sets of rounds."""
        assert isinstance(other, FactoredEvidence)
        return FactoredEvidence(*(one + two for one, two in zip(self, other, strict=True)))


class FactoredLinear(PosteriorBase, frozen=True, kw_only=True, eq=False, dict=True, tag="factored_linear"):
    """Posterior of the factored model in information form: precision (Q, Q) and shift (Q,)."""

    layout: Layout
    forecast: FloatArray  # (P,)
    prior_precision: FloatArray  # (Q,) its diagonal
    prior_shift: FloatArray  # (Q,)
    precision: FloatArray  # (Q, Q)
    shift: FloatArray  # (Q,)
    half_life_days: float | HalfLives | None = None
    factoring: Factoring = "whole"

    def parameters(self) -> FloatArray:
        """(Q,) posterior mean of the parameters."""
        return self._mean.copy()

    @property
    def learns_silence(self) -> bool:
        """Rows of no-contact teach the organic part."""
        return True

    def organic(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, P): conversions expected of nobody who was contacted."""
        check_shape(features, (None, self.layout.n_columns), "features")
        return self.layout.organic_lifts(features, self.parameters()) * self.forecast

    def covariance(self) -> QuadraticSpread:
        """The posterior covariance of the contact parameters, laid out for `stddev`."""
        from scipy.linalg import cho_solve

        size = self.layout.organic_start
        identity = np.eye(self.layout.n_parameters, size)
        columns = cho_solve((self._factor, True), identity, overwrite_b=True, check_finite=False)
        return QuadraticSpread.of_factored(self.layout, columns[:size], self.forecast)

    def draw(self, n_draws: int, rng: np.random.Generator, scale: float = 1.0) -> FactoredDraws:
        """M independent draws of the parameters: mean + scale * L^-T z (methods A3)."""
        noise = rng.standard_normal((self.layout.n_parameters, n_draws))
        apart = self._apart
        spread = solved_upper(self._factor, noise) if apart is None else apart.spread(noise)
        return self._draws_of(self._mean[None, :] + scale * spread.T)

    def mean_draw(self) -> FactoredDraws:
        """The posterior mean as a single draw (M = 1)."""
        return self._draws_of(self._mean[None, :])

    def scores(self, draws: FactoredDraws, features: FloatArray) -> Float32Array:
        """(M, B, A) expected reward of each action under each draw; 0 for no-contact."""
        check_shape(features, (None, self.layout.n_columns), "features")
        return draws.scores(features)

    def win_shares(
        self, draws: FactoredDraws, features: FloatArray, money: Money, eligible: BoolArray
    ) -> FloatArray:
        """(B, A) shares of draws under which each action has the largest utility."""
        check_shape(features, (None, self.layout.n_columns), "features")
        return draws.win_shares(features, money, eligible)

    def expected_values(
        self, mean_draw: FactoredDraws, features: FloatArray, money: Money, eligible: BoolArray
    ) -> FloatArray:
        """(B, A) mean utilities, -inf where not eligible."""
        check_shape(features, (None, self.layout.n_columns), "features")
        return mean_draw.expected_values(features, money, eligible)

    def evidence(self, rounds: RoundBatch) -> FactoredEvidence:
        """Sufficient statistics of rounds."""
        gram = gram_of(self.layout, rounds, self.forecast)
        return FactoredEvidence(gram, moment_of(self.layout, rounds), watched(rounds))

    def absorb(self, evidence: FactoredEvidence) -> FactoredLinear:
        """The posterior after some evidence."""
        return structs.replace(
            self,
            precision=self.precision + evidence.gram,
            shift=self.shift + evidence.moment,
            watched=self.watched + evidence.watched,
        )

    def fold(self, rounds: RoundBatch) -> FactoredLinear:
        """The posterior after rounds, added one row at a time in order.

        Slower than `absorb(evidence(rounds))`, but the bits do not depend on how a log was cut into
        batches, which is what restarts and replays of the service rely on.
        """
        precision, shift = self.precision.copy(), self.shift.copy()
        for row in range(rounds.n_rows):
            self._add(take_rows(rounds, slice(row, row + 1)), precision, shift)
        watched = watched_by_row(self.watched, rounds)
        return structs.replace(self, precision=precision, shift=shift, watched=watched)

    def decayed(self, elapsed_days: float) -> FactoredLinear:
        """Forget towards the prior with the model's half-lives (methods A7); no half-life, no change."""
        if self.half_life_days is None or elapsed_days == 0:
            return self
        keep = kept(self.half_life_days, self.layout, elapsed_days)
        if isinstance(keep, float):
            precision, shift = self.precision * keep, keep * self.shift
        else:
            precision = widened(self.precision, keep)
            shift = precision @ self.parameters()
        precision[np.diag_indices_from(precision)] += (1 - keep) * self.prior_precision
        return structs.replace(
            self,
            precision=precision,
            shift=shift + (1 - keep) * self.prior_shift,
            watched=np.mean(keep) * self.watched,
        )

    def _add(self, rounds: RoundBatch, precision: FloatArray, shift: FloatArray) -> None:
        """Add a round to the statistics, in place."""
        action, product = int(rounds.actions[0]), int(rounds.products[0])
        where = self.layout.parameters_of(action, product)
        design = self.layout.design(rounds.features, rounds.uplift_share, rounds.organic_share, action > 0)
        weight = rounds.exposure * self.forecast[product]
        if weight.any():
            # A' A of one array is exactly symmetric (NumPy calls syrk): its upper triangle restores it all.
            scaled = design * np.sqrt(weight)[:, None]
            precision[np.ix_(where, where)] += scaled.T @ scaled
        if rounds.rewards.any():
            shift[where] += design.T @ rounds.rewards

    @cached_property
    def _mean(self) -> FloatArray:
        """(Q,) the parameters: a publication asks for them twice."""
        apart = self._apart
        return solved(self._factor, self.shift) if apart is None else apart.solved(self.shift)

    @cached_property
    def _factor(self) -> FloatArray:
        """(Q, Q) lower Cholesky factor of the precision: made once for all that a publication asks."""
        return cholesky(self.precision)

    @cached_property
    def _apart(self) -> ByProduct | None:
        """The same product by product, where the model asks for it and products are not tied."""
        return ByProduct.of(self.layout, self.precision) if self.factoring == "by_product" else None

    def _draws_of(self, theta: FloatArray) -> FactoredDraws:
        """Lay parameter vectors (M, Q) out for scoring."""
        return FactoredDraws.of(self.layout, theta, self.forecast)


class FactoredModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="factored"):
    """Prior of the factored model, in lifts relative to each product's forecast rate (methods A8).

    The contact blocks are wider than the organic ones, otherwise shrinkage pulls uplift to zero
    (methods A2). A hierarchy, learnt from a taught posterior, replaces what is said here of products and
    channels. With `factoring` by_product a publication costs a fraction (nba.posteriors.by_product): the mean
    and the distribution of draws are the same, but a seed gives other draws than with "whole".
    """

    lift_mean: float = 0.5
    level_sd: float = 0.5
    slope_sd: float = 0.2
    pair_sd: float = 0.3
    organic_mean: float = 0.2
    organic_level_sd: float = 0.2
    organic_slope_sd: float = 0.08
    half_life_days: float | HalfLives | None = None
    hierarchy: Hierarchy | None = None
    factoring: Factoring = "whole"

    def __post_init__(self) -> None:
        """Check the numbers; half-lives of blocks and a hierarchy have checked themselves."""
        check_prior(self, f"model {self.__struct_config__.tag}")

    def prior(self, catalogue: Catalogue, schema: FeatureSchema) -> FactoredLinear:
        """The posterior before any round."""
        layout = Layout.of(catalogue, schema.n_columns)
        mean, sd = np.zeros(layout.n_parameters), np.full(layout.n_parameters, self.slope_sd)
        sd[layout.pair_start : layout.organic_start] = self.pair_sd
        sd[layout.organic_start :] = self.organic_slope_sd
        is_intercept = self._intercepts(layout)
        contact, organic = is_intercept[: layout.pair_start], is_intercept[layout.organic_start :]
        sd[: layout.pair_start][contact] = self.level_sd
        sd[layout.organic_start :][organic] = self.organic_level_sd
        mean[layout.organic_start :][organic] = self.organic_mean
        first_product = (layout.n_channels + layout.n_timings) * layout.n_columns
        mean[first_product : layout.pair_start][contact[first_product:]] = self.lift_mean
        if self.hierarchy is not None:
            mean, sd = self.hierarchy.shaped(layout, catalogue, mean, sd)
        precision = 1.0 / sd**2
        return FactoredLinear(
            layout=layout,
            forecast=catalogue.forecast_rates,
            prior_precision=precision,
            prior_shift=precision * mean,
            precision=np.diag(precision),
            shift=precision * mean,
            watched=np.zeros(1),
            half_life_days=self.half_life_days,
            factoring=self.factoring,
        )

    @staticmethod
    def _intercepts(layout: Layout) -> BoolArray:
        """(Q,) parameters that multiply the constant feature."""
        hit = np.zeros(layout.n_parameters, dtype=np.bool_)
        hit[: layout.pair_start : layout.n_columns] = True
        hit[layout.organic_start :: layout.n_columns] = True
        return hit
