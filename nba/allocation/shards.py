"""Where the customers of an allocation are: in this process, or behind something that answers like it.

Between a solver and the shards travel prices and usage; and, once the prices stand, the few customers
whose choice is nearly a tie. Sums are taken by blocks of customers that no sharding cuts, so that the
number of shards does not change a bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from nba.allocation.choices import Response, joined, margins, respond, worth
from nba.allocation.problem import Problem, Rows
from nba.arrays import BoolArray, FloatArray, IntArray
from nba.randomness import keyed_uniforms

_EULER = 0.5772156649015329  # mean of a standard Gumbel variable
_PURPOSE = 64  # of random numbers, apart from those of nba.randomness.Purpose


class Jitter(NamedTuple):
    """Small noise on values, that of a customer's candidate belonging to its key (Berthet et al. 2020)."""

    scale: float  # account currency
    copy: int = 0
    seed: int = 0

    def values(self, problem: Problem) -> FloatArray:
        """(n,) values with Gumbel noise of mean zero: the mean best of it is the softmax of the values."""
        owner = problem.customer_of
        place = np.arange(owner.size) - problem.starts[owner]
        uniforms = keyed_uniforms(self.seed, _PURPOSE, problem.keys[owner], place, self.copy)
        noise = -np.log(-np.log(np.maximum(uniforms, np.finfo(np.float64).tiny))) - _EULER
        return problem.values + self.scale * noise


class Contested(NamedTuple):
    """Customers whose choice is nearest to another one, and what they chose."""

    problem: Problem  # of m customers only
    customers: IntArray  # (m,) their positions among all, ascending
    margins: FloatArray  # (m,) account currency
    chosen: BoolArray  # (candidates of these,)

    def keep(self, most: int) -> Contested:
        """Those with the smallest margins; of equals the first."""
        if self.customers.size <= most:
            return self
        order = _smallest(self.margins, most)
        _, places = self.problem.places(order)
        return Contested(
            self.problem.take(order), self.customers[order], self.margins[order], self.chosen[places]
        )

    @staticmethod
    def join(parts: Sequence[Contested]) -> Contested:
        """Those of several shards, in their order."""
        if len(parts) == 1:
            return parts[0]
        problems = [part.problem for part in parts]
        sizes = np.concatenate([np.diff(one.starts) for one in problems])
        problem = problems[0]._replace(
            keys=np.concatenate([one.keys for one in problems]),
            starts=np.concatenate([[0], np.cumsum(sizes)]),
            kind_of=np.concatenate([one.kind_of for one in problems]),
            values=np.concatenate([one.values for one in problems]),
        )
        rest = (np.concatenate(columns) for columns in list(zip(*parts, strict=True))[1:])
        return Contested(problem, *rest)


class Plan(NamedTuple):
    """Who gets what: everybody's own choice at the prices, but for some customers that were settled apart."""

    prices: FloatArray  # (J,) account currency per unit
    jitter: Jitter | None = None  # choices are made with values that have this noise
    customers: IntArray = np.zeros(0, dtype=np.int64)  # (m,) positions, ascending
    starts: IntArray = np.zeros(1, dtype=np.int64)  # (m + 1,) where their candidates begin in `chosen`
    chosen: BoolArray = np.zeros(0, dtype=np.bool_)  # (candidates of these,)

    def settle(self, contested: Contested, chosen: BoolArray) -> Plan:
        """The plan with the choices of contested customers, and no others, settled."""
        return self._replace(customers=contested.customers, starts=contested.problem.starts, chosen=chosen)


class Shard:
    """A part of the customers; what it answers depends on its arguments only."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._noisy: dict[Jitter, Problem] = {}  # kept as long as the scale stays

    def respond(self, prices: FloatArray, stride: int, jitters: Sequence[Jitter | None]) -> list[Response]:
        """One response of every `stride`-th customer for each jitter."""
        return [respond(self._with(one), prices, stride)[0] for one in jitters]

    def chosen(self, plan: Plan) -> BoolArray:
        """(n,) the candidates of this shard that a plan takes."""
        _, chosen = respond(self._with(plan.jitter), plan.prices, mark=True)
        first = self.problem.offset
        begin, end = np.searchsorted(plan.customers, [first, first + self.problem.n_customers])
        _, places = self.problem.places(plan.customers[begin:end] - first)
        chosen[places] = plan.chosen[plan.starts[begin] : plan.starts[end]]
        return chosen

    def worth(self, plan: Plan) -> Response:
        """What the plan's candidates are worth, instead of reduced values, and use."""
        return worth(self.problem, self.chosen(plan))

    def differing(self, plan: Plan, other: Plan) -> int:
        """Customers who get other candidates by one plan than by another."""
        differ = self.chosen(plan) != self.chosen(other)
        return int(np.logical_or.reduceat(differ, self.problem.starts[:-1]).sum())

    def contested(self, plan: Plan, most: int) -> Contested:
        """The customers whose choice is nearest to another one; of equals the first."""
        chosen = self.chosen(plan)
        found = margins(self._with(plan.jitter), plan.prices, chosen)
        order = _smallest(found, most)
        _, places = self.problem.places(order)
        return Contested(self.problem.take(order), order + self.problem.offset, found[order], chosen[places])

    def _with(self, jitter: Jitter | None) -> Problem:
        if jitter is None:
            return self.problem
        if any(one.scale != jitter.scale for one in self._noisy):
            self._noisy.clear()
        if jitter not in self._noisy:
            self._noisy[jitter] = self.problem._replace(values=jitter.values(self.problem))
        return self._noisy[jitter]


class Units(NamedTuple):
    """What makes prices and the dual of size one; rows differ by what they count."""

    money: float  # account currency: mean size of a value
    prices: FloatArray  # (J,) account currency per unit: `money` per amount that one contact uses

    @staticmethod
    def of(problem: Problem) -> Units:
        """From the values and amounts of all candidates."""
        counts = np.bincount(problem.kind_of, minlength=problem.kinds.n_kinds).astype(np.float64)
        uses = problem.kinds.matrix(problem.rows.limits.size)
        n_using = np.maximum(counts @ (uses != 0.0), 1.0)
        amounts = np.sqrt(counts @ uses.power(2) / n_using)
        money = float(np.abs(problem.values).mean(dtype=np.float64)) or 1.0
        return Units(money, money / np.where(amounts > 0.0, amounts, 1.0))


class Population(NamedTuple):
    """All customers: `ask` calls a method of every shard and gives the answers in the shards' order."""

    ask: Callable[..., list[Any]]
    rows: Rows
    units: Units
    n_customers: int

    @staticmethod
    def here(problem: Problem, shards: int = 1) -> Population:
        """In this process."""
        parts = [Shard(part) for part in problem.shards(shards)]

        def ask(method: str, *arguments: Any) -> list[Any]:
            return [getattr(part, method)(*arguments) for part in parts]

        return Population(ask, problem.rows, Units.of(problem), problem.n_customers)

    def respond(
        self, prices: FloatArray, stride: int = 1, jitters: Sequence[Jitter | None] = (None,)
    ) -> tuple[float, FloatArray]:
        """Sum of reduced values and usage (J,) of every `stride`-th customer, added over jitters."""
        by_shard: list[list[Response]] = self.ask("respond", prices, stride, jitters)
        return joined([joined(list(parts)) for parts in zip(*by_shard, strict=True)]).total()

    def worth(self, plan: Plan) -> tuple[float, FloatArray]:
        """Account currency that a plan's candidates are worth, and their usage (J,)."""
        return joined(self.ask("worth", plan)).total()

    def differing(self, plan: Plan, other: Plan) -> int:
        """Customers who get other candidates by one plan than by another."""
        return sum(self.ask("differing", plan, other))

    def contested(self, plan: Plan, most: int) -> Contested:
        """The customers whose choice is nearest to another one."""
        return Contested.join(self.ask("contested", plan, most)).keep(most)


def _smallest(found: FloatArray, most: int) -> IntArray:
    """Ascending positions of the `most` smallest; of equals the first."""
    if found.size <= most:
        return np.arange(found.size)
    bar = np.partition(found, most - 1)[most - 1]
    below, level = np.flatnonzero(found < bar), np.flatnonzero(found == bar)
    return np.sort(np.concatenate([below, level[: most - below.size]]))
