"""`nba policies`: list, pull, promote and rollback on a real store."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from experiments.policies_command import app
from experiments.registry import find, rollback
from nba.bundle import ARRAYS, load_bundle
from nba.errors import NBAError
from tests.experiment_fixtures import empty_store, record_quickly, small_result


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return empty_store(tmp_path_factory)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = empty_store(tmp_path_factory)
    for gain in (4.0, 5.0, 0.25):
        record_quickly(small_result(gain=gain)._replace(champion="thompson"), store)
    return store


@pytest.fixture
def three(made: Path, tmp_path: Path) -> Path:
    """The first is champion for want of another, the last challenger; a copy that a test may spoil."""
    return Path(shutil.copytree(made, tmp_path / "runs"))


def run(store: Path, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--store", str(store)])


def answer(store: Path, *words: str) -> Any:
    done = run(store, *words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def error(store: Path, *words: str) -> str:
    """The message of the NBAError that `nba` shows as one line."""
    caught = run(store, *words).exception
    assert isinstance(caught, NBAError), repr(caught)
    assert "\n" not in str(caught)
    return str(caught)


def aliases(store: Path) -> dict[str, int]:
    return {alias: one["version"] for one in answer(store, "list") for alias in one["aliases"]}


def test_the_whole_life_of_an_alias(three: Path, tmp_path: Path) -> None:
    """By hand, which is possible, and noted: that a strategy beats no contact does not make it champion."""
    assert aliases(three) == {"champion": 1, "challenger": 3}
    assert answer(three, "promote", "--version", "2") == {"alias": "champion", "version": 2, "previous": 1}
    assert find(three).promotion == "by hand: nothing was proven"
    assert aliases(three) == {"champion": 2, "rollback": 1, "challenger": 3}
    assert answer(three, "rollback") == {"alias": "champion", "version": 1, "previous": 2}
    assert find(three).promotion == "rolled back to, from nba-policy/2"
    assert aliases(three) == {"champion": 1, "rollback": 2, "challenger": 3}
    assert answer(three, "rollback")["version"] == 2
    assert answer(three, "promote", "--version", "3") == {"alias": "champion", "version": 3, "previous": 2}
    assert aliases(three)["rollback"] == 2
    assert answer(three, "promote", "--version", "3")["previous"] == 3
    assert aliases(three)["rollback"] == 2
    answer(three, "promote", "--version", "1", "--alias", "shadow")
    assert find(three, "nba-policy/1").promotion == "rolled back to, from nba-policy/2"
    assert aliases(three) == {"champion": 3, "rollback": 2, "challenger": 3, "shadow": 1}
    pulled = answer(three, "pull", "nba-policy@shadow", "--out", str(tmp_path / "bundle"))
    assert pulled["version"] == 1
    assert "version 3" in run(three, "rollback").stdout


def test_list_is_a_table_for_people(three: Path) -> None:
    lines = run(three, "list").stdout.splitlines()
    assert lines[0].startswith("version  alias")
    assert [line.split()[0] for line in lines[1:]] == ["3", "2", "1"]
    assert "+5.00 (+4.50 to +5.50)" in lines[2] and "failed" in lines[1]


@pytest.mark.parametrize(
    "reference", ["nba-policy", "nba-policy@champion", "models:/nba-policy@champion", "nba-policy/2"]
)
def test_pull_understands_every_way_to_name_a_version(three: Path, tmp_path: Path, reference: str) -> None:
    answer(three, "promote", "--version", "2")
    pulled = answer(three, "pull", reference, "--out", str(tmp_path / "bundle"))
    assert (pulled["version"], pulled["strategy"]) == (2, "thompson")
    assert load_bundle(Path(pulled["path"])).strategy.name == "thompson"


def test_pull_replaces_a_bundle_and_nothing_else(three: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    assert "nba serve --bundle" in run(three, "pull", "--out", str(out)).stdout
    assert run(three, "pull", "--out", str(out)).exit_code == 0
    (out / "notes.txt").write_text("mine")
    assert "is not a policy bundle; name another folder" in error(three, "pull", "--out", str(out))
    assert (out / "notes.txt").exists()
    file = tmp_path / "file"
    file.write_text("mine")
    assert "is not a policy bundle" in error(three, "pull", "--out", str(file))


def test_a_damaged_bundle_is_not_handed_out(three: Path, tmp_path: Path) -> None:
    for arrays in (three / "artifacts").rglob(ARRAYS):
        arrays.write_bytes(arrays.read_bytes()[:-1] + b"x")
    assert "does not match its checksum" in error(three, "pull", "--out", str(tmp_path / "bundle"))
    assert not (tmp_path / "bundle").exists()


def test_a_bundle_that_was_exchanged_is_not_handed_out(three: Path, tmp_path: Path) -> None:
    for manifest in (three / "artifacts").rglob("artifacts/bundle/manifest.json"):
        manifest.write_text(manifest.read_text().replace('"posterior_seq": 0', '"posterior_seq": 7'))
    message = "nba-policy/1 does not have the digest it was registered with; train it again."
    assert error(three, "pull", "--out", str(tmp_path / "bundle")) == message


def test_mistakes_are_one_clear_line(three: Path, tmp_path: Path) -> None:
    out = ("--out", str(tmp_path / "bundle"))
    assert error(three, "pull", "nba-policy/9", *out) == "nba-policy has no version 9; its versions: 1, 2, 3."
    assert "its aliases: challenger, champion." in error(three, "pull", "nba-policy@best", *out)
    assert "registered: nba-policy." in error(three, "pull", "other@champion", *out)
    assert "write NAME@ALIAS or NAME/VERSION" in error(three, "pull", "runs:/1/policy", *out)
    assert "has no version 9" in error(three, "promote", "--version", "9")
    assert "reserved" in error(three, "promote", "--version", "1", "--alias", "v1")
    assert "holds no mlflow.db" in error(tmp_path / "nowhere", "list")


def test_an_empty_store_lists_nothing_and_has_nothing_to_roll_back(store: Path) -> None:
    assert answer(store, "list") == []
    assert "No policy is registered yet" in run(store, "list").stdout
    assert error(store, "rollback") == "No policy is registered as 'nba-policy'; registered: none yet."
    record_quickly(small_result(), store)
    with pytest.raises(NBAError, match="only one champion was ever named"):
        rollback(store)
    assert find(store).version == 1
