"""One separate Bayesian linear model per action: the classical disjoint baseline.

Li et al. 2010, with the same offset and weights as the factored model, so that the two differ only
in what they share. It keeps no organic block: it learns the gross response to a contact.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from msgspec import Struct, structs

from nba.arrays import AnyArray, Float32Array, FloatArray, check_shape, rowwise, take_rows
from nba.catalogue import Catalogue
from nba.features import FeatureSchema
from nba.feedback import RoundBatch, watched, watched_by_row
from nba.posteriors.base import PosteriorBase
from nba.posteriors.settings import check_prior
from nba.posteriors.uncertainty import QuadraticSpread


class DisjointDraws(NamedTuple):
    """M draws of every action's parameters."""

    theta: Float32Array  # (K, M (A - 1))
    n_draws: int
    forecast: Float32Array  # (A - 1,)


class DisjointEvidence(NamedTuple):
    """Additive sufficient statistics of rounds."""

    gram: FloatArray  # (A - 1, K, K)
    moment: FloatArray  # (A - 1, K)
    watched: FloatArray  # (1,) rounds

    def __add__(self, other: object) -> DisjointEvidence:
        """Evidence of both sets of rounds."""
        assert isinstance(other, DisjointEvidence)
        return DisjointEvidence(*(one + two for one, two in zip(self, other, strict=True)))


class DisjointLinear(PosteriorBase, frozen=True, kw_only=True, eq=False, tag="disjoint_linear"):
    """Posteriors of all actions in information form."""

    forecast: FloatArray  # (A - 1,) forecast rate of each action's product
    prior_precision: FloatArray  # (K,) its diagonal, the same for all actions
    prior_shift: FloatArray  # (K,)
    precision: FloatArray  # (A - 1, K, K)
    shift: FloatArray  # (A - 1, K)
    half_life_days: float | None = None

    def covariance(self) -> QuadraticSpread:
        """The posterior covariance of all actions, laid out for `stddev`."""
        n_contacts, n_columns = self.shift.shape
        none = np.zeros((n_columns, n_contacts))
        blocks: AnyArray = np.linalg.inv(self.precision)
        return QuadraticSpread.of_blocks(blocks, none, np.zeros(n_contacts), self.forecast)

    def draw(self, n_draws: int, rng: np.random.Generator, scale: float = 1.0) -> DisjointDraws:
        """M independent draws of every action's parameters."""
        factor = np.linalg.cholesky(self.precision)
        noise = rng.standard_normal((*self.shift.shape, n_draws))
        spread = np.linalg.solve(factor.transpose(0, 2, 1), noise)
        return self._draws_of(self._parameters()[:, :, None] + scale * spread)

    def mean_draw(self) -> DisjointDraws:
        """The posterior mean as a single draw."""
        return self._draws_of(self._parameters()[:, :, None])

    def scores(self, draws: DisjointDraws, features: FloatArray) -> Float32Array:
        """(M, B, A) expected reward of each action under each draw; 0 for no-contact."""
        check_shape(features, (None, self.shift.shape[1]), "features")
        n_contexts, n_contacts = features.shape[0], self.forecast.shape[0]
        scores = np.zeros((draws.n_draws, n_contexts, 1 + n_contacts), dtype=np.float32)
        lifts = rowwise(features.astype(np.float32), draws.theta)
        lifts = lifts.reshape(n_contexts, draws.n_draws, n_contacts)
        np.multiply(lifts.transpose(1, 0, 2), draws.forecast, out=scores[:, :, 1:])
        return scores

    def evidence(self, rounds: RoundBatch) -> DisjointEvidence:
        """Sufficient statistics of contact rounds; no-contact rows teach a disjoint model nothing."""
        gram, moment = np.zeros_like(self.precision), np.zeros_like(self.shift)
        for action in np.unique(rounds.actions[rounds.actions > 0]):
            rows = rounds.actions == action
            self._add(take_rows(rounds, rows), gram, moment)
        return DisjointEvidence(gram, moment, watched(rounds))

    def absorb(self, evidence: DisjointEvidence) -> DisjointLinear:
        """The posterior after some evidence."""
        return structs.replace(
            self,
            precision=self.precision + evidence.gram,
            shift=self.shift + evidence.moment,
            watched=self.watched + evidence.watched,
        )

    def fold(self, rounds: RoundBatch) -> DisjointLinear:
        """The posterior after rounds, added one row at a time in order (see FactoredLinear.fold)."""
        precision, shift = self.precision.copy(), self.shift.copy()
        for row in np.flatnonzero(rounds.actions > 0):
            self._add(take_rows(rounds, slice(row, row + 1)), precision, shift)
        watched = watched_by_row(self.watched, rounds)
        return structs.replace(self, precision=precision, shift=shift, watched=watched)

    def decayed(self, elapsed_days: float) -> DisjointLinear:
        """Forget towards the prior with the model's half-life; no half-life, no change."""
        if self.half_life_days is None or elapsed_days == 0:
            return self
        keep = float(np.exp2(-elapsed_days / self.half_life_days))
        return structs.replace(
            self,
            precision=keep * self.precision + (1 - keep) * np.diag(self.prior_precision),
            shift=keep * self.shift + (1 - keep) * self.prior_shift,
            watched=keep * self.watched,
        )

    def _add(self, rounds: RoundBatch, precision: FloatArray, shift: FloatArray) -> None:
        row = int(rounds.actions[0]) - 1
        scaled = rounds.features * np.sqrt(rounds.exposure * self.forecast[row])[:, None]
        precision[row] += scaled.T @ scaled
        shift[row] += rounds.features.T @ rounds.rewards

    def _parameters(self) -> FloatArray:
        solved: AnyArray = np.linalg.solve(self.precision, self.shift[:, :, None])
        return solved[:, :, 0]

    def _draws_of(self, theta: FloatArray) -> DisjointDraws:
        """Lay parameters (A - 1, K, M) out for scoring."""
        n_contacts, n_columns, n_draws = theta.shape
        flat = theta.transpose(1, 2, 0).reshape(n_columns, n_draws * n_contacts)
        return DisjointDraws(
            np.ascontiguousarray(flat, dtype=np.float32), n_draws, self.forecast.astype(np.float32)
        )


class DisjointModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="disjoint"):
    """Prior of the disjoint model, in lifts relative to each product's forecast rate."""

    lift_mean: float = 0.5
    level_sd: float = 0.8
    slope_sd: float = 0.3
    half_life_days: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_prior(self, "model disjoint")

    def prior(self, catalogue: Catalogue, schema: FeatureSchema) -> DisjointLinear:
        """The posterior before any round."""
        n_contacts, n_columns = catalogue.n_actions - 1, schema.n_columns
        precision = np.full(n_columns, self.slope_sd**-2)
        precision[0] = self.level_sd**-2
        shift = np.zeros(n_columns)
        shift[0] = self.lift_mean * precision[0]
        return DisjointLinear(
            forecast=catalogue.forecast_rates[catalogue.product_of[1:]],
            prior_precision=precision,
            prior_shift=shift,
            precision=np.tile(np.diag(precision), (n_contacts, 1, 1)),
            shift=np.tile(shift, (n_contacts, 1)),
            watched=np.zeros(1),
            half_life_days=self.half_life_days,
        )
