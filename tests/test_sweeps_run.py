"""A sweep runs what is missing, keeps what is finished, tells what fails, and stops what is hopeless."""

from __future__ import annotations

import shutil
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from sweep_fixtures import HEAD, STRATEGIES, plan_in, swept_in

from experiments.compare import run_experiment
from experiments.executor import SerialExecutor
from experiments.spec import Experiment, StrategySpec
from experiments.sweeps.cells import CellResult
from experiments.sweeps.config import JUDGING
from experiments.sweeps.hopeless import hopeless
from experiments.sweeps.live import Board
from experiments.sweeps.plan import Plan, Row
from experiments.sweeps.run import Heard, Stopped, Swept, run_sweep, total_customer_days
from experiments.sweeps.told import number
from nba.errors import InvalidConfig
from nba.policies import NoContact, ThompsonSampling
from nba.posteriors import FactoredModel, SegmentRatesModel
from simulator.world import load_world

THOMPSON = Row("thompson", "clickbait")
OWN = '''
from nba.policies import PolicyBase

class Broken(PolicyBase, frozen=True):
    def base_distribution(self, ready, utilities, eligible):
        raise ZeroDivisionError("on purpose")

def squared(run):
    """Net value, squared."""
    return run.net ** 2

def wrong(run):
    return run.net[:3]

small_bank = 7
'''
BROKEN = """
[[strategies]]
name = "broken"
model = { type = "segment_rates" }
policy = { type = "my_own.Broken" }
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return plan_in(tmp_path_factory.mktemp("plan"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sweep is kept that tests only read."""
    return tmp_path_factory.mktemp("swept")


@pytest.fixture(scope="module")
def swept(plan: Plan, whole: Path) -> Swept:
    return swept_in(whole, plan)


@pytest.fixture
def copied(swept: Swept, whole: Path, tmp_path: Path) -> Path:
    """A folder of its own with all cells of the sweep."""
    return Path(shutil.copytree(whole, tmp_path / "copied"))


class Interrupted(BaseException):
    """As a process that is killed: nothing in a sweep catches it."""


def test_an_interrupted_sweep_goes_on_with_the_cells_that_are_missing(
    plan: Plan, swept: Swept, tmp_path: Path
) -> None:
    seen: list[Row] = []

    def on_cell(row: Row, result: CellResult, was_kept: bool) -> None:
        seen.append(row)
        if len(seen) == 4:
            raise Interrupted

    with pytest.raises(Interrupted):
        run_sweep(plan, tmp_path, SerialExecutor(), Heard(on_cell, lambda steps: None))
    resumed = swept_in(tmp_path, plan)
    assert (resumed.cells_kept, resumed.cells_run, resumed.n_cells) == (4, 5, 9)
    assert resumed.digest == swept.digest and not resumed.failures
    again = swept_in(tmp_path, plan)
    assert (again.cells_kept, again.cells_run) == (9, 0) and again.digest == swept.digest


def test_a_changed_strategy_alone_runs_again_and_more_seeds_only_add(copied: Path, tmp_path: Path) -> None:
    changed = plan_in(tmp_path, strategies=STRATEGIES + "floor = { epsilon = 0.5 }\n")
    assert swept_in(copied, changed).cells_run == 3
    longer = plan_in(tmp_path, head=HEAD.replace("seeds = 3", "seeds = 4"))
    assert swept_in(copied, longer).cells_run == 3  # one more for each of three strategies


def test_a_damaged_cell_is_told_and_not_taken_for_a_result(plan: Plan, copied: Path) -> None:
    path = copied / "cells" / f"{plan.digests[THOMPSON][0]}.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(
        InvalidConfig, match=r"npz: is no result of a cell .*; delete it, and it is run again"
    ):
        swept_in(copied, plan)
    path.unlink()
    assert swept_in(copied, plan).cells_run == 1


def test_blocks_of_seeds_find_what_single_seeds_find(swept: Swept, tmp_path: Path) -> None:
    blocks = plan_in(tmp_path, head=HEAD + "seeds_per_cell = 2\n")
    found = swept_in(tmp_path, blocks)
    assert found.cells_run == 6
    for row, runs in swept.runs.items():
        assert {s: run.digest for s, run in runs.items()} == {
            s: run.digest for s, run in found.runs[row].items()
        }


def test_a_run_is_that_of_an_experiment_of_the_same_phases(plan: Plan, swept: Swept) -> None:
    specs = (
        StrategySpec(name="no-contact", model=SegmentRatesModel(), policy=NoContact()),
        StrategySpec(name="thompson", model=FactoredModel(), policy=ThompsonSampling()),
    )
    phases = {"train": plan.sweep.train.phase(2), "evaluate": plan.sweep.evaluate.phase(JUDGING + 2)}
    experiment = Experiment(name="same", world="clickbait", strategies=specs, **phases)
    result = run_experiment(load_world("clickbait"), experiment, SerialExecutor()).result("thompson")
    run = swept.runs[THOMPSON][2]
    np.testing.assert_array_equal(run.net, result.totals.net)
    np.testing.assert_array_equal(run.contacts, result.totals.contacts)
    np.testing.assert_array_equal(run.training_daily, result.training_daily)
    mix = run.channel_counts / run.channel_counts.sum()
    np.testing.assert_allclose(mix[:-1], [result.channel_mix[name] for name in run.channels.tolist()])
    assert run.guard.tolist() == [result.min_propensity, 0.0] and run.of(0).net.size == 40


def test_a_cell_that_fails_is_a_row_with_its_traceback_and_is_tried_again(
    copied: Path, tmp_path: Path
) -> None:
    (tmp_path / "my_own.py").write_text(OWN)
    plan = plan_in(tmp_path, strategies=STRATEGIES + BROKEN)
    found = swept_in(copied, plan)
    assert [(one.row.strategy, one.seeds) for one in found.failures] == [("broken", (n,)) for n in (1, 2, 3)]
    failure = found.failures[0].failure
    assert failure.error == "ZeroDivisionError: on purpose"
    assert 'raise ZeroDivisionError("on purpose")' in failure.traceback
    assert len(found.runs[THOMPSON]) == 3 and not found.runs[Row("broken", "clickbait")]
    mended = OWN.replace(
        'raise ZeroDivisionError("on purpose")', "return eligible / eligible.sum(1, keepdims=True)"
    )
    (tmp_path / "my_own.py").write_text(mended)
    again = swept_in(copied, plan_in(tmp_path, strategies=STRATEGIES + BROKEN))
    assert not again.failures and (again.cells_run, again.cells_kept) == (3, 9)


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (
            HEAD.replace("clickbait", "my_own.small_bank"),
            "my_own.small_bank: must be a simulator.world.World",
        ),
        (
            HEAD + 'metrics = ["my_own.nothing"]\n',
            "my_own.nothing: is not in my_own, which has PolicyBase, Broken",
        ),
        (HEAD + 'metrics = ["my_own.small_bank"]\n', "metrics.my_own.small_bank: must be a function"),
    ],
)
def test_parts_of_a_users_own_that_do_not_fit_are_refused(head: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "my_own.py").write_text(OWN)
    with pytest.raises(InvalidConfig) as caught:
        plan_in(tmp_path, head=head)
    assert told in str(caught.value)


def test_a_module_that_cannot_be_run_is_told_with_its_error(tmp_path: Path) -> None:
    (tmp_path / "my_own.py").write_text("import nothing_of_the_kind\n")
    with pytest.raises(InvalidConfig, match="my_own: cannot be run: ModuleNotFoundError"):
        plan_in(tmp_path, head=HEAD + 'metrics = ["my_own.x"]\n')


def test_a_metric_of_ones_own_is_checked(tmp_path: Path, swept: Swept) -> None:
    (tmp_path / "my_own.py").write_text(OWN)
    metrics = plan_in(tmp_path, head=HEAD + 'metrics = ["my_own.squared", "my_own.wrong"]\n').metrics()
    run = swept.runs[THOMPSON][1]
    np.testing.assert_array_equal(metrics["my_own.squared"].measure(run), run.net**2)
    assert metrics["my_own.squared"].meaning == "Net value, squared."
    with pytest.raises(InvalidConfig, match=r"my_own.wrong: must give one number, or one for each of 40"):
        metrics["my_own.wrong"].measure(run)


def test_who_is_surely_worse_is_hopeless_and_the_unsettled_go_on() -> None:
    noise = np.array([0.1, -0.1, 0.05, -0.05, 0.0, 0.1])
    means = {"good": 5.0 + noise, "close": 4.9 - noise, "bad": 1.0 + noise[::-1]}
    assert hopeless(means, 0.05, 2) == {"bad": "good"}
    assert hopeless({name: values[:2] for name, values in means.items()}, 0.05, 2) == {}


def test_hopeless_rows_get_no_further_seeds(tmp_path: Path) -> None:
    head = (
        HEAD.replace("seeds = 3", "seeds = 8")
        + "early_stopping = { every_seeds = 4, metric = 'contacts_p90' }\n"
    )
    with pytest.raises(InvalidConfig, match="contacts_p90' is not among metrics"):
        plan_in(tmp_path, head=head)
    with pytest.raises(InvalidConfig, match="'contacts' has no better side"):
        swept_in(tmp_path, plan_in(tmp_path, head=head.replace("contacts_p90", "contacts")))
    found = swept_in(tmp_path, plan_in(tmp_path, head=head.replace("contacts_p90", "fatigue")))
    # Silence tires nobody: whoever speaks is surely worse by that, but the baseline stays.
    assert found.stopped == {THOMPSON: Stopped(4, "no-contact")}
    assert {row.strategy: len(runs) for row, runs in found.runs.items()} == {
        "no-contact": 8,
        "random": 8,
        "thompson": 4,
    }


def test_the_board_tells_progress_time_left_and_leaders(plan: Plan, swept: Swept) -> None:
    now = [100.0]
    board = Board(plan, lambda: now[0])
    assert board.total == total_customer_days(plan) == 3 * (3 * 40 * 6 + 30 * 4)
    assert board.seconds_left is None and board.leaders() == ""
    board.cell(THOMPSON, CellResult((swept.runs[THOMPSON][1],)), True)
    board.heard, now[0] = 480, 102.0
    assert board.kept == 40 * 6 + 30 * 4 and board.share == pytest.approx((360 + 480) / 2520)
    assert board.seconds_left == pytest.approx((2520 - 840) * 2.0 / 480)
    best = float(swept.runs[THOMPSON][1].net.mean())
    assert board.leaders() == f"clickbait: thompson {number(best)}"
    assert [row[1:3] for row in board.rows()][0] == ("thompson", "1/3")
    shown = StringIO()
    Console(file=shown, width=100).print(board.drawn())
    assert f"sweep {plan.id} (small): 33 %, 7 s left" in shown.getvalue() and "1/3" in shown.getvalue()
