"""A customer who has opted out of a channel is not contacted there, whatever the rules ask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small import NOW
from test_rules_layers import strategy_of

from nba.conditions import Condition, Tag
from nba.constraints import Consent, ContactPolicy, NotOwned
from nba.context import Context
from nba.explain import Funnel, why_not
from nba.scope import Scope


@pytest.mark.parametrize(
    "rules",
    [(), (NotOwned(),), (Consent(scope=Scope(goal="grow")),), (Consent(whom=Condition(tag="silver")),)],
    ids=["no rule", "no consent", "consent to some", "consent of some"],
)
def test_an_opt_out_closes_its_channel_whatever_the_rules_ask(rules: tuple[Any, ...]) -> None:
    silver = Tag(name="silver", when=Condition(attribute="age", at_least=60))
    strategy = strategy_of(*rules, contact_policy=ContactPolicy(), tags=(silver,))
    known = {"age": 40.0, "consents": ["call", "mail"]}
    context = Context(customer_id="c", at=NOW, attributes=known, opted_out=("mail",))
    eligibility = strategy.eligible(strategy.encode([context]))
    open_channels = {
        strategy.catalogue.action_ids[row][:4] for row in np.flatnonzero(eligibility.mask[0])[1:]
    }
    assert open_channels == {"call"}
    (why,) = why_not(strategy, context)
    assert (why.rule, why.layer) == ("opt_out", "eligible")
    assert why.values == {"opted_out": ["mail"]} and len(why.actions) == 6
    assert sum(Funnel.of(strategy, eligibility).removed) == 6
