"""Revenue given conversion: how an amount compares with the margin that the catalogue plans with.

With features x, product p and a planned margin v_p, amounts are log-normal (methods A2, B6),

    z = log(amount / v_p) = x . beta + g_p + noise,        noise ~ N(0, s^2),

and the parameters w = (beta, g) have a normal-inverse-gamma prior, so that with r = (x, one-hot p) all that
sales teach is the sums of r r', r z, z^2 and 1 (Murphy 2012, equations 7.69 to 7.73):

    Lambda = Lambda_0 + sum r r'     mean = Lambda^-1 (Lambda_0 mean_0 + sum r z)
    s^2 = (n_0 s_0^2 + mean_0' Lambda_0 mean_0 + sum z^2 - mean' Lambda mean) / (n_0 + n).

E[amount | conversion] = v_p exp(x . beta + g_p + s^2 / 2), with the plug-in s^2. Before any sale that is v_p.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import numpy as np
from msgspec import Struct, structs

from nba.arrays import AnyArray, FloatArray, IntArray, check_shape, rowwise, take_rows
from nba.catalogue import Catalogue
from nba.errors import require
from nba.features import FeatureSchema
from nba.posteriors.settings import check_prior


class SaleRows(NamedTuple):
    """Conversions whose amount is known."""

    features: FloatArray  # (n, K) at the decision
    products: IntArray  # (n,)
    amounts: FloatArray  # (n,) account currency, above 0

    @staticmethod
    def none(n_columns: int) -> SaleRows:
        """No rows."""
        return SaleRows(np.zeros((0, n_columns)), np.zeros(0, dtype=np.int64), np.zeros(0))

    @property
    def n_rows(self) -> int:
        """n, the number of rows."""
        return int(self.products.shape[0])


class RevenueModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prior of amounts in logarithms of multiples of the margin.

    `noise_sd` is the spread of amounts around their mean and weighs `pseudo_sales` of them; the others are
    spreads of the common level, of products around it, and of the slopes of standardised features. An amount
    beyond `winsor` times the margin, or below its inverse, is learnt as that (take the 99.5th percentile of
    your own); an expected amount stays within `least` and `most` times the margin.
    """

    noise_sd: float = 0.6
    pseudo_sales: float = 20.0
    level_sd: float = 0.3
    product_sd: float = 0.3
    slope_sd: float = 0.1
    winsor: float = 20.0
    least: float = 0.2
    most: float = 5.0
    half_life_days: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_prior(self, "revenue")
        rule = f"must be above 0, got {self.pseudo_sales}"
        require(self.pseudo_sales > 0, "revenue", "pseudo_sales", rule)
        require(1 < self.winsor < inf, "revenue", "winsor", f"must be finite and above 1, got {self.winsor}")
        require(0 < self.least <= 1, "revenue", "least", f"must be above 0 and at most 1, got {self.least}")
        require(1 <= self.most < inf, "revenue", "most", f"must be finite and at least 1, got {self.most}")

    def prior(self, catalogue: Catalogue, schema: FeatureSchema) -> RevenuePosterior:
        """The posterior before any sale; a product without margin has no amount to compare with."""
        for product, margin in zip(catalogue.products, catalogue.margins, strict=True):
            rule = f"must be above 0 where amounts are learnt, got {margin}"
            require(margin > 0, "revenue", f"products.{product.name}.value", rule)
        sds = np.full(schema.n_columns + len(catalogue.products), self.slope_sd)
        sds[0], sds[schema.n_columns :] = self.level_sd, self.product_sd
        precision = (self.noise_sd / sds) ** 2  # in units of the noise
        shift = np.zeros_like(precision)
        shift[0] = -precision[0] * self.noise_sd**2 / 2.0  # so that the expected amount is the margin
        squares = self.pseudo_sales * self.noise_sd**2 + shift[0] ** 2 / precision[0]
        start = RevenueEvidence(
            np.diag(precision), shift, np.array([squares]), np.array([float(self.pseudo_sales)])
        )
        return RevenuePosterior(model=self, margins=catalogue.margins, prior=start, state=start)


class RevenueEvidence(NamedTuple):
    """Additive sufficient statistics of sales; N = K + P parameters."""

    gram: FloatArray  # (N, N)
    moment: FloatArray  # (N,)
    squares: FloatArray  # (1,)
    sales: FloatArray  # (1,)

    def __add__(self, other: object) -> RevenueEvidence:
        """Evidence of both sets of sales."""
        assert isinstance(other, RevenueEvidence)
        return RevenueEvidence(*(one + two for one, two in zip(self, other, strict=True)))

    def times(self, share: float) -> RevenueEvidence:
        """A share of the evidence."""
        return RevenueEvidence(*(share * part for part in self))

    def solved(self) -> tuple[FloatArray, float]:
        """(N,) mean of the parameters and s^2, the prior's statistics included."""
        mean: AnyArray = np.linalg.solve(self.gram, self.moment)
        return mean, float((self.squares[0] - self.moment @ mean) / self.sales[0])


class FrozenRevenue(NamedTuple):
    """Amounts at the mean of the parameters, as a snapshot publishes them."""

    slopes: FloatArray  # (K, 1)
    levels: FloatArray  # (P,) s^2 / 2 included
    bounds: tuple[float, float]  # logarithms

    def ratios(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, P): expected amount given conversion, in multiples of the margin."""
        logs: FloatArray = rowwise(features, self.slopes) + self.levels
        return np.exp(np.clip(logs, *self.bounds))


class RevenuePosterior(Struct, frozen=True, kw_only=True, eq=False):
    """Beliefs about amounts; `state` holds the statistics of prior and sales together."""

    model: RevenueModel
    margins: FloatArray  # (P,)
    prior: RevenueEvidence
    state: RevenueEvidence

    def frozen(self) -> FrozenRevenue:
        """The mean of the parameters, laid out for prediction."""
        mean, variance = self.state.solved()
        n_columns = mean.size - self.margins.size
        bounds = float(np.log(self.model.least)), float(np.log(self.model.most))
        return FrozenRevenue(mean[:n_columns, None], mean[n_columns:] + variance / 2.0, bounds)

    def amounts(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, P): expected amount given conversion in account currency."""
        return self.margins * self.frozen().ratios(features)

    def evidence(self, rows: SaleRows) -> RevenueEvidence:
        """Sufficient statistics of sales, winsorised."""
        n_products = self.margins.size
        check_shape(rows.features, (None, self.state.moment.size - n_products), "features")
        edge = float(np.log(self.model.winsor))
        logs = np.clip(np.log(rows.amounts / self.margins[rows.products]), -edge, edge)
        design = np.concatenate([rows.features, np.eye(n_products)[rows.products]], axis=1)
        squares, sales = np.array([logs @ logs]), np.array([float(rows.n_rows)])
        return RevenueEvidence(design.T @ design, design.T @ logs, squares, sales)

    def absorb(self, evidence: RevenueEvidence) -> RevenuePosterior:
        """The posterior after some evidence."""
        return structs.replace(self, state=self.state + evidence)

    def fold(self, rows: SaleRows) -> RevenuePosterior:
        """The posterior after sales, row by row; the bits do not depend on cuts."""
        state = self.state
        for row in range(rows.n_rows):
            state = state + self.evidence(take_rows(rows, slice(row, row + 1)))
        return structs.replace(self, state=state)

    def decayed(self, elapsed_days: float) -> RevenuePosterior:
        """Forget towards the prior with the model's half-life (methods A7); no half-life, no change."""
        if self.model.half_life_days is None or elapsed_days == 0:
            return self
        keep = float(np.exp2(-elapsed_days / self.model.half_life_days))
        return structs.replace(self, state=self.state.times(keep) + self.prior.times(1 - keep))
