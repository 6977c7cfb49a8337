"""What customers choose at given prices: the exact inner problem of the dual, and how near a choice is.

At prices every customer is on its own, and the caps form a laminar matroid, so that taking the candidates
with the largest reduced value v - lambda.a one after another, as long as it is positive and the caps
allow, is exact (Edmonds 1971; methods D4). Among equals the first candidate is taken.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.allocation.problem import BLOCK, Problem
from nba.arrays import BoolArray, FloatArray, IntArray
from nba.kernels import compiled


class Response(NamedTuple):
    """What the customers of each block get and use."""

    gains: FloatArray  # (blocks,) account currency: sum of reduced values
    usage: FloatArray  # (blocks, J) units

    def total(self) -> tuple[float, FloatArray]:
        """Gain and usage (J,) of all, added block by block: shards do not change the bits."""
        return float(np.cumsum(self.gains)[-1]), np.cumsum(self.usage, axis=0)[-1]


def joined(parts: list[Response]) -> Response:
    """The response of shards in their order."""
    return Response(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def kind_prices(problem: Problem, prices: FloatArray) -> FloatArray:
    """(V,) account currency that a candidate of each kind is charged at the prices (J,) of rows."""
    charged: FloatArray = problem.kinds.matrix(prices.size) @ prices
    return charged


def respond(
    problem: Problem, prices: FloatArray, stride: int = 1, mark: bool = False
) -> tuple[Response, BoolArray]:
    """Response of every `stride`-th customer to prices (J,), and the chosen candidates (n,) if asked for."""
    kernels = compiled("allocation")
    if kernels is None:
        return respond_numpy(problem, prices, stride, mark)
    response, chosen = _empty(problem, mark)
    kernels.respond(
        problem.starts, problem.kind_of, problem.values, kind_prices(problem, prices), problem.kinds[:3],
        problem.kinds.groups, problem.caps, -problem.offset % stride, stride, BLOCK, *response, chosen,
    )  # fmt: skip
    return response, chosen


def respond_numpy(
    problem: Problem, prices: FloatArray, stride: int = 1, mark: bool = False
) -> tuple[Response, BoolArray]:
    """Response and chosen candidates; the definition of the kernel."""
    response, chosen = _empty(problem, mark)
    charged = kind_prices(problem, prices)
    for block, start in enumerate(range(0, problem.n_customers, BLOCK)):
        end, first = min(start + BLOCK, problem.n_customers), start + (-problem.offset - start) % stride
        customers = np.arange(first, end, stride)
        if not customers.size:
            continue
        _, places = problem.places(customers)
        picks, gains = _greedy(problem.take(customers), charged)
        response.gains[block] = np.cumsum(gains)[-1] if gains.size else 0.0
        _add_usage(problem, problem.kind_of[places[picks]], response.usage[block])
        if mark:
            chosen[places[picks]] = True
    return response, chosen


def worth(problem: Problem, chosen: BoolArray) -> Response:
    """What the chosen candidates (n,) are worth, and use, by blocks."""
    response, _ = _empty(problem, mark=False)
    picks = np.flatnonzero(chosen)
    owner = np.searchsorted(problem.starts, picks, side="right") - 1
    ends = np.searchsorted(owner, np.arange(problem.n_blocks + 1) * BLOCK)
    for block, (begin, end) in enumerate(zip(ends[:-1], ends[1:], strict=True)):
        mine = picks[begin:end]
        response.gains[block] = problem.values[mine].astype(np.float64).sum()
        _add_usage(problem, problem.kind_of[mine], response.usage[block])
    return response


def _empty(problem: Problem, mark: bool) -> tuple[Response, BoolArray]:
    blocks, n_rows = problem.n_blocks, problem.rows.limits.size
    chosen = np.zeros(problem.values.size if mark else 0, dtype=np.bool_)
    return Response(np.zeros(blocks), np.zeros((blocks, n_rows))), chosen


def _greedy(part: Problem, charged: FloatArray) -> tuple[IntArray, FloatArray]:
    """Chosen candidates in the order customer by customer, as they were taken, and their reduced values."""
    reduced = part.values.astype(np.float64) - charged[part.kind_of]
    owner, groups = part.customer_of, part.kinds.groups[part.kind_of]
    counts = np.zeros((part.n_customers, part.caps.size), dtype=np.int64)
    taken, picks = np.zeros(reduced.size, dtype=np.bool_), []
    for _ in range(int(part.caps[0])):
        full = (counts[owner[:, None], groups] >= part.caps[groups]).any(axis=1)
        masked = np.where((reduced > 0.0) & ~taken & ~full, reduced, -np.inf)
        best = np.maximum.reduceat(masked, part.starts[:-1])
        places = np.where(masked == best[owner], np.arange(masked.size), masked.size)
        pick = np.minimum.reduceat(places, part.starts[:-1])[best > -np.inf]
        taken[pick] = True
        np.add.at(counts, (owner[pick][:, None], groups[pick]), 1)
        picks.append(pick)
    found = np.concatenate(picks)
    found = found[np.argsort(owner[found], kind="stable")]
    return found, reduced[found]


def _add_usage(problem: Problem, kinds: IntArray, usage: FloatArray) -> None:
    starts, rows, amounts, _ = problem.kinds
    sizes = np.diff(starts)[kinds]
    ends = np.cumsum(sizes)
    places = np.arange(ends[-1] if ends.size else 0) + np.repeat(starts[kinds] - ends + sizes, sizes)
    np.add.at(usage, rows[places], amounts[places])


def margins(problem: Problem, prices: FloatArray, chosen: BoolArray) -> FloatArray:
    """(N,) account currency by which a reduced value must change before a customer chooses otherwise."""
    kernels = compiled("allocation")
    if kernels is None:
        return np.minimum.reduceat(regrets_numpy(problem, prices, chosen), problem.starts[:-1])
    found = np.empty(problem.n_customers)
    kernels.margins(
        problem.starts, problem.kind_of, problem.values, kind_prices(problem, prices), problem.kinds.groups,
        problem.caps, chosen, found,
    )  # fmt: skip
    return found


def regrets_numpy(problem: Problem, prices: FloatArray, chosen: BoolArray) -> FloatArray:
    """(n,) account currency lost, at the prices, by dropping a chosen candidate or by taking another.

    To take one more of a full group of caps, the worst of the smallest such group has to go.
    """
    reduced = problem.values.astype(np.float64) - kind_prices(problem, prices)[problem.kind_of]
    groups, shape = problem.kinds.groups[problem.kind_of], (problem.n_customers, problem.caps.size)
    owner = problem.customer_of
    counts, least = np.zeros(shape, dtype=np.int64), np.full(shape, np.inf)
    np.add.at(counts, (owner[chosen][:, None], groups[chosen]), 1)
    np.minimum.at(least, (owner[chosen][:, None], groups[chosen]), reduced[chosen][:, None])
    way = np.zeros(reduced.size)
    for level in range(groups.shape[1]):  # the finest full group comes last
        place = owner, groups[:, level]
        way = np.where(counts[place] >= problem.caps[groups[:, level]], least[place], way)
    return np.where(chosen, reduced, way - reduced)
