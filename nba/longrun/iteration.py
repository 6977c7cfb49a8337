"""After-state value iteration: least-squares value iteration with a double estimator (methods C3.3).

Fatigue moves by a known kernel, so only the value is learnt, from moments at which decisions were made: their
fatigue as it was, and what models of rewards and opt-outs, fitted elsewhere, say a contact would have
brought. Shape letters: n moments, C channels, K columns of the basis.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from msgspec import Struct

from nba.arrays import BoolArray, FloatArray, check_shape
from nba.errors import NBAError, require
from nba.fatigue import FatigueKernel
from nba.longrun.values import Basis, LongRun, after, closing

# Sweeps over which values are averaged: where two actions tie, two estimators change their minds for ever;
# single sweeps do not settle, though their mean does.
_BLOCK = 50
_SLACK = 1e-3  # of the range of values, by which a regression may overshoot it without notice


class ValuesDiverged(NBAError, ArithmeticError):
    """Value iteration does not settle on these moments; no price may be told."""


class Moments(NamedTuple):
    """Decision moments of a log, judged by two models that were fitted on different customers.

    The same model may be given twice: then only the values are estimated twice, not the rewards.
    """

    fatigue: FloatArray  # (n, C, 2) before the decision
    is_open: BoolArray  # (n, C) consent is given and not withdrawn
    gains: FloatArray  # (2, n, C) best contact of each channel above silence; -inf where none is allowed
    leaves: FloatArray  # (2, n, C) chance that it closes its channel
    ends: FloatArray  # (2, n, C) chance that it closes all channels

    def check(self) -> None:
        """ShapeMismatch unless the arrays belong together."""
        n, n_channels = self.is_open.shape
        check_shape(self.fatigue, (n, n_channels, 2), "fatigue")
        for name in ("gains", "leaves", "ends"):
            check_shape(getattr(self, name), (2, n, n_channels), name)


class _Estimator(NamedTuple):
    """One of the two: how it learns from its rows, and what its models say of all rows."""

    solve: FloatArray  # (K, n) targets to weights, (Z'Z + precision I)^-1 Z' of its own rows
    gains: FloatArray  # (n, 1 + C) now; silence first
    ahead: FloatArray  # (n, 1 + C, K) expected columns of the next morning


class AfterStateIteration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="after_state"):
    """Iterates V(f) <- E[flow + max_a r(a) + discount V(decay(f + X e_a))] by least squares on moments.

    Munos and Szepesvari (2008) with the two estimators of van Hasselt (2010): one chooses, the other values,
    so that noise in rewards and values is not taken for gain. Values are clipped to what is possible.
    Where it does not settle, or a tenth of the values lies beyond the clip, ValuesDiverged is raised.
    """

    discount: float = 0.995  # per day
    step_days: float = 1.0  # between two decisions
    degree: int = 4  # of the long counter
    precision: float = 1e-6  # ridge, per moment
    most_sweeps: int = 5_000
    tolerance: float = 2e-5  # of the range of values, on the mean change by fifty sweeps
    most_clipped: float = 0.1

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name, holds, rule in (
            ("discount", 0.0 <= self.discount < 1.0, "must lie in [0, 1)"),
            ("step_days", 0.0 < self.step_days < np.inf, "must be finite and above 0"),
            ("degree", self.degree >= 1, "must be >= 1"),
            ("precision", 0.0 < self.precision < np.inf, "must be finite and above 0"),
            ("most_sweeps", self.most_sweeps >= 2 * _BLOCK, f"must be >= {2 * _BLOCK}"),
            ("tolerance", 0.0 < self.tolerance < 1.0, "must lie in (0, 1)"),
            ("most_clipped", 0.0 <= self.most_clipped <= 1.0, "must lie in [0, 1]"),
        ):
            require(holds, "after-state iteration", name, f"{rule}, got {getattr(self, name)}")

    def fit(
        self,
        moments: Moments,
        kernel: FatigueKernel,
        spill: FloatArray,
        flows: FloatArray,
        rng: np.random.Generator,
    ) -> LongRun:
        """Values of fatigue and open channels; `rng` deals moments to the two estimators.

        `spill` (C, C) is the kernel's; `flows` (C,) is account currency per step that an open channel is
        worth without contacts. Raises ValuesDiverged with fewer moments than four per column.
        """
        moments.check()
        n, n_channels = moments.is_open.shape
        basis = Basis(n_channels, self.degree)
        if n < 4 * basis.n_columns:
            raise ValuesDiverged(
                f"after-state iteration: {n} moments are too few for {basis.n_columns} columns; give "
                f"at least {4 * basis.n_columns}, or lower the degree from {self.degree}."
            )
        discount = self.discount**self.step_days
        is_first: BoolArray = rng.random((n,)) < 0.5
        moves = after(moments.fatigue, kernel, spill, self.step_days)
        pair = [
            self._estimator(basis, moments, moves, side, rows)
            for side, rows in enumerate((is_first, ~is_first))
        ]
        flow = moments.is_open @ flows
        best = float(np.max(moments.gains, initial=0.0))
        most = (float(flows.sum()) + best) / (1.0 - discount)
        weights, n_sweeps, clipped = self._settled(pair, flow, discount, most)
        return LongRun(basis, weights, kernel, spill, self.step_days, discount, most, n_sweeps, clipped)

    def _estimator(
        self,
        basis: Basis,
        moments: Moments,
        moves: tuple[FloatArray, FloatArray],
        side: int,
        rows: BoolArray,
    ) -> _Estimator:
        rested, tired = moves
        leaves, ends = moments.leaves[side][..., None], moments.ends[side][..., None]
        kept = basis.columns(tired, moments.is_open[:, None, :])
        ahead = (1.0 - leaves - ends) * kept + leaves * basis.columns(tired, closing(moments.is_open))
        ahead = np.concatenate([basis.columns(rested, moments.is_open)[:, None], ahead], axis=1)
        here = basis.columns(moments.fatigue, moments.is_open) * rows[:, None]
        penalty = self.precision * rows.sum() * np.eye(basis.n_columns)
        gains = np.where(moments.is_open, moments.gains[side], -np.inf)
        gains = np.concatenate([np.zeros((rows.size, 1)), gains], axis=1)
        solve = np.linalg.solve(here.T @ here + penalty, here.T)
        return _Estimator(solve, gains, ahead)

    def _settled(
        self, pair: list[_Estimator], flow: FloatArray, discount: float, most: float
    ) -> tuple[FloatArray, int, float]:
        """(2, K) weights, the number of sweeps, and the share of values clipped in the last."""
        weights = np.zeros((2, pair[0].ahead.shape[-1]))
        before, change = np.zeros((2, flow.size)), np.inf
        for block in range(1, self.most_sweeps // _BLOCK + 1):
            mean_weights, mean_targets = np.zeros_like(weights), np.zeros_like(before)
            for _ in range(_BLOCK):
                raw = [one.ahead @ mine for one, mine in zip(pair, weights, strict=True)]
                targets = self._targets(pair, raw, flow, discount, most)
                weights = np.stack([one.solve @ target for one, target in zip(pair, targets, strict=True)])
                mean_weights, mean_targets = mean_weights + weights / _BLOCK, mean_targets + targets / _BLOCK
            change = float(np.abs(mean_targets - before).mean())
            before = mean_targets
            if change <= self.tolerance * most:
                return mean_weights, block * _BLOCK, self._clipped(np.stack(raw), most)
        raise ValuesDiverged(
            f"after-state iteration: values still change by {change:.4g} after {self.most_sweeps} sweeps; "
            f"allow more of them, or lower the degree ({self.degree}) or the discount ({self.discount:g})."
        )

    @staticmethod
    def _targets(
        pair: list[_Estimator], raw: list[FloatArray], flow: FloatArray, discount: float, most: float
    ) -> FloatArray:
        """(2, n) what each estimator learns: its own choices at the worth that the other gives them."""
        worth = [
            one.gains + discount * np.clip(ahead, 0.0, most) for one, ahead in zip(pair, raw, strict=True)
        ]
        chosen = [one.argmax(axis=1)[:, None] for one in worth]
        return np.stack(
            [flow + np.take_along_axis(worth[1 - side], chosen[side], axis=1)[:, 0] for side in (0, 1)]
        )

    def _clipped(self, raw: FloatArray, most: float) -> float:
        """The share of values that the clip had to move, unless it alone holds them."""
        slack = _SLACK * most
        clipped = float(((raw < -slack) | (raw > most + slack)).mean())
        if clipped > self.most_clipped:
            raise ValuesDiverged(
                f"after-state iteration: {clipped:.3f} of the values lie outside what is possible, and at "
                f"most {self.most_clipped:g} may; the regression does not contract on these moments."
            )
        return clipped
