"""The allocation problem: candidates of customers, what they use of shared rows, and caps per customer.

    maximise    sum_c v_c x_c - sum_j p_j s_j
    subject to  sum_c a_jc x_c - s_j <= b_j  in every row j,   x_c in {0, 1},   s_j >= 0,
                and in every customer at most q_g candidates of each group g of a laminar family of caps.

The price ceiling p_j says what a row is: infinite, it is hard and has no slack; finite, it is elastic and a
missing unit costs that much; zero, it is only measured. A covering row ("at least") has negative amounts
and a negative limit. Candidates that use the same and lie in the same groups are of one kind, so that a
pass over all candidates reads one price for each.

Shape letters: N customers, n candidates, V kinds, J rows, G groups of caps, L levels of caps.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from nba.arrays import AnyArray, BoolArray, FloatArray, IntArray, KeyArray, check_shape
from nba.errors import require

BLOCK = 8_192  # customers whose sums are taken together; shards begin at its multiples
SLACK = 1e-9  # of a limit, or of what a contact uses: what sums of many floats may be off by
MOST, LEAST = 1e30, 1e-30  # size of a number, and of an amount that is not 0: squares and sums stay finite
_ROUNDING = 1e-15  # of what all customers use where amounts have both signs and sums may cancel


class Rows(NamedTuple):
    """Shared limits."""

    names: tuple[str, ...]
    limits: FloatArray  # (J,) units
    ceilings: FloatArray  # (J,) account currency per unit that a row is exceeded by, at most
    slack: FloatArray | None = None  # (J,) units, once the amounts are known; see `tolerances`

    @property
    def tolerances(self) -> FloatArray:
        """(J,) units by which rounding may exceed a limit."""
        return SLACK * np.maximum(np.abs(self.limits), 1.0) if self.slack is None else self.slack

    def of(self, kinds: Kinds, n_customers: int) -> Rows:
        """The rows with tolerances in proportion to what contacts use, whatever the unit."""
        largest, signs = np.zeros(self.limits.size), np.zeros((2, self.limits.size), dtype=np.bool_)
        np.maximum.at(largest, kinds.rows, np.abs(kinds.amounts))
        signs[(kinds.amounts < 0.0).astype(np.int64), kinds.rows] = True
        size = np.maximum(np.abs(self.limits), largest)
        return self._replace(slack=SLACK * size + _ROUNDING * n_customers * largest * signs.all(axis=0))

    def excess(self, usage: FloatArray) -> FloatArray:
        """(J,) units by which `usage` (J,) exceeds the limits."""
        over = usage - self.limits
        return np.where(over > self.tolerances, over, 0.0)

    def broken(self, usage: FloatArray) -> FloatArray:
        """(J,) units by which `usage` (J,) exceeds the limits of hard rows."""
        return np.where(np.isinf(self.ceilings), self.excess(usage), 0.0)

    def penalty(self, usage: FloatArray) -> float:
        """Account currency that elastic rows charge for `usage` (J,)."""
        elastic = np.isfinite(self.ceilings)
        return float(self.ceilings[elastic] @ self.excess(usage)[elastic])


class Kinds(NamedTuple):
    """What candidates of each kind use, as compressed rows, and the groups of caps they lie in."""

    starts: IntArray  # (V + 1,) where a kind's uses begin in the two arrays below
    rows: IntArray  # (uses,)
    amounts: FloatArray  # (uses,) units of the row for one contact
    groups: IntArray  # (V, L) coarsest level first; level 0 holds everything, in group 0

    @property
    def n_kinds(self) -> int:
        """V."""
        return int(self.starts.size - 1)

    def matrix(self, n_rows: int) -> Any:
        """(V, J) sparse matrix of the amounts."""
        from scipy.sparse import csr_array

        return csr_array((self.amounts, self.rows, self.starts), shape=(self.n_kinds, n_rows))

    @staticmethod
    def of(uses: FloatArray, groups: IntArray | None = None) -> Kinds:
        """From dense amounts (V, J); without groups (V, L) only the cap over everything is there."""
        kinds, rows = np.nonzero(uses)
        starts = np.concatenate([[0], np.cumsum(np.bincount(kinds, minlength=len(uses)))])
        one = np.zeros((len(uses), 1), dtype=np.int64)
        return Kinds(starts, rows, uses[kinds, rows], one if groups is None else groups)


class Problem(NamedTuple):
    """Customers in ascending order of their keys, which breaks ties, and their candidates one after another.

    Nothing below depends on how the rows of a table were ordered, because this order is made first.
    """

    keys: KeyArray  # (N,) of customers, ascending
    starts: IntArray  # (N + 1,) where a customer's candidates begin; everybody has one at least
    kind_of: AnyArray  # (n,) any integers below V
    values: AnyArray  # (n,) account currency, 32 or 64 bits
    kinds: Kinds
    caps: IntArray  # (G,) most candidates of a group that one customer gets
    rows: Rows
    offset: int = 0  # customers in the shards before this one

    @property
    def n_customers(self) -> int:
        """N."""
        return int(self.starts.size - 1)

    @property
    def n_blocks(self) -> int:
        """Blocks of customers whose sums are taken together."""
        return -(-self.n_customers // BLOCK)

    @property
    def customer_of(self) -> IntArray:
        """(n,) the customer of each candidate."""
        return np.repeat(np.arange(self.n_customers), np.diff(self.starts))

    def usage(self, chosen: BoolArray) -> FloatArray:
        """(J,) units of each row that the chosen candidates (n,) use."""
        counts = np.bincount(self.kind_of[chosen], minlength=self.kinds.n_kinds)
        usage: FloatArray = counts @ self.kinds.matrix(self.rows.limits.size)
        return usage

    def take(self, customers: IntArray) -> Problem:
        """The problem of some customers, whose positions (m,) ascend."""
        starts, candidates = self.places(customers)
        return self._replace(
            keys=self.keys[customers],
            starts=starts,
            kind_of=self.kind_of[candidates],
            values=self.values[candidates],
        )

    def places(self, customers: IntArray) -> tuple[IntArray, IntArray]:
        """Where candidates of customers (m,) would start, (m + 1,), and the positions that they have here."""
        sizes = np.diff(self.starts)[customers]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        shift = np.repeat(self.starts[customers] - starts[:-1], sizes)
        return starts, np.arange(starts[-1]) + shift

    def shards(self, most: int) -> list[Problem]:
        """At most so many parts, each of whole blocks, in order; arrays are views of this one's."""
        most = min(most, self.n_blocks)
        cuts = [part * self.n_blocks // most * BLOCK for part in range(most + 1)]
        return [self._part(first, last) for first, last in zip(cuts[:-1], cuts[1:], strict=True)]

    def _part(self, first: int, last: int) -> Problem:
        customers = slice(first, min(last, self.n_customers))
        begin, end = self.starts[customers.start], self.starts[customers.stop]
        return self._replace(
            keys=self.keys[customers],
            starts=self.starts[customers.start : customers.stop + 1] - begin,
            kind_of=self.kind_of[begin:end],
            values=self.values[begin:end],
            offset=self.offset + first,
        )


def problem_of(
    keys: KeyArray,
    starts: IntArray,
    kind_of: AnyArray,
    values: AnyArray,
    kinds: Kinds,
    rows: Rows,
    caps: IntArray | None = None,
) -> Problem:
    """Put customers into the order of their keys, and check the arrays of a problem (see Problem).

    Candidates of a customer stay in their order, which breaks ties among them. Without caps a customer
    gets one candidate. Raises ShapeMismatch or InvalidConfig, which names the array and the rule.
    """
    caps = np.ones(1, dtype=np.int64) if caps is None else caps
    _check(keys, starts, kind_of, values, kinds, caps)
    check_rows(rows)
    problem = Problem(keys, starts, kind_of, values, kinds, caps, rows.of(kinds, keys.size))
    if not (keys[:-1] < keys[1:]).all():
        problem = problem.take(np.argsort(keys, kind="stable"))
    twice = problem.keys[1:] == problem.keys[:-1]
    require(not twice.any(), "allocation", "keys", "customers must have keys of their own; two are equal")
    return problem


def check_rows(rows: Rows) -> None:
    """Limits are finite, ceilings are not negative, and hard rows allow to contact nobody."""
    for name, limit, ceiling in zip(*rows[:3], strict=True):
        rule = f"the limit must be finite, and at most {MOST:g} in size, got {limit}; count in another unit"
        require(-MOST <= limit <= MOST, "allocation", name, rule)
        require(ceiling >= 0.0, "allocation", name, f"the price ceiling must be >= 0, got {ceiling}")
        rule = f"a hard limit must be >= 0, got {limit}; a floor needs a finite price for what is missing"
        require(limit >= 0.0 or ceiling < np.inf, "allocation", name, rule)


def _check(
    keys: KeyArray, starts: IntArray, kind_of: AnyArray, values: AnyArray, kinds: Kinds, caps: IntArray
) -> None:
    must = partial(require, source="allocation")
    n = int(starts[-1]) if starts.size else 0
    for array, size, name in (
        (keys, starts.size - 1, "keys"),
        (kind_of, n, "kind_of"),
        (values, n, "values"),
    ):
        check_shape(array, (size,), name)
    sizes_rule = "every customer needs a candidate at least; leave out those without"
    must(starts.size > 1, pointer="starts", rule="must name where candidates begin and end: nobody is there")
    must(starts[0] == 0 and bool((np.diff(starts) > 0).all()), pointer="starts", rule=sizes_rule)
    fine = (values <= MOST) & (values >= -MOST)
    where = f"candidates {np.flatnonzero(~fine)[:5].tolist()} are not"
    must(bool(fine.all()), pointer="values", rule=f"must be finite, and at most {MOST:g} in size; {where}")
    in_range = bool((kind_of >= 0).all() and (kind_of < kinds.n_kinds).all())
    must(in_range, pointer="kind_of", rule=f"must lie in 0..{kinds.n_kinds - 1}")
    size = np.abs(kinds.amounts[kinds.amounts != 0.0])
    sound = bool(((size >= LEAST) & (size <= MOST)).all())
    must(sound, pointer="kinds.amounts", rule=f"must be 0 or between {LEAST:g} and {MOST:g} in size")
    must(bool((caps >= 1).all()), pointer="caps", rule="must be at least 1; leave out what nobody may get")
    check_shape(kinds.groups, (kinds.n_kinds, None), "kinds.groups")
    grouped = bool((kinds.groups >= 0).all() and (kinds.groups < caps.size).all())
    must(grouped, pointer="kinds.groups", rule=f"must lie in 0..{caps.size - 1}, where caps has their caps")
    check_laminar(kinds.groups)


def check_laminar(groups: IntArray) -> None:
    """Every group of a level (V, L) must lie in one group of the level before: greedy is exact only so."""
    rule = "level 0 must hold everything in group 0"
    require(bool((groups[:, 0] == 0).all()), "allocation", "kinds.groups", rule)
    for level in range(1, groups.shape[1]):
        pairs = np.unique(groups[:, level - 1 : level + 1], axis=0)
        shared = np.intersect1d(groups[:, level], groups[:, :level])
        rule = f"level {level} must have groups of its own; {shared[:5].tolist()} are of a level before too"
        require(not shared.size, "allocation", "kinds.groups", rule)
        rule = f"groups of level {level} must each lie within one group of level {level - 1}: they cross"
        require(np.unique(pairs[:, 1]).size == len(pairs), "allocation", "kinds.groups", rule)
