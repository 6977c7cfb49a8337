"""Logistic regression on grouped rows, with standard errors from the inverse information.

Iteratively reweighted least squares: McCullagh and Nelder (1989), Generalized Linear Models, 2.5.
Shape letters: G rows, K coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.special import expit

from nba.arrays import BoolArray, FloatArray, IntArray, check_shape
from nba.errors import InvalidConfig

MAX_STEPS = 50
TOLERANCE = 1e-7  # last change of a coefficient, in log-odds; the error left is about its square
SINGULAR = 1e-10  # least share of a column that the others must leave unexplained


class Design(NamedTuple):
    """A matrix whose columns have names."""

    names: tuple[str, ...]  # K
    values: FloatArray  # (G, K)

    def extended(self, names: Sequence[str], columns: FloatArray) -> Design:
        """The same rows with further columns (G,) or (G, k)."""
        return Design((*self.names, *names), np.column_stack([self.values, columns]))

    def rows(self, index: IntArray | BoolArray) -> Design:
        """The chosen rows, in the order of `index`."""
        return Design(self.names, self.values[index])


class LogitFit(NamedTuple):
    """Coefficients in log-odds and their covariance, the inverse of the (penalised) information."""

    names: tuple[str, ...]  # K
    coefficients: FloatArray  # (K,)
    covariance: FloatArray  # (K, K)

    @property
    def stderrs(self) -> FloatArray:
        """Standard errors (K,); they hold if rows are independent given the columns."""
        errors: FloatArray = np.sqrt(np.diag(self.covariance))
        return errors

    def of(self, name: str) -> tuple[float, float]:
        """Coefficient and standard error of one named column."""
        position = self.names.index(name)
        return float(self.coefficients[position]), float(self.stderrs[position])


def fit_logit(
    design: Design, successes: FloatArray, trials: FloatArray, *, ridge: float | FloatArray = 0.0
) -> LogitFit:
    """Maximise the binomial likelihood of `successes` (G,) out of `trials` (G,).

    `ridge` is the precision of a normal prior around zero, one number or one per column (K,); give
    the intercept 0 to leave it free. Raises InvalidConfig if the maximum does not exist.
    """
    n_rows, n_columns = design.values.shape
    check_shape(successes, (n_rows,), "successes")
    check_shape(trials, (n_rows,), "trials")
    penalty = np.broadcast_to(np.asarray(ridge, np.float64), (n_columns,))
    # Columns of levels are mostly zero: sparse products take a quarter of the time of dense ones.
    rows = sparse.csr_array(design.values)
    columns = rows.T.tocsr()
    beta = np.zeros(n_columns)
    for _ in range(MAX_STEPS):
        chances = expit(rows @ beta)
        weights = trials * chances * (1.0 - chances)
        information = (columns @ rows.multiply(weights[:, None])).toarray() + np.diag(penalty)
        score = columns @ (successes - trials * chances) - penalty * beta
        factor = _factor(information)
        step = cho_solve(factor, score)
        beta = beta + step
        if np.abs(step).max() < TOLERANCE:
            return LogitFit(design.names, beta, cho_solve(factor, np.eye(n_columns)))
    raise _no_maximum(f"no maximum after {MAX_STEPS} steps")


class Solution(NamedTuple):
    """A logit solved from a start near its maximum."""

    coefficients: FloatArray  # (K,)
    covariance: FloatArray  # (K, K)
    chances: FloatArray  # (G,) of each row


def solve(
    rows: sparse.csr_array, successes: FloatArray, trials: FloatArray, start: FloatArray, ridge: float = 0.0
) -> Solution:
    """The same maximum as `fit_logit`, for one sparse design that is solved many times with like data.

    Not checked: whether there is a maximum. Successes and trials need not be whole.
    """
    columns, beta, step = rows.T.tocsr(), start, np.array([np.inf])
    for _ in range(MAX_STEPS):
        chances = expit(rows @ beta)
        weights = trials * chances * (1.0 - chances)
        information = (columns @ rows.multiply(weights[:, None])).toarray() + ridge * np.eye(beta.size)
        if np.abs(step).max() < TOLERANCE:
            break
        step = np.linalg.solve(information, columns @ (successes - trials * chances) - ridge * beta)
        # Never more than a unit: far from the maximum the information is nearly nothing.
        beta = beta + step / max(1.0, float(np.abs(step).max()))
    return Solution(beta, np.linalg.inv(information), chances)


def _factor(information: FloatArray) -> tuple[FloatArray, bool]:
    try:
        factor: tuple[FloatArray, bool] = cho_factor(information, check_finite=False)
    except LinAlgError as error:
        raise _no_maximum("the information matrix is singular") from error
    # A squared pivot is what the earlier columns leave unexplained of a column; nan fails as well.
    unexplained = np.diag(factor[0]) ** 2 / np.diag(information)
    if not (unexplained > SINGULAR).all():
        raise _no_maximum("the information matrix is singular")
    return factor


def _no_maximum(found: str) -> InvalidConfig:
    rule = f"{found}: columns repeat each other or separate the outcomes; drop one, or pass a ridge"
    return InvalidConfig("fit_logit", "design", rule)
