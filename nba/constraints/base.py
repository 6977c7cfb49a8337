"""What rules have in common: a name, a layer and a scope; and how a list of them is put in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

from msgspec import Struct

from nba.arrays import BoolArray
from nba.conditions import Condition, Vocabulary
from nba.context import ContextBatch
from nba.scope import EVERYTHING, Scope

# May they have it, is it relevant now, is it good for them, and has it been enough for now (behaviours 1.2).
Layer: TypeAlias = Literal["eligible", "applicable", "suitable", "contact_policy"]
LAYERS: tuple[Layer, ...] = get_args(Layer)

# (B, C | 1, T | 1, P | 1) contacts that a rule leaves.
Allows: TypeAlias = Callable[[ContextBatch], BoolArray]


class RuleBase(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule that removes contacts before anything is drawn.

    `name` tells it apart from others and is what a removal is attributed to; without one it goes by its
    kind. Among rules of one name the one with the nearest scope holds, as a setting of a product replaces
    that of its group (see nba.scope). `layer` is one of LAYERS, which are asked in that order. With `whom`
    the rule is only about customers of whom that condition holds, or of whom it is not known; it outvotes a
    rule of its name further off for those of whom it holds.
    """

    name: str = ""
    layer: Layer = "eligible"
    scope: Scope = EVERYTHING
    whom: Condition | None = None

    @property
    def kind(self) -> str:
        """What the rule is called in a configuration."""
        return str(self.__struct_config__.tag)

    def bound(self, known: Vocabulary) -> Allows:
        """How to ask it, whatever its scope; UnknownAction or InvalidConfig for names that are not known."""
        raise NotImplementedError

    def needs(self, known: Vocabulary) -> str:
        """What must be so, in words."""
        raise NotImplementedError

    def asked(self, known: Vocabulary) -> tuple[str, ...]:
        """Names of the attributes of customers that it looks at."""
        raise NotImplementedError
