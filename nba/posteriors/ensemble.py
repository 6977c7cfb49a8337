"""Ensemble sampling on the factored model (Lu, Van Roy 2017): M members that a bandit may play one by one.

Each member starts from a draw of the prior and learns from targets with noise of its own, and so stays a
draw of the posterior. All share the precision; a row of design r and weight w adds to member m's shift

    reward x r + sqrt(w) e_m r        with e_m standard normal

Unlike in Thompson sampling nothing is drawn anew at a publication: a member changes by what was learnt
since, so that decisions do not jump about between two snapshots of nearly the same belief.
"""

from __future__ import annotations

import numpy as np
from msgspec import structs

from nba.arrays import FloatArray, KeyArray
from nba.catalogue import Catalogue
from nba.errors import require
from nba.features import FeatureSchema
from nba.feedback import RoundBatch
from nba.posteriors.factored import FactoredEvidence, FactoredLinear, FactoredModel
from nba.posteriors.factored_draws import FactoredDraws
from nba.posteriors.forgetting import kept
from nba.randomness import Purpose, keyed_uniforms

_NEVER = np.array([np.nan])  # not a number of rounds: the key of the prior's noise


class EnsembleLinear(FactoredLinear, frozen=True, kw_only=True, eq=False, tag="ensemble_linear"):
    """The factored posterior with M members: mean and covariance are exact, `draw` returns the members.

    The noise of what is learnt next is fixed by the seed and the rounds watched so far. `evidence` has none,
    so it adds and merges as ever; how a log is cut into `absorb`s changes the members, not their
    distribution. `fold` gives each row its own noise and does not depend on cuts.
    """

    seed: int
    prior_noise: FloatArray  # (Q, M) what each member's shift started with beside the prior's
    noise: FloatArray  # (Q, M) what learning has added to it beside the shift

    def members(self) -> FloatArray:
        """(M, Q) parameters of each member."""
        from scipy.linalg import cho_solve

        shifts = self.shift[:, None] + self.prior_noise + self.noise
        solved: FloatArray = cho_solve((self._factor, True), shifts, overwrite_b=True, check_finite=False)
        return solved.T

    def draw(self, n_draws: int, rng: np.random.Generator, scale: float = 1.0) -> FactoredDraws:
        """The members, however many draws are asked for; `scale` multiplies their distance from the mean."""
        mean = self.parameters()
        return self._draws_of(mean + scale * (self.members() - mean))

    def absorb(self, evidence: FactoredEvidence) -> EnsembleLinear:
        """The posterior after some evidence, and members with noise of the evidence's covariance."""
        taught = super().absorb(evidence)
        assert isinstance(taught, EnsembleLinear)
        factor = _factor(evidence.gram)
        shape = factor.shape[1], self.noise.shape[1]
        drawn = _normals(self.seed, self.watched, shape[0] * shape[1]).reshape(shape)
        return structs.replace(taught, noise=self.noise + factor @ drawn)

    def fold(self, rounds: RoundBatch) -> EnsembleLinear:
        """The posterior after rounds, added one row at a time in order (see FactoredLinear.fold)."""
        taught, noise = super().fold(rounds), self.noise.copy()
        assert isinstance(taught, EnsembleLinear)
        before = np.cumsum(np.append(self.watched, rounds.exposure))[:-1]
        # A row without exposure has no noise, so that rows with equal rounds before them share none.
        drawn = _normals(self.seed, before, self.noise.shape[1])
        weights = np.sqrt(rounds.exposure * self.forecast[rounds.products])
        for row in np.flatnonzero(weights):
            action, part = int(rounds.actions[row]), slice(row, row + 1)
            where = self.layout.parameters_of(action, int(rounds.products[row]))
            shares = rounds.uplift_share[part], rounds.organic_share[part]
            design = self.layout.design(rounds.features[part], *shares, action > 0)
            noise[where] += np.outer(weights[row] * design[0], drawn[row])
        return structs.replace(taught, noise=noise)

    def decayed(self, elapsed_days: float) -> EnsembleLinear:
        """Forget towards the prior; what learnt noise keeps is the root of what information keeps."""
        taught = super().decayed(elapsed_days)
        assert isinstance(taught, EnsembleLinear)
        if self.half_life_days is None or elapsed_days == 0:
            return taught
        keep = np.asarray(kept(self.half_life_days, self.layout, elapsed_days))
        return structs.replace(taught, noise=np.sqrt(keep).reshape(-1, 1) * self.noise)


def _factor(gram: FloatArray) -> FloatArray:
    """(Q, Q) positive semidefinite to a factor (Q, n) of it, where n columns have been told something.

    1e-10 of its diagonal is added, as a few rows have no full rank. Choosing columns by pivots would do
    without, but then the last bit of a sum could turn the noise into quite another.
    """
    from scipy.linalg import cholesky

    told = np.flatnonzero(gram.diagonal() > 0)
    factor = np.zeros((gram.shape[0], told.size))
    if told.size:
        part = gram[np.ix_(told, told)]
        part[np.diag_indices_from(part)] *= 1.0 + 1e-10
        factor[told] = cholesky(part, lower=True, overwrite_a=True, check_finite=False)
    return factor


def _normals(seed: int, watched: FloatArray, n: int) -> FloatArray:
    """(R,) rounds so far to (R, n) standard normal numbers: a pure function of seed, rounds and place."""
    from scipy.special import ndtri

    keys: KeyArray = np.ascontiguousarray(watched).view(np.uint64)[:, None]
    low, high = keys & np.uint64(0xFFFFFFFF), keys >> np.uint64(32)
    uniforms = keyed_uniforms(seed, Purpose.MEMBER, np.arange(n)[None], low, high)
    normals: FloatArray = ndtri(np.maximum(uniforms, 2.0**-54))
    return normals


class EnsembleModel(FactoredModel, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="ensemble"):
    """The factored prior and `members` draws of it, which `seed` fixes."""

    members: int = 30
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        source = "model ensemble"
        require(self.members >= 1, source, "members", f"must be at least 1, got {self.members}")
        require(0 <= self.seed < 2**64, source, "seed", f"must lie in [0, 2^64), got {self.seed}")

    def prior(self, catalogue: Catalogue, schema: FeatureSchema) -> EnsembleLinear:
        """The posterior before any round."""
        exact = super().prior(catalogue, schema)
        shape = (exact.prior_precision.size, self.members)
        drawn = _normals(self.seed, _NEVER, shape[0] * shape[1]).reshape(shape)
        return EnsembleLinear(
            **{name: getattr(exact, name) for name in exact.__struct_fields__},
            seed=self.seed,
            prior_noise=np.sqrt(exact.prior_precision)[:, None] * drawn,
            noise=np.zeros(shape),
        )
