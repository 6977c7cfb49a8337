"""Learning around a posterior: warm start, another catalogue or prior, and how well tomorrow is foreseen.

All of it rests on one property: evidence adds. A historical log enters with a weight, another prior is
exchanged under the evidence, and settings are judged by what they say of rows before they learn them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
from msgspec import structs

from nba.arrays import FloatArray, IntArray, take_rows
from nba.catalogue import Catalogue
from nba.errors import InvalidConfig, require
from nba.features import FeatureSchema
from nba.feedback import RoundBatch
from nba.posteriors import FactoredLinear, FactoredModel, PosteriorLike
from nba.posteriors.glm import FactoredGlm
from nba.posteriors.hierarchy import learnt_hierarchy
from nba.posteriors.layout import Layout

Learner = TypeVar("Learner", bound=PosteriorLike)
Loss: TypeAlias = Literal["poisson", "bernoulli"]

_CHUNK = 1024  # rows scored at a time: (rows, A) is never held for a whole log


def warm_start(posterior: Learner, evidence: Any, strength: float) -> Learner:
    """The posterior after the evidence of a historical log, each of its rounds worth `strength` in (0, 1].

    With nothing else learnt it is N(theta_log, (strength x A_log)^-1) on top of the prior. Below 1 it guards
    against a world that has moved since, and against choices that the log does not explain.
    """
    rule = f"must lie in (0, 1], got {strength}; without the log, start from the prior as it is"
    require(0.0 < strength <= 1.0, "warm start", "strength", rule)
    return posterior.absorb(evidence._make(strength * part for part in evidence))


def learnt_batch(posterior: Learner, rounds: RoundBatch) -> Learner:
    """The posterior after a batch of rounds, as a nightly job learns it.

    Generalised linear models go to the mode that belief and batch lead to (Laplace): the one Newton step of
    their `absorb` overshoots where a batch, such as the first, moves the mean far. Raises NotConverged.
    """
    if isinstance(posterior, FactoredGlm):
        return posterior.laplace(partial(posterior.gradient_and_curvature, rounds))
    return posterior.absorb(posterior.evidence(rounds))


# --- Another prior, another catalogue --------------------------------------------------------------


def empirical_bayes(
    model: FactoredModel,
    posterior: FactoredLinear,
    catalogue: Catalogue,
    schema: FeatureSchema,
    *,
    tau_min: float = 0.05,
    pseudo_contacts: float = 500.0,
) -> tuple[FactoredModel, FactoredLinear]:
    """The weekly step of methods A8: the model with the hierarchy that its posterior supports, and the
    posterior with that prior under the same evidence.
    """
    flat = structs.replace(model, hierarchy=None).prior(catalogue, schema)
    hierarchy = learnt_hierarchy(posterior, flat, catalogue, tau_min=tau_min, pseudo_contacts=pseudo_contacts)
    shared = structs.replace(model, hierarchy=hierarchy)
    return shared, carried_over(posterior, shared.prior(catalogue, schema), catalogue, catalogue)


def carried_over(
    posterior: FactoredLinear, prior: FactoredLinear, old: Catalogue, new: Catalogue
) -> FactoredLinear:
    """What `posterior` has learnt with the catalogue `old`, on a prior of the catalogue `new`.

    Channels, timings and products are matched by name. A newcomer starts from `prior`; what leaves is
    integrated out, so that belief about the others does not change. Where the prior is the old one and
    nothing leaves, the statistics of the others are the same to the last bit. Raises InvalidConfig if a
    product that stays has another forecast rate (lifts are relative to it) or the features differ.
    """
    same_columns = posterior.layout.n_columns == prior.layout.n_columns
    require(same_columns, "catalogue", "schema", "must have the same columns; learn again from the log")
    _check_forecasts(old, new)
    there, here = _shared_parameters(posterior, prior, old, new)
    precision, shift = _without(posterior, there)
    carried, moved = np.diag(prior.prior_precision), prior.prior_shift.copy()
    carried[np.ix_(here, here)] = precision
    moved[here] = shift + (prior.prior_shift[here] - posterior.prior_shift[there])
    carried[here, here] += prior.prior_precision[here] - posterior.prior_precision[there]
    return structs.replace(prior, precision=carried, shift=moved, watched=posterior.watched)


def _check_forecasts(old: Catalogue, new: Catalogue) -> None:
    rates = {product.name: product.forecast_rate for product in old.products}
    for index, product in enumerate(new.products):
        before = rates.get(product.name, product.forecast_rate)
        if before != product.forecast_rate:
            rule = f"is {product.forecast_rate}, was {before} when lifts were learnt; give it a new name"
            raise InvalidConfig("catalogue", f"products[{index}].forecast_rate", rule)


def _shared_parameters(
    posterior: FactoredLinear, prior: FactoredLinear, old: Catalogue, new: Catalogue
) -> tuple[IntArray, IntArray]:
    """Places (n,) of the parameters that both have: in the old vector, and in the new one."""
    levels = []
    for factor in ("channels", "timings", "products"):
        before = {row.name: number for number, row in enumerate(getattr(old, factor))}
        now = [row.name for row in getattr(new, factor)]
        levels.append([(before[name], number) for number, name in enumerate(now) if name in before])
    kept = [np.array(pairs, dtype=np.int64).reshape(-1, 2).T for pairs in levels]
    there = _parameters_at(posterior.layout, *(places[0] for places in kept))
    return there, _parameters_at(prior.layout, *(places[1] for places in kept))


def _parameters_at(layout: Layout, channels: IntArray, timings: IntArray, products: IntArray) -> IntArray:
    """(n,) parameters of some levels: main blocks, pair tables among them, organic blocks."""
    c, t, p = layout.n_channels, layout.n_timings, layout.n_products
    factors = np.concatenate([channels, c + timings, c + t + products])
    pairs = [
        np.add.outer(channels * t, timings),
        c * t + np.add.outer(channels * p, products),
        c * (t + p) + np.add.outer(timings * p, products),
    ]
    columns = np.arange(layout.n_columns)
    return np.concatenate(
        [
            np.add.outer(factors * layout.n_columns, columns).ravel(),
            *(layout.pair_start + table.ravel() for table in pairs),
            layout.organic_start + np.add.outer(products * layout.n_columns, columns).ravel(),
        ]
    )


def _without(posterior: FactoredLinear, stay: IntArray) -> tuple[FloatArray, FloatArray]:
    """Precision and shift of the parameters that stay, the others integrated out (Schur complement)."""
    from scipy.linalg import cho_factor, cho_solve

    gone = np.setdiff1d(np.arange(posterior.layout.n_parameters), stay)
    precision, shift = posterior.precision[np.ix_(stay, stay)], posterior.shift[stay]
    if gone.size == 0:
        return precision, shift
    cross = posterior.precision[np.ix_(gone, stay)]
    factor = cho_factor(posterior.precision[np.ix_(gone, gone)], lower=True, check_finite=False)
    told = cross.T @ cho_solve(factor, cross, check_finite=False)
    shift = shift - cross.T @ cho_solve(factor, posterior.shift[gone], check_finite=False)
    return precision - (told + told.T) / 2.0, shift


# --- How well tomorrow is foreseen -----------------------------------------------------------------


class Foresight(NamedTuple):
    """Prequential losses of one setting: each day is scored before it is learnt."""

    losses: FloatArray  # (days,) sums over the rows of a day, in nats
    exposure: FloatArray  # (days,) rounds scored, in whole attribution windows

    @property
    def mean(self) -> float:
        """Loss per round."""
        return float(self.losses.sum() / self.exposure.sum())


class Judged(NamedTuple):
    """Settings compared on the same days."""

    best: int  # the setting of the smallest loss, the first among equals
    means: FloatArray  # (S,) loss per round
    excess: FloatArray  # (S,) loss per round above the best one's
    errors: FloatArray  # (S,) standard error of `excess` over days


def judged(found: Sequence[Foresight]) -> Judged:
    """The setting that foresees best; errors are of differences day by day, which are paired."""
    losses, rounds = np.stack([one.losses for one in found]), found[0].exposure
    best, n_days = int(losses.sum(axis=1).argmin()), rounds.size
    above = losses - losses[best]
    excess = above.sum(axis=1) / rounds.sum()
    # Standard error of a ratio: the spread of what a day's difference misses of its share.
    misses = above - excess[:, None] * rounds
    errors = np.sqrt(n_days * (misses**2).sum(axis=1) / max(n_days - 1, 1)) / rounds.sum()
    return Judged(best, losses.sum(axis=1) / rounds.sum(), excess, errors)


def prequential(
    posterior: PosteriorLike,
    days: Sequence[RoundBatch],
    loss: Loss = "poisson",
    *,
    step_days: float = 1.0,
    least_rate: float = 1e-4,
    on_days: Callable[[int], None] | None = None,
) -> Foresight:
    """Score every batch with what was known before it, then forget for `step_days` and learn it.

    `poisson` is exposure x rate - reward x log rate, which adds over any cut of an attribution window;
    `bernoulli`, the log-loss of a chance, is for tables, whose rows are watched once and wholly. A linear
    rate below `least_rate` counts as that. Rows of no-contact count where the posterior learns from them.
    `on_days` hears of every batch that is done.
    """
    losses, exposure = np.zeros(len(days)), np.zeros(len(days))
    for number, rounds in enumerate(days):
        known = _known(posterior, rounds)
        losses[number] = row_losses(expected_rates(posterior, known), known, loss, least_rate).sum()
        exposure[number] = known.exposure.sum()
        posterior = learnt_batch(posterior.decayed(step_days), rounds)
        if on_days is not None:
            on_days(1)
    return Foresight(losses, exposure)


def best_strength(
    posterior: PosteriorLike,
    evidence: Any,
    newest: Sequence[RoundBatch],
    strengths: Sequence[float] = (0.01, 0.03, 0.1, 0.3, 1.0),
    loss: Loss = "poisson",
) -> Judged:
    """Which strength of a log's evidence foresees the newest rounds best, learning them day by day."""
    require(len(strengths) > 0, "warm start", "strengths", "must name at least one strength in (0, 1]")
    return judged([prequential(warm_start(posterior, evidence, one), newest, loss) for one in strengths])


def expected_rates(posterior: PosteriorLike, rounds: RoundBatch) -> FloatArray:
    """(n,) expected reward per unit of exposure, of what was done (see RoundBatch).

    Where scores are uplifts it is uplift_share x score + organic_share x organic rate, else the score.
    """
    draw, rates = posterior.mean_draw(), np.zeros(rounds.n_rows)
    for start in range(0, rounds.n_rows, _CHUNK):
        own = take_rows(rounds, slice(start, start + _CHUNK))
        scores, organic = posterior.scores(draw, own.features)[0], posterior.organic(own.features)
        found = np.take_along_axis(scores, own.actions[:, None], axis=1)[:, 0].astype(np.float64)
        if organic is not None:
            usual = np.take_along_axis(organic, own.products[:, None], axis=1)[:, 0]
            found = own.uplift_share * found + own.organic_share * usual
        rates[start : start + _CHUNK] = found
    return rates


def row_losses(rates: FloatArray, rounds: RoundBatch, loss: Loss, least_rate: float) -> FloatArray:
    """(n,) losses of rows in nats; raises InvalidConfig where `bernoulli` does not fit the rows."""
    require(0.0 < least_rate < 0.5, "prequential", "least_rate", f"must lie in (0, 0.5), got {least_rate}")
    if loss == "poisson":
        rates = np.maximum(rates, least_rate)
        return rounds.exposure * rates - rounds.rewards * np.log(rates)
    fits = ((rounds.rewards >= 0) & (rounds.rewards <= 1) & (rounds.exposure == 1)).all()
    rule = "bernoulli needs rewards in [0, 1] and exposure 1; use poisson for conversions that come late"
    require(bool(fits), "prequential", "loss", rule)
    chances = np.clip(rates, least_rate, 1.0 - least_rate)
    return -(rounds.rewards * np.log(chances) + (1.0 - rounds.rewards) * np.log1p(-chances))


def _known(posterior: PosteriorLike, rounds: RoundBatch) -> RoundBatch:
    """The rows that a posterior learns from: without contact none, if scores are gross."""
    return rounds if posterior.learns_silence else take_rows(rounds, rounds.actions > 0)
