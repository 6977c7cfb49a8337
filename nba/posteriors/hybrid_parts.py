"""The hybrid model with its own blocks eliminated: what is left of the shared part, and how both join.

Given the shared parameters beta, the own block of action a is normal with mean A_a^-1 (b_a - T_a s_a) and
covariance A_a^-1, where s_a (2K + 1) is what the action sees of beta and T_a (K, 2K + 1) its cross products.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.arrays import AnyArray, FloatArray, IntArray
from nba.posteriors.layout import Layout


class Eliminated(NamedTuple):
    """Marginal posterior of the shared parameters and conditional ones of the own blocks."""

    layout: Layout
    factor: FloatArray  # (Q, Q) Cholesky factor of the marginal precision of beta
    shift: FloatArray  # (Q,)
    own_factor: FloatArray  # (A - 1, K, K) Cholesky factors of A_a
    own_mean: FloatArray  # (A - 1, K) A_a^-1 b_a
    leaning: FloatArray  # (A - 1, K, 2K + 1) A_a^-1 T_a

    @staticmethod
    def of(
        layout: Layout,
        own_precision: FloatArray,
        precision: FloatArray,
        shift: FloatArray,
        cross: FloatArray,
        own_moment: FloatArray,
    ) -> Eliminated:
        """From the statistics of HybridLinear."""
        from scipy.linalg import cholesky

        own_factor: AnyArray = np.linalg.cholesky(cross[:, :, : layout.n_columns] + np.diag(own_precision))
        both = np.concatenate([cross, own_moment[:, :, None]], axis=2)
        half: AnyArray = np.linalg.solve(own_factor, both)
        back: AnyArray = np.linalg.solve(own_factor.transpose(0, 2, 1), half)
        precision, shift, repeated = precision.copy(), shift.copy(), _repeats(layout)
        for number in np.flatnonzero(cross.any(axis=(1, 2)) | own_moment.any(axis=1)):
            where = _seen_by(layout, int(number))
            seen, rest = half[number][:, repeated], half[number][:, -1]
            precision[np.ix_(where, where)] -= seen.T @ seen
            shift[where] -= seen.T @ rest
        factor = cholesky(precision, lower=True, overwrite_a=True, check_finite=False)
        return Eliminated(layout, factor, shift, own_factor, back[:, :, -1], back[:, :, :-1])

    def shared_mean(self) -> FloatArray:
        """(Q,) posterior mean of the shared parameters."""
        from scipy.linalg import cho_solve

        mean: FloatArray = cho_solve((self.factor, True), self.shift, check_finite=False)
        return mean

    def lifts(self, shared: FloatArray, own: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Normal noise (Q, M) and (A - 1, K, M) to draws of blocks (A - 1, K, M) and pairs (A - 1, M)."""
        from scipy.linalg import solve_triangular

        k, layout = self.layout.n_columns, self.layout
        beta = self.shared_mean()[:, None] + solve_triangular(
            self.factor, shared, lower=True, trans="T", check_finite=False
        )
        main = beta[: layout.pair_start].reshape(layout.n_factors, k, -1)[layout.blocks_of].sum(axis=1)
        pairs = beta[layout.pair_start + layout.pairs_of].sum(axis=1)
        organic = beta[layout.organic_start :].reshape(layout.n_products, k, -1)[layout.product_of]
        seen = np.concatenate([main, pairs[:, None], organic], axis=1)
        spread = np.linalg.solve(self.own_factor.transpose(0, 2, 1), own) if own.any() else own
        theta = self.own_mean[:, :, None] - np.matmul(self.leaning, seen) + spread
        return main + theta, pairs

    def variances(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Quadratic (A - 1, K, K), linear (K, A - 1) and constant (A - 1,) terms of the lifts' variances.

        A lift is h's_a + x'e with h = (x, 1, 0) - (A_a^-1 T_a)'x and e normal of covariance A_a^-1, which is
        the variance of Li et al. 2010.
        """
        from scipy.linalg import cho_solve

        layout, k = self.layout, self.layout.n_columns
        identity = np.eye(layout.n_parameters)
        covariance = cho_solve((self.factor, True), identity, overwrite_b=True, check_finite=False)
        inverse = np.linalg.inv(self.own_factor)
        quadratic = np.matmul(inverse.transpose(0, 2, 1), inverse)
        linear, constant = np.zeros((k, len(quadratic))), np.zeros(len(quadratic))
        plain = np.eye(k, 2 * k + 1)
        for number, leaning in enumerate(self.leaning):
            where = _seen_by(layout, number)
            seen = _gathered(_gathered(covariance[np.ix_(where, where)], k).T, k)
            direct = plain - leaning
            across = direct @ seen
            quadratic[number] += across @ direct.T
            linear[:, number], constant[number] = 2.0 * across[:, k], seen[k, k]
        return quadratic, linear, constant


def _seen_by(layout: Layout, number: int) -> IntArray:
    """(4K + 3,) shared parameters of a contact action counted from 0: three blocks, three pairs, organic."""
    return layout.parameters_of(number + 1, int(layout.product_of[number]))


def _repeats(layout: Layout) -> IntArray:
    """(4K + 3,) which of the 2K + 1 numbers that an action sees each of its shared parameters is added to."""
    block = np.arange(layout.n_columns)
    pair = np.full(3, layout.n_columns)
    return np.concatenate([block, block, block, pair, layout.n_columns + 1 + block])


def _gathered(rows: FloatArray, k: int) -> FloatArray:
    """(4K + 3, n) to (2K + 1, n): the three blocks added up, the three pairs added up, and the rest."""
    main = rows[: 3 * k].reshape(3, k, -1).sum(axis=0)
    return np.concatenate([main, rows[3 * k : 3 * k + 3].sum(axis=0)[None], rows[3 * k + 3 :]])
