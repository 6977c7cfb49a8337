"""Luck with contacts: of mean 0, and a part of the noise between two ways to contact the same customers."""

from __future__ import annotations

import numpy as np

from experiments.logs import MemorySink
from experiments.longrun.cells import under
from experiments.rollout import rollout, stream
from experiments.spec import Phase, StrategySpec
from experiments.tallies import Totals
from nba.policies import RandomEligible
from nba.posteriors import SegmentRatesModel
from nba.snapshot import Snapshot
from simulator.world import load_world

WORLD = load_world("retail-bank")
PHASE = Phase(customers=1_000, days=30, seed=4, settle_days=30)


def start() -> Snapshot:
    spec = StrategySpec(name="random", model=SegmentRatesModel(), policy=RandomEligible())
    return Snapshot.start(spec.strategy(WORLD, 1))


def run(snapshot: Snapshot) -> Totals:
    return stream(WORLD, snapshot, PHASE, MemorySink(), with_oracle=False, with_luck=True).totals


def test_luck_has_mean_zero_and_is_noise_of_contacts() -> None:
    contacted, silent = run(start()), run(under(start(), None))
    assert contacted.contacts.mean() > 2.0 and not silent.luck.any()
    assert abs(contacted.luck.mean()) < 4.0 * contacted.luck.std() / np.sqrt(PHASE.customers)
    gaps = contacted.net - silent.net
    assert (gaps - contacted.luck).std() < 0.95 * gaps.std()


def test_luck_is_not_known_where_nobody_asked() -> None:
    phase = Phase(customers=20, days=6, seed=4)
    assert np.isnan(rollout(WORLD, start(), phase, with_oracle=False).totals.luck).all()
