"""The rules of a strategy in the order in which they are asked, each under a name of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple, TypeAlias

import numpy as np

from nba.arrays import BoolArray
from nba.catalogue import NO_ACTION, Catalogue
from nba.conditions import Ask, Vocabulary, within
from nba.constraints.base import LAYERS, Allows, Layer
from nba.constraints.rules import (
    Affordable,
    Consent,
    HouseChannels,
    Near,
    NotOwned,
    OnlyIf,
    Requires,
    Suitability,
)
from nba.constraints.suppression import Counting, NotTogether, Rest, happened_to, rests_of
from nba.context import Context, ContextBatch
from nba.errors import InvalidConfig, UnknownAction, require

Rule: TypeAlias = (
    Consent
    | NotOwned
    | Suitability
    | Requires
    | Near
    | HouseChannels
    | OnlyIf
    | Affordable
    | Rest
    | NotTogether
)

# What removes actions besides rules; no rule may go by these names.
OPT_OUT = "opt_out"
RESERVED_NAMES = ("catalogue", "request", OPT_OUT, "contact_policy", "silence")


class Asked(NamedTuple):
    """A rule, made ready to be asked."""

    rule: Rule
    name: str  # unique
    layer: Layer
    allows: Allows
    outside: BoolArray | None  # (C | 1, T | 1, P | 1) contacts that it does not speak of; None: of all
    whom: Ask | None  # customers that it is about; None: everybody
    nearer: tuple[tuple[BoolArray, Ask], ...]  # where a nearer rule of its name holds, and for whom

    @property
    def is_unconditional(self) -> bool:
        """Whether it is about all contacts with everybody."""
        return self.outside is None and self.whom is None and not self.nearer

    def mask(self, contexts: ContextBatch) -> BoolArray:
        """(B, C | 1, T | 1, P | 1) contacts that it leaves."""
        left = self.allows(contexts)
        if self.outside is not None:
            left = left | self.outside
        if self.whom is not None:
            left = left | self.whom(contexts).fails[:, None, None, None]
        for scope, whom in self.nearer:
            left = left | (whom(contexts).holds[:, None, None, None] & scope)
        return left


class RuleBook(NamedTuple):
    """All that a strategy's rules need to be asked."""

    known: Vocabulary
    asked: tuple[Asked, ...]  # by layer, then as they are written
    rests: Mapping[Rest, Counting]  # what contexts must know outcomes for
    clashes: BoolArray | None  # (A, A) actions that do not stand in one list with another; None: all may
    memory_days: float  # how far back contacts and outcomes matter, without end where products never meet
    asks_everybody: bool  # for consent to every contact, and thereby minds every opt-out

    @staticmethod
    def of(rules: Sequence[Rule], known: Vocabulary) -> RuleBook:
        """The rules made ready; InvalidConfig names the place of a wrong one."""
        asked = in_order(rules, known)
        rests = {rule: rule.counting(known.catalogue) for rule in rules if isinstance(rule, Rest)}
        apart = [rule for rule in rules if isinstance(rule, NotTogether)]
        memory = max([0.0, *(one.memory_days for one in rests), *(one.memory_days for one in apart)])
        consent = any(isinstance(one.rule, Consent) and one.is_unconditional for one in asked)
        return RuleBook(known, asked, rests, _clashes(apart, known.catalogue), memory, consent)

    def resting(self, contexts: Sequence[Context]) -> dict[Rest, BoolArray]:
        """(B, C, P) contacts that rest, by rule; BadContext for outcomes that nobody knows."""
        if not self.rests:
            return {}
        return rests_of(self.rests, happened_to(contexts, self.known.catalogue), len(contexts))


def in_order(rules: Sequence[Rule], known: Vocabulary) -> tuple[Asked, ...]:
    """Rules by layer, then as they are written; InvalidConfig names the place of a wrong one."""
    for index, rule in enumerate(rules):
        free = f"{rule.name!r} is taken by what else removes actions; use another name"
        require(rule.name.partition(".")[0] not in RESERVED_NAMES, "rules", f"rules[{index}].name", free)
    names, scopes = _names(rules), _scopes(rules, known.catalogue)
    bound = [_bound(index, rule, known) for index, rule in enumerate(rules)]
    asked = []
    for index in sorted(range(len(rules)), key=lambda index: LAYERS.index(rules[index].layer)):
        rule, (allows, whom) = rules[index], bound[index]
        mask, nearer = scopes[index]
        outside = None if mask.all() else ~mask
        there = tuple((place, ask) for other, place in nearer if (ask := bound[other][1]) is not None)
        asked.append(Asked(rule, names[index], rule.layer, allows, outside, whom, there))
    return tuple(asked)


def _bound(index: int, rule: Rule, known: Vocabulary) -> tuple[Allows, Ask | None]:
    """How to ask a rule, and whom it is about."""
    try:
        return rule.bound(known), None if rule.whom is None else within("whom", rule.whom, known)
    except InvalidConfig as error:
        pointer = f"rules[{index}].{error.pointer}".rstrip(".")
        raise InvalidConfig("rules", pointer, error.rule) from None
    except UnknownAction as error:
        raise InvalidConfig("rules", f"rules[{index}]", str(error)) from None


def _names(rules: Sequence[Rule]) -> list[str]:
    """Unique names: one's own, with the scope where several share it, or the kind with a number."""
    own, kinds, names = Counter(rule.name for rule in rules), Counter[str](), list[str]()
    for index, rule in enumerate(rules):
        if rule.name:
            shared = own[rule.name] > 1 and not rule.scope.is_everything
            name = f"{rule.name}@{rule.scope.text}" if shared else rule.name
        else:
            kinds[rule.kind] += 1
            name = rule.kind if kinds[rule.kind] == 1 else f"{rule.kind}-{kinds[rule.kind]}"
        once = f"removals are attributed by name, and {name!r} is there before; give one of them another name"
        require(name not in names, "rules", f"rules[{index}].name", once)
        names.append(name)
    return names


class _Spoken(NamedTuple):
    """What a rule speaks of, and where nearer rules of its name, about some customers only, do so instead."""

    mask: BoolArray  # (C | 1, T | 1, P | 1)
    nearer: list[tuple[int, BoolArray]]  # rule and contacts


def _scopes(rules: Sequence[Rule], catalogue: Catalogue) -> list[_Spoken]:
    """What each rule speaks of: its scope without what a nearer rule of its name says of everybody.

    A nearer rule about some customers takes the place of this one for those of whom its `whom` holds: for
    all others this one goes on to hold, and where `whom` is not known, both do.
    """
    masks = []
    for index, rule in enumerate(rules):
        try:
            masks.append(rule.scope.mask(catalogue))
        except UnknownAction as error:
            raise InvalidConfig("rules", f"rules[{index}].scope", str(error)) from None
    left = [_Spoken(mask, []) for mask in masks]
    for one, other in combinations([i for i, rule in enumerate(rules) if rule.name], 2):
        if rules[one].name != rules[other].name or not (masks[one] & masks[other]).any():
            continue
        same = f"{rules[one].name!r} is in layer {rules[one].layer} before; one name stands in one layer"
        require(rules[one].layer == rules[other].layer, "rules", f"rules[{other}].layer", same)
        depths = rules[one].scope.depth, rules[other].scope.depth
        twice = f"{rules[one].name!r} is said of the same actions before, as near as here; narrow one scope"
        require(depths[0] != depths[1], "rules", f"rules[{other}].scope", twice)
        far, near = (one, other) if depths[0] < depths[1] else (other, one)
        if rules[near].whom is None:
            left[far] = left[far]._replace(mask=np.asarray(left[far].mask & ~masks[near]))
        else:
            left[far].nearer.append((near, masks[near]))
    return left


def _clashes(rules: Sequence[NotTogether], catalogue: Catalogue) -> BoolArray | None:
    """(A, A) actions whose products do not go together, never with no-contact."""
    if not rules:
        return None
    products = catalogue.product_of
    together: BoolArray = np.logical_or.reduce([rule.clashes(catalogue) for rule in rules])
    clash: BoolArray = together[products[:, None], products]
    clash[NO_ACTION] = clash[:, NO_ACTION] = False
    return clash
