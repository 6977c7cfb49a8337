"""`nba promote --log` on the folder of a simulated run, whose contexts are lived again."""

from __future__ import annotations

from math import inf
from pathlib import Path

import numpy as np
import pytest
from promotion_fixtures import TOY, toy_policy

from experiments.dataset import Settings, opened
from experiments.evaluation.lived import FILE, OfRun, lived_contexts, relived_run
from experiments.evaluation.stored import Stored
from experiments.evaluation.survey import floats_of
from experiments.executor import silent
from experiments.promotion.from_log import evidence_of_log
from experiments.promotion.gates import Gates
from experiments.promotion.run import OfLog
from experiments.simulate import Run, _simulated
from experiments.spec import Contender, Phase, load_experiment
from nba.bundle import save_bundle
from nba.errors import InvalidConfig
from nba.snapshot import Snapshot
from simulator.world import World, load_world

GATES = Gates(most_elderly_gap=inf, most_latency_ms=inf, planned_rounds=5_000, least_rounds=100)


def run_of(folder: Path, world: World, policy: Snapshot, phase: Phase) -> Path:
    """The folder of a run without learning."""
    with opened(folder, Settings.of(world, Contender(policy.strategy), phase, False)) as held:
        _simulated(Run(held, world, Contender(policy.strategy), phase, False), 1)
    return folder


@pytest.fixture(scope="module")
def toy_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    phase = Phase(customers=150, days=15, seed=5, settle_days=4)
    return run_of(tmp_path_factory.mktemp("toy") / "run", TOY, toy_policy("random"), phase)


def chances(log: Stored, target: OfRun) -> tuple[np.ndarray, np.ndarray]:
    """(n,) the target's probabilities of what was chosen, and the logged ones."""
    place = {label: number for number, label in enumerate(target.labels)}
    again, logged = [], []
    for part in log.parts:
        for _, table in log.read(part, [*target.columns, "action", "propensity"], ("action",), 1_000):
            actions = np.array([place[name] for name in table.columns["action"].to_pylist()])
            found = np.zeros(table.n_rows)
            for mine, contexts in lived_contexts(table, target.scratch):
                shares = target.snapshot.action_distribution(contexts)
                found[mine] = shares[np.arange(mine.size), actions[mine]]
            again.append(found)
            logged.append(floats_of(table.columns["propensity"]))
    return np.concatenate(again), np.concatenate(logged)


@pytest.mark.parametrize("name", ["toy", pytest.param("bank", marks=pytest.mark.slow)])
def test_the_policy_of_a_run_gives_its_logged_propensities_again(
    name: str, toy_run: Path, tmp_path: Path
) -> None:
    """To the last bit: every context is the one in which was decided."""
    run, policy = toy_run, toy_policy("random")
    if name == "bank":
        world = load_world("retail-bank")
        policy = Snapshot.start(load_experiment("demo").spec("thompson").strategy(world, 7))
        run = run_of(tmp_path / "run", world, policy, Phase(customers=150, days=9, seed=3))
    (tmp_path / "scratch").mkdir()
    log = relived_run(run, tmp_path / "scratch", [policy], silent)
    again, logged = chances(log, OfRun(policy, tmp_path / "scratch"))
    assert logged.size > 150 and (logged < 1.0).any()
    np.testing.assert_array_equal(again, logged)
    assert {"at", "age", FILE, "net_value"} - {"age"} <= set(log.columns)


@pytest.mark.slow
def test_a_run_judges_a_candidate_and_knows_its_difference(toy_run: Path, tmp_path: Path) -> None:
    """Against the policy that made the run, whose mean is known without any weights."""
    paths = tuple(save_bundle(toy_policy(name), tmp_path / name) for name in ("no-contact", "random"))
    found = evidence_of_log(OfLog(toy_run), (paths[0], paths[1]), GATES, 1)
    assert (found.kind, found.source, found.audit) == ("log", "log run", ())
    assert found.rounds > 1_000 and found.days == pytest.approx(14.0, abs=1.0)
    cost = found.differences["cost"]
    assert cost is not None and cost.value < 0.0  # it contacts nobody
    same = evidence_of_log(OfLog(toy_run), (paths[1], paths[1]), GATES, 1)
    value = same.differences["value"]
    assert value is not None and value.value == 0.0


def test_a_run_that_was_changed_or_is_of_another_world_is_refused(toy_run: Path, tmp_path: Path) -> None:
    import shutil

    import pyarrow as pa
    import pyarrow.parquet as pq

    changed = Path(shutil.copytree(toy_run, tmp_path / "changed"))
    file = next(iter(sorted((changed / "decisions").glob("*.parquet"))))
    table = pq.read_table(file)
    place = table.column_names.index("engaged")
    flipped = pa.array(~table["engaged"].to_numpy())
    pq.write_table(table.set_column(place, "engaged", flipped), file)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(InvalidConfig, match="engaged: day 0 of fatigue-toy has other customers or answers"):
        relived_run(changed, scratch, [toy_policy("random")], silent)
    text = (changed / "run.json").read_text()
    (changed / "run.json").write_text(text.replace('"world": "fatigue-toy"', '"world": "clickbait"'))
    with pytest.raises(InvalidConfig, match="the world clickbait has changed since"):
        relived_run(changed, scratch, [toy_policy("random")], silent)
    bank = Snapshot.start(load_experiment("demo").spec("random").strategy(load_world("clickbait"), 1))
    with pytest.raises(InvalidConfig, match="made for another catalogue than that of fatigue-toy"):
        relived_run(toy_run, scratch, [bank], silent)
