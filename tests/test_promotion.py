"""`nba promote`, `nba rollback` and the verdict, on a real store, with real worlds and real logs."""

from __future__ import annotations

import json
import shutil
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from experiment_fixtures import empty_store
from promotion_fixtures import TOY, register, toy_policy
from typer import Typer
from typer.testing import CliRunner, Result

from experiments import policies_command
from experiments.executor import SerialExecutor, silent
from experiments.promotion import commands, records
from experiments.promotion.evidence import GUARDS
from experiments.promotion.from_world import Pair, SeedResult, evidence_of_world, run_seed
from experiments.promotion.gates import Gates
from experiments.registry import find
from experiments.store import open_store
from nba.errors import InvalidConfig, NBAError

SMALL = (
    "--world",
    "fatigue-toy",
    "--seeds",
    "10",
    "--customers",
    "400",
    "--days",
    "14",
    "--settle-days",
    "7",
)
# The challenger is dear and drives customers away, and a busy machine tells nothing of latency.
SHORT = "least_days = 7\nleast_rounds = 100\n"
LOOSE = SHORT + "".join(f"most_{name} = inf\n" for name in (*GUARDS, "latency_ms"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1, champion: never contacts. Version 2, challenger: does at random, earns more and annoys."""
    store = empty_store(tmp_path_factory)
    register(store, "no-contact", "random")
    return store


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "runs"))


@pytest.fixture
def loose(tmp_path: Path) -> tuple[str, str]:
    file = tmp_path / "gates.toml"
    file.write_text(LOOSE)
    return "--gates", str(file)


def run(store: Path, *words: str) -> Result:
    app = Typer()
    app.command()(commands.promote)
    app.command()(policies_command.rollback)
    return CliRunner().invoke(app, [*words, "--store", str(store)])


def test_a_better_policy_is_promoted_with_its_proof_and_can_be_rolled_back(
    made: Path, store: Path, loose: tuple[str, str]
) -> None:
    done = run(store, "promote", "--candidate", "challenger", *SMALL, *loose, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["passed"] and told["reasons"] == []
    assert told["change"] == {"alias": "champion", "version": 2, "previous": 1}
    champion = find(store)
    assert (champion.version, champion.gate) == (2, "passed")
    assert champion.promotion == "proven against nba-policy/1 on world fatigue-toy"
    assert find(store, "nba-policy@rollback").version == 1
    value = told["evidence"]["differences"]["value"]
    client = open_store(store)
    version = client.get_model_version("nba-policy", "2").tags
    assert version["nba.gate.value.low"] == f"{value['low']:.6g}" and float(version["nba.gate.value.low"]) > 0
    tags = client.get_run(champion.run_id).data.tags
    assert {key: tags[key] for key in version if key.startswith("nba.gate")} == {
        key: value for key, value in version.items() if key.startswith("nba.gate")
    }
    # MLflow keeps the folder of a run that it has written to in this process, here before it was copied.
    folder = next(made.rglob("verdict.json")).parent
    assert json.loads((folder / "verdict.json").read_text())["passed"] is True
    assert "nba-policy/2 against nba-policy/1: promoted" in (folder / "verdict.md").read_text()
    back = run(store, "rollback", "--json")
    assert json.loads(back.stdout) == {"alias": "champion", "version": 1, "previous": 2}


@pytest.mark.slow
def test_a_worse_policy_is_refused_with_the_reason_and_the_verdict_is_kept(
    store: Path, loose: tuple[str, str]
) -> None:
    words = ("promote", "--candidate", "1", "--baseline", "2", *SMALL, *loose)
    done = run(store, *words)
    assert done.exit_code == 1
    assert "- value: the lower end, " in done.stdout and "refused: the champion stays" in done.stdout
    assert "error: nba-policy/1 is not promoted." in done.stderr
    assert "attempt 1 of nba-policy/1 by a world: 97.5 % intervals" in done.stderr
    assert find(store).version == 1 and find(store).promotion == ""
    tags = open_store(store).get_model_version("nba-policy", "1").tags
    assert tags["nba.gate"] == tags["nba.gate.value"] == "failed" and "lower end" in tags["nba.gate.reason"]
    Path(loose[1]).write_text(SHORT)
    unsafe = run(store, "promote", "--candidate", "2", *SMALL, *loose)
    assert unsafe.exit_code == 1 and "- value" not in unsafe.stdout
    assert "- cost: the upper end, " in unsafe.stdout and "- opt_outs: the upper end, " in unsafe.stdout
    Path(loose[1]).write_text(LOOSE)
    again = run(store, *words)
    assert "attempt 2 of nba-policy/1 by a world: 99.167 % intervals" in again.stderr


@pytest.mark.slow
def test_a_champion_that_changed_meanwhile_is_not_replaced(
    store: Path, loose: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = records.write

    def meanwhile(*given: Any) -> None:
        write(*given)
        register(store, "epsilon-greedy")
        assert run(store, "rollback").exit_code != 0  # there was one champion only
        open_store(store).set_registered_model_alias("nba-policy", "champion", "3")

    monkeypatch.setattr("experiments.promotion.run.write", meanwhile)
    done = run(store, "promote", "--candidate", "2", *SMALL, *loose)
    assert isinstance(done.exception, records.ChampionChanged) and "is version 3 now" in str(done.exception)
    assert find(store).version == 3 and find(store, "nba-policy/2").gate == "passed"


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (("--candidate", "1", "--world", "fatigue-toy"), "is the baseline itself, version 1"),
        (("--candidate", "2"), "give one of them"),
        (("--candidate", "2", "--world", "fatigue-toy", "--log", "x.csv"), "give one of them"),
        (("--candidate", "9", "--world", "fatigue-toy"), "nba-policy has no version 9"),
        (("--candidate", "2", "--world", "btyd"), "btyd: catalogue: the candidate, random, was made for"),
        (("--candidate", "2", "--world", "fatigue-toy", "--seeds", "1"), ""),
        (("--candidate", "2", "--world", "fatigue-toy", "--gates", "none.toml"), "none.toml: cannot be read"),
    ],
)
def test_mistakes_are_one_clear_line_and_change_nothing(
    made: Path, words: tuple[str, ...], rule: str
) -> None:
    done = run(made, "promote", *words)
    assert done.exit_code != 0
    if rule:
        assert isinstance(done.exception, NBAError) and rule in str(done.exception)
    assert find(made).version == 1
    assert "nba.gate.value" not in open_store(made).get_model_version("nba-policy", "2").tags


PAIR = Pair(TOY, toy_policy("no-contact"), toy_policy("random"), 60, 14, 0, 60.0)


def test_a_policy_against_itself_differs_by_nothing() -> None:
    same = run_seed(PAIR._replace(candidate=PAIR.baseline), 3, silent)
    assert same.differences.tolist() == [0.0] * 5
    gates = Gates(most_latency_ms=inf)
    pair = PAIR._replace(candidate=PAIR.baseline)
    found = evidence_of_world(pair, (3, 4), gates, 0.95, SerialExecutor(), silent)
    opt_outs = found.differences["opt_outs"]
    assert opt_outs is not None and opt_outs.low == -opt_outs.high < 0.0  # what nobody did, somebody may


def test_a_pair_is_the_difference_of_two_runs_by_hand() -> None:
    from experiments.rollout import rollout
    from experiments.spec import MOST_CUSTOMERS

    found: SeedResult = run_seed(PAIR, 3, silent)
    ours, theirs = (
        rollout(TOY, one, PAIR.phase(3), first_customer=MOST_CUSTOMERS, with_oracle=False)
        for one in (PAIR.candidate, PAIR.baseline)
    )
    month = 30.0 / 14.0
    assert found.differences[0] == pytest.approx(month * (ours.totals.net - theirs.totals.net).mean())
    assert found.differences[1] == pytest.approx(-month * theirs.decisions.cost.sum() / 60)
    assert found.differences[2] == pytest.approx(-month * 1_000 * theirs.decisions.opted_out.sum() / 60)
    ages = TOY.reset(3, MOST_CUSTOMERS + np.arange(60)).people.age
    harms = theirs.totals.opt_outs + theirs.totals.complaints
    gap = harms[ages >= 60].mean() - harms[ages < 60].mean()
    assert found.differences[4] == pytest.approx(-month * 1_000 * gap)
    assert found.people.tolist() == [60, min((ages >= 60).sum(), (ages < 60).sum())]
    assert found.rounds == ours.decisions.action.size and found.broken_limits == 0


def test_propensities_that_promise_something_else_fail_the_audit() -> None:
    from experiments.promotion.from_world import _audited

    assert _audited(np.array([[30.0, 100.0], [-20.0, 100.0]]), 1e-3) == ()
    (told,) = _audited(np.array([[5.0, 100.0], [-60.0, 100.0]]), 1e-3)
    assert told.startswith("the baseline made -60 contacts more than its propensities promise")


def test_all_customers_on_one_side_of_the_age_are_told() -> None:
    pair = PAIR._replace(elderly_age=150.0)
    found = evidence_of_world(pair, (3, 4), Gates(), 0.95, SerialExecutor(), silent)
    assert found.differences["elderly_gap"] is None and "elderly_age" in found.missing["elderly_gap"]
    with pytest.raises(InvalidConfig, match="must be at least 2 to know an error"):
        evidence_of_world(PAIR, (3,), Gates(), 0.95, SerialExecutor(), silent)


@pytest.mark.slow
def test_trials_of_the_whole_gate_keep_their_promises() -> None:
    """Forty of each kind, as in the benchmark with 200: within three standard errors of what is planned."""
    from experiments.promotion.proof import proof

    found = proof(40)
    assert found.aa_promotions <= 0.05 + 3.0 * (0.05 * 0.95 / 40) ** 0.5
    assert found.power >= found.planned_power - 3.0 * (0.1 * 0.9 / 40) ** 0.5
