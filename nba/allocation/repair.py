"""From preferred choices to a feasible plan: drop what hard rows cannot bear, refill what is left over.

Only contested customers move: those whose choice at the prices is nearest to another one, so that moving
them costs least. The gap that is left is what the moves cost plus what priced rows leave unused.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nba.allocation.choices import kind_prices
from nba.allocation.problem import Problem, Rows
from nba.allocation.shards import Contested
from nba.arrays import BoolArray, FloatArray, IntArray


class Table(NamedTuple):
    """The candidates of contested customers, and the usage that all others have."""

    problem: Problem
    owner: IntArray  # (n,) customer of each candidate
    values: FloatArray  # (n,) account currency
    reduced: FloatArray  # (n,) account currency, at the prices
    uses: Any  # (n, J) sparse amounts
    others: FloatArray  # (J,) units

    @property
    def rows(self) -> Rows:
        """The shared limits."""
        return self.problem.rows

    @staticmethod
    def of(contested: Contested, prices: FloatArray, usage: FloatArray, n_customers: int) -> Table:
        """From the usage (J,) of all `n_customers`, the contested ones as they chose."""
        problem = contested.problem
        values = problem.values.astype(np.float64)
        reduced = values - kind_prices(problem, prices)[problem.kind_of]
        uses = problem.kinds.matrix(prices.size)[problem.kind_of]
        is_all = problem.n_customers == n_customers  # a difference of sums would be nearly zero only
        others = np.zeros_like(usage) if is_all else usage - problem.usage(contested.chosen)
        return Table(problem, problem.customer_of, values, reduced, uses, others)

    def usage(self, chosen: BoolArray) -> FloatArray:
        """(J,) units that everybody uses."""
        return self.others + self.problem.usage(chosen)

    def objective(self, chosen: BoolArray) -> float:
        """Account currency, up to what the others are worth."""
        return float(self.values[chosen].sum()) - self.rows.penalty(self.usage(chosen))


def repaired(table: Table, chosen: BoolArray) -> BoolArray | None:
    """Chosen candidates (n,) after dropping, None if the contested customers cannot mend the hard rows.

    From the row that is exceeded by the largest share, the candidates with the smallest reduced value per
    unit are dropped. Every round drops one at least, so it ends.
    """
    chosen = chosen.copy()
    scale = np.maximum(np.abs(table.rows.limits), 1.0)
    columns = table.uses.tocsc()
    while (broken := table.rows.broken(table.usage(chosen))).any():
        row = int(np.argmax(broken / scale))
        places = columns.indices[columns.indptr[row] : columns.indptr[row + 1]]
        amounts = columns.data[columns.indptr[row] : columns.indptr[row + 1]]
        heavy = chosen[places] & (amounts > 0.0)
        places, amounts = places[heavy], amounts[heavy]
        if not places.size:
            return None
        order = np.lexsort((places, table.reduced[places] / amounts))
        enough = np.searchsorted(np.cumsum(amounts[order]), broken[row] - table.rows.tolerances[row])
        chosen[places[order[: enough + 1]]] = False
    return chosen


def refilled(table: Table, chosen: BoolArray) -> BoolArray:
    """Chosen candidates (n,) with more of them, best reduced value first, as caps and rows have room.

    One is added only if its value exceeds what it adds to the penalties of elastic rows.
    """
    chosen, usage = chosen.copy(), table.usage(chosen)
    counts, caps = _counts(table, chosen), table.problem.caps
    starts, rows, amounts, groups = table.problem.kinds
    limits, ceilings, tolerances = table.rows.limits, table.rows.ceilings, table.rows.tolerances
    for place in _fitting(table, chosen, usage, counts):
        kind, customer = table.problem.kind_of[place], table.owner[place]
        if (counts[customer, groups[kind]] >= caps[groups[kind]]).any():
            continue
        touched, more = rows[starts[kind] : starts[kind + 1]], amounts[starts[kind] : starts[kind + 1]]
        before = usage[touched] - limits[touched]
        hard = np.isinf(ceilings[touched])
        if (hard & (more > 0.0) & (before + more > tolerances[touched])).any():
            continue
        dearer = np.maximum(before + more, 0.0) - np.maximum(before, 0.0)
        if table.values[place] > ceilings[touched][~hard] @ dearer[~hard]:
            chosen[place] = True
            usage[touched] += more
            counts[customer, groups[kind]] += 1
    return chosen


def _fitting(table: Table, chosen: BoolArray, usage: FloatArray, counts: IntArray) -> IntArray:
    """Candidates that one might add, in the order to try them; those that fit alone are a superset."""
    rows, kinds, kind_of = table.rows, table.problem.kinds, table.problem.kind_of
    uses = kinds.matrix(rows.limits.size)
    positive = uses.multiply(uses > 0.0).tocsr()
    left = np.where(np.isinf(rows.ceilings), rows.limits + rows.tolerances - usage, np.inf)
    # Room only shrinks where nothing has a negative amount; a row with one is asked about later.
    left[np.unique(kinds.rows[kinds.amounts < 0.0])] = np.inf
    over = positive.copy()
    over.data = (positive.data > left[positive.indices]).astype(np.float64)
    fits = over.sum(axis=1) == 0.0
    groups = kinds.groups[kind_of]
    free = (counts[table.owner[:, None], groups] < table.problem.caps[groups]).all(axis=1)
    # Elastic rows may pay for a candidate: their ceilings bound by how much.
    elastic = np.where(np.isfinite(rows.ceilings), rows.ceilings, 0.0)
    most = table.values + np.maximum(-(uses.multiply(uses < 0.0) @ elastic), 0.0)[kind_of]
    places = np.flatnonzero(~chosen & fits[kind_of] & free & (most > 0.0))
    return places[np.lexsort((places, -table.reduced[places]))]


def _counts(table: Table, chosen: BoolArray) -> IntArray:
    """(m, G) candidates of each group that customers have."""
    counts = np.zeros((table.problem.n_customers, table.problem.caps.size), dtype=np.int64)
    groups = table.problem.kinds.groups[table.problem.kind_of[chosen]]
    np.add.at(counts, (table.owner[chosen][:, None], groups), 1)
    return counts
