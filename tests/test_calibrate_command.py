"""`nba calibrate` from files to a file: its table, its text, its checkpoint, its refusals."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nba import cli
from nba.arrays import FloatArray
from nba.errors import InvalidConfig
from simulator.calibrate.checkpoint import Checkpoint
from simulator.calibrate.columns import UCI_MAP, load_map
from simulator.calibrate.parameters import NAMES
from simulator.calibrate.run import replayed
from simulator.calibrate.table import SHIPPED, load
from simulator.calibrate.written import with_numbers, world_text, write_world
from simulator.world import load_world

COMMAND = ("calibrate", "--members", "2", "--evaluations", "30", "--json")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every sixth row of UCI's calls and a map that allows that."""
    folder = tmp_path_factory.mktemp("sample")
    lines = gzip.decompress(SHIPPED.read_bytes()).decode().splitlines()
    (folder / "calls.csv").write_text("\n".join([lines[0], *lines[1::6]]))
    kept = [
        line for line in UCI_MAP.read_text().splitlines() if not line.startswith(("n_clients", "n_sales"))
    ]
    (folder / "map.toml").write_text("\n".join(kept))
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main([*words])
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


def calibrated(sample: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    files = ("--data", str(sample / "calls.csv"), "--columns", str(sample / "map.toml"), "--out", str(out))
    code, printed, _ = run(capsys, *COMMAND, *files)
    return code, json.loads(printed)


@pytest.mark.slow
def test_a_world_is_written_with_its_ensemble_and_can_be_replayed(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "world.toml"
    code, told = calibrated(sample, out, capsys)
    assert (code == 0) == (told["verdict"] == "")  # thirty simulations need not be enough
    assert told["evaluations"] <= 30 and len(told["parameters"]) == len(NAMES)
    world = load_world(str(out))
    assert world.config.calibration["j"] == pytest.approx(told["j"], rel=1e-5)
    assert len(world.config.ensemble) == told["ensemble"]["members"]
    values = {row["name"]: row["value"] for row in told["parameters"]}
    assert world.config.response.long_fatigue == pytest.approx(values["long_fatigue"], rel=1e-5)
    columns = load_map(sample / "map.toml")
    of, theta = replayed(world, load(sample / "calls.csv", columns), columns)
    simulated = [row["simulated"] for row in told["targets"]]
    np.testing.assert_allclose(of.simulate(theta), simulated, rtol=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == ["world.toml"]  # no checkpoint is left
    again = tmp_path / "again.toml"
    calibrated(sample, again, capsys)
    assert again.read_bytes() == out.read_bytes()


def test_people_get_tables_and_a_verdict(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ("--data", str(sample / "calls.csv"), "--columns", str(sample / "map.toml"))
    words = [word for word in COMMAND if word != "--json"]
    code, out, err = run(capsys, *words, *files, "--out", str(tmp_path / "w.toml"))
    assert "adjusted odds ratio per further call: " in out and "degrees of freedom" in out
    assert ": 25 simulations" in err
    assert ("not to be trusted: the fit did not converge" in err) == (code == 1)


REFUSED = {
    "no table": (("--data", "nothing.csv"), "nothing.csv: no such file"),
    "wrong map": (("--data", str(SHIPPED), "--columns", "nothing.toml"), "nothing.toml: cannot be read"),
    "no world": (("--data", str(SHIPPED), "--world", "moon"), "moon: not found in simulator/worlds"),
    "no TOML": (("--data", str(SHIPPED), "--out", "world.json"), "world.json: must end in .toml"),
    "no folder": (("--data", str(SHIPPED), "--out", "no/where.toml"), "its folder does not exist"),
    "no source": (("--data", str(SHIPPED), "--habituation", "nothing.csv"), "nothing.csv: cannot be read"),
    "no world file": (("--data", str(SHIPPED), "--world", "moon.toml"), "moon.toml: cannot be read"),
}


@pytest.mark.parametrize(("words", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_input_is_one_line(
    words: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    given = () if "--out" in words else ("--out", "w.toml")
    code, out, err = run(capsys, "calibrate", *words, *given)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1 and message in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("old", "new"), [('"call"', '"fax"'), ('"term-deposit"', '"yacht"')])
def test_a_map_that_names_nothing_of_the_world_is_refused(
    old: str, new: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "map.toml").write_text(UCI_MAP.read_text().replace(old, new))
    files = (
        "--data",
        str(SHIPPED),
        "--columns",
        str(tmp_path / "map.toml"),
        "--out",
        str(tmp_path / "w.toml"),
    )
    code, _, err = run(capsys, "calibrate", *files)
    assert code == 2 and f"{new!s} is not in the world retail-bank".replace('"', "'") in err


def test_comments_stay_and_numbers_change() -> None:
    text, config = world_text("retail-bank"), load_world("retail-bank").config
    vector = {
        "response.lift.term-deposit": 0.0612345678,
        "response.month": tuple(np.arange(12) / 10),
        "population.responsiveness_sd": 0.25,
    }
    once = with_numbers(text, config, vector, {"seed": 1}, [{"response.long_fatigue": 0.1}])
    comments = [line.partition("#")[2] for line in text.splitlines() if "#" in line]
    assert [line.partition("#")[2] for line in once.splitlines() if "#" in line][: len(comments)] == comments
    assert "lift = [0.0612346, 0.09" in once
    assert with_numbers(once, config, vector, {"seed": 1}, [{"response.long_fatigue": 0.1}]) == once


def test_a_text_that_is_no_world_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "w.toml"
    with pytest.raises(InvalidConfig, match=r"w\.toml: .*missing required field"):
        write_world(path, 'name = "half"')
    assert not path.exists()


def test_a_checkpoint_answers_what_was_asked_before(tmp_path: Path) -> None:
    path, asked = tmp_path / "w.checkpoint", []

    def simulate(theta: FloatArray) -> FloatArray:
        asked.append(theta)
        return theta / 3.0

    points = [np.array([0.1, 1 / 3]), np.array([2.0, -1e-9])]
    for expected in (2, 2):
        kept = Checkpoint(path, "digest", lambda: None)
        for point in points:
            np.testing.assert_array_equal(kept.of(simulate)(point), point / 3.0)
        assert len(asked) == expected
    path.write_bytes(path.read_bytes()[:-5])  # killed while writing
    assert Checkpoint(path, "digest", lambda: None).n_found == 1
    assert Checkpoint(path, "another", lambda: None).n_found == 0
    with pytest.raises(InvalidConfig, match="cannot be written: No such file"):
        Checkpoint(tmp_path / "no" / "where", "digest", lambda: None)
