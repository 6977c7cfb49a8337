"""Days that are decided together: limits are kept, propensities are exact, prices are the dual's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import convert, structs
from scipy.optimize import Bounds, milp
from small import ids_of, open_strategy, small_contexts, small_rounds, small_world

from experiments import rollout as rollouts
from experiments.logs import digest
from experiments.rollout import rollout
from experiments.spec import Imitation, Phase, StrategySpec, load_experiment
from nba.allocation.sharing import AnySharing, channel_by_channel
from nba.arbitration import Arbitration
from nba.bundle import load_bundle, save_bundle
from nba.catalogue import NO_ACTION
from nba.errors import InvalidConfig
from nba.policies import Greedy, LinUCB, ThompsonSampling
from nba.posteriors import FactoredModel
from nba.propensity import Floor
from nba.snapshot import Snapshot
from nba.strategy import Strategy
from nba.together import at_day_prices, by_lottery, decide_together
from serving.runtime import Runtime
from serving.settings import Settings

LIMITS = [
    {"name": "calls", "where": {"channel": "call"}, "at_most": 6},
    {"name": "evenings", "per": "timing", "at_most": 12},
    {"name": "money", "uses": "cost", "at_most": 9},
    {"name": "minutes", "uses": {"call": 12, "mail": 1}, "uses_by": "channel", "at_most": 70},
    {"name": "cards", "where": {"product": "card"}, "at_most": 5, "report_only": True},
]


def sharing(kind: str = "priced", limits: list[dict[str, Any]] = LIMITS, **more: Any) -> AnySharing:
    """Limits of a day and hundred customers."""
    given = {"type": kind, "customers": 100, "resources": {"limits": limits}, **more}
    found: AnySharing = convert(given, AnySharing)
    return found


def taught(**changes: Any) -> Snapshot:
    """A belief after some rounds, which differs between customers."""
    strategy = open_strategy(**({"allocation": sharing()} | changes))
    return Snapshot.start(strategy).learn(small_rounds(strategy, 400), seq=400)


def test_a_day_keeps_its_limits_and_its_prices_bound_every_plan() -> None:
    snapshot = taught(policy=Greedy(), floor=Floor())
    strategy = snapshot.strategy
    contexts = strategy.encode(small_contexts(strategy, 60))
    priced = at_day_prices(snapshot, contexts, customers=100)
    found = by_lottery(priced, contexts, ids_of(60), customers=100)
    shared = strategy.shared
    assert shared is not None
    assert (found.usage[shared.hard] <= shared.rows.limits[shared.hard] + 1e-9).all()
    assert found.usage[1] > 0.8 * shared.rows.limits[1], "what is scarce is used"
    worth = snapshot.expected_values(contexts, strategy.eligible(contexts).mask)
    prices = priced.prices[strategy.catalogue.resource_use.shape[1] :]
    bound = shared.rows.limits @ prices + np.maximum(worth - shared.uses @ prices, 0.0).max(axis=1).sum()
    best = _optimum(worth, shared.uses[:, shared.hard], shared.rows.limits[shared.hard])
    assert bound >= best - 1e-6 and bound <= 1.05 * best
    got = worth[np.arange(60), found.decisions.actions].sum()
    assert 0.85 * best <= got <= best + 1e-6
    np.testing.assert_allclose(
        priced.expected_values(contexts, np.isfinite(worth)), worth - shared.uses @ prices, atol=1e-4
    )


def _optimum(worth: Any, uses: Any, limits: Any) -> float:
    """Value of the best plan: one action for each customer at most, by HiGHS."""
    n, k = worth.shape
    people = np.kron(np.eye(n), np.ones(k))
    rows = np.concatenate([people, np.tile(uses, (n, 1)).T])
    most = np.concatenate([np.ones(n), limits])
    result = milp(-worth.ravel(), integrality=1, bounds=Bounds(0, 1), constraints=(rows, -np.inf, most))
    return -float(result.fun)


def test_logged_propensities_are_those_of_a_hundred_thousand_replays() -> None:
    """The same day again and again with other decision ids, half of the draws turned away by lottery."""
    limits = [{"name": "calls", "where": {"channel": "call"}, "at_most": 4}, {"name": "all", "at_most": 30}]
    snapshot = taught(allocation=sharing(limits=limits))
    contexts = snapshot.strategy.encode(small_contexts(snapshot.strategy, 200))
    target = snapshot.action_distribution(contexts)  # before any lottery
    made = np.zeros(target.shape)
    told, weights, overflows = np.zeros_like(made), [], 0
    for replay in range(500):
        found = by_lottery(snapshot, contexts, ids_of(200, f"r{replay}-"), customers=100)
        batch = found.decisions
        assert (found.usage <= found.limits + 1e-9).all()
        np.testing.assert_allclose(batch.distribution.sum(axis=1), 1.0)
        made[np.arange(200), batch.actions] += 1.0 / 500
        told += batch.distribution / 500
        weights.append((target[np.arange(200), batch.actions] / batch.propensities).mean())
        overflows += (found.drawn > found.limits).any()
    assert overflows > 400
    assert 0.5 * np.abs(made.mean(axis=0) - told.mean(axis=0)).sum() < 0.01
    error = np.sqrt(np.maximum(told * (1.0 - told), 1e-4) / 500)
    assert (np.abs(made - told) / error).max() < 6.0
    assert np.mean(weights) == pytest.approx(1.0, abs=4 * np.std(weights) / np.sqrt(500))


@pytest.mark.parametrize("policy", [ThompsonSampling(n_draws=16), LinUCB(alpha=1.0), Greedy()])
def test_prices_fit_what_the_policy_wants_by_its_own_propensities(policy: Any) -> None:
    """Who is indifferent at the prices is a contact of one draw in 16, or a whole one where there is one."""
    snapshot = taught(policy=policy, floor=Floor())
    contexts = snapshot.strategy.encode(small_contexts(snapshot.strategy, 200))
    shared = snapshot.strategy.shared
    assert shared is not None
    unpriced, priced = (
        one.action_distribution(contexts).sum(axis=0) @ shared.uses
        for one in (snapshot, at_day_prices(snapshot, contexts, 100))
    )
    limits, hard = shared.rows.limits, shared.hard
    prices = at_day_prices(snapshot, contexts, 100).prices[-limits.size :]
    contact = shared.uses.max(axis=0) * (0.25 if isinstance(policy, ThompsonSampling) else 1.0)
    assert (unpriced > 2.0 * limits)[hard].any()
    assert (priced <= limits + contact)[hard].all()
    assert (priced >= limits - contact)[prices > 0.0].all() and (prices > 0.0).any()


def test_prices_do_not_depend_on_ids_and_draws_are_kept() -> None:
    snapshot = taught()
    contexts = snapshot.strategy.encode(small_contexts(snapshot.strategy, 40))
    one, other = (decide_together(snapshot, contexts, ids_of(40, name), 100) for name in "ab")
    np.testing.assert_array_equal(one.decisions.expected_values, other.decisions.expected_values)
    priced = at_day_prices(snapshot, contexts, 100)
    assert priced.frozen is snapshot.frozen and (priced.prices > 0.0).any()
    with pytest.raises(InvalidConfig, match="allocation: is missing"):
        decide_together(taught(allocation=None), contexts, ids_of(40), 100)


def test_channel_by_channel_by_hand() -> None:
    """Two calls go to the two best callers, though the second would be worth more by mail."""
    limits = [{"name": "c", "per": "channel", "each": {"call": 2, "mail": 1}}]
    strategy = open_strategy(allocation=sharing("channel_by_channel", limits, order=["call", "mail"]))
    shared, catalogue = strategy.shared, strategy.catalogue
    assert shared is not None
    worth = np.full((4, catalogue.n_actions), -np.inf)
    worth[:, NO_ACTION] = 0.0
    call, mail = (catalogue.action_ids.index(name) for name in ("call/morning/card", "mail/evening/fund"))
    worth[:, call], worth[:, mail] = [5.0, 4.0, 3.0, -1.0], [1.0, 9.0, 2.0, 8.0]
    groups = [catalogue.channel_of == level for level in (0, 1)]
    assert channel_by_channel(worth, shared, groups).tolist() == [call, call, 0, mail]
    assert channel_by_channel(worth, shared, groups[::-1]).tolist() == [call, mail, call, 0]


def test_a_bundle_keeps_what_is_shared_and_no_service_ignores_it(tmp_path: Path) -> None:
    path = save_bundle(taught(), tmp_path / "bundle")
    again = load_bundle(path)
    assert again.strategy.allocation == sharing() and again.prices.size == 2 + 6
    with pytest.raises(InvalidConfig, match="strategy.allocation: is for decisions of a whole day"):
        Runtime(Settings(bundle=path, store=f"sqlite:{tmp_path / 'l.db'}"))


@pytest.mark.parametrize("kind", ["priced", "channel_by_channel"])
def test_a_rollout_shares_by_branch_however_it_is_cut(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world = small_world(population={"branch_customers": 20})
    order = {"order": ["sms", "app_push"]} if kind == "channel_by_channel" else {}
    limits = [{"name": "sms", "where": {"channel": "sms"}, "at_most": 5}, {"name": "all", "at_most": 9}]
    spec = StrategySpec(
        name="one",
        model=FactoredModel(),
        policy=ThompsonSampling(n_draws=16),
        floor=Floor(epsilon=0.1),
        allocation=sharing(kind, limits, **order),
    )
    phase, found = Phase(customers=50, days=8, seed=2, publish_every_days=4, settle_days=1), []
    for size in (20, 40):
        monkeypatch.setattr(rollouts, "BLOCK_CUSTOMERS", size)
        found.append(rollout(world, Snapshot.start(spec.strategy(world, 3)), phase, with_oracle=False))
    assert digest(*found[0][3:5]) == digest(*found[1][3:5])
    log, channels = found[0].decisions, world.config.catalogue.channel_of
    contacted = log.action > 0
    for mask, most in ((contacted, 9), (channels[log.action] == 1, 5)):
        cells = (log.customer[mask] // 20) * 8 + log.day[mask]
        counts = np.bincount(cells, minlength=3 * 8).reshape(3, 8)
        assert (counts[:2] <= most * 0.2).all() and (counts[2] <= most * 0.1).all(), "the last has ten people"
    assert contacted.sum() > 8
    assert (log.propensity > 0.0).all()


@pytest.mark.parametrize(
    ("limits", "rule"),
    [
        (
            [{"name": "a", "at_most": 1, "where": {"age": "60+"}}],
            r"where.age: actions have no col",
        ),
        ([{"name": "a", "at_most": 1, "uses": "minutes"}], r"limits\[0\].uses: actions have no col"),
        ([{"name": "a"}], r"limits\[0\].at_most: is missing"),
        ([{"name": "a", "at_most": 1, "where": {"channel": "fax"}}], "no candidate has 'fax'"),
    ],
)
def test_limits_of_a_day_are_checked(limits: list[dict[str, Any]], rule: str) -> None:
    with pytest.raises(InvalidConfig, match=rf"strategy small: allocation.resources.*{rule}"):
        open_strategy(allocation=sharing(limits=limits))


def test_what_a_day_cannot_promise_is_refused() -> None:
    band = {"shares": [{"name": "b", "where": {"channel": "call"}, "at_most": 0.2}]}
    with pytest.raises(InvalidConfig, match="shares: no lottery can keep b"):
        open_strategy(allocation=sharing(resources=band))
    with pytest.raises(InvalidConfig, match="order: must name every channel once"):
        open_strategy(allocation=sharing("channel_by_channel", order=["call"]))
    with pytest.raises(InvalidConfig, match="customers: must be at least 1"):
        structs.replace(sharing(), customers=0)
    with pytest.raises(InvalidConfig, match="draws: must be at least 1, got 0"):
        structs.replace(sharing(), draws=0)
    plan = load_experiment("shared-limits")
    spec = structs.replace(plan.spec("priced"), apprentice=Imitation(imitates="cheap-first"))
    with pytest.raises(InvalidConfig, match="drop `allocation` or `apprentice`"):
        structs.replace(plan, strategies=(*plan.strategies[:1], spec))


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"silence": False}, "leaves some without a contact; drop silence = false"),
        (
            {"arbitration": Arbitration(off=("shadow_prices",))},
            "needs the shadow prices that",
        ),
    ],
)
def test_what_an_allocation_needs_must_be_on(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(InvalidConfig, match=f"strategy small: allocation: {rule}"):
        open_strategy(allocation=sharing(), **changes)


def test_a_shipped_experiment_gives_all_the_same_limits() -> None:
    plan = load_experiment("shared-limits")
    given = [one.allocation for one in plan.strategies if one.allocation is not None]
    assert len(given) == 3
    assert all(one.resources == given[0].resources and one.customers == 2000 for one in given)


def test_a_strategy_that_shares_nothing_has_the_catalogues_resources() -> None:
    strategy: Strategy = open_strategy()
    np.testing.assert_array_equal(strategy.resource_use, strategy.catalogue.resource_use)
