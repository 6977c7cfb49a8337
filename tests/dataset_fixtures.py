"""A small simulated run in a folder, in parts of twenty customers."""

from __future__ import annotations

from pathlib import Path

import pytest
from small import small_world

from experiments import dataset, simulate
from experiments.dataset import Manifest, RunFolder, Settings, opened
from experiments.simulate import Run
from experiments.spec import Contender, Phase, StrategySpec
from nba.policies import RandomEligible
from nba.posteriors import SegmentRatesModel
from nba.snapshot import Snapshot

WORLD = small_world(population={"branch_customers": 10})
SPEC = StrategySpec(name="random", model=SegmentRatesModel(), policy=RandomEligible())
SNAPSHOT = Snapshot.start(SPEC.strategy(WORLD, 3))
PHASE = Phase(customers=90, days=16, seed=2, settle_days=5)


def settings(phase: Phase = PHASE, oracle: bool = False) -> Settings:
    return Settings.of(WORLD, Contender(SNAPSHOT.strategy), phase, oracle)


def run_in(folder: RunFolder) -> Run:
    phase, oracle = folder.settings.phase, folder.settings.oracle
    return Run(folder, WORLD, Contender(SNAPSHOT.strategy), phase, oracle)


def simulated(path: Path, phase: Phase = PHASE, oracle: bool = False) -> Manifest:
    """A run from end to end; it takes what is there already."""
    with opened(path, settings(phase, oracle)) as folder:
        return folder.manifest() or simulate._simulated(run_in(folder), 1)[0]


def bytes_of(path: Path) -> dict[str, bytes]:
    """All files below a folder."""
    files = (file for file in sorted(path.rglob("*")) if file.is_file())
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in files}


def in_small_parts(patch: pytest.MonkeyPatch) -> None:
    """Let a part be twenty customers, two branches; and do not read all sources for every run."""
    patch.setattr(simulate, "block_customers", lambda world: 20)
    patch.setattr(dataset, "_SOURCES", ())
