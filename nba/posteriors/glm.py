"""Generalised linear posteriors over the factors: logistic (clicks, answers) and hazard (conversions).

The layout is the factored model's, but every block is a block of a linear predictor: a contact adds its
channel, timing, product and pair parts to the product's organic part, no-contact has the organic part
alone, and a score is the difference of the two rates (uplift). Without organic blocks (`organic=False`
of the model, for tables that know no no-contact) it is the rate itself.

Rows are linearised (glm_links): `evidence` at the posterior's present mean, so that evidence of partitions
adds exactly, `fold` at an anchor that follows the mean, `refit` at the mode of all rows (batch Laplace).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import ClassVar, Literal, NamedTuple, Self, TypeAlias

import numpy as np
from msgspec import structs

from nba.arrays import Float32Array, FloatArray, IntArray, check_shape, take_rows
from nba.feedback import RoundBatch, watched, watched_by_row
from nba.posteriors.base import PosteriorBase
from nba.posteriors.factored import FactoredEvidence
from nba.posteriors.glm_laplace import Curvature, find_mode
from nba.posteriors.glm_links import CAP, REFIT_CAP, Link, Log, Logit, Predictors
from nba.posteriors.glm_scores import GlmDraws, GlmSpread
from nba.posteriors.layout import Layout

CurvatureKind: TypeAlias = Literal["newton", "expected"]
# An anchor serves a sixteenth of the rounds before it, and Q / 64 rows, so that a row costs O(Q^2) at most.
_ROUNDS, _PARAMETERS = 16.0, 64.0


class Anchor(NamedTuple):
    """Where rows are linearised."""

    parameters: FloatArray  # (Q,)
    covariance: FloatArray  # (Q, Q), or (0, 0) to linearise at the parameters alone
    cap: float = CAP  # of linear predictors


class Linearised(NamedTuple):
    """Rows of one action and product as weighted least squares, see glm_links."""

    where: IntArray  # (nnz,) their parameters
    design: FloatArray  # (n, nnz) derivatives of the mean
    weight: FloatArray  # (n,) exposure / variance
    residual: FloatArray  # (n,) (reward - exposure x mean) / variance
    predictor: FloatArray  # (n,) design x parameters; 0 to count from the parameters, not from 0


class FactoredGlm(PosteriorBase, frozen=True, kw_only=True, eq=False):
    """Posterior of a generalised linear model in information form; subclasses bring the link.

    `mean` is the score at the posterior mean of the parameters, `stddev` its delta method, and the `reach` of
    its spread what UCB-GLM takes (glm_scores). `draw` draws parameters and `scores` transforms each exactly,
    so that over many draws their mean and spread are those of `mean` and `stddev` only where it is narrow.

    `fold` is online Newton (methods A3). A row is linearised at the anchor, which is solved anew from the
    information form when a sixteenth as many rows as rounds watched, and Q / 64 rows, have passed, at the
    latest after `refresh_rows`; 1 is online Newton to the letter, for each row. The anchor and its age are
    state, so that the bits of `fold` depend neither on how a log is cut nor on a restart. A covariance kept
    by rank-one updates would be state just as well, at O(Q^2) a row, and drift away from the precision; an
    anchor needs the O(nnz^2) of the linear model and a share of one Cholesky factor. After `absorb`,
    `decayed` and `refit` the anchor is stale (zeros), and the next `fold` begins with a fresh one. Two orders
    of folding, and folding and absorbing, agree to first order only: each linearises elsewhere.
    """

    link: ClassVar[Link]

    layout: Layout
    offset: FloatArray  # (P,) predictor of each product's forecast
    prior_precision: FloatArray  # (Q,) its diagonal
    prior_shift: FloatArray  # (Q,)
    precision: FloatArray  # (Q, Q)
    shift: FloatArray  # (Q,)
    anchor: FloatArray  # (Q,) where `fold` linearises
    anchor_covariance: FloatArray  # (Q, Q) with expected curvature, otherwise (0, 0)
    pace: FloatArray  # (2,) rows folded at the anchor, and rows that it serves; 0, 0 when it is stale
    refresh_rows: int = 256
    half_life_days: float | None = None

    def parameters(self) -> FloatArray:
        """(Q,) posterior mean of the parameters."""
        return self._anchor_of(self.precision, self.shift, with_covariance=False).parameters

    def parameter_covariance(self) -> FloatArray:
        """(Q, Q) posterior covariance of the parameters."""
        return self._anchor_of(self.precision, self.shift, with_covariance=True).covariance

    @property
    def learns_silence(self) -> bool:
        """Rows of no-contact teach the organic part, if there is one."""
        return self._has_organic

    def organic(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, P): rate of nobody who was contacted; zeros where scores are gross rates."""
        check_shape(features, (None, self.layout.n_columns), "features")
        if not self._has_organic:
            return np.zeros((features.shape[0], self.layout.n_products))
        predictor = np.clip(self.layout.organic_lifts(features, self.parameters()), -CAP, CAP)
        return self.link.rate(self.offset + predictor)

    def covariance(self) -> GlmSpread:
        """The posterior covariance, laid out for `stddev`."""
        at = self._anchor_of(self.precision, self.shift, with_covariance=True)
        mean = GlmDraws.of(self.layout, at.parameters[None, :], self.offset)
        return GlmSpread.of(self.layout, at.covariance, mean, self.link)

    def draw(self, n_draws: int, rng: np.random.Generator, scale: float = 1.0) -> GlmDraws:
        """M independent draws of the parameters: mean + scale * L^-T z (methods A3)."""
        from scipy.linalg import cho_solve, cholesky, solve_triangular

        factor = cholesky(self.precision, lower=True, check_finite=False)
        mean = cho_solve((factor, True), self.shift, check_finite=False)
        noise = rng.standard_normal((mean.size, n_draws))
        spread = solve_triangular(factor, noise, lower=True, trans="T", check_finite=False)
        return GlmDraws.of(self.layout, mean[None, :] + scale * spread.T, self.offset)

    def mean_draw(self) -> GlmDraws:
        """The posterior mean as a single draw (M = 1)."""
        return GlmDraws.of(self.layout, self.parameters()[None, :], self.offset)

    def scores(self, draws: GlmDraws, features: FloatArray) -> Float32Array:
        """(M, B, A) expected reward of each action under each draw; 0 for no-contact."""
        check_shape(features, (None, self.layout.n_columns), "features")
        return draws.scores(features, self.link)

    def evidence(self, rounds: RoundBatch) -> FactoredEvidence:
        """Sufficient statistics of rounds, linearised at the present mean."""
        at = self._anchor_of(self.precision, self.shift, self.anchor_covariance.size > 0)
        gram, moment = np.zeros_like(self.precision), np.zeros_like(self.shift)
        for group in _by_action_and_product(rounds):
            self._add(self._linearised(group, at), gram, moment)
        return FactoredEvidence(gram, moment, watched(rounds))

    def absorb(self, evidence: FactoredEvidence) -> Self:
        """The posterior after some evidence: one Newton step over all its rows.

        A batch whose rates are many times those expected overshoots: take `laplace` or `fold` for that.
        """
        return self._moved(
            self.precision + evidence.gram, self.shift + evidence.moment, self.watched + evidence.watched
        )

    def fold(self, rounds: RoundBatch) -> Self:
        """The posterior after rounds, row by row; the bits do not depend on cuts (see the class)."""
        precision, shift, pace = self.precision.copy(), self.shift.copy(), self.pace.copy()
        at = Anchor(self.anchor, self.anchor_covariance)
        seen = np.cumsum(np.append(self.watched, rounds.exposure))
        for row in range(rounds.n_rows):
            if pace[0] == pace[1]:
                at = self._anchor_of(precision, shift, self.anchor_covariance.size > 0)
                served = max(1.0, seen[row] // _ROUNDS, shift.size // _PARAMETERS)
                pace[:] = 0.0, min(served, self.refresh_rows)
            one = take_rows(rounds, slice(row, row + 1))
            self._add(self._linearised(one, at), precision, shift)
            pace[0] += 1.0
        return structs.replace(
            self,
            precision=precision,
            shift=shift,
            watched=watched_by_row(self.watched, rounds),
            anchor=at.parameters,
            anchor_covariance=at.covariance,
            pace=pace,
        )

    def decayed(self, elapsed_days: float) -> Self:
        """Forget towards the prior with the model's half-life (methods A7); no half-life, no change."""
        if self.half_life_days is None or elapsed_days == 0:
            return self
        keep = float(np.exp2(-elapsed_days / self.half_life_days))
        precision = self.precision * keep
        precision[np.diag_indices_from(precision)] += (1 - keep) * self.prior_precision
        shift = keep * self.shift + (1 - keep) * self.prior_shift
        return self._moved(precision, shift, keep * self.watched)

    def refit(self, rounds: RoundBatch) -> Self:
        """Batch Laplace: the model's prior and all rows, linearised at their mode. Raises NotConverged."""
        return self.forgotten().laplace(partial(self.gradient_and_curvature, rounds))

    def laplace(self, total: Callable[[FloatArray], Curvature]) -> Self:
        """The posterior after further rows, linearised at the mode they lead to. Raises NotConverged.

        `total` adds up `gradient_and_curvature` of all partitions at parameters (Q,). Unlike the single step
        of `absorb(evidence)`, it bears batches that move the mean far, such as the first.
        """
        at, found = find_mode(self.precision, self.shift, total)
        precision = self.precision + found.curvature
        return self._moved(precision, precision @ at, self.watched + found.watched)

    def forgotten(self) -> Self:
        """The prior."""
        return self._moved(np.diag(self.prior_precision), self.prior_shift, np.zeros(1))

    def gradient_and_curvature(self, rounds: RoundBatch, at: FloatArray) -> Curvature:
        """Derivatives of the log-likelihood of rounds at parameters (Q,), prior excluded."""
        origin = Anchor(at, np.zeros((0, 0)), REFIT_CAP)
        curvature, gradient = np.zeros_like(self.precision), np.zeros_like(self.shift)
        for group in _by_action_and_product(rounds):
            rows = self._linearised(group, origin)._replace(predictor=np.zeros(group.n_rows))
            self._add(rows, curvature, gradient)
        return Curvature(gradient, curvature, watched(rounds))

    def _add(self, rows: Linearised, precision: FloatArray, shift: FloatArray) -> None:
        """Add rows to the statistics, in place."""
        if rows.weight.any():
            # A' A of one array is exactly symmetric (NumPy calls syrk): its upper triangle restores it all.
            scaled = rows.design * np.sqrt(rows.weight)[:, None]
            precision[np.ix_(rows.where, rows.where)] += scaled.T @ scaled
        shift[rows.where] += rows.design.T @ (rows.weight * rows.predictor + rows.residual)

    def _linearised(self, rounds: RoundBatch, at: Anchor) -> Linearised:
        """Rounds that share action and product, at the anchor."""
        layout, n = self.layout, rounds.n_rows
        action, product = int(rounds.actions[0]), int(rounds.products[0])
        where = layout.parameters_of(action, product)
        where = where[where < self.shift.size]  # silence teaches gross rates nothing
        n_contact = where.size - self._has_organic * layout.n_columns
        design = layout.design(rounds.features, np.ones(n), np.ones(n), action > 0)[:, : where.size]
        contact = design[:, :n_contact] @ at.parameters[where[:n_contact]]
        organic = design[:, n_contact:] @ at.parameters[where[n_contact:]]
        variance = np.zeros(n)
        if at.covariance.size:
            variance = np.einsum("ij,ij->i", design @ at.covariance[np.ix_(where, where)], design)
        shares = rounds.uplift_share, rounds.organic_share if self._has_organic else rounds.uplift_share
        offset = np.full(n, self.offset[product])
        moments = self.link.moments(Predictors(offset, contact, organic, variance, *shares, at.cap))
        design[:, :n_contact] *= moments.contact_slope[:, None]
        design[:, n_contact:] *= moments.organic_slope[:, None]
        return Linearised(
            where,
            design,
            rounds.exposure / moments.variance,
            (rounds.rewards - rounds.exposure * moments.mean) / moments.variance,
            moments.contact_slope * contact + moments.organic_slope * organic,
        )

    @property
    def _has_organic(self) -> bool:
        return self.shift.size > self.layout.organic_start

    def _moved(self, precision: FloatArray, shift: FloatArray, watched: FloatArray) -> Self:
        """The posterior of other statistics, with a stale anchor."""
        return structs.replace(
            self,
            precision=precision,
            shift=shift,
            watched=watched,
            anchor=np.zeros_like(self.anchor),
            anchor_covariance=np.zeros_like(self.anchor_covariance),
            pace=np.zeros(2),
        )

    @staticmethod
    def _anchor_of(precision: FloatArray, shift: FloatArray, with_covariance: bool) -> Anchor:
        """The mean of an information form, and its covariance if asked."""
        from scipy.linalg import cho_solve, cholesky

        factor = cholesky(precision, lower=True, check_finite=False), True
        covariance = np.zeros((0, 0))
        if with_covariance:
            covariance = cho_solve(factor, np.eye(shift.size), overwrite_b=True, check_finite=False)
            covariance = (covariance + covariance.T) / 2.0  # exactly: bundles keep one triangle
        return Anchor(cho_solve(factor, shift, check_finite=False), covariance)


class FactoredLogistic(FactoredGlm, frozen=True, kw_only=True, eq=False, tag="factored_logistic"):
    """Bernoulli rewards with a logit link: scores are differences of probabilities."""

    link: ClassVar[Link] = Logit()


class FactoredHazard(FactoredGlm, frozen=True, kw_only=True, eq=False, tag="factored_hazard"):
    """Poisson rewards with a log link: scores are differences of expected conversions per whole window."""

    link: ClassVar[Link] = Log()


def _by_action_and_product(rounds: RoundBatch) -> Iterator[RoundBatch]:
    """Groups of rounds with one action and product."""
    order = np.lexsort((rounds.products, rounds.actions))
    keys = np.stack([rounds.actions[order], rounds.products[order]], axis=1)
    starts = 1 + np.flatnonzero((np.diff(keys, axis=0) != 0).any(axis=1))
    for rows in np.split(order, starts) if order.size else []:
        yield take_rows(rounds, rows)
