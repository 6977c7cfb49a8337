"""Hot loops of the allocation for Numba; each has its definition in NumPy, with the same bits."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

_jit: Any = nb.njit(cache=True, nogil=True)


@_jit  # type: ignore[untyped-decorator]
def respond(
    starts: Any, kind_of: Any, values: Any, prices: Any, uses: Any, groups: Any, caps: Any,
    first: Any, stride: Any, block: Any, gains: Any, usage: Any, chosen: Any,
) -> None:  # fmt: skip
    """As choices.respond_numpy: adds to `gains` (blocks,) and `usage` (blocks, J), marks `chosen` (n,)."""
    if starts.size == 1:
        return  # nobody
    use_starts, use_rows, amounts = uses
    taken = np.zeros(np.max(starts[1:] - starts[:-1]), np.bool_)
    counts, most = np.zeros(caps.size, np.int64), caps[0]
    for i in range(first, starts.size - 1, stride):
        begin, end, b = starts[i], starts[i + 1], i // block
        for n in range(most):
            best, at = 0.0, -1
            for c in range(begin, end):
                reduced = values[c] - prices[kind_of[c]]
                if reduced > best and (
                    n == 0 or not (taken[c - begin] or _is_full(kind_of[c], groups, caps, counts))
                ):
                    best, at = reduced, c
            if at < 0:
                break
            gains[b] += best
            kind = kind_of[at]
            for u in range(use_starts[kind], use_starts[kind + 1]):
                usage[b, use_rows[u]] += amounts[u]
            if chosen.size:
                chosen[at] = True
            if most > 1:
                taken[at - begin] = True
                for level in range(groups.shape[1]):
                    counts[groups[kind, level]] += 1
        if most > 1:
            for c in range(begin, end):
                if taken[c - begin]:
                    taken[c - begin] = False
                    for level in range(groups.shape[1]):
                        counts[groups[kind_of[c], level]] = 0


@_jit  # type: ignore[untyped-decorator]
def _is_full(kind: Any, groups: Any, caps: Any, counts: Any) -> Any:
    for level in range(groups.shape[1]):
        group = groups[kind, level]
        if counts[group] >= caps[group]:
            return True
    return False


@_jit  # type: ignore[untyped-decorator]
def margins(
    starts: Any, kind_of: Any, values: Any, prices: Any, groups: Any, caps: Any, chosen: Any, found: Any
) -> None:
    """As the smallest of choices.regrets_numpy of each customer, into `found` (N,)."""
    counts, least = np.zeros(caps.size, np.int64), np.full(caps.size, np.inf)
    for i in range(starts.size - 1):
        margin = np.inf
        for c in range(starts[i], starts[i + 1]):
            if chosen[c]:
                kind = kind_of[c]
                reduced = values[c] - prices[kind]
                margin = min(margin, reduced)
                for level in range(groups.shape[1]):
                    group = groups[kind, level]
                    counts[group] += 1
                    least[group] = min(least[group], reduced)
        for c in range(starts[i], starts[i + 1]):
            if not chosen[c]:
                kind, way = kind_of[c], 0.0
                for level in range(groups.shape[1]):  # the finest full group comes last
                    group = groups[kind, level]
                    if counts[group] >= caps[group]:
                        way = least[group]
                margin = min(margin, way - (values[c] - prices[kind]))
        found[i] = margin
        for c in range(starts[i], starts[i + 1]):
            if chosen[c]:
                for level in range(groups.shape[1]):
                    counts[groups[kind_of[c], level]], least[groups[kind_of[c], level]] = 0, np.inf
