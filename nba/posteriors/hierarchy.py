"""Priors that products and channels share with their family, learnt from a taught posterior (methods A8).

A member's block of parameters is normal around a mean that is linear in its descriptors, theta_p ~
N(B z_p, tau^2 I): z holds 1, the family, and how far risk class and log value lie from the usual. For
each column of the feature matrix B and tau come from what the data alone say of all members together: by
Bayes' rule, and because the prior is diagonal, their likelihood with other parameters integrated out has
precision W = Sigma^-1 - V0^-1 and shift Sigma^-1 mu - V0^-1 m0, with (mu, Sigma) the members' posterior
and (m0, V0) their prior. Only sums of a channel's, a timing's and a product's level are ever seen, so for
products the blocks of channels and timings are held at their mean, and for channels the other two: how a
level is shared out among them is a convention, not something to be uncertain of.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite, log
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from msgspec import Struct

from nba.arrays import FloatArray, IntArray
from nba.catalogue import Catalogue, Channel, Product
from nba.errors import InvalidConfig, require
from nba.posteriors.layout import Layout

if TYPE_CHECKING:
    from nba.posteriors.factored import FactoredLinear

_STEPS = 20  # of Fisher scoring; the spread settles within a few
_WORTH = 2.0  # members seen without noise that the prior spread counts for
_NEW_CHANNEL = 2.0  # times the variance of its family (methods A8)


class Block(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A normal belief about each of the K parameters of a block, in lifts."""

    mean: tuple[float, ...]
    sd: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name, numbers in (("mean", self.mean), ("sd", self.sd)):
            bad = [one for one in numbers if not isfinite(one) or (name == "sd" and one < 0)]
            require(not bad, "hierarchy", name, f"must be finite, a spread not below 0, got {bad}")


class Descriptor(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a block gains with a descriptor: `slope` times (descriptor - centre) / scale."""

    centre: float
    scale: float
    slope: Block


class Families(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where blocks start: at their family's mean, moved by descriptors; `otherwise` for another family."""

    members: tuple[str, ...]  # names of those that taught it
    families: dict[str, Block]
    otherwise: Block
    descriptors: dict[str, Descriptor] = {}

    def start(self, family: str, described: dict[str, float]) -> tuple[FloatArray, FloatArray]:
        """(K,) mean and (K,) variance of a member's block before any of its own data."""
        block = self.families.get(family, self.otherwise)
        mean, variance = np.array(block.mean), np.array(block.sd) ** 2
        for name, one in self.descriptors.items():
            far = (described[name] - one.centre) / one.scale
            mean += far * np.array(one.slope.mean)
            variance += (far * np.array(one.slope.sd)) ** 2
        return mean, variance


class Hierarchy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What products and channels have in common with their families.

    A product that was not among those that taught it starts from its family and from the business forecast,
    worth `pseudo_contacts` contacts (500 at a forecast of 1 % weigh as much as five conversions); a channel
    that was not, from its family with doubled variance.
    """

    products: Families
    organic: Families
    channels: Families
    contact_level: float  # of the average channel and timing, in lifts
    pseudo_contacts: float = 500.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        level = f"must be finite, got {self.contact_level}"
        require(isfinite(self.contact_level), "hierarchy", "contact_level", level)
        rule = f"must be finite and >= 0, got {self.pseudo_contacts}"
        require(0 <= self.pseudo_contacts < inf, "hierarchy", "pseudo_contacts", rule)

    def shaped(
        self, layout: Layout, catalogue: Catalogue, mean: FloatArray, sd: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """The flat prior's mean and spread (Q,) with the blocks of channels and products replaced."""
        wide = len(self.products.otherwise.mean)
        rule = f"speaks of {wide} columns, the schema has {layout.n_columns}; learn it again for this schema"
        require(wide == layout.n_columns, "model factored", "hierarchy", rule)
        mean, variance = mean.copy(), sd**2
        for number, channel in enumerate(catalogue.channels):
            rows, is_new = layout.block(number), channel.name not in self.channels.members
            mean[rows], found = self.channels.start(channel.family, {})
            variance[rows] = found * (_NEW_CHANNEL if is_new else 1.0)
        for number, product in enumerate(catalogue.products):
            rows = layout.block(layout.n_channels + layout.n_timings + number)
            mean[rows], variance[rows] = self.products.start(product.family, _described(product))
            organic = layout.organic_block(number)
            mean[organic], variance[organic] = self.organic.start(product.family, _described(product))
            if product.name not in self.products.members:
                level, told = rows[0], self.pseudo_contacts * product.forecast_rate
                precision = 1.0 / variance[level] + told
                usual = 1.0 - self.contact_level  # with it an average contact brings the forecast
                mean[level] = (mean[level] / variance[level] + told * usual) / precision
                variance[level] = 1.0 / precision
        return mean, np.sqrt(variance)


def learnt_hierarchy(
    posterior: FactoredLinear,
    flat: FactoredLinear,
    catalogue: Catalogue,
    *,
    tau_min: float = 0.05,
    pseudo_contacts: float = 500.0,
) -> Hierarchy:
    """The hierarchy that a taught posterior of a catalogue supports.

    `flat` is the prior without a hierarchy: where the data say little, B and tau stay at it. `tau_min`, in
    lifts, keeps products of a family from being taken for one and the same.
    """
    require(0 < tau_min < inf, "hierarchy", "tau_min", f"must be finite and above 0, got {tau_min}")
    layout, products, channels = posterior.layout, catalogue.products, catalogue.channels
    if layout != Layout.of(catalogue, layout.n_columns):
        raise InvalidConfig("hierarchy", "catalogue", "must be the one the posterior was taught with")
    k, first = layout.n_columns, layout.n_channels + layout.n_timings
    described = {name: [_described(one)[name] for one in products] for name in _described(products[0])}
    mean, told = posterior.parameters(), _told(posterior)
    numbers = np.arange(len(products))
    blocks, pairs = np.repeat(numbers, k), np.tile(numbers, first)  # pairs with a channel or a timing
    owner = np.concatenate([blocks, pairs, blocks])
    shared = layout.pair_start + layout.n_channels * layout.n_timings
    free = np.append(np.arange(first * k, layout.pair_start), np.arange(shared, layout.n_parameters))
    of_products = _Belief.given(posterior, flat, mean, free, np.maximum(told[0] / told[1], 1.0)[owner])
    free = np.append(np.arange(layout.n_channels * k), np.arange(layout.pair_start, layout.n_parameters))
    overall = max(float(told[0].sum() / told[1].sum()), 1.0)
    of_channels = _Belief.given(posterior, flat, mean, free, np.full(free.size, overall))
    levels = mean[: first * k : k]
    return Hierarchy(
        products=_families(of_products, first * k, products, described, tau_min),
        organic=_families(of_products, layout.organic_start, products, described, tau_min),
        channels=_families(of_channels, 0, channels, {}, tau_min),
        contact_level=float(levels[: layout.n_channels].mean() + levels[layout.n_channels :].mean()),
        pseudo_contacts=pseudo_contacts,
    )


class _Likelihood(NamedTuple):
    """What the data alone say of some parameters."""

    precision: FloatArray  # (N, N)
    shift: FloatArray  # (N,)


class _Belief(NamedTuple):
    """What is believed of some parameters, all others held at their mean."""

    flat: FactoredLinear
    places: IntArray  # (n,) rising, the parameters that are uncertain
    covariance: FloatArray  # (n, n)
    mean: FloatArray  # (n,)
    prior_precision: FloatArray  # (n,)
    prior_shift: FloatArray  # (n,)

    @staticmethod
    def given(
        posterior: FactoredLinear, flat: FactoredLinear, mean: FloatArray, places: IntArray, noise: FloatArray
    ) -> _Belief:
        """From the posterior mean (Q,); the evidence of parameter i counts 1 / noise_i.

        Rows are weighted as if conversions came at the forecast. Where they come more often, they vary more,
        and what is noise would be taken for differences between members.
        """
        prior, prior_shift = posterior.prior_precision[places], posterior.prior_shift[places]
        precision = posterior.precision[np.ix_(places, places)]
        shift = prior_shift + (precision @ mean[places] - prior_shift) / noise
        precision = (precision - np.diag(prior)) / np.sqrt(np.outer(noise, noise)) + np.diag(prior)
        covariance: FloatArray = np.linalg.inv(precision).astype(np.float64)
        return _Belief(flat, places, covariance, covariance @ shift, prior, prior_shift)

    def likelihood(self, rows: IntArray) -> _Likelihood:
        """What the data alone say of some parameters, the other uncertain ones integrated out."""
        where = np.searchsorted(self.places, rows)
        inverse: FloatArray = np.linalg.inv(self.covariance[np.ix_(where, where)]).astype(np.float64)
        precision = inverse - np.diag(self.prior_precision[where])
        return _Likelihood(precision, inverse @ self.mean[where] - self.prior_shift[where])


def _told(posterior: FactoredLinear) -> tuple[FloatArray, FloatArray]:
    """Conversions (P,) that contacts brought, and forecast (P,); a product never offered has 1 of each."""
    layout = posterior.layout
    first = (layout.n_channels + layout.n_timings) * layout.n_columns
    levels = np.arange(first, layout.pair_start, layout.n_columns)
    came = posterior.shift[levels] - posterior.prior_shift[levels]
    forecast = posterior.precision[levels, levels] - posterior.prior_precision[levels]
    offered = forecast > 0.0
    return np.where(offered, came, 1.0), np.where(offered, forecast, 1.0)


class _Common(NamedTuple):
    """What members have in common in one column: B, its covariance, and tau^2."""

    mean: FloatArray  # (D,)
    covariance: FloatArray  # (D, D)
    tau2: float


def _families(
    belief: _Belief,
    start: int,
    members: Sequence[Product | Channel],
    described: dict[str, list[float]],
    tau_min: float,
) -> Families:
    """Learn column by column; the design is [1, one column a family, one a descriptor]."""
    names = sorted({one.family for one in members})
    one_hot = np.array([[float(one.family == name) for name in names] for one in members])
    centres = {name: float(np.mean(values)) for name, values in described.items()}
    scales = {name: float(np.std(values)) or 1.0 for name, values in described.items()}
    far = [(np.array(values) - centres[name]) / scales[name] for name, values in described.items()]
    design = np.column_stack([np.ones(len(members)), one_hot, *far])
    # The flat variance, split evenly: the common mean, the family, each descriptor, and the member's own.
    n_columns = belief.flat.layout.n_columns
    block = slice(start, start + n_columns)
    shares = 1.0 / belief.flat.prior_precision[block] / (3 + len(far))
    means = belief.flat.prior_shift[block] / belief.flat.prior_precision[block]
    columns = []
    for k, (mean, share) in enumerate(zip(means.tolist(), shares.tolist(), strict=True)):
        centre = np.append(mean, np.zeros(design.shape[1] - 1))
        likelihood = belief.likelihood(start + k + n_columns * np.arange(len(members)))
        columns.append(_common(design, likelihood, centre, share, tau_min))
    places = np.eye(design.shape[1])
    blocks = {name: _block(columns, places[0] + places[1 + i]) for i, name in enumerate(names)}
    first = 1 + len(names)
    slopes = {name: _block(columns, places[first + i], False) for i, name in enumerate(described)}
    return Families(
        members=tuple(one.name for one in members),
        families=blocks,
        # A family nobody has seen lies as far from the common mean as families do a priori.
        otherwise=_block(columns, places[0], True, shares),
        descriptors={
            name: Descriptor(centre=centres[name], scale=scales[name], slope=slope)
            for name, slope in slopes.items()
        },
    )


def _common(
    design: FloatArray, likelihood: _Likelihood, centre: FloatArray, flat2: float, tau_min: float
) -> _Common:
    """B and tau^2 of one column; a priori each coefficient of B has variance `flat2`, and tau^2 is `flat2`.

    tau^2 is a moment: with C the prior covariance of theta under a tau and y what the data say of theta,
    z = (C + W^-1)^-1 (y - X centre) has covariance G = (C + W^-1)^-1, therefore
    E |z|^2 = tr G + (tau_true^2 - tau^2) tr G^2, with variance 2 tr G^2 at the truth (MIVQUE). What is
    expected a priori enters like the moment of two more members that are seen without noise.
    """
    precision, identity = likelihood.precision, np.eye(design.shape[0])
    around, residual = flat2 * design @ design.T, likelihood.shift - precision @ design @ centre
    tau2 = flat2
    for _ in range(_STEPS):
        spread = np.linalg.inv(identity + precision @ (around + tau2 * identity))
        gain, z = spread @ precision, spread @ residual
        told, weight = float(np.sum(gain * gain.T)), _WORTH / max(tau2, flat2) ** 2
        moment = tau2 * told + float(z @ z) - float(np.trace(gain))
        tau2 = max(tau_min**2, (moment + weight * flat2) / (told + weight))
    seen = np.linalg.inv(identity + tau2 * precision)
    information = design.T @ seen @ precision @ design + np.eye(design.shape[1]) / flat2
    covariance: FloatArray = np.linalg.inv(information).astype(np.float64)
    return _Common(centre + covariance @ (design.T @ seen @ residual), covariance, tau2)


def _block(
    columns: list[_Common], place: FloatArray, is_member: bool = True, extra: FloatArray | None = None
) -> Block:
    """The belief about place'B in every column; that about a member adds tau^2 (and what is `extra`)."""
    variance = np.array([place @ one.covariance @ place + is_member * one.tau2 for one in columns])
    variance += 0.0 if extra is None else extra
    return Block(mean=tuple(float(place @ one.mean) for one in columns), sd=tuple(np.sqrt(variance).tolist()))


def _described(product: Product) -> dict[str, float]:
    """The descriptors of a product beside its family."""
    return {"risk_class": float(product.risk_class), "log_value": log(max(product.value, 1.0))}
