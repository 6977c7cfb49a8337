"""The core: what is left of an allocation when all clear choices are made, as a small program of its own.

Of the contested customers only candidates come in whose regret is small; with the usage of everybody else
taken off the limits this is a core in the manner of Balas and Zemel (1980). HiGHS solves it as an integer
program, exactly or to a number of nodes, so that the answer is always the same; and as a linear program,
which tells how much of the gap is the dual's and how much is that nobody can be contacted by halves.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nba.allocation.choices import regrets_numpy
from nba.allocation.repair import Table, refilled, repaired
from nba.arrays import BoolArray, FloatArray, IntArray

_MOST_NODES = 100


class Core(NamedTuple):
    """maximise values.x - ceilings.s where matrix (x, s) <= limits, 0 <= x <= 1, s >= 0.

    HiGHS's tolerances are absolute, so that in pence or in millions it would stop elsewhere: money is counted
    in `money`, and a row in units of about its largest amount, both powers of two, which change no digit.
    """

    table: Table
    places: IntArray  # (k,) candidates that come in
    priced: IntArray  # (r,) rows that do; the first r of the matrix
    money: float  # account currency
    values: FloatArray  # (k,) money
    ceilings: FloatArray  # (e,) money per unit that an elastic row is exceeded by
    matrix: Any  # (r + binding caps, k + e) sparse
    limits: FloatArray  # (r + binding caps,) units

    @staticmethod
    def of(table: Table, prices: FloatArray, chosen: BoolArray, most: int) -> Core:
        """The chosen candidates (n,) and others to `most`, with the smallest regrets at prices (J,)."""
        from scipy.sparse import csr_array, diags_array, eye_array, hstack, vstack

        regrets = regrets_numpy(table.problem, prices, chosen)
        places = np.argsort(np.where(chosen, -np.inf, regrets), kind="stable")[:most]
        places = np.union1d(places, np.flatnonzero(chosen))
        uses, rows = table.uses[places].T.tocsr(), table.rows
        priced = np.flatnonzero((np.diff(uses.indptr) > 0) & (rows.ceilings > 0.0))
        elastic = np.flatnonzero(np.isfinite(rows.ceilings[priced]))
        units = _size(abs(uses[priced]).max(axis=1).toarray().ravel())
        values, ceilings = table.values[places], rows.ceilings[priced[elastic]] * units[elastic]
        money = float(_size(np.abs(values).max(initial=0.0)))
        slack = eye_array(priced.size, format="csr")[:, elastic]
        caps, bounds = _caps(table, places)
        blank = csr_array((caps.shape[0], elastic.size))
        matrix = vstack([hstack([diags_array(1.0 / units) @ uses[priced], -slack]), hstack([caps, blank])])
        limits = np.concatenate([(rows.limits[priced] - table.others[priced]) / units, bounds])
        return Core(table, places, priced, money, values / money, ceilings / money, matrix.tocsr(), limits)

    def improved(self, chosen: BoolArray, accuracy: float, most: float) -> BoolArray:
        """A feasible plan no worse than `chosen` (n,), to `accuracy` (account currency) if nodes suffice.

        `most` (account currency) is what the objective cannot exceed.
        """
        # HiGHS divides by what it finds, and `chosen` may still be worth nothing.
        relative = accuracy / max(abs(most), abs(self.table.objective(chosen)), 1e-300)
        result = self._solve(True, {"node_limit": _MOST_NODES, "mip_rel_gap": relative})
        if result.x is None:
            return chosen
        other = np.zeros_like(chosen)
        other[self.places[result.x[: self.places.size] > 0.5]] = True
        mended = repaired(self.table, other)  # an integer program keeps its rows to a millionth only
        if mended is None:
            return chosen
        mended = refilled(self.table, mended)
        return mended if self.table.objective(mended) > self.table.objective(chosen) else chosen

    def relaxed(self) -> float:
        """Objective if candidates could be chosen by halves, as Table.objective; -inf if there is none.

        With what the others are worth it is no larger than the best linear program's, which no prices can
        get below: the bound's distance to it is what better prices might still prove.
        """
        result = self._solve(False, {})
        if result.x is None:
            return -np.inf
        rows, priced = self.table.rows, self.priced
        outside = np.setdiff1d(np.flatnonzero(np.isfinite(rows.ceilings)), priced)
        over = rows.excess(self.table.others)[outside]
        return -float(result.fun) * self.money - float(rows.ceilings[outside] @ over)

    def _solve(self, whole: bool, options: dict[str, float]) -> Any:
        from scipy.optimize import Bounds, milp

        n, n_slacks = self.places.size, self.ceilings.size
        return milp(
            np.concatenate([-self.values, self.ceilings]),
            integrality=np.concatenate([np.full(n, float(whole)), np.zeros(n_slacks)]),
            bounds=Bounds(0.0, np.concatenate([np.ones(n), np.full(n_slacks, np.inf)])),
            constraints=(self.matrix, -np.inf, self.limits),
            options=options,
        )


def _size(largest: FloatArray) -> FloatArray:
    """The power of two above each number; 1 for nothing."""
    _, exponents = np.frexp(largest)
    size: FloatArray = np.ldexp(1.0, exponents)
    return size


def _caps(table: Table, places: IntArray) -> tuple[Any, FloatArray]:
    """Rows of ones for each customer and group with more candidates than its cap, and the caps."""
    from scipy.sparse import csr_array

    groups, caps = table.problem.kinds.groups[table.problem.kind_of[places]], table.problem.caps
    pairs = table.owner[places][:, None] * caps.size + groups
    names, found = np.unique(pairs, return_inverse=True)
    most = caps[names % caps.size]
    binding = np.bincount(found.ravel(), minlength=names.size) > most
    columns = np.repeat(np.arange(places.size), groups.shape[1])
    matrix = csr_array((np.ones(columns.size), (found.ravel(), columns)), shape=(names.size, places.size))
    return matrix[np.flatnonzero(binding)], most[binding].astype(np.float64)
