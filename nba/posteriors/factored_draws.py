"""Draws of the factored model laid out for scoring: draws are the innermost axis, so that adding is fast.

With 840 actions and 64 draws a context has 53,760 utilities. `win_shares` has two forms of the same
sums, bit for bit: NumPy's, which is the definition, and a Numba kernel that keeps nothing in memory
(nba.kernels.draws), used where Numba is installed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nba.arbitration import Money, masked
from nba.arrays import BoolArray, Float32Array, FloatArray, IntArray, rowwise
from nba.kernels import compiled
from nba.posteriors.layout import Layout

_NOT_A_NUMBER = "A utility is not a number; the posterior, a price or a feature is damaged."


class FactoredDraws(NamedTuple):
    """M draws of the contact parameters; an action lifts by C_c.x + T_t.x + H_ct + P_p.x + J_cp + K_tp."""

    main: Float32Array  # (K, F M) the main blocks, F = C + T + P
    channel_timing: Float32Array  # (C, T, M) the pair table H
    channel_product: Float32Array  # (C, P, M) J
    timing_product: Float32Array  # (T, P, M) K
    forecast: Float32Array  # (P,) forecast rates

    @property
    def n_draws(self) -> int:
        """M, the number of draws."""
        return int(self.timing_product.shape[2])

    @staticmethod
    def of(layout: Layout, theta: FloatArray, forecast: FloatArray) -> FactoredDraws:
        """From parameter vectors (M, Q)."""
        c, t, p = layout.n_channels, layout.n_timings, layout.n_products
        blocks = theta[:, : layout.pair_start].reshape(-1, layout.n_factors, layout.n_columns)
        tables = theta[:, layout.pair_start : layout.organic_start].T.astype(np.float32, order="C")
        ct, cp, tp = np.split(tables, [c * t, c * (t + p)])
        main = blocks.transpose(2, 1, 0).astype(np.float32, order="C")
        return FactoredDraws(
            main.reshape(layout.n_columns, -1),
            ct.reshape(c, t, -1),
            cp.reshape(c, p, -1),
            tp.reshape(t, p, -1),
            forecast.astype(np.float32),
        )

    def scores(self, features: FloatArray) -> Float32Array:
        """(B, K) features to (M, B, A) expected rewards, 0 for no-contact."""
        main, kernels = self._main(features), compiled("draws")
        if kernels is None or self.n_draws > 1:
            return self.scores_numpy(main)
        scores: Float32Array = kernels.scores(self, main)[None]
        return scores

    def expected_values(self, features: FloatArray, money: Money, eligible: BoolArray) -> FloatArray:
        """(B, A) utilities under a single draw, -inf where not eligible."""
        main, kernels = self._main(features), compiled("draws")
        of = FactoredDraws.expected_values_numpy if kernels is None else kernels.expected_values
        values: FloatArray = of(self, main, money, eligible)
        return values

    def expected_values_numpy(self, main: Float32Array, money: Money, eligible: BoolArray) -> FloatArray:
        """(B, A) from main blocks times features (B, F, 1)."""
        return masked(money.utilities(self.scores_numpy(main))[0], eligible)

    def scores_numpy(self, main: Float32Array) -> Float32Array:
        """(M, B, A) from main blocks times features (B, F, M)."""
        lifts = self._lifts(main)
        lifts *= self.forecast[:, None]
        n_contexts, n_draws = main.shape[0], self.n_draws
        scores = np.zeros((n_contexts, 1 + lifts[0, ..., 0].size, n_draws), dtype=np.float32)
        scores[:, 1:] = lifts.reshape(n_contexts, -1, n_draws)
        return scores.transpose(2, 0, 1)

    def win_shares(self, features: FloatArray, money: Money, eligible: BoolArray) -> FloatArray:
        """(B, A) shares of draws under which each action has the largest utility; ties to the smallest row.

        Raises FloatingPointError if an eligible action's utility is not a number.
        """
        main, kernels = self._main(features), compiled("draws")
        of = FactoredDraws.win_shares_numpy if kernels is None else kernels.win_shares
        shares: FloatArray | None = of(self, main, money, eligible)
        if shares is None:
            raise FloatingPointError(_NOT_A_NUMBER)
        return shares

    def win_shares_numpy(self, main: Float32Array, money: Money, eligible: BoolArray) -> FloatArray | None:
        """(B, A) from main blocks times features (B, F, M); None where a utility is not a number."""
        n_contexts, n_actions = eligible.shape
        charges = np.where(eligible, money.charges, np.float32(np.inf))
        values = np.broadcast_to(money.values, charges.shape)
        shares = np.zeros((n_contexts, n_actions))
        for row, one in enumerate(zip(main[:, None], charges, values, strict=True)):
            winners = self._winners(*one)
            if winners.min() < 0:
                return None
            shares[row] = np.bincount(winners, minlength=n_actions) / self.n_draws
        return shares

    def _winners(self, main: Float32Array, charges: Float32Array, values: Float32Array) -> IntArray:
        """(M,) whose utility is the largest under each draw, -1 where one is not a number.

        One context (1, F, M) at a time: its utilities fit in the cache.
        """
        utilities = self._lifts(main)
        utilities *= self.forecast[:, None]
        utilities = utilities.reshape(-1, self.n_draws)
        utilities *= values[1:, None]
        utilities -= charges[1:, None]
        silent = np.float32(0.0) * values[0] - charges[0]
        most = np.maximum(utilities.max(axis=0), silent)
        if np.isnan(most).any():  # perhaps of an action that is not eligible, which is nobody's loss
            utilities[np.isinf(charges[1:])] = -np.inf
            most = np.maximum(utilities.max(axis=0), silent)
        places = np.flatnonzero(utilities == most)[::-1]
        winners = np.full(self.n_draws, -1, dtype=np.int64)
        # From the last to the first: the smallest row among equals is written last.
        winners[places % self.n_draws] = 1 + places // self.n_draws
        winners[(silent == most) | np.isneginf(most)] = 0
        return winners

    def _main(self, features: FloatArray) -> Float32Array:
        """(B, F, M) main blocks times features."""
        main = rowwise(features.astype(np.float32), self.main)
        return main.reshape(features.shape[0], self.main.shape[1] // self.n_draws, self.n_draws)

    def _lifts(self, main: Float32Array) -> Any:
        """(B, C, T, P, M) lift of every contact."""
        c, t, p = *self.channel_timing.shape[:2], self.forecast.size
        channels, timings, products = main[:, :c], main[:, c : c + t], main[:, c + t :]
        when = (channels[:, :, None] + timings[:, None]) + self.channel_timing
        what = products[:, None] + self.channel_product
        assert p == products.shape[1]
        lifts = what[:, :, None] + self.timing_product
        lifts += when[:, :, :, None]
        return lifts
