"""Linear posteriors for a loop that learns from every round and publishes after it.

Ridge regression kept as mean and covariance beside the precision: a row changes them by the rank-one
formula of Sherman and Morrison, so that neither learning nor publishing factors a matrix. With a row's
design f, weight w = exposure x forecast rate and reward r,

    v = S f    s = 1 + w f'v    S <- S - w v v' / s    m <- m + v (r - w f'm) / s

which for w = 1 is the update of Li et al. 2010. The designs are those of LinUCB: disjoint (algorithm 1),
shared (Chu et al. 2011) and hybrid (algorithm 2, as the plain concatenation; nba.posteriors.hybrid does
without). They learn the gross response to a contact, from contact rows alone. Who publishes seldom takes
the models disjoint, factored or hybrid instead: they prepare more at publication and decide faster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from math import sqrt
from typing import NamedTuple

import numpy as np
from msgspec import structs

from nba.arrays import Float32Array, FloatArray, check_shape, rowwise
from nba.feedback import RoundBatch, watched
from nba.posteriors.base import PosteriorBase
from nba.posteriors.online_design import Design
from nba.posteriors.online_spread import OnlineSpread, moments, root

# A row that divides a variance by more than this is learnt through the precision: what is left after so large
# a subtraction would have lost as many digits.
_NEWS = 1e4
_MOST_JOINT = 256  # actions; for more of them, drawing the parameters is cheaper than their scores


class OnlineDraws(NamedTuple):
    """Parameters laid out for scoring: M vectors, or the mean with noise for M draws in reward space."""

    blocks: FloatArray  # (K, M' G J)
    tables: FloatArray | None  # (M', A - 1) constants added up
    noise: FloatArray | None = None  # (M, A - 1) standard normal, times the scale; then M' is 1
    spread: OnlineSpread | None = None  # what the noise is multiplied by


class OnlineEvidence(NamedTuple):
    """Additive sufficient statistics of rounds."""

    gram: FloatArray  # (G, N, N)
    moment: FloatArray  # (G, N)
    watched: FloatArray  # (1,) rounds

    def __add__(self, other: object) -> OnlineEvidence:
        """Evidence of both sets of rounds."""
        assert isinstance(other, OnlineEvidence)
        return OnlineEvidence(*(one + two for one, two in zip(self, other, strict=True)))


class OnlineLinear(PosteriorBase, frozen=True, kw_only=True, eq=False, tag="online_linear"):
    """G independent Gaussian posteriors of N parameters (see Design).

    The matrices are kept one by one: learning copies those it changes and shares the others.
    """

    design: Design
    forecast: FloatArray  # (A - 1,) forecast rate of each action's product
    prior_precision: FloatArray  # (N,) its diagonal, the same for all vectors
    prior_shift: FloatArray  # (N,)
    precision: Sequence[FloatArray]  # G of (N, N)
    shift: FloatArray  # (G, N)
    covariances: Sequence[FloatArray]  # G of (N, N)
    centre: FloatArray  # (G, N) posterior mean
    half_life_days: float | None = None

    def covariance(self) -> OnlineSpread:
        """The posterior covariance as it is kept: nothing is inverted."""
        return OnlineSpread(self.design, self.covariances, self.forecast)

    def draw(self, n_draws: int, rng: np.random.Generator, scale: float = 1.0) -> OnlineDraws:
        """M draws, in reward space: at each context all scores together, from their joint distribution.

        Given the context this is LinTS (Agrawal, Goyal 2013) exactly, with joint draws of the parameters:
        N(F m, scale^2 F S F'). Independent draws by action would be right for the disjoint design only,
        where F S F' is diagonal. The noise is fixed here, so that scores are a function of draws and
        features. Above 256 actions of one vector the parameters are drawn instead.
        """
        design = self.design
        if design.n_groups == 1 and design.n_actions > _MOST_JOINT:
            noise = rng.standard_normal((n_draws, design.size))
            return self._draws_of(self.centre + scale * noise @ root(self.covariances[0]).T)
        noise = scale * rng.standard_normal((n_draws, design.n_actions))
        return self.mean_draw()._replace(noise=noise, spread=self.covariance())

    def mean_draw(self) -> OnlineDraws:
        """The posterior mean as a single draw."""
        return self._draws_of(self.centre.reshape(1, -1))

    def scores(self, draws: OnlineDraws, features: FloatArray) -> Float32Array:
        """(M, B, A) expected reward of each action under each draw; 0 for no-contact."""
        check_shape(features, (None, self.design.n_columns), "features")
        n_contexts, width = features.shape[0], self.design.n_groups * self.design.n_blocks
        effects = rowwise(features, draws.blocks).reshape(n_contexts, draws.blocks.shape[1] // width, width)
        lifts = self.design.added(effects, draws.tables).transpose(1, 0, 2)
        if draws.noise is not None:
            lifts = lifts + self._deviations(draws, features)
        scores = np.zeros((lifts.shape[0], n_contexts, 1 + self.design.n_actions), dtype=np.float32)
        np.multiply(lifts, self.forecast, out=scores[:, :, 1:], casting="same_kind")
        return scores

    def evidence(self, rounds: RoundBatch) -> OnlineEvidence:
        """Sufficient statistics of contact rounds; no-contact rows teach nothing."""
        design = self.design
        gram = np.zeros((design.n_groups, design.size, design.size))
        moment = np.zeros((design.n_groups, design.size))
        for action in np.unique(rounds.actions[rounds.actions > 0]):
            chosen = rounds.actions == action
            rows, where = design.rows(rounds.features[chosen]), design.parameters[action - 1]
            scaled = rows * np.sqrt(rounds.exposure[chosen] * self.forecast[action - 1])[:, None]
            group = design.groups[action - 1]
            gram[group][np.ix_(where, where)] += scaled.T @ scaled
            moment[group][where] += rows.T @ rounds.rewards[chosen]
        return OnlineEvidence(gram, moment, watched(rounds))

    def absorb(self, evidence: OnlineEvidence) -> OnlineLinear:
        """The posterior after some evidence; vectors without any keep every bit."""
        told = evidence.gram.any(axis=(1, 2)) | evidence.moment.any(axis=1)
        precision, shift = list(self.precision), self.shift + evidence.moment
        for group in np.flatnonzero(told):
            precision[group] = precision[group] + evidence.gram[group]
        watched = self.watched + evidence.watched
        return self._rebuilt(np.flatnonzero(told).tolist(), precision, shift, watched)

    def fold(self, rounds: RoundBatch) -> OnlineLinear:
        """The posterior after rounds, added one row at a time in order (see FactoredLinear.fold)."""
        precision, covariances = list(self.precision), list(self.covariances)
        work = _Work(precision, self.shift.copy(), covariances, self.centre.copy(), set())
        seen = self.rounds
        for row, action in enumerate(rounds.actions.tolist()):
            exposure = float(rounds.exposure[row])
            seen += exposure
            if action > 0:
                weight = exposure * float(self.forecast[action - 1])
                design = self.design.row(action, rounds.features[row])
                work.learn(int(self.design.groups[action - 1]), design, weight, float(rounds.rewards[row]))
        return structs.replace(
            self,
            precision=tuple(precision),
            shift=work.shift,
            covariances=tuple(covariances),
            centre=work.centre,
            watched=np.array([seen]),
        )

    def decayed(self, elapsed_days: float) -> OnlineLinear:
        """Forget towards the prior with the model's half-life; no half-life, no change."""
        if self.half_life_days is None or elapsed_days == 0:
            return self
        keep = float(np.exp2(-elapsed_days / self.half_life_days))
        prior = (1 - keep) * np.diag(self.prior_precision)
        precision = [keep * one + prior for one in self.precision]
        shift = keep * self.shift + (1 - keep) * self.prior_shift
        return self._rebuilt(range(len(precision)), precision, shift, keep * self.watched)

    def _rebuilt(
        self, groups: Sequence[int], precision: list[FloatArray], shift: FloatArray, watched: FloatArray
    ) -> OnlineLinear:
        """The same with another precision and shift, and what follows from them for some vectors."""
        covariances, centre = list(self.covariances), self.centre.copy()
        for group in groups:
            covariances[group], centre[group] = moments(precision[group], shift[group])
        return structs.replace(
            self,
            precision=tuple(precision),
            shift=shift,
            covariances=tuple(covariances),
            centre=centre,
            watched=watched,
        )

    def _deviations(self, draws: OnlineDraws, features: FloatArray) -> FloatArray:
        """(M, B, A - 1) distance of each draw's lifts from the mean."""
        assert draws.noise is not None and draws.spread is not None
        if self.design.n_groups > 1:
            return draws.noise[:, None, :] * np.sqrt(draws.spread.variances(features))
        moved: FloatArray = np.matmul(draws.noise, draws.spread.roots(features).transpose(0, 2, 1))
        return moved.transpose(1, 0, 2)

    def _draws_of(self, theta: FloatArray) -> OnlineDraws:
        """Lay parameters (M, G N) out for scoring."""
        design, n_draws = self.design, theta.shape[0]
        theta = theta.reshape(n_draws, design.n_groups, design.size)
        blocks = theta[:, :, : design.start].reshape(-1, design.n_columns)
        if not design.n_constants:
            return OnlineDraws(blocks.T, None)
        return OnlineDraws(blocks.T, theta[:, 0, design.start + design.constants].sum(axis=2))


class _Work(NamedTuple):
    """What a fold changes: arrays of its own, and matrices that become its own at their first row."""

    precision: list[FloatArray]
    shift: FloatArray
    covariances: list[FloatArray]
    centre: FloatArray
    owned: set[int]

    def learn(self, group: int, design: FloatArray, weight: float, reward: float) -> None:
        """Add one row (N,) to a vector."""
        if reward:
            self.shift[group] += reward * design
        gain = self.covariances[group] @ design
        surprise = 1.0 + weight * max(float(design @ gain), 0.0)
        self._add(self.precision, group, 1.0, sqrt(weight) * design)
        if surprise > _NEWS:
            found = moments(self.precision[group], self.shift[group])
            self.covariances[group], self.centre[group] = found
        else:
            error = reward - weight * float(design @ self.centre[group])
            self.centre[group] += (error / surprise) * gain
            self._add(self.covariances, group, -1.0, sqrt(weight / surprise) * gain)
        self.owned.add(group)

    def _add(self, matrices: list[FloatArray], group: int, sign: float, column: FloatArray) -> None:
        """Add a matrix of rank one; BLAS is several times faster than an outer product and a sum."""
        # It wants the order of Fortran, which the transposed matrix has; unless owned, it is copied.
        matrix, owned = matrices[group].T, group in self.owned
        matrices[group] = _rank_one_update()(sign, column, column, a=matrix, overwrite_a=owned).T


@cache
def _rank_one_update() -> Callable[..., FloatArray]:
    """BLAS's a + alpha x y', imported when the first row is learnt."""
    from scipy.linalg.blas import dger

    update: Callable[..., FloatArray] = dger
    return update
