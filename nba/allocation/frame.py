"""The rows and caps of an allocation, made of resources and of the columns that candidates have.

Shape letters: V kinds of candidates, J rows, G groups of caps, L levels of caps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import NamedTuple

import numpy as np

from nba.allocation.problem import Kinds, Rows
from nba.allocation.resources import (
    Guarantee,
    Limit,
    Resources,
    Row,
    Share,
    Where,
    Word,
    columns_of,
    whole_number,
)
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
        mask = self._picked(limit.where, limit, f"{pointer}.where")
        amounts, ceiling = self._amounts(limit, mask, pointer), 0.0 if limit.report_only else np.inf
        for value, kinds in self._cells(limit, mask, pointer):
            most = self._bound(limit.at_most, limit, value, pointer)
            name = limit.name if value is None else f"{limit.name}/{value}"
            if limit.rolling is None:
                self._told(limit, name, amounts[kinds], most, ceiling, kinds)
                continue
            for window, inside, spent in windows(self.columns[limit.day][kinds], limit, self.source, pointer):
                rule = f"{spent:g} of {most:g} units is spent already in days {window}; more than there is"
                require(spent <= most or limit.report_only, self.source, f"{pointer}.spent", rule)
                part = kinds[inside]
                self._told(limit, f"{name}/{window}", amounts[part], most - spent, ceiling, part)

    def guarantee(self, guarantee: Guarantee, pointer: str) -> None:
        mask = self._picked(guarantee.where, guarantee, f"{pointer}.where")
        amounts = self._amounts(guarantee, mask, pointer)
        for value, kinds in self._cells(guarantee, mask, pointer):
            least = self._bound(guarantee.at_least, guarantee, value, pointer)
            name = guarantee.name if value is None else f"{guarantee.name}/{value}"
            price, used = guarantee.price, amounts[kinds]
            if price is None:
                unit = used[used > 0.0].min(initial=np.inf)
                price = _PENALTY * (self.largest or 1.0) / unit if np.isfinite(unit) else 0.0
            ceiling = 0.0 if guarantee.report_only else price
            self._told(guarantee, name, -used, -least, ceiling, kinds, sign=-1.0)

    def share(self, share: Share, pointer: str) -> None:
        whole = self._picked(share.whole, share, f"{pointer}.whole")
        part = self._picked(share.where, share, f"{pointer}.where") & whole
        amounts = self._amounts(share, whole, pointer)
        everything = len(self.names)
        self._row(f"{share.name} (whole)", amounts * whole, 0.0, 0.0, np.arange(self.n_kinds))
        for value, kinds in self._cells(share, part, pointer):
            name = share.name if value is None else f"{share.name}/{value}"
            inside = np.isin(np.arange(self.n_kinds), kinds)
            self._band(share, name, amounts, (inside, whole), everything)

    def _band(
        self, share: Share, name: str, amounts: FloatArray, sides: tuple[BoolArray, BoolArray], of: int
    ) -> None:
        """Rows of one part: what it uses, and its bounds as what it may use beyond its share of the whole."""
        (part, whole), everybody = sides, np.arange(self.n_kinds)
        measured, ceiling = (len(self.names), of), 0.0 if share.report_only else np.inf
        self._row(f"{name} (part)", amounts * part, 0.0, 0.0, everybody)
        for field, sign in (("at_most", 1.0), ("at_least", -1.0)):
            bound = getattr(share, field)
            if bound is not None:
                told = name if None in (share.at_most, share.at_least) else f"{name} {field}"
                uses = sign * amounts * (1.0 * part - bound * whole)
                entry = Entry(told, len(self.names), sign, bound, share.report_only, share.name, measured)
                self._row(told, uses, 0.0, ceiling, everybody)
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
        kinds: IntArray, sign: float = 1.0,
    ) -> None:  # fmt: skip
        self.entries.append(Entry(name, len(self.names), sign, sign * limit, row.report_only, row.name))
        self._row(name, amounts, limit, ceiling, kinds)

    def _row(self, name: str, amounts: FloatArray, limit: float, ceiling: float, kinds: IntArray) -> None:
        used = np.flatnonzero(amounts)
        self.names.append(name)
        self.bounds.append((limit, ceiling))
        self.uses.append((kinds[used], amounts[used].astype(np.float64)))

    def _cells(self, row: Row, mask: BoolArray, pointer: str) -> Iterator[tuple[str | None, IntArray]]:
        """Values of `per`, or None without it, each with the picked kinds (m,) that have it."""
        picked, names = np.flatnonzero(mask), columns_of(row.per)
        if not names:
            yield None, picked
            return
        for name in names:
            words = np.unique(self.columns[name][picked]).tolist()
            bad = [word for word in words if not word or (len(names) > 1 and "/" in word)]
            rule = (
                f"column {name!r} holds {', '.join(map(repr, bad[:5]))}; what names a row must not be empty, "
            )
            rule += "nor have a '/' where several columns do"
            require(not bad, self.source, f"{pointer}.per", rule)
        of = np.array(["/".join(words) for words in zip(*(self.columns[n] for n in names), strict=True)])
        each = getattr(row, "each", {})
        if not row.may_be_empty:
            known = np.unique(of).tolist()
            for word in each:
                self._known(word, known, "/".join(names), f"{pointer}.each")
        order = picked[np.argsort(of[picked], kind="stable")]
        values, starts = np.unique(of[order], return_index=True)
        yield from zip(values.tolist(), np.split(order, starts[1:]), strict=False)

    def _bound(self, common: float | None, row: Limit | Guarantee, value: str | None, pointer: str) -> float:
        bound = common if value is None else row.each.get(value, common)
        if bound is None:
            field, of = "at_most" if isinstance(row, Limit) else "at_least", "/".join(columns_of(row.per))
            rule = f"no limit for {value!r} of column {of!r}; name it, or give {field}"
            raise InvalidConfig(self.source, f"{pointer}.each", rule)
        return bound

    def _amounts(self, row: Row, mask: BoolArray, pointer: str) -> FloatArray:
        """(V,) units that a contact of each kind takes; those that are picked have a number each."""
        if isinstance(row.uses, str):
            return np.asarray(self.columns[row.uses], dtype=np.float64)
        if not isinstance(row.uses, dict) or row.uses_by is None:
            return np.full(self.n_kinds, row.uses)
        of, found = self.columns[row.uses_by], np.zeros(self.n_kinds)
        known = np.unique(of).tolist()
        if not row.may_be_empty:
            for word in row.uses:
                self._known(word, known, row.uses_by, f"{pointer}.uses")
        missing = sorted(set(of[mask].tolist()) - row.uses.keys())
        rule = f"has no number for {', '.join(map(repr, missing[:8]))} in {row.uses_by!r}; 0 says none"
        require(not missing, self.source, f"{pointer}.uses", rule)
        for word, amount in row.uses.items():
            found[of == word] = amount
        return found

    def _picked(self, where: Where, row: Row, pointer: str) -> BoolArray:
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


def windows(days: AnyArray, limit: Limit, source: str, pointer: str) -> Iterator[tuple[str, IntArray, float]]:
    """Every `rolling` days that end on a day of the table: their name, candidates (m,), units spent before.

    A longer stretch of days that end later would hold the same candidates or fewer.
    """
    bad = sorted({str(day) for day in days if not whole_number(str(day))})
    rule = f"column {limit.day!r} must hold whole numbers of days, got {', '.join(map(repr, bad[:5]))}"
    require(not bad, source, f"{pointer}.day", rule)
    numbers, length = days.astype(np.int64), limit.rolling or 1
    early = [day for day in limit.spent if numbers.size and int(day) >= numbers.min()]
    rule = f"day {', '.join(early)} is not before the first day of the table"
    require(not early, source, f"{pointer}.spent", rule)
    # A window that ends between two days of the table holds no more than the one that ends on the earlier.
    for end in np.unique(numbers).tolist():
        first = end - length + 1
        spent = sum(units for day, units in limit.spent.items() if first <= int(day) <= end)
        yield f"{first}..{end}", np.flatnonzero((numbers >= first) & (numbers <= end)), float(spent)


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
