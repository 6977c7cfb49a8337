"""An apprentice under `nba simulate`: written in TOML, told in the summary, kept with the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from small import bank

from experiments.simulate import run_simulation
from experiments.spec import Phase, load_experiment
from nba.errors import InvalidConfig

TEXT = """
name = "school"
world = "retail-bank"
train = { customers = 10, days = 5, seed = 1, publish_every_days = 2 }
evaluate = { customers = 10, days = 5, seed = 2 }
[[strategies]]
name = "no-contact"
model = { type = "segment_rates" }
policy = { type = "no_contact" }
[[strategies]]
name = "forecasts"
model = { type = "segment_rates" }
policy = { type = "greedy" }
[[strategies]]
name = "pupil"
model = { type = "factored" }
policy = { type = "greedy" }
apprentice = { imitates = "MASTER", required_match = 0.05, window_rounds = 40, least_rounds = 40 }
"""


@pytest.fixture
def school(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("experiments.simulate.load_world", lambda name: bank())
    path = tmp_path / "school.toml"
    path.write_text(TEXT.replace("MASTER", "forecasts"))
    return path


def simulated(school: Path, out: Path, capsys: pytest.CaptureFixture[str], strategy: str = "pupil") -> Any:
    phase = Phase(customers=60, days=12, seed=3, publish_every_days=3)
    run_simulation("retail-bank", str(school), strategy, phase, 1, out, as_json=True)
    return json.loads(capsys.readouterr().out)


def test_the_summary_says_when_the_apprentice_took_over(
    school: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = simulated(school, tmp_path / "pupil", capsys)
    found = told["apprentice"]
    assert found["imitates"] == "forecasts" and found["required_match"] == 0.05
    assert found["switched_after_days"] in (3, 6, 9) and found["match"] >= found["match_low"] >= 0.05
    assert simulated(school, tmp_path / "pupil", capsys)["apprentice"] == found, "kept in the manifest"
    alone = simulated(school, tmp_path / "alone", capsys, "forecasts")
    assert "apprentice" not in alone and alone["digest"] != told["digest"]
    logs = [pd.read_parquet(tmp_path / name / "decisions") for name in ("pupil", "alone")]
    # Before the first publication both are the rules as they began.
    first = [log[log["date"] < log["date"].min() + pd.Timedelta(days=3)] for log in logs]
    assert len(first[0]) > 20 and first[0]["action_id"].tolist() == first[1]["action_id"].tolist()


def test_a_folder_of_another_apprentice_is_refused(
    school: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulated(school, tmp_path / "out", capsys)
    school.write_text(school.read_text().replace("0.05", "0.06"))
    with pytest.raises(InvalidConfig, match="strategy_sha256: the folder holds a run with"):
        simulated(school, tmp_path / "out", capsys)


def test_a_master_that_is_not_there_is_named(school: Path) -> None:
    school.write_text(TEXT.replace("MASTER", "nobody"))
    rule = (
        r"strategies\[2\].apprentice.imitates: must be another strategy that is no apprentice: no-contact, "
    )
    with pytest.raises(InvalidConfig, match=rule + "forecasts; got 'nobody'"):
        load_experiment(str(school))
