"""The value of a customer's fatigue and open channels, and the prices that follow from it (methods C3.3).

Shape letters: B customers, C channels, K columns of the basis; `...` any leading axes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.arrays import BoolArray, FloatArray, check_shape
from nba.catalogue import Catalogue
from nba.fatigue import FatigueKernel, FatiguePrice


class Basis(NamedTuple):
    """What the value is linear in: for every open channel a level, its counters and the others' fatigue.

    Counters enter as log(1 + counter), the long one up to a power: attention is spent by the first contacts.
    A closed channel has no column that is not 0, so that a customer with none open is worth 0.
    """

    n_channels: int
    degree: int  # of the long counter

    @property
    def n_columns(self) -> int:
        """K."""
        return self.n_channels * (2 + self.degree + (self.n_channels > 1))

    def columns(self, fatigue: FloatArray, is_open: BoolArray) -> FloatArray:
        """(..., K) from counters (..., C, 2) and open channels (..., C)."""
        logs = np.log1p(fatigue)
        parts = [np.ones(fatigue.shape[:-1]), logs[..., 0]]
        parts += [logs[..., 1] ** power for power in range(1, self.degree + 1)]
        if self.n_channels > 1:
            long = fatigue[..., 1]
            parts.append(np.log1p(long.sum(axis=-1, keepdims=True) - long))
        table = np.stack(np.broadcast_arrays(*parts), axis=-1) * is_open[..., None]
        flat: FloatArray = table.reshape(*table.shape[:-2], self.n_columns)
        return flat


class LongRunPrices(NamedTuple):
    """What a contact through each channel costs in the long run, in account currency of today."""

    fatigue: FloatArray  # (B, C) psi: later contacts that it weakens, >= 0
    opt_out: FloatArray  # (B, C) if it closes its channel, beside `fatigue`, >= 0
    ending: FloatArray  # (B, C) if it closes all channels, beside `fatigue`, >= 0
    clipped_share: float  # of psi on open channels that the regression put below 0

    def due(self, leaves: FloatArray, ends: FloatArray) -> FloatArray:
        """(B, C) what a contact must gain, from its chances (B, C) to close its channel and to close all."""
        due: FloatArray = self.fatigue + leaves * self.opt_out + ends * self.ending
        return due


class LongRun(NamedTuple):
    """A settled value function of the morning of a decision, today's offers averaged out."""

    basis: Basis
    weights: FloatArray  # (2, K) of the two estimators
    kernel: FatigueKernel
    spill: FloatArray  # (C, C)
    step_days: float
    discount: float  # per step
    most: float  # no state can be worth more
    n_sweeps: int
    clipped_share: float  # of the last values that left the possible range

    def values(self, fatigue: FloatArray, is_open: BoolArray) -> FloatArray:
        """(...) account currency, from counters (..., C, 2) and open channels (..., C)."""
        raw = self.basis.columns(fatigue, is_open) @ self.weights.mean(axis=0)
        clipped: FloatArray = np.clip(raw, 0.0, self.most)
        return clipped

    def prices(self, fatigue: FloatArray, is_open: BoolArray) -> LongRunPrices:
        """Prices of customers with counters (B, C, 2) before the decision; 0 on closed channels.

        psi_c(f) = discount (V(decay f) - V(decay(f + X e_c))), methods C3.3.
        """
        n_customers = fatigue.shape[0]
        check_shape(fatigue, (n_customers, self.basis.n_channels, 2), "fatigue")
        check_shape(is_open, fatigue.shape[:2], "is_open")
        rested, tired = after(fatigue, self.kernel, self.spill, self.step_days)
        rest = self.values(rested, is_open)[:, None]
        kept = self.values(tired, is_open[:, None, :])
        closed = self.values(tired, closing(is_open))
        psi = self.discount * (rest - kept)
        below = psi[is_open] < 0.0
        return LongRunPrices(
            np.where(is_open, np.maximum(psi, 0.0), 0.0),
            np.where(is_open, self.discount * np.maximum(kept - closed, 0.0), 0.0),
            np.where(is_open, self.discount * kept, 0.0),
            float(below.mean()) if below.size else 0.0,
        )


def after(
    fatigue: FloatArray, kernel: FatigueKernel, spill: FloatArray, days: float
) -> tuple[FloatArray, FloatArray]:
    """Counters (B, C, 2) `days` later: after silence, and (B, C, C, 2) after each channel's contact."""
    left = kernel.recovery(days)
    return left * fatigue, left * (fatigue[:, None] + spill[None, :, :, None])


def closing(is_open: BoolArray) -> BoolArray:
    """(B, C) to (B, C, C): which channels are open once that of the second axis has closed."""
    others = ~np.eye(is_open.shape[1], dtype=np.bool_)
    closed: BoolArray = is_open[:, None, :] & others
    return closed


def affine_price(
    values: LongRun, catalogue: Catalogue, fatigue: FloatArray, is_open: BoolArray
) -> FatiguePrice:
    """The nearest affine price to psi over customers as they are met; see `nearest_affine`."""
    return nearest_affine(values.prices(fatigue, is_open).fatigue, catalogue, fatigue, is_open)


def nearest_affine(
    due: FloatArray, catalogue: Catalogue, fatigue: FloatArray, is_open: BoolArray
) -> FatiguePrice:
    """Level and slope per channel, both >= 0, nearest to what contacts cost, `due` (B, C) (least squares).

    For counters (B, C, 2) and open channels (B, C). A channel that nobody has open
    costs what the dearest does.
    """
    from scipy.optimize import nnls

    levels, slopes = {}, {}
    for number, channel in enumerate(catalogue.channels):
        rows = is_open[:, number]
        if rows.any():
            design = np.stack([np.ones(rows.sum()), fatigue[rows, number, 1]], axis=1)
            (level, slope), _ = nnls(design, due[rows, number])
            levels[channel.name], slopes[channel.name] = float(level), float(slope)
    dearest, steepest = max(levels.values(), default=0.0), max(slopes.values(), default=0.0)
    return FatiguePrice(levels=levels, otherwise=dearest, slopes=slopes, slope=steepest)
