"""The example of rules in layers: it loads, runs, and every rule of it is at work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from small import bank

from experiments.executor import silent
from experiments.rollout import Stretch, run_stretch
from experiments.spec import check_strategies, load_experiment
from nba.explain import FUNNEL, Funnel
from nba.snapshot import Snapshot

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "layers.toml"
RARE = {"complained"}  # a complaint in ten thousand contacts


def test_every_rule_of_the_example_is_at_work_in_the_bank() -> None:
    world, experiment = bank(), load_experiment(str(EXAMPLE))
    check_strategies(experiment, world, EXAMPLE.name)
    strategy = experiment.spec("layered").strategy(world, seed=1)
    work = Stretch(world, Snapshot.start(strategy), 5, np.arange(2_000), None, 24, 24, False, False, False)
    block = run_stretch(work, silent).block
    assert block is not None
    rows = np.arange(2_000)
    contexts = block.happenings.onto(world.observe(block.state, rows), rows, block.state.day)
    steps = Funnel.of(strategy, strategy.eligible(contexts)).steps(strategy)
    assert [step.layer for step in steps] == list(FUNNEL)
    removed = {name: count for step in steps for name, count in step.removed.items()}
    silent_rules = {name for name, count in removed.items() if not count}
    assert silent_rules <= RARE | {"catalogue", "request"}, removed
    layers = {name: step.layer for step in steps for name in step.removed}
    assert layers["of_age@credit"] == layers["consent"] == layers["app_installed"] == "eligible"
    assert layers["instalments_need_a_card"] == layers["key_day_near"] == "applicable"
    assert layers["advised_in_person"] == layers["gentle"] == layers["suitability"] == "suitable"
    assert layers["ignored_twice"] == layers["save_or_borrow"] == "contact_policy"
    assert 0 < steps[-1].customers < steps[0].customers
