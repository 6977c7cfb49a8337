"""Known-answer worlds at length: other settings of the tiring channel, and what strategies learn in traps."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec import structs
from test_known_worlds import check_against_the_programme

from experiments.longrun.one_channel import PRICES
from experiments.rollout import rollout
from experiments.spec import Phase, StrategySpec
from nba.arrays import FloatArray
from nba.fatigue import FatigueKernel
from nba.policies import Greedy, ThompsonSampling
from nba.posteriors import FactoredModel, SegmentRatesModel
from nba.propensity import Floor
from nba.snapshot import Snapshot
from simulator.world import World, load_world

pytestmark = pytest.mark.slow

THOMPSON = StrategySpec(
    name="thompson", model=FactoredModel(), policy=ThompsonSampling(), floor=Floor(epsilon=0.02)
)
GROSS = StrategySpec(name="gross", model=SegmentRatesModel(), policy=Greedy(), floor=Floor(epsilon=0.1))


def tiring(half_life_days: float, kappa: float, hazard: float) -> World:
    """The toy world under another half-life, habituation and opt-out hazard."""
    config = load_world("fatigue-toy").config
    answer = config.response
    left = structs.replace(answer.opt_out, base=(hazard,))
    response = structs.replace(answer, habituation=(-kappa,), opt_out=left)
    kernel = FatigueKernel(long_half_life_days=half_life_days)
    return World(structs.replace(config, response=response, fatigue=kernel))


@pytest.mark.parametrize("policy", PRICES)
@pytest.mark.parametrize("setting", [(1.0, 0.3, 0.002), (7.0, 0.1, 0.0005), (14.0, 0.3, 0.002)], ids=str)
def test_the_programme_holds_under_other_settings(setting: tuple[float, float, float], policy: str) -> None:
    check_against_the_programme(tiring(*setting), policy, customers=8_000, days=120)


def late_shares(world: World, spec: StrategySpec, periods: int) -> dict[str, float]:
    """Share of each action in the last fifth of 2,000 customers' decisions, learning after each period."""
    every = world.config.decide_every_days
    phase = Phase(customers=2_000, days=periods * every, seed=1, publish_every_days=every)
    snapshot = Snapshot.start(spec.strategy(world, seed=1))
    log = rollout(world, snapshot, phase, with_oracle=False).decisions
    late = log.action[log.day >= 0.8 * phase.days]
    shares: FloatArray = np.bincount(late, minlength=world.config.catalogue.n_actions) / late.size
    return dict(zip(world.config.catalogue.action_ids, shares.tolist(), strict=True))


def test_uplift_leaves_alone_what_sells_by_itself_and_gross_response_falls_for_it() -> None:
    world = load_world("organic-only")
    learned, gross = (late_shares(world, spec, periods=10) for spec in (THOMPSON, GROSS))
    # The floor of half a per cent, and next to nothing above it.
    assert learned["sms/now/salary-account"] < 0.02 and learned["sms/now/savings-plan"] > 0.95
    assert gross["sms/now/salary-account"] > 0.85


def test_a_strategy_falls_silent_where_no_contact_lifts_anything() -> None:
    config = load_world("organic-only").config
    world = World(structs.replace(config, response=structs.replace(config.response, lift=(0.0, 0.0))))
    assert late_shares(world, THOMPSON, periods=20)["no-contact"] > 0.95


def test_clicks_that_never_convert_lose_within_twenty_thousand_decisions() -> None:
    learned = late_shares(load_world("clickbait"), THOMPSON, periods=10)
    assert learned["game/now/quiz"] < 0.02 and learned["push/now/instalment"] > 0.95
