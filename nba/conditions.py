"""Conditions on customers as data: over declared attributes, tags and products held, three-valued.

What is not known makes a condition neither hold nor fail; "and", "or" and "not" then follow Kleene (1952,
section 64): all_of fails as soon as one part fails, any_of holds as soon as one part holds, and everything
else that touches the unknown stays unknown. Whoever asks says what becomes of the unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import NamedTuple, TypeAlias

import numpy as np
from msgspec import Struct, field

from nba.arrays import AnyArray, BoolArray
from nba.catalogue import Catalogue
from nba.context import ContextBatch
from nba.errors import InvalidConfig, require
from nba.features import Category, Column, FeatureSchema, Flag, Numeric
from nba.scope import NAMED, products_named
from nba.since import Since

_BOUNDS = {"at_least": ">=", "at_most": "<=", "above": ">", "below": "<"}
_MEETS = {
    "at_least": np.greater_equal,
    "at_most": np.less_equal,
    "above": np.greater,
    "below": np.less,
}
_SUBJECTS = ("attribute", "tag", "owns", "all_of", "any_of", "not")
_TESTS = ("is", "known", *_BOUNDS, "one_of", "none_of")
_TESTS_OF = {
    Numeric: (*_BOUNDS, "known"),
    Since: (*_BOUNDS, "known"),
    Flag: ("is", "known"),
    Category: ("one_of", "none_of", "known"),
}
_FIELDS = {"not": "not_", "is": "is_"}


class Verdict(NamedTuple):
    """Of whom a condition holds and of whom it fails; of the others it is not known."""

    holds: BoolArray  # (B,)
    fails: BoolArray  # (B,)

    def turned(self) -> Verdict:
        """The verdict of the opposite."""
        return Verdict(self.fails, self.holds)


Ask: TypeAlias = Callable[[ContextBatch], Verdict]


class Condition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One test of one thing, or a combination of conditions.

    A number is tested by at_least, at_most, above and below (together: a range), a flag by `is`, a category
    by one_of or none_of; `known` asks whether an attribute is known at all, and always has an answer. `tag`
    is a tag of the strategy and `owns` a product, a group or a tag of products, each true unless `is` says
    false.
    """

    attribute: str | None = None
    tag: str | None = None
    owns: str | None = None
    all_of: tuple[Condition, ...] | None = None
    any_of: tuple[Condition, ...] | None = None
    not_: Condition | None = field(default=None, name="not")
    is_: bool | None = field(default=None, name="is")
    known: bool | None = None
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None
    one_of: tuple[str, ...] | None = None
    none_of: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Exactly one subject, and the tests that go with it."""
        subjects, tests = self._given(_SUBJECTS), self.tests
        rule = f"needs exactly one of {', '.join(_SUBJECTS)}; got {', '.join(subjects) or 'none'}"
        require(len(subjects) == 1, "condition", "", rule)
        (subject,) = subjects
        if subject == "attribute":
            self._check_values()
            require(bool(tests), "condition", subject, f"{self.attribute!r} needs a test, such as at_least")
            rule = "asks whether the attribute is known, and goes with no other test"
            require(self.known is None or len(tests) == 1, "condition", "known", rule)
            return
        allowed = ("is",) if subject in ("tag", "owns") else ()
        for test in tests:
            rule = f"does not go with {subject}, which takes {' or '.join(allowed) or 'no test'}"
            require(test in allowed, "condition", test, rule)
        for part in ("all_of", "any_of"):
            require(getattr(self, part) != (), "condition", part, "must hold at least one condition")

    def _check_values(self) -> None:
        """Refuse what nobody, or everybody, meets by mistake: no number, no names, a range without inside."""
        for test in self.tests:
            value = self._value(test)
            rule = f"must be a number, got {value}: nothing compares with it"
            require(not isinstance(value, float) or not np.isnan(value), "condition", test, rule)
            require(value != (), "condition", test, "must name at least one level, or be left out")
        lows = [(getattr(self, test), test) for test in ("at_least", "above") if test in self.tests]
        highs = [(getattr(self, test), test) for test in ("at_most", "below") if test in self.tests]
        for low, above in lows:
            for high, below in highs:
                meets = low <= high if (above, below) == ("at_least", "at_most") else low < high
                rule = f"leaves no number: {above} is {low:.15g} and {below} is {high:.15g}"
                require(meets, "condition", below, rule)

    @property
    def tests(self) -> tuple[str, ...]:
        """The tests that are given."""
        return self._given(_TESTS)

    @property
    def parts(self) -> tuple[Condition, ...]:
        """The conditions that this one combines."""
        return self.all_of or self.any_of or ((self.not_,) if self.not_ else ())

    @property
    def text(self) -> str:
        """The condition in words, such as "age >= 18 and residence in DE|AT"."""
        if self.attribute is not None:
            return " and ".join(self._test_text(test) for test in self.tests)
        if self.tag is not None or self.owns is not None:
            name = self.tag if self.tag is not None else f"owns {self.owns}"
            return name if self.is_ is not False else f"not {name}"
        if self.not_ is not None:
            return f"not ({self.not_.text})"
        texts = [f"({part.text})" if len(part.parts) > 1 else part.text for part in self.parts]
        return (" and " if self.all_of is not None else " or ").join(texts)

    def bound(self, known: Vocabulary) -> Ask:
        """How to ask it of customers; InvalidConfig, with the place in it, for what is not declared."""
        if self.attribute is not None:
            return self._of_attribute(known.column(self.attribute))
        if self.tag is not None:
            ask = known.tag(self.tag).bound(known)
            return ask if self.is_ is not False else lambda contexts: ask(contexts).turned()
        if self.owns is not None:
            return _owning(known.products(self.owns), self.is_ is not False)
        if self.not_ is not None:
            inner = within("not", self.not_, known)
            return lambda contexts: inner(contexts).turned()
        name = "all_of" if self.all_of is not None else "any_of"
        asks = [within(f"{name}[{n}]", part, known) for n, part in enumerate(self.parts)]
        combine = _both if self.all_of is not None else _either
        return lambda contexts: reduce(combine, [ask(contexts) for ask in asks])

    def asked(self, known: Vocabulary) -> tuple[str, ...]:
        """Names of the attributes that the answer may depend on."""
        if self.attribute is not None:
            return (self.attribute,)
        if self.owns is not None:
            return ("owned",)
        within = (known.tag(self.tag),) if self.tag is not None else self.parts
        return tuple(dict.fromkeys(name for part in within for name in part.asked(known)))

    def _given(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if self._value(name) is not None)

    def _value(self, name: str) -> object:
        value: object = getattr(self, _FIELDS.get(name, name))
        return value

    def _of_attribute(self, column: Column) -> Ask:
        name, is_category = column.name, isinstance(column, Category)
        for test in self.tests:
            allowed, kind = _TESTS_OF[type(column)], column.__struct_config__.tag
            rule = f"does not go with {name!r}, a {kind} attribute, which takes {', '.join(allowed)}"
            require(test in allowed, "condition", test, rule)
        meets = [_test(column, test, self._value(test)) for test in self.tests if test != "known"]

        def ask(contexts: ContextBatch) -> Verdict:
            raw = contexts.attributes[name]
            is_known: BoolArray = raw >= 0 if is_category else ~np.isnan(raw)
            if self.known is not None:
                holds: BoolArray = is_known == self.known
                return Verdict(holds, ~holds)
            holds = reduce(np.logical_and, [meet(raw) for meet in meets], is_known)
            return Verdict(holds, is_known & ~holds)

        return ask

    def _test_text(self, test: str) -> str:
        value = self._value(test)
        if test in _BOUNDS:
            return f"{self.attribute} {_BOUNDS[test]} {value:.15g}"
        if test == "known":
            return f"{self.attribute} is {'known' if value else 'not known'}"
        if test == "is":
            return f"{self.attribute} is {'true' if value else 'false'}"
        names = "|".join((self.one_of if test == "one_of" else self.none_of) or ())
        return f"{self.attribute} {'in' if test == 'one_of' else 'not in'} {names}"


class Tag(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A word for customers of whom a condition holds; it may use tags that are declared before it."""

    name: str
    when: Condition


class Vocabulary(NamedTuple):
    """The names that rules may use, and what they mean."""

    catalogue: Catalogue
    schema: FeatureSchema
    columns: Mapping[str, Column]
    held: Mapping[str, BoolArray]  # product, group or tag of products -> (P,)
    tags: Mapping[str, Condition]

    @staticmethod
    def of(catalogue: Catalogue, schema: FeatureSchema, tags: tuple[Tag, ...] = ()) -> Vocabulary:
        """All names of a strategy; InvalidConfig for a tag that is there twice or means nothing."""
        columns = {column.name: column for column in schema.columns}
        names = dict.fromkeys(name for level in NAMED for name in catalogue.names(level))
        held = {name: products_named(catalogue, name) for name in names}
        found = Vocabulary(catalogue, schema, columns, held, {})
        for index, tag in enumerate(tags):
            place, once = f"tags[{index}].name", f"a tag has one meaning, got {tag.name!r} again"
            require(bool(tag.name) and tag.name not in found.tags, "tags", place, once)
            within(f"tags[{index}].when", tag.when, found, source="tags")
            found = found._replace(tags={**found.tags, tag.name: tag.when})
        return found

    def column(self, name: str) -> Column:
        """A declared attribute."""
        if name not in self.columns:
            rule = f"attribute {name!r} is not declared in the schema; it knows {', '.join(self.columns)}"
            raise InvalidConfig("condition", "attribute", rule)
        return self.columns[name]

    def tag(self, name: str) -> Condition:
        """What a tag stands for."""
        if name not in self.tags:
            rule = f"{name!r} is no tag declared before; use one of: {', '.join(self.tags) or '(none)'}"
            raise InvalidConfig("condition", "tag", rule)
        return self.tags[name]

    def products(self, name: str) -> BoolArray:
        """(P,) the product of a name, or the products of a group or a tag."""
        if name not in self.held:
            rule = f"{name!r} is no product, group or tag of products; use one of: {', '.join(self.held)}"
            raise InvalidConfig("condition", "owns", rule)
        return self.held[name]


def _owning(products: BoolArray, wanted: bool) -> Ask:
    """Whether customers hold any of some products (P,)."""

    def ask(contexts: ContextBatch) -> Verdict:
        has: BoolArray = (contexts.owned & products).any(axis=1) == wanted
        return Verdict(has, ~has)

    return ask


def _test(column: Column, test: str, value: object) -> Callable[[AnyArray], BoolArray]:
    """One test of a raw column (B,); what it says of an unknown value is not listened to."""
    if isinstance(column, Numeric | Since):
        meets, bound = _MEETS[test], float(value)  # type: ignore[arg-type]
        return lambda raw: meets(raw, bound)
    if isinstance(column, Flag):
        return lambda raw: (raw > 0) == value
    assert isinstance(value, tuple)
    for name in value:
        rule = f"{name!r} is no level of {column.name!r}, which has {', '.join(column.levels)}"
        require(name in column.levels, "condition", test, rule)
    codes = np.array([column.levels.index(name) for name in value])
    return lambda raw: (raw[:, None] == codes).any(axis=1) == (test == "one_of")


def _both(one: Verdict, other: Verdict) -> Verdict:
    return Verdict(one.holds & other.holds, one.fails | other.fails)


def _either(one: Verdict, other: Verdict) -> Verdict:
    return Verdict(one.holds | other.holds, one.fails & other.fails)


def within(place: str, part: Condition, known: Vocabulary, source: str = "condition") -> Ask:
    """A part made ready; an error says where in the whole it stands."""
    try:
        return part.bound(known)
    except InvalidConfig as error:
        raise InvalidConfig(source, f"{place}.{error.pointer}", error.rule) from None
