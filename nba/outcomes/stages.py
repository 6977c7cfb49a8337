"""What becomes of a contact that was made: delivered, seen, engaged, opted out, complained.

One generalised linear model per stage, with a block of parameters per channel over the feature columns (which
hold the fatigue counters). With features x, channel c, a prior rate r_c and a contact of exposure e,

    eta = link(r_c) + x . beta_c,    beta_c ~ N(0, diag(prior_precision_c)^-1),

and an event count y adds y eta to the log-likelihood, with no curvature, while the trial adds
-e log(1 + exp eta) (logit: delivered, seen, engaged) or -e exp eta (log: the opt-out and complaint hazards;
methods A2, B4). In a batch both may have rows of their own. `fold` linearises each row where the mean then
is, so it wants an event in the row of its trial: events ahead of their trials would carry the mean away. The
prior's mode is r_c and its weight so many contacts: a rare event that has not been seen yet does not become
impossible.
"""

from __future__ import annotations

from functools import partial
from math import inf
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from msgspec import Struct, structs

from nba.arrays import AnyArray, FloatArray, IntArray, check_shape, rowwise, take_rows
from nba.catalogue import Catalogue
from nba.errors import require
from nba.features import FeatureSchema
from nba.posteriors.glm_laplace import Curvature, find_mode
from nba.posteriors.glm_links import CAP, REFIT_CAP, Link, Log, Logit, Moments, Predictors

Stage: TypeAlias = Literal["delivered", "seen", "engaged", "opted_out", "complained"]
STAGES: tuple[Stage, ...] = ("delivered", "seen", "engaged", "opted_out", "complained")
HARMS: tuple[Stage, ...] = ("opted_out", "complained")


class ContactRows(NamedTuple):
    """What contacts that were made teach: events, trials, or both in one row."""

    features: FloatArray  # (n, K) at the decision
    channels: IntArray  # (n,)
    events: FloatArray  # (n, len(STAGES)) counts
    exposure: FloatArray  # (n,) trials: 1 when it is final what became of the contact, 0 before

    @staticmethod
    def none(n_columns: int) -> ContactRows:
        """No rows."""
        nobody, no_events = np.zeros(0), np.zeros((0, len(STAGES)))
        return ContactRows(np.zeros((0, n_columns)), nobody.astype(np.int64), no_events, nobody)

    @property
    def n_rows(self) -> int:
        """n, the number of rows."""
        return int(self.channels.shape[0])


class StageModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prior of one stage, and what one such event is worth.

    `rate` is the expected share of contacts, by channel in `rates`, and weighs `pseudo_contacts` of them.
    `money` is account currency for one event, by channel, and `otherwise` on channels that are not named: for
    an opt-out minus the value still to come through the channel, for a complaint minus its price, which is
    policy and is never learnt (methods B6). An arbitration's fatigue price that stands for opt-outs should go
    when this comes: both would charge for the same loss.
    """

    stage: Stage
    rate: float
    rates: dict[str, float] = {}
    pseudo_contacts: float = 1000.0
    slope_sd: float = 0.3
    half_life_days: float | None = None
    money: dict[str, float] = {}
    otherwise: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        source = f"stage {self.stage}"
        for name, rate in {"rate": self.rate, **{f"rates.{c}": r for c, r in self.rates.items()}}.items():
            require(0 < rate < 1, source, name, f"must be above 0 and below 1, got {rate}")
        for name in ("pseudo_contacts", "slope_sd"):
            value = getattr(self, name)
            require(0 < value < inf, source, name, f"must be finite and above 0, got {value}")
        days = self.half_life_days
        rule = f"must be finite and above 0, got {days}; leave it out to never forget"
        require(days is None or 0 < days < inf, source, "half_life_days", rule)
        prices = {"otherwise": self.otherwise, **{f"money.{c}": m for c, m in self.money.items()}}
        for name, amount in prices.items():
            require(-inf < amount < inf, source, name, f"must be finite, got {amount}")
            is_loss = self.stage not in HARMS or amount <= 0
            require(is_loss, source, name, f"must be 0 or below: it is a loss, got {amount}; turn its sign")

    def prior(self, catalogue: Catalogue, schema: FeatureSchema) -> StagePosterior:
        """The posterior before any contact; an unknown channel is an UnknownAction."""
        rates = _by_channel(catalogue, self.rates, self.rate)
        level = rates if self.stage in HARMS else rates * (1.0 - rates)
        precision = np.full((rates.size, schema.n_columns), self.slope_sd**-2)
        precision[:, 0] = self.pseudo_contacts * level  # curvature of as many contacts at the prior rate
        return StagePosterior(
            model=self,
            offset=link_of(self.stage).offset(rates),
            money=_by_channel(catalogue, self.money, self.otherwise),
            prior_precision=precision,
            precision=precision[:, :, None] * np.eye(schema.n_columns),
            shift=np.zeros_like(precision),
        )


class StageEvidence(NamedTuple):
    """Additive sufficient statistics of contacts."""

    gram: FloatArray  # (C, K, K)
    moment: FloatArray  # (C, K)

    def __add__(self, other: object) -> StageEvidence:
        """Evidence of both sets of contacts."""
        assert isinstance(other, StageEvidence)
        return StageEvidence(*(one + two for one, two in zip(self, other, strict=True)))


class FrozenStage(NamedTuple):
    """A stage at the mean of its parameters, as a snapshot publishes it."""

    stage: Stage
    theta: FloatArray  # (K, C)
    offset: FloatArray  # (C,)
    money: FloatArray  # (C,) account currency per event

    def probabilities(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, C): probability of the event if the customer is contacted on a channel."""
        predictor = rowwise(features, self.theta)
        np.maximum(predictor, -CAP, out=predictor)  # np.clip takes several times as long
        np.minimum(predictor, CAP, out=predictor)
        predictor += self.offset
        return np.minimum(link_of(self.stage).rate(predictor), 1.0)


class StagePosterior(Struct, frozen=True, kw_only=True, eq=False):
    """Beliefs about one stage on all channels in information form.

    `evidence` and `fold` linearise as the factored models do (methods A3): at the present mean, and at the
    mean before each row. `laplace` goes to the mode that all given rows lead to.
    """

    model: StageModel
    offset: FloatArray  # (C,) predictor of the prior rates
    money: FloatArray  # (C,) account currency per event
    prior_precision: FloatArray  # (C, K) its diagonals; the prior's shift is 0
    precision: FloatArray  # (C, K, K)
    shift: FloatArray  # (C, K)

    def frozen(self) -> FrozenStage:
        """The mean of the parameters, laid out for prediction."""
        solved: AnyArray = np.linalg.solve(self.precision, self.shift[:, :, None])
        return FrozenStage(self.model.stage, solved[:, :, 0].T.copy(), self.offset, self.money)

    def evidence(self, rows: ContactRows) -> StageEvidence:
        """Sufficient statistics of contacts, linearised at the present mean."""
        check_shape(rows.features, (None, self.shift.shape[1]), "features")
        gram, moment, theta = np.zeros_like(self.precision), np.zeros_like(self.shift), self.frozen().theta
        for channel in np.unique(rows.channels):
            found = self._derivatives(
                take_rows(rows, rows.channels == channel), channel, theta[:, channel], CAP
            )
            gram[channel] = found.curvature
            moment[channel] = found.gradient + found.curvature @ theta[:, channel]
        return StageEvidence(gram, moment)

    def absorb(self, evidence: StageEvidence) -> StagePosterior:
        """The posterior after some evidence: one Newton step over all its rows."""
        return self._moved(self.precision + evidence.gram, self.shift + evidence.moment)

    def fold(self, rows: ContactRows) -> StagePosterior:
        """The posterior after contacts, row by row; the bits do not depend on cuts."""
        precision, shift = self.precision.copy(), self.shift.copy()
        for row in range(rows.n_rows):
            one, channel = take_rows(rows, slice(row, row + 1)), int(rows.channels[row])
            # An event without a trial has no curvature: it is the same wherever linearised.
            at = np.zeros_like(shift[channel])
            if one.exposure[0] > 0:
                at = np.linalg.solve(precision[channel], shift[channel])
            found = self._derivatives(one, channel, at, CAP)
            precision[channel] += found.curvature
            shift[channel] += found.gradient + found.curvature @ at
        return self._moved(precision, shift)

    def laplace(self, rows: ContactRows) -> StagePosterior:
        """The posterior after contacts, linearised at the mode they lead to. Raises NotConverged.

        Unlike the single step of `absorb` it bears rates that are many times those expected.
        """
        precision, shift = self.precision.copy(), self.shift.copy()
        for channel in np.unique(rows.channels):
            own = take_rows(rows, rows.channels == channel)
            total = partial(self._derivatives, own, channel, cap=REFIT_CAP)
            at, found = find_mode(precision[channel], shift[channel], total)
            precision[channel] += found.curvature
            shift[channel] = precision[channel] @ at
        return self._moved(precision, shift)

    def decayed(self, elapsed_days: float) -> StagePosterior:
        """Forget towards the prior with the model's half-life (methods A7); no half-life, no change."""
        if self.model.half_life_days is None or elapsed_days == 0:
            return self
        keep = float(np.exp2(-elapsed_days / self.model.half_life_days))
        prior = self.prior_precision[:, :, None] * np.eye(self.shift.shape[1])
        return self._moved(keep * self.precision + (1 - keep) * prior, keep * self.shift)

    def _derivatives(self, rows: ContactRows, channel: int, at: FloatArray, cap: float) -> Curvature:
        """Gradient and curvature of the log-likelihood of one channel's rows at parameters (K,)."""
        moments = self._moments(rows.features @ at, channel, cap)
        residual = rows.events[:, STAGES.index(self.model.stage)] - rows.exposure * moments.mean
        # Both links are canonical: the slope of the mean is the variance.
        scaled = rows.features * np.sqrt(rows.exposure * moments.variance)[:, None]
        watched = np.array([rows.exposure.sum()])
        return Curvature(rows.features.T @ residual, scaled.T @ scaled, watched)

    def _moments(self, predictor: FloatArray, channel: int, cap: float) -> Moments:
        none, whole = np.zeros_like(predictor), np.ones_like(predictor)
        offset = np.full_like(predictor, self.offset[channel])
        rows = Predictors(offset, predictor, none, none, whole, whole, cap)
        return link_of(self.model.stage).moments(rows)

    def _moved(self, precision: FloatArray, shift: FloatArray) -> StagePosterior:
        return structs.replace(self, precision=precision, shift=shift)


def link_of(stage: Stage) -> Link:
    """Hazards of harms, which are rare, have a log link; the others are probabilities."""
    return Log() if stage in HARMS else Logit()


def _by_channel(catalogue: Catalogue, named: dict[str, float], otherwise: float) -> FloatArray:
    """(C,) numbers of channels; an unknown channel is an UnknownAction."""
    for name in named:
        catalogue.level("channel", name)
    return np.array([named.get(channel.name, otherwise) for channel in catalogue.channels])
