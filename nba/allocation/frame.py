"""The rows and caps of an allocation, made of resources and of the columns that candidates have.

Shape letters: V kinds of candidates, J rows, G groups of caps, L levels of caps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from difflib import get_close_matches
from typing import NamedTuple

import numpy as np

from nba.allocation.problem import Kinds, Rows
from nba.allocation.resources import Guarantee, Limit, Resources, Share, Where, Word
from nba.arrays import AnyArray, BoolArray, FloatArray, IntArray
from nba.errors import InvalidConfig, require

_PENALTY = 10.0  # times the largest value, for what a guarantee misses (methods D7)


class Entry(NamedTuple):
    """A resource as it is reported: its usage is a multiple of a row's, or the quotient of two rows."""

    name: str
    row: int  # which is priced
    sign: float  # -1 where a floor is a row of negative amounts
    limit: float  # units, or of 1
    report_only: bool
    rule: str  # the resource that a person wrote; `per` and bands make several entries of one
    measured: tuple[int, int] | None = None  # the rows of part and whole, for a share

    def used(self, usage: FloatArray) -> float:
        """Units, or for a share the part of 1, of the usage (J,) of rows."""
        if self.measured is None:
            return self.sign * float(usage[self.row]) + 0.0  # no negative zero
        part, whole = (float(usage[row]) for row in self.measured)
        return part / whole if whole else 0.0


class Frame(NamedTuple):
    """All but the customers of an allocation."""

    kinds: Kinds
    caps: IntArray  # (G,)
    rows: Rows
    entries: tuple[Entry, ...]


def frame_of(
    resources: Resources, columns: Mapping[str, AnyArray], n_kinds: int, largest: float, source: str
) -> Frame:
    """Rows and caps over kinds of candidates, whose `columns` (V,) are text, or floats where amounts are.

    `largest` is the largest value of a candidate, account currency; `source` names the resources in errors.
    """
    drawn = _Drawing(columns, n_kinds, largest, source)
    for index, limit in enumerate(resources.limits):
        drawn.limit(limit, f"limits[{index}]")
    for index, guarantee in enumerate(resources.guarantees):
        drawn.guarantee(guarantee, f"guarantees[{index}]")
    for index, share in enumerate(resources.shares):
        drawn.share(share, f"shares[{index}]")
    named = Counter(entry.name for entry in drawn.entries)
    twice = [name for name, count in named.items() if count > 1]
    rule = f"two resources are both reported as {', '.join(map(repr, twice))}; give one another name"
    require(not twice, source, "name", rule)
    groups, caps = _groups(resources, columns, n_kinds, source)
    kinds, rows = drawn.finished(groups)
    return Frame(kinds, caps, rows, tuple(drawn.entries))


class _Drawing:
    """Rows while they are being made, each by the kinds (m,) that use it and their amounts (m,)."""

    def __init__(self, columns: Mapping[str, AnyArray], n_kinds: int, largest: float, source: str) -> None:
        self.columns, self.n_kinds, self.largest, self.source = columns, n_kinds, largest, source
        self.names: list[str] = []
        self.bounds: list[tuple[float, float]] = []  # limit, ceiling
        self.uses: list[tuple[IntArray, FloatArray]] = []
        self.entries: list[Entry] = []

    def limit(self, limit: Limit, pointer: str) -> None:
        mask, amounts = self._picked(limit.where, limit, f"{pointer}.where"), self._amounts(limit.uses)
        ceiling = 0.0 if limit.report_only else np.inf
        if limit.per is None:
            self._told(limit, limit.name, amounts * mask, limit.at_most or 0.0, ceiling)
            return
        of = self.columns[limit.per]
        if not limit.may_be_empty:
            known = np.unique(of).tolist()
            for word in limit.each:
                self._known(word, known, limit.per, f"{pointer}.each")
        order = np.flatnonzero(mask)[np.argsort(of[mask], kind="stable")]
        values, starts = np.unique(of[order], return_index=True)
        for value, kinds in zip(values, np.split(order, starts[1:]), strict=True):
            most = limit.each.get(str(value), limit.at_most)
            if most is None:
                rule = f"no limit for {str(value)!r} of column {limit.per!r}; name it, or give at_most"
                raise InvalidConfig(self.source, f"{pointer}.each", rule)
            self._told(limit, f"{limit.name}/{value}", amounts[kinds], most, ceiling, kinds)

    def guarantee(self, guarantee: Guarantee, pointer: str) -> None:
        mask = self._picked(guarantee.where, guarantee, f"{pointer}.where")
        amounts = self._amounts(guarantee.uses) * mask
        least = amounts[amounts > 0.0].min(initial=np.inf)
        price = guarantee.price
        if price is None:
            price = _PENALTY * (self.largest or 1.0) / least if np.isfinite(least) else 0.0
        ceiling = 0.0 if guarantee.report_only else price
        self._told(guarantee, guarantee.name, -amounts, -guarantee.at_least, ceiling, sign=-1.0)

    def share(self, share: Share, pointer: str) -> None:
        whole = self._picked(share.whole, share, f"{pointer}.whole")
        part = self._picked(share.where, share, f"{pointer}.where") & whole
        amounts, ceiling = self._amounts(share.uses), 0.0 if share.report_only else np.inf
        measured = len(self.names), len(self.names) + 1
        self._row(f"{share.name} (part)", amounts * part, 0.0, 0.0)
        self._row(f"{share.name} (whole)", amounts * whole, 0.0, 0.0)
        for field, sign in (("at_most", 1.0), ("at_least", -1.0)):
            bound = getattr(share, field)
            if bound is not None:
                name = share.name if None in (share.at_most, share.at_least) else f"{share.name} {field}"
                uses = sign * amounts * (1.0 * part - bound * whole)
                entry = Entry(name, len(self.names), sign, bound, share.report_only, share.name, measured)
                self._row(name, uses, 0.0, ceiling)
                self.entries.append(entry)

    def finished(self, groups: IntArray) -> tuple[Kinds, Rows]:
        """The rows, by kinds."""
        from scipy.sparse import csr_array

        rows = np.repeat(np.arange(len(self.uses)), [kinds.size for kinds, _ in self.uses])
        kinds = np.concatenate([kinds for kinds, _ in self.uses] or [rows])
        amounts = np.concatenate([amounts for _, amounts in self.uses] or [np.zeros(0)])
        table = csr_array((amounts, (kinds, rows)), shape=(self.n_kinds, len(self.uses)))
        table.sort_indices()
        starts, indices = (one.astype(np.int64) for one in (table.indptr, table.indices))
        limits, ceilings = np.array(self.bounds).reshape(-1, 2).T
        return Kinds(starts, indices, table.data, groups), Rows(tuple(self.names), limits, ceilings)

    def _told(
        self, row: Limit | Guarantee, name: str, amounts: FloatArray, limit: float, ceiling: float,
        kinds: IntArray | None = None, sign: float = 1.0,
    ) -> None:  # fmt: skip
        self.entries.append(Entry(name, len(self.names), sign, sign * limit, row.report_only, row.name))
        self._row(name, amounts, limit, ceiling, kinds)

    def _row(
        self, name: str, amounts: FloatArray, limit: float, ceiling: float, kinds: IntArray | None = None
    ) -> None:
        used = np.flatnonzero(amounts)
        self.names.append(name)
        self.bounds.append((limit, ceiling))
        self.uses.append((used if kinds is None else kinds[used], amounts[used].astype(np.float64)))

    def _amounts(self, uses: float | str) -> FloatArray:
        if isinstance(uses, str):
            return np.asarray(self.columns[uses], dtype=np.float64)
        return np.full(self.n_kinds, uses)

    def _picked(self, where: Where, row: Limit | Guarantee | Share, pointer: str) -> BoolArray:
        """(V,) kinds that a condition picks; a word that is in no row of the table is taken for a slip."""
        mask = np.ones(self.n_kinds, dtype=np.bool_)
        for column, words in where.items():
            wanted = [_text(word) for word in (words if isinstance(words, tuple) else (words,))]
            if not row.may_be_empty:
                known = np.unique(self.columns[column]).tolist()
                for word in wanted:
                    self._known(word, known, column, f"{pointer}.{column}")
            mask &= np.isin(self.columns[column], wanted)
        return mask

    def _known(self, word: str, known: list[str], column: str, pointer: str) -> None:
        near = get_close_matches(word, known, n=3, cutoff=0.5) or known[:8]
        rule = f"no candidate has {word!r} in column {column!r}; did you mean {', '.join(map(repr, near))}? "
        rule += "If it may be missing, say may_be_empty = true"
        require(word in known, self.source, pointer, rule)


def _text(word: Word) -> str:
    return str(word).lower() if isinstance(word, bool) else str(word)


def _groups(
    resources: Resources, columns: Mapping[str, AnyArray], n_kinds: int, source: str
) -> tuple[IntArray, IntArray]:
    """Groups (V, L), coarsest level first, and their caps (G,); groups must nest."""
    levels, caps = [np.zeros(n_kinds, dtype=np.int64)], [resources.at_most]
    coded = [np.unique(columns[cap.by], return_inverse=True) for cap in resources.caps]
    before = "all"
    for index in sorted(range(len(coded)), key=lambda one: coded[one][0].size):
        cap, (values, codes) = resources.caps[index], coded[index]
        pairs = np.unique(np.stack([levels[-1], codes.ravel()]), axis=1)
        names, counts = np.unique(pairs[1], return_counts=True)
        crossing = values[names[counts > 1]]
        rule = (
            f"crosses the cap by {before!r}: {str(crossing[0]) if crossing.size else None!r} lies in several "
        )
        rule += "of its groups, and only caps that nest can be kept exactly; drop one, or make a finer column"
        require(not crossing.size, source, f"caps[{index}].by", rule)
        levels.append(codes.ravel() + len(caps))
        caps += [cap.at_most] * values.size
        before = cap.by
    return np.stack(levels, axis=1), np.array(caps, dtype=np.int64)
