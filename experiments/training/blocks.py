"""Learning in 256 logical blocks: one worker and 64 of them come to the same bytes (methods A9).

Which rows make a block follows from the data alone. Neighbouring blocks are joined, in their order, while
their evidence would weigh more than their rows; then it is added in pairs, pairs of pairs, and so on to the
root. A task may take any whole branch of that tree: what is added up inside is added in the same order
wherever it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from operator import add
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from experiments.executor import Executor, Report, SerialExecutor
from nba.arrays import IntArray, take_rows
from nba.feedback import RoundBatch
from nba.posteriors import Posterior, state_of
from nba.posteriors.glm import FactoredGlm
from nba.posteriors.glm_laplace import Curvature

N_BLOCKS = 256  # a power of two: the tree is full
LEAST_ROWS = 4_096  # of joined blocks: fewer are learnt sooner than they travel
_MOST_TASKS = 64  # each sends back what all parameters need

Summand = TypeVar("Summand")


class Blocks(Protocol):
    """Rows to learn from, cut into logical blocks; a block's rounds are made where they are learnt."""

    @property
    def edges(self) -> IntArray:
        """(N_BLOCKS + 1,) rows at which blocks begin and the last one ends, rising."""
        ...

    def rounds(self, first: int, stop: int) -> RoundBatch:
        """The rounds of neighbouring blocks, in their order."""
        ...


class HeldBlocks(NamedTuple):
    """Rounds that are in memory, block after block."""

    ordered: RoundBatch
    edges: IntArray

    @staticmethod
    def of(rounds: RoundBatch, blocks: IntArray) -> HeldBlocks:
        """Rounds (n,) by their block (n,) in [0, N_BLOCKS), within a block in the order given."""
        order = np.argsort(blocks, kind="stable")
        edges = np.searchsorted(blocks[order], np.arange(N_BLOCKS + 1))
        return HeldBlocks(take_rows(rounds, order), edges)

    def rounds(self, first: int, stop: int) -> RoundBatch:
        """The rounds of neighbouring blocks."""
        return take_rows(self.ordered, slice(self.edges[first], self.edges[stop]))


def even_edges(start: int, stop: int) -> IntArray:
    """(N_BLOCKS + 1,) places that cut some rows, in their order, into blocks as equal as can be."""
    return start + np.arange(N_BLOCKS + 1) * (stop - start) // N_BLOCKS


def learnt_in_blocks(posterior: Posterior, blocks: Blocks, run: Executor) -> Posterior:
    """The posterior after a batch, whose evidence is gathered block by block and merged in their order.

    Generalised linear models go to the mode of belief and batch, with a pass over all blocks for every step
    (as `nba.learning.learnt_batch` does with rows). Raises NotConverged.
    """
    edges = blocks.edges
    if edges[0] == edges[-1]:
        return posterior
    least = least_rows(posterior, blocks)
    if isinstance(posterior, FactoredGlm):

        def total(at: Any) -> Curvature:
            found: Curvature = summed(partial(_curvature, posterior, blocks, at), edges, run, least)
            return found

        return posterior.laplace(total)
    found: Posterior = posterior.absorb(summed(partial(_evidence, posterior, blocks), edges, run, least))
    return found


def learnt_in_order(posterior: Posterior, rounds: RoundBatch, run: Executor) -> Posterior:
    """The posterior after rounds that are folded one by one, which no second worker can help with."""
    (found,) = getattr(run, "here", run).map(partial(_folded, posterior), [rounds])
    return found


def least_rows(posterior: Posterior, blocks: Blocks) -> int:
    """Rows that weigh as much as their evidence, which is about the size of half of what is learnt."""
    size = sum(int(array.size) for array in state_of(posterior).values())
    return size // (2 * int(blocks.rounds(0, 1).features.shape[1]))


def summed(
    leaf: Callable[[int, int], Summand], edges: IntArray, run: Executor, least_rows: int = LEAST_ROWS
) -> Any:
    """The sum of what `leaf` makes of joined blocks first to stop; at least one block must hold a row."""
    n_rows, leaves = int(edges[-1] - edges[0]), 1
    while leaves < N_BLOCKS and 2 * leaves * max(least_rows, LEAST_ROWS) <= n_rows:
        leaves *= 2
    cuts = np.linspace(0, N_BLOCKS, leaves + 1).astype(np.int64)
    joined = [
        (first, stop) if edges[first] < edges[stop] else None
        for first, stop in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)
    ]
    size = max(leaves // _MOST_TASKS, 1)
    branches = [joined[start : start + size] for start in range(0, leaves, size)]
    where = run if len(branches) > 1 else getattr(run, "here", SerialExecutor())
    return merged(where.map(partial(_branch, leaf), branches))


def merged(parts: Iterable[Summand | None]) -> Summand | None:
    """The sum over a full binary tree of parts, whose number is a power of two; None adds nothing.

    At most one sum of each size is kept: memory holds log2 of the parts.
    """
    kept: list[tuple[int, Summand | None]] = []
    for part in parts:
        size = 1
        while kept and kept[-1][0] == size:
            part, size = _plus(kept.pop()[1], part), 2 * size
        kept.append((size, part))
    ((_, whole),) = kept
    return whole


def _plus(one: Summand | None, two: Summand | None) -> Summand | None:
    if one is None or two is None:
        return two if one is None else one
    found: Summand = add(one, two)
    return found


def _branch(
    leaf: Callable[[int, int], Summand], joined: list[tuple[int, int] | None], report: Report
) -> Summand | None:
    """A task: the sum over some neighbours."""
    return merged(None if blocks is None else leaf(*blocks) for blocks in joined)


def _folded(posterior: Posterior, rounds: RoundBatch, report: Report) -> Posterior:
    found: Posterior = posterior.fold(rounds)
    return found


def _evidence(posterior: Any, blocks: Blocks, first: int, stop: int) -> Any:
    return posterior.evidence(blocks.rounds(first, stop))


def _curvature(posterior: FactoredGlm, blocks: Blocks, at: Any, first: int, stop: int) -> Curvature:
    return posterior.gradient_and_curvature(blocks.rounds(first, stop), at)
