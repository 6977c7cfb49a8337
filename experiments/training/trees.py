"""States as named arrays and back: what a run in the middle is, so that it can be taken up again.

A state is a tree of named tuples; its leaves are arrays and numbers. Everything else in it is configuration,
which the state of the same run on its first day has as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from nba.arrays import AnyArray

Tree = TypeVar("Tree")
_NUMBERS = (bool, int, float, np.generic)


def arrays_of(tree: Any, name: str) -> Iterator[tuple[str, AnyArray]]:
    """The leaves of a tree under dotted names."""
    if isinstance(tree, np.ndarray):
        yield name, tree
    elif isinstance(tree, _NUMBERS):
        yield name, np.asarray(tree)
    elif isinstance(tree, tuple):
        for number, part in enumerate(tree):
            yield from arrays_of(part, f"{name}.{number}")


def with_arrays(tree: Tree, arrays: Mapping[str, AnyArray], name: str) -> Tree:
    """A tree of the same kind with other leaves; KeyError if one of them is not there."""
    found: Any = tree
    if isinstance(tree, np.ndarray):
        found = arrays[name]
    elif isinstance(tree, _NUMBERS):
        found = type(tree)(arrays[name].item())
    elif isinstance(tree, tuple):
        parts = [with_arrays(part, arrays, f"{name}.{number}") for number, part in enumerate(tree)]
        found = tree._make(parts) if hasattr(tree, "_make") else tuple(parts)
    same: Tree = found
    return same
