"""What those who answer for contacts lay over a learnt policy: rules, limits, budgets and levers."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct, structs

from nba.allocation.budgets import Pacing
from nba.arbitration import Arbitration
from nba.conditions import Tag
from nba.constraints import ContactPolicy, Rule
from nba.errors import InvalidConfig
from nba.snapshot import Snapshot


class Governance(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a strategy that a person may change without learning anew; decoded from TOML.

    Tags and rules come on top of the strategy's own, and of two rules with one name the nearer holds; a
    contact policy, a pacing and an arbitration take the place of the strategy's. What is not named stays.
    """

    tags: tuple[Tag, ...] = ()
    rules: tuple[Rule, ...] = ()
    contact_policy: ContactPolicy | None = None
    pacing: Pacing | None = None
    arbitration: Arbitration | None = None

    def over(self, snapshot: Snapshot) -> Snapshot:
        """The same beliefs under these settings; prices of new budgets begin at zero.

        Raises InvalidConfig for what the strategy's catalogue or schema does not know; its pointer counts the
        tags and rules of these settings, not those of the strategy before them.
        """
        strategy, places = snapshot.strategy, ("contact_policy", "pacing", "arbitration")
        named: dict[str, Any] = {one: given for one in places if (given := getattr(self, one)) is not None}
        tags, rules = (*strategy.tags, *self.tags), (*strategy.rules, *self.rules)
        try:
            governed = structs.replace(strategy, tags=tags, rules=rules, **named)
        except InvalidConfig as error:
            before = {"rules": len(strategy.rules), "tags": len(strategy.tags)}
            raise InvalidConfig(error.source, _counted_here(error.pointer, before), error.rule) from None
        if self.pacing is None:
            return structs.replace(snapshot, strategy=governed)
        n_channels = len(strategy.catalogue.channels)  # whose prices come before those of budgets
        prices = np.zeros(governed.resource_use.shape[1])
        prices[:n_channels] = snapshot.prices[:n_channels]
        return structs.replace(snapshot, strategy=governed, prices=prices)


def _counted_here(pointer: str, before: dict[str, int]) -> str:
    """A pointer such as rules[7].when, with the number that the entry has behind those `before` it."""
    field, _, rest = pointer.partition("[")
    number, _, rest = rest.partition("]")
    if field not in before or int(number) < before[field]:
        return pointer
    return f"{field}[{int(number) - before[field]}]{rest}"
