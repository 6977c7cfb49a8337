"""The factored model plus a block of each action's own: hybrid LinUCB (Li et al. 2010, algorithm 2).

    lift of action a at x = what FactoredLinear says (parameters beta) + x'theta_a

In additive form: the statistics of both parts are kept apart and add, row by row or batch by batch, and the
own blocks are eliminated when the posterior is asked. With A_a = prior + sum w x x' of an action's rows, B_a
their cross products with the shared design and b_a their rewards times x,

    precision of beta = A_0 - sum_a B_a' A_a^-1 B_a        shift of beta = b_0 - sum_a B_a' A_a^-1 b_a
    theta_a = A_a^-1 (b_a - B_a beta)

where A_0 and b_0 are those of the shared part alone. Equal to one model on the features (z, onehot(a) x), but
no matrix over all Q + (A - 1) K parameters is ever made. An action meets the shared part as 2K + 1 numbers:
three blocks added up, three pairs added up, and its product's organic block; so B_a is kept as (K, 2K + 1).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from msgspec import Struct, structs

from nba.arrays import Float32Array, FloatArray, IntArray, check_shape, rowwise, take_rows
from nba.catalogue import Catalogue
from nba.features import FeatureSchema
from nba.feedback import RoundBatch, watched, watched_by_row
from nba.posteriors.base import PosteriorBase
from nba.posteriors.factored import FactoredModel
from nba.posteriors.hybrid_parts import Eliminated
from nba.posteriors.layout import Layout
from nba.posteriors.settings import check_prior
from nba.posteriors.uncertainty import QuadraticSpread

_OWN = ("own_level_sd", "own_slope_sd")


class HybridDraws(NamedTuple):
    """M draws of every action's parameters, shared and own added up."""

    theta: Float32Array  # (K, M (A - 1))
    tables: Float32Array  # (M, A - 1) the three pair parameters
    forecast: Float32Array  # (A - 1,)


class HybridEvidence(NamedTuple):
    """Additive sufficient statistics of rounds."""

    gram: FloatArray  # (Q, Q) of the shared design
    moment: FloatArray  # (Q,)
    cross: FloatArray  # (A - 1, K, 2K + 1) of own design with own design, pairs and organic design
    own_moment: FloatArray  # (A - 1, K)
    watched: FloatArray  # (1,) rounds

    def __add__(self, other: object) -> HybridEvidence:
        """Evidence of both sets of rounds."""
        assert isinstance(other, HybridEvidence)
        return HybridEvidence(*(one + two for one, two in zip(self, other, strict=True)))


class HybridLinear(PosteriorBase, frozen=True, kw_only=True, eq=False, tag="hybrid_linear"):
    """Posterior of the hybrid model as sufficient statistics, the shared ones with their prior."""

    layout: Layout
    forecast: FloatArray  # (P,)
    prior_precision: FloatArray  # (Q,) diagonal, of the shared parameters
    prior_shift: FloatArray  # (Q,)
    own_precision: FloatArray  # (K,) diagonal of the prior of every own block, whose mean is 0
    precision: FloatArray  # (Q, Q) A_0
    shift: FloatArray  # (Q,) b_0
    cross: FloatArray  # (A - 1, K, 2K + 1) A_a without its prior, and the rest of B_a
    own_moment: FloatArray  # (A - 1, K) b_a
    half_life_days: float | None = None

    @property
    def learns_silence(self) -> bool:
        """Rows of no-contact teach the organic part."""
        return True

    def organic(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, P): conversions expected of nobody who was contacted."""
        check_shape(features, (None, self.layout.n_columns), "features")
        return self.layout.organic_lifts(features, self._eliminated().shared_mean()) * self.forecast

    def covariance(self) -> QuadraticSpread:
        """The posterior covariance of every action's parameters, laid out for `stddev`."""
        quadratic, linear, constant = self._eliminated().variances()
        return QuadraticSpread.of_blocks(quadratic, linear, constant, self.forecast[self.layout.product_of])

    def draw(self, n_draws: int, rng: np.random.Generator, scale: float = 1.0) -> HybridDraws:
        """M independent draws: the shared parameters, then the own ones given those."""
        n_own, n_columns = self.own_moment.shape
        shared = scale * rng.standard_normal((self.layout.n_parameters, n_draws))
        own = scale * rng.standard_normal((n_own, n_columns, n_draws))
        return self._laid_out(*self._eliminated().lifts(shared, own))

    def mean_draw(self) -> HybridDraws:
        """The posterior mean as a single draw."""
        n_own, n_columns = self.own_moment.shape
        none = np.zeros((self.layout.n_parameters, 1)), np.zeros((n_own, n_columns, 1))
        return self._laid_out(*self._eliminated().lifts(*none))

    def scores(self, draws: HybridDraws, features: FloatArray) -> Float32Array:
        """(M, B, A) expected reward of each action under each draw; 0 for no-contact."""
        check_shape(features, (None, self.layout.n_columns), "features")
        n_contexts, (n_draws, n_contacts) = features.shape[0], draws.tables.shape
        lifts = rowwise(features.astype(np.float32), draws.theta).reshape(n_contexts, n_draws, n_contacts)
        lifts += draws.tables
        scores = np.zeros((n_draws, n_contexts, 1 + n_contacts), dtype=np.float32)
        np.multiply(lifts.transpose(1, 0, 2), draws.forecast, out=scores[:, :, 1:])
        return scores

    def evidence(self, rounds: RoundBatch) -> HybridEvidence:
        """Sufficient statistics of rounds, group by group of equal action and product."""
        found = HybridEvidence(*(np.zeros_like(one) for one in self._statistics))
        for rows in _alike(rounds):
            self._add(take_rows(rounds, rows), found)
        return found._replace(watched=watched(rounds))

    def absorb(self, evidence: HybridEvidence) -> HybridLinear:
        """The posterior after some evidence."""
        return self._with(self._statistics + evidence)

    def fold(self, rounds: RoundBatch) -> HybridLinear:
        """The posterior after rounds, added one row at a time in order (see FactoredLinear.fold)."""
        found = HybridEvidence(*(one.copy() for one in self._statistics))
        for row in range(rounds.n_rows):
            self._add(take_rows(rounds, slice(row, row + 1)), found)
        return self._with(found._replace(watched=watched_by_row(self.watched, rounds)))

    def decayed(self, elapsed_days: float) -> HybridLinear:
        """Forget towards the prior with the model's half-life; no half-life, no change."""
        if self.half_life_days is None or elapsed_days == 0:
            return self
        keep = float(np.exp2(-elapsed_days / self.half_life_days))
        precision = keep * self.precision
        precision[np.diag_indices_from(precision)] += (1 - keep) * self.prior_precision
        shift = keep * self.shift + (1 - keep) * self.prior_shift
        own = keep * self.cross, keep * self.own_moment, keep * self.watched
        return self._with(HybridEvidence(precision, shift, *own))

    @property
    def _statistics(self) -> HybridEvidence:
        """All that learning has added up, the shared part with its prior."""
        return HybridEvidence(self.precision, self.shift, self.cross, self.own_moment, self.watched)

    def _with(self, found: HybridEvidence) -> HybridLinear:
        return structs.replace(
            self,
            precision=found.gram,
            shift=found.moment,
            cross=found.cross,
            own_moment=found.own_moment,
            watched=found.watched,
        )

    def _add(self, rounds: RoundBatch, found: HybridEvidence) -> None:
        """Add rounds that share action and product to the statistics, in place."""
        action, product, k = int(rounds.actions[0]), int(rounds.products[0]), self.layout.n_columns
        where = self.layout.parameters_of(action, product)
        design = self.layout.design(rounds.features, rounds.uplift_share, rounds.organic_share, action > 0)
        scaled = design * np.sqrt(rounds.exposure * self.forecast[product])[:, None]
        gram, moment = scaled.T @ scaled, design.T @ rounds.rewards
        found.gram[np.ix_(where, where)] += gram
        found.moment[where] += moment
        if action > 0:
            # The first block of the shared design is the own one as well.
            found.cross[action - 1] += np.hstack([gram[:k, :k], gram[:k, 3 * k, None], gram[:k, 3 * k + 3 :]])
            found.own_moment[action - 1] += moment[:k]

    def _eliminated(self) -> Eliminated:
        learnt = self.precision, self.shift, self.cross, self.own_moment
        return Eliminated.of(self.layout, self.own_precision, *learnt)

    def _laid_out(self, theta: FloatArray, tables: FloatArray) -> HybridDraws:
        """Lay parameters (A - 1, K, M) and pairs (A - 1, M) out for scoring."""
        flat = theta.transpose(1, 2, 0).reshape(self.layout.n_columns, -1)
        forecast = self.forecast[self.layout.product_of].astype(np.float32)
        columns = np.ascontiguousarray(flat, dtype=np.float32), np.ascontiguousarray(tables.T, np.float32)
        return HybridDraws(*columns, forecast)


def _alike(rounds: RoundBatch) -> Iterator[IntArray]:
    """Rows of equal action and product, group by group."""
    order = np.lexsort((rounds.products, rounds.actions))
    keys = np.stack([rounds.actions[order], rounds.products[order]], axis=1)
    starts = 1 + np.flatnonzero((np.diff(keys, axis=0) != 0).any(axis=1))
    return iter(np.split(order, starts) if order.size else [])


class HybridModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="hybrid"):
    """Prior of the hybrid model: that of the factored one, and own blocks about zero.

    Narrow own blocks lean on what actions share; wide ones make a disjoint model of it.
    """

    lift_mean: float = 0.5
    level_sd: float = 0.5
    slope_sd: float = 0.2
    pair_sd: float = 0.3
    own_level_sd: float = 0.3
    own_slope_sd: float = 0.15
    organic_mean: float = 0.2
    organic_level_sd: float = 0.2
    organic_slope_sd: float = 0.08
    half_life_days: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_prior(self, "model hybrid")

    def prior(self, catalogue: Catalogue, schema: FeatureSchema) -> HybridLinear:
        """The posterior before any round."""
        parts = {name: value for name, value in structs.asdict(self).items() if name not in _OWN}
        shared, n_columns = FactoredModel(**parts).prior(catalogue, schema), schema.n_columns
        own_precision = np.full(n_columns, self.own_slope_sd**-2)
        own_precision[0] = self.own_level_sd**-2
        n_contacts = catalogue.n_actions - 1
        return HybridLinear(
            layout=shared.layout,
            forecast=shared.forecast,
            prior_precision=shared.prior_precision,
            prior_shift=shared.prior_shift,
            own_precision=own_precision,
            precision=shared.precision,
            shift=shared.shift,
            cross=np.zeros((n_contacts, n_columns, 2 * n_columns + 1)),
            own_moment=np.zeros((n_contacts, n_columns)),
            watched=np.zeros(1),
            half_life_days=self.half_life_days,
        )
