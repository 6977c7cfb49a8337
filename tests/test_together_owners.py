"""Days that are decided together under limits of each customer's own manager, here of its segment."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import Bounds, milp
from small import ids_of, open_strategy, small_contexts, small_schema, small_world
from test_together import sharing, taught

from experiments.rollout import rollout
from experiments.spec import Phase, StrategySpec
from nba.allocation.owners import NO_OWNER
from nba.allocation.sharing import Shared
from nba.catalogue import NO_ACTION
from nba.errors import InvalidConfig
from nba.policies import Greedy, ThompsonSampling
from nba.posteriors import FactoredModel
from nba.propensity import Floor
from nba.snapshot import Snapshot
from nba.together import at_day_prices, by_lottery, decide_together
from simulator.population import draw_population

DESKS = {"name": "desk", "per": "segment", "at_most": 12, "each": {"affluent": 5}}
CALLS = DESKS | {"at_most": 6, "each": {"affluent": 3}, "where": {"channel": "call"}}
MONEY = {"name": "money", "uses": "cost", "at_most": 25}
LIMITS = [MONEY, CALLS]


def shared_of(strategy: Any) -> Shared:
    assert strategy.shared is not None
    found: Shared = strategy.shared
    return found


def test_a_limit_of_owners_is_a_row_for_each() -> None:
    shared = shared_of(open_strategy(allocation=sharing(limits=LIMITS)))
    assert shared.rows.names == ("money", "desk/mass", "desk/affluent")
    assert shared.rows.limits.tolist() == [25.0, 6.0, 3.0]
    assert [(one.name, one.row, one.limit) for one in shared.entries] == [
        ("money", 0, 25.0), ("desk/mass", 1, 6.0), ("desk/affluent", 2, 3.0),
    ]  # fmt: skip
    members = shared.members({"segment": np.array([0, 1, -1])})
    assert members is not None
    assert members.tolist() == [[True, True, False], [True, False, True], [True, False, False]]
    call = shared.uses[:, 1].argmax()
    actions, whose = np.array([call, call, call, NO_ACTION]), members[[0, 1, 2, 0]]
    assert shared.usage(actions, whose).tolist() == [6.0, 1.0, 1.0]


def test_each_owner_has_a_price_and_what_is_left_over_by_one_helps_no_other() -> None:
    snapshot = taught(policy=Greedy(), floor=Floor(), allocation=sharing(limits=[MONEY, DESKS]))
    strategy, shared = snapshot.strategy, shared_of(snapshot.strategy)
    contexts = strategy.encode(small_contexts(strategy, 80))
    priced = at_day_prices(snapshot, contexts, customers=100)
    found = by_lottery(priced, contexts, ids_of(80), customers=100)
    members = shared.members(contexts.attributes)
    assert members is not None
    assert (found.usage <= shared.rows.limits + 1e-9).all() and (found.usage[1:] >= [10.0, 4.0]).all()
    worth = snapshot.expected_values(contexts, strategy.eligible(contexts).mask)
    prices = priced.prices[strategy.catalogue.resource_use.shape[1] :]
    assert (prices[1:] > 0.0).all() and prices[1] != prices[2]
    uses = shared.uses[None] * members[:, None]  # (B, A, J)
    np.testing.assert_allclose(
        priced.expected_values(contexts, np.isfinite(worth)), worth - uses @ prices, atol=1e-4
    )
    bound = shared.rows.limits @ prices + np.maximum(worth - uses @ prices, 0.0).max(axis=1).sum()
    best, got = _optimum(worth, uses, shared.rows.limits), worth[np.arange(80), found.decisions.actions].sum()
    assert best - 1e-6 <= bound <= 1.05 * best
    assert 0.85 * best <= got <= best + 1e-6


def _optimum(worth: Any, uses: Any, limits: Any) -> float:
    """Value of the best plan: one action for each customer at most, by HiGHS."""
    n, k = worth.shape
    rows = np.concatenate([np.kron(np.eye(n), np.ones(k)), uses.reshape(n * k, -1).T])
    most = np.concatenate([np.ones(n), limits])
    result = milp(-worth.ravel(), integrality=1, bounds=Bounds(0, 1), constraints=(rows, -np.inf, most))
    return -float(result.fun)


def test_logged_propensities_under_owners_are_those_of_replays() -> None:
    limits = [CALLS | {"at_most": 3, "each": {"affluent": 1}}, {"name": "all", "at_most": 25}]
    snapshot = taught(allocation=sharing(limits=limits))
    contexts = snapshot.strategy.encode(small_contexts(snapshot.strategy, 100))
    target = snapshot.action_distribution(contexts)
    made, told, weights, overflows = np.zeros(target.shape), np.zeros(target.shape), [], 0
    for replay in range(300):
        found = by_lottery(snapshot, contexts, ids_of(100, f"r{replay}-"), customers=100)
        batch = found.decisions
        assert (found.usage <= found.limits + 1e-9).all()
        made[np.arange(100), batch.actions] += 1.0 / 300
        told += batch.distribution / 300
        weights.append((target[np.arange(100), batch.actions] / batch.propensities).mean())
        overflows += (found.drawn > found.limits).any()
    assert overflows > 200
    error = np.sqrt(np.maximum(told * (1.0 - told), 1e-4) / 300)
    assert (np.abs(made - told) / error).max() < 6.0
    assert np.mean(weights) == pytest.approx(1.0, abs=4 * np.std(weights) / np.sqrt(300))


@pytest.mark.parametrize("kind", ["priced", "channel_by_channel"])
def test_who_has_no_known_owner_gets_none_of_it(kind: str) -> None:
    order = {"order": ["call", "mail"]} if kind == "channel_by_channel" else {}
    snapshot = taught(allocation=sharing(kind, LIMITS, **order))
    strategy = snapshot.strategy
    contexts = strategy.encode(small_contexts(strategy, 40))
    contexts.attributes["segment"][:30] = -1
    found = decide_together(snapshot, contexts, ids_of(40), 100)
    calls = strategy.catalogue.channel_of == strategy.catalogue.level("channel", "call")
    assert not calls[found.decisions.actions[:30]].any()
    assert (found.decisions.actions[:30] != NO_ACTION).any(), "mail is nobody's"
    rule = strategy.rule_names.index(NO_OWNER)
    assert (found.decisions.removed_by[:30, calls] == rule).all()
    assert (found.usage <= found.limits + 1e-9).all() and found.usage[1:].sum() <= 10


def test_channel_by_channel_counts_each_owner_alone() -> None:
    """One call an owner: the best of each, though the second best of the first owner is worth more."""
    limits = [{"name": "desk", "per": "segment", "at_most": 1}]
    strategy = open_strategy(allocation=sharing("channel_by_channel", limits, order=["call", "mail"]))
    catalogue, how = strategy.catalogue, strategy.allocation
    worth = np.full((4, catalogue.n_actions), -np.inf)
    call = catalogue.action_ids.index("call/morning/card")
    worth[:, NO_ACTION], worth[:, call] = 0.0, [5.0, 4.0, 3.0, 1.0]
    members = shared_of(strategy).members({"segment": np.array([0, 0, 1, 1])})
    assert how.taken(catalogue, shared_of(strategy), worth, members).tolist() == [call, 0, call, 0]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ({"per": ["segment", "channel"], "at_most": 1}, r"limits\[1\].per: mixes channel of actions"),
        ({"per": "segment", "each": {"mass": 1}}, r"limits\[1\].each: no limit for 'affluent'"),
        ({"per": "segment", "at_most": 1, "each": {"rich": 1}}, "segment has no value 'rich'"),
        ({"per": "age", "at_most": 1}, "actions have no column 'age'"),
        ({"per": "segment", "at_most": 1, "rolling": 7}, "actions have no column 'day'"),
    ],
)
def test_what_cannot_be_is_refused_by_name(limit: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidConfig, match=said):
        open_strategy(allocation=sharing(limits=[MONEY, {"name": "desk"} | limit]))


def test_too_many_owners_are_refused() -> None:
    schema = small_schema(tuple(f"m{number}" for number in range(201)))
    with pytest.raises(InvalidConfig, match="make 201 rows of customers, and at most 200"):
        open_strategy(schema=schema, allocation=sharing(limits=[CALLS | {"each": {}}]))


@pytest.mark.parametrize("kind", ["priced", "channel_by_channel"])
def test_a_rollout_gives_each_branchs_owners_their_own(kind: str) -> None:
    """Branches of 20 have a fifth of what 100 customers share: one contact a day of a segment."""
    world = small_world(population={"branch_customers": 20})
    order = {"order": ["sms", "app_push"]} if kind == "channel_by_channel" else {}
    limits = [{"name": "desk", "per": "segment", "at_most": 5}, {"name": "all", "at_most": 35}]
    spec = StrategySpec(
        name="one",
        model=FactoredModel(),
        policy=ThompsonSampling(n_draws=16),
        floor=Floor(epsilon=0.1),
        allocation=sharing(kind, limits, **order),
    )
    phase = Phase(customers=40, days=8, seed=2, publish_every_days=4, settle_days=1)
    log = rollout(world, Snapshot.start(spec.strategy(world, 3)), phase, with_oracle=False).decisions
    people = draw_population(world.config, 2, np.arange(40))[0]
    segment = people.segment.astype(np.int64)[log.customer]
    cells = np.stack([log.customer // 20, log.day, segment])[:, log.action > 0]
    _, counts = np.unique(cells, axis=1, return_counts=True)
    assert counts.max() == 1 and counts.size > 30
    assert np.unique(cells[:2], axis=1, return_counts=True)[1].max() > 1, "segments do not share their limits"
    assert (log.propensity > 0.0).all()
