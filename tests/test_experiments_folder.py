"""Folders that a run does not go into, and files that cannot be written: each told by name."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

import pytest
from dataset_fixtures import PHASE, bytes_of, in_small_parts, simulated
from msgspec import structs

from experiments import dataset
from experiments.parquet import UnwritableFolderError, write_whole
from nba.errors import InvalidConfig


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    in_small_parts(monkeypatch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        in_small_parts(patch)
        simulated(path)
    return path


@pytest.mark.parametrize(
    ("change", "field"),
    [({"seed": 3}, "phase"), ({"days": 17}, "phase"), ({"oracle": True}, "oracle")],
    ids=str,
)
def test_another_run_is_not_mixed_in(change: dict[str, Any], field: str, whole: Path) -> None:
    oracle = change.pop("oracle", False)
    with pytest.raises(InvalidConfig) as caught:
        simulated(whole, structs.replace(PHASE, **change), oracle)
    assert caught.value.source == str(whole / "run.json") and caught.value.pointer == field
    assert "not" in caught.value.rule and "another --out" in caught.value.rule


def test_other_code_is_another_run(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "_SOURCES", ("nba",))
    with pytest.raises(InvalidConfig, match="code_sha256"):
        simulated(whole)


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "decisions").mkdir()
    (tmp_path / "decisions" / "theirs.parquet").write_bytes(b"x")
    with pytest.raises(InvalidConfig) as caught:
        simulated(tmp_path)
    assert caught.value.pointer == "decisions" and "no run.json" in caught.value.rule
    assert bytes_of(tmp_path / "decisions") == {"theirs.parquet": b"x"}


@pytest.mark.parametrize("text", ["", "{}", '{"world": 3}', "\x00"])
def test_a_damaged_record_says_which(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InvalidConfig) as caught:
        simulated(tmp_path)
    assert caught.value.source == str(tmp_path / "run.json") and "cannot be read" in caught.value.rule


def test_two_processes_do_not_write_one_run(tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(InvalidConfig, match="another process"):
            simulated(tmp_path)
    assert simulated(tmp_path).parts


def test_what_cannot_be_written_names_the_file(tmp_path: Path) -> None:
    def full(draft: Path) -> None:
        draft.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    file = tmp_path / "decisions" / "part-00000.parquet"
    with pytest.raises(UnwritableFolderError, match=r"part-00000\.parquet.*No space left"):
        write_whole(file, full)
    assert list(tmp_path.rglob("*.*")) == [], "a full disk is not filled with drafts"


def test_a_file_in_the_way_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(UnwritableFolderError, match="out cannot be made"):
        simulated(tmp_path / "out")


def test_a_file_in_the_way_of_a_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "parts").write_text("in the way")
    with pytest.raises(UnwritableFolderError, match=r"part-00000\.json cannot be written"):
        simulated(tmp_path)
