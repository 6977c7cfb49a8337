"""Bootstrapped ensembles of any regressor: trees learn what a linear model cannot say.

Online bagging (Oza, Russell 2001; Eckles, Kaptein 2014): every member sees every row Poisson(1) times.
Members regress lifts, as the linear models do. With f the forecast rate of the product, e the exposure,
u and o the shares of uplift and of organic conversions, a row is expected to bring e f (u lift + o organic),
with a variance in proportion to e f. A tree cannot learn both parts of that sum at once: a member first
learns `organic` from the rows of no-contact, (x, product) to organic lift, and then `uplift` from those of
contacts, (x, channel, timing, product) to the lift that the organic part does not explain:

    weight = e f u^2        target = u (reward - e f o organic) / weight
"""

from __future__ import annotations

from functools import cached_property
from math import isfinite
from typing import Any, ClassVar, NamedTuple

import numpy as np
from msgspec import Struct, field

from nba.arrays import Float32Array, FloatArray, IntArray, check_shape, join_rows, take_rows
from nba.catalogue import Catalogue
from nba.errors import require
from nba.features import FeatureSchema
from nba.feedback import RoundBatch
from nba.posteriors.members import Member, Members, joint, varied
from nba.posteriors.regressor import HISTOGRAM, fit, new_regressor
from nba.posteriors.rows import (
    N_NOTES,
    RowPosterior,
    bootstrap,
    canonical,
    check_rows,
    kept_of,
    no_rows,
    rounds_of,
)
from nba.randomness import draw_generator

_SOURCE = "model bagged"
_LEAST_EXPOSURE = 0.02  # a conversion told before its exposure has no rate: it counts as so much watching
_PSEUDO_ROWS = 256


class BaggedDraws(NamedTuple):
    """The members of an ensemble as draws, their distance from the mean stretched; or the mean alone."""

    members: Members
    scale: float | None  # None: a single draw, the mean


class _Sample(NamedTuple):
    """Rows to fit a regressor to."""

    inputs: FloatArray  # (n, D)
    targets: FloatArray  # (n,) lifts
    weights: FloatArray  # (n,) expected conversions


class BaggedModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="bagged"):
    """An ensemble of `n_members` of one `regressor`: a class with fit(X, y, sample_weight) and predict.

    Before any row, each member believes in its own draw of lifts per channel, timing and product; these
    beliefs stay in the fit as pseudo rows worth 1 / sd^2 expected conversions per level, as in the linear
    models. `greedify`: the first member believes in the means and sees every row once (Vowpal Wabbit).
    See RowPosterior for `most_rows` and `refit_after`.
    """

    regressor: str = HISTOGRAM
    settings: dict[str, bool | int | float | str | None] = field(default_factory=dict)
    n_members: int = 10
    greedify: bool = True
    lift_mean: float = 0.5
    lift_sd: float = 0.5
    organic_mean: float = 0.2
    organic_sd: float = 0.2
    most_rows: int | None = None
    refit_after: float = 0.0
    half_life_days: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers; whether there is such a regressor is asked when the prior is made."""
        require(self.n_members >= 1, _SOURCE, "n_members", f"must be at least 1, got {self.n_members}")
        require(self.seed >= 0, _SOURCE, "seed", f"must be at least 0, got {self.seed}")
        for name in ("lift_mean", "organic_mean"):
            value = getattr(self, name)
            require(isfinite(value), _SOURCE, name, f"must be finite, got {value}")
        for name in ("lift_sd", "organic_sd"):
            value = getattr(self, name)
            require(isfinite(value) and value > 0, _SOURCE, name, f"must be finite and above 0, got {value}")
        check_rows(_SOURCE, self.most_rows, ("refit_after", self.refit_after), self.half_life_days)

    def __hash__(self) -> int:
        """By all fields, as of any frozen configuration; a dictionary has no hash of its own."""
        return hash((repr(sorted(self.settings.items())), self.regressor, self.n_members, self.seed))

    def prior(self, catalogue: Catalogue, schema: FeatureSchema) -> BaggedRegressors:
        """The posterior before any round."""
        new_regressor(self.regressor, self.settings, _SOURCE, self.seed)
        factors = (catalogue.channel_of, catalogue.timing_of, catalogue.product_of)
        codes = [np.eye(n)[of[1:]] for n, of in zip(catalogue.shape, factors, strict=True)]
        return BaggedRegressors(
            model=self,
            factors=np.concatenate(codes, axis=1),
            varied=varied(catalogue.shape),
            product_of=catalogue.product_of[1:],
            forecast=catalogue.forecast_rates,
            rows=no_rows(schema.n_columns),
            watched=np.zeros(1),
            most_rows=self.most_rows,
            refit_after=self.refit_after,
            half_life_days=self.half_life_days,
        )


class BaggedRegressors(RowPosterior, frozen=True, kw_only=True, eq=False, tag="bagged_regressors"):
    """Rows, and the ensemble that follows from them: fitted when it is first asked for."""

    model: BaggedModel
    factors: FloatArray  # (A - 1, F) one-hot channel, timing and product of each contact action
    varied: FloatArray  # (F,) weight of each level in a prior draw: 0 where a factor has no choice
    product_of: IntArray  # (A - 1,)
    forecast: FloatArray  # (P,)

    LASTING: ClassVar[tuple[str, ...]] = ("ensemble",)

    @cached_property
    def ensemble(self) -> Members:
        """All members, fitted one after the other."""
        return self.ensemble_of(tuple(self.member(number) for number in range(self.model.n_members)))

    def ensemble_of(self, members: tuple[Member, ...]) -> Members:
        """Members fitted elsewhere, in their order."""
        return Members(members, self.factors, self.forecast[self.product_of])

    def mean(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, A): mean prediction of the members, 0 for no-contact."""
        self._check(features)
        mean: FloatArray = self.ensemble.predictions(features).mean(axis=0)
        return mean

    def stddev(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, A): standard deviation of the members' predictions."""
        return self.covariance().stddev(features)

    @property
    def learns_silence(self) -> bool:
        """Rows of no-contact teach the organic part."""
        return True

    def organic(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, P): mean over the members of what they expect without contact."""
        self._check(features)
        lifts = [member.organic_table(features) for member in self.ensemble.members]
        organic: FloatArray = np.mean(lifts, axis=0) * self.forecast
        return organic

    def covariance(self) -> BaggedSpread:
        """The members' disagreement."""
        return BaggedSpread(self)

    def draw(self, n_draws: int, rng: np.random.Generator, scale: float = 1.0) -> BaggedDraws:
        """All members, whatever number is asked for: they are the only draws there are."""
        return BaggedDraws(self.ensemble, scale)

    def mean_draw(self) -> BaggedDraws:
        """The mean of the members as a single draw."""
        return BaggedDraws(self.ensemble, None)

    def scores(self, draws: BaggedDraws, features: FloatArray) -> Float32Array:
        """(M, B, A) expected reward of each action under each member, or under the mean (M = 1)."""
        self._check(features)
        predictions = draws.members.predictions(features)
        if draws.scale != 1.0:
            centre = predictions.mean(axis=0, keepdims=True)
            predictions = centre if draws.scale is None else centre + draws.scale * (predictions - centre)
        scores: Float32Array = predictions.astype(np.float32)
        return scores

    def member(self, number: int) -> Member:
        """One member: a pure function of the rows and the model's seed."""
        rng = draw_generator(self.model.seed, number)
        member, rows = self._believing(number, rng), self.learnt
        rounds, times = rounds_of(rows), kept_of(rows)
        if not self._is_plain(number):
            times = times * bootstrap(rows, self.model.seed, number)
        silent, contacted = (times > 0) & (rounds.actions == 0), (times > 0) & (rounds.actions > 0)
        if silent.any():
            some = take_rows(rounds, silent)
            member = member._replace(organic=self._organic(member, some, times[silent], rng))
        if contacted.any():
            some = take_rows(rounds, contacted)
            member = member._replace(uplift=self._uplift(member, some, times[contacted], rng))
        return member

    @cached_property
    def losses(self) -> FloatArray:
        """(N + 1,) squared loss on all rows of each member and of their mean.

        In lifts, weighted by how many conversions the forecast expects of a row.
        """
        rows = canonical(self.rows)
        rounds, contacts = rounds_of(rows), rounds_of(rows).actions > 0
        some, codes = take_rows(rounds, contacts), self.factors[rounds.actions[contacts] - 1]
        worth = np.maximum(rounds.exposure, _LEAST_EXPOSURE) * self.forecast[rounds.products]
        expected = np.zeros((self.model.n_members + 1, rows.shape[0]))
        for mine, member in zip(expected, self.ensemble.members, strict=False):
            mine[:] = rounds.organic_share * member.organics(rounds.features, rounds.products)
            mine[contacts] += some.uplift_share * member.uplifts(some.features, codes, some.actions)
        expected[-1] = expected[:-1].mean(axis=0)
        losses: FloatArray = (rounds.rewards / worth - expected) ** 2 @ (kept_of(rows) * worth)
        return losses

    def _is_plain(self, number: int) -> bool:
        return number == 0 and self.model.greedify

    def _believing(self, number: int, rng: np.random.Generator) -> Member:
        """A member before any row: its draw of the prior."""
        model, sd = self.model, 0.0 if self._is_plain(number) else 1.0
        levels, organic = rng.standard_normal(self.varied.size), rng.standard_normal(self.forecast.size)
        return Member(
            lifts=model.lift_mean + sd * model.lift_sd * (self.factors @ (self.varied * levels)),
            organic_lifts=model.organic_mean + sd * model.organic_sd * organic,
        )

    def _organic(
        self, member: Member, rounds: RoundBatch, times: FloatArray, rng: np.random.Generator
    ) -> Any:
        """A regressor of organic lifts, fitted to rows of no-contact."""
        codes, share = np.eye(self.forecast.size), rounds.organic_share
        forecast = self.forecast[rounds.products]
        inputs = joint(rounds.features, codes[rounds.products])
        seen = _sample(inputs, share * rounds.rewards, rounds.exposure * share**2, forecast, times)
        worth = self.forecast.size / self.model.organic_sd**2
        return self._fitted(seen, _pseudo(rounds.features, codes, member.organic_lifts, worth, rng), rng)

    def _uplift(self, member: Member, rounds: RoundBatch, times: FloatArray, rng: np.random.Generator) -> Any:
        """A regressor of uplifts, fitted to what the member's organic part leaves of contact rows."""
        forecast, share = self.forecast[rounds.products], rounds.uplift_share
        organic = rounds.organic_share * member.organics(rounds.features, rounds.products)
        left = rounds.rewards - rounds.exposure * forecast * organic
        inputs = joint(rounds.features, self.factors[rounds.actions - 1])
        seen = _sample(inputs, share * left, rounds.exposure * share**2, forecast, times)
        worth = np.count_nonzero(self.varied) / self.model.lift_sd**2
        return self._fitted(seen, _pseudo(rounds.features, self.factors, member.lifts, worth, rng), rng)

    def _fitted(self, seen: _Sample, believed: _Sample, rng: np.random.Generator) -> Any:
        seed = int(rng.integers(2**31))
        new = new_regressor(self.model.regressor, self.model.settings, _SOURCE, seed)
        return fit(new, *join_rows([seen, believed]), _SOURCE)

    def _check(self, features: FloatArray) -> None:
        check_shape(features, (None, self.rows.shape[1] - N_NOTES), "features")


class BaggedSpread(NamedTuple):
    """How far the members of an ensemble disagree."""

    posterior: BaggedRegressors

    def stddev(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, A): standard deviation of the members' predictions."""
        sd: FloatArray = self.posterior.ensemble.predictions(features).std(axis=0)
        return sd

    def reach(self, features: FloatArray, mean: FloatArray, width: float) -> FloatArray:
        """(B, K), means (B, A) to (B, A): mean + width standard deviations (see Spread)."""
        return mean + width * self.stddev(features)

    def bounds(self, features: FloatArray, mean: FloatArray, slack: float) -> FloatArray:
        """(2, B, A) lowest and highest of the mean and of the members that fit about as well as the best.

        One does if its loss on all rows is within `slack` times the best one's mean squared error of the
        best one's: RegCB's version space (Foster et al. 2018), of which an ensemble knows some points. As
        members differ in all parameters at once, a slack that lets some in is of the order of their number.
        """
        losses, n_rows = self.posterior.losses, self.posterior.rows.shape[0]
        near = losses <= losses.min() * (1.0 + slack / max(n_rows, 1))
        fitting = self.posterior.ensemble.predictions(features)[near[:-1]]
        space = np.concatenate([mean[None], fitting])
        return np.stack([space.min(axis=0), space.max(axis=0)])


def _sample(
    inputs: FloatArray, moment: FloatArray, exposure: FloatArray, forecast: FloatArray, times: FloatArray
) -> _Sample:
    """Rows with the moments sum(weight x target) and weights that exposure and forecast give."""
    weights = np.maximum(exposure, _LEAST_EXPOSURE) * forecast
    return _Sample(inputs, moment / weights, weights * times)


def _pseudo(
    features: FloatArray, codes: FloatArray, lifts: FloatArray, worth: float, rng: np.random.Generator
) -> _Sample:
    """What a member believed before, as rows at contexts that were seen; together they weigh `worth`."""
    which = np.arange(max(_PSEUDO_ROWS, lifts.size)) % lifts.size
    seen = features[rng.integers(features.shape[0], size=which.size)]
    return _Sample(joint(seen, codes[which]), lifts[which], np.full(which.size, worth / which.size))
