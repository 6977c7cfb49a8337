"""Products that are not offered together: against contacts, and inside one ranked list."""

from __future__ import annotations

import numpy as np
import pytest
from small import NOW, ids_of, open_strategy
from test_rules_suppression import TWICE, contact, removed_products, strategy_of

from nba.constraints import NotTogether
from nba.context import Context
from nba.policies import RandomEligible
from nba.propensity import Floor
from nba.scope import Scope
from nba.snapshot import Snapshot

APART = (
    NotTogether(these=Scope(product="card"), those=Scope(group="saving"), days=10),
    NotTogether(name="never", these=Scope(product="fund"), those=Scope(tag="safe")),
)


@pytest.mark.parametrize(
    ("product", "age", "gone"),
    [
        ("card", 9.9, {"deposit", "fund"}),
        ("card", 10.0, set()),
        ("card", -3.0, {"deposit", "fund"}),  # planned
        ("deposit", 9.0, {"card", "fund"}),
        ("deposit", 300.0, {"fund"}),
        ("fund", 300.0, {"deposit"}),
    ],
)  # fmt: skip
def test_products_stay_apart_both_ways(product: str, age: float, gone: set[str]) -> None:
    assert removed_products(strategy_of(*APART), contacts=(contact(age, product),)) == gone


def test_no_list_holds_products_that_do_not_go_together_and_its_propensities_are_exact() -> None:
    strategy = strategy_of(*APART, policy=RandomEligible(), floor=Floor(), silence=False)
    contexts = strategy.encode([Context(customer_id="c", at=NOW, attributes={})] * 400)
    batch = Snapshot.start(strategy).decide(contexts, ids_of(400), limit=6)
    products = [product.name for product in strategy.catalogue.products]
    lengths = set()
    for row, shares in zip(batch.ranked, batch.ranked_propensities, strict=True):
        listed = [products[strategy.catalogue.product_of[action]] for action in row[row > 0]]
        assert "card" not in listed or set(listed) == {"card"}
        assert not {"fund", "deposit"} <= set(listed)
        lengths.add(len(listed))
        # One product of four actions is left after the first draw; it runs dry after the fourth.
        np.testing.assert_allclose(shares[:4], [1 / 12, 1 / 3, 1 / 2, 1.0], rtol=1e-6)
    assert lengths == {4}


def test_the_memory_reaches_back_as_far_as_the_rules() -> None:
    assert strategy_of(TWICE).lookback_days == max(90.0, open_strategy().lookback_days)
    assert strategy_of(APART[0]).lookback_days == open_strategy().lookback_days
    assert strategy_of(APART[1]).lookback_days == np.inf
