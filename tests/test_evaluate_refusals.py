"""`nba evaluate` refuses logs that cannot be right, by row and count, and mistakes of use in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from evaluation_fixtures import KEYS, KNOWN, OFFERS, WHOLE, declared, evaluated, offers
from tables_fixtures import run, written

Capsys = pytest.CaptureFixture[str]
UNIFORM = ("--target", "uniform")


class Case(NamedTuple):
    """What is wrong with a log, and the sentence that says so."""

    change: Callable[[Any], Any]
    sentence: str
    words: tuple[object, ...] = (*KNOWN, *UNIFORM)


def cells(column: str, value: object) -> Callable[[Any], Any]:
    """A column with a wrong value in the rows 3 and 11 (row 1 is the first below the header)."""

    def change(frame: Any) -> Any:
        frame = frame.astype({column: object})
        frame.loc[[2, 10], column] = value
        return frame

    return change


TABLES = (*OFFERS, "--propensity", "columns:mu_", *UNIFORM)
CASES = {
    "zero": Case(cells("p", 0.0), "propensities (column 'p'): must lie in (0, 1]; 2 of 3000 rows"),
    "above": Case(cells("p", 1.5), "propensities (column 'p'): must lie in (0, 1]; 2 of 3000"),
    "nothing": Case(cells("p", None), "propensities (column 'p'): must lie in (0, 1]; 2 of 3000"),
    "text": Case(cells("bought", "yes"), "bought: must hold numbers, or true and false; 2 of 3000"),
    "infinite": Case(cells("bought", "inf"), "rewards (column 'bought'): must be finite; 2 of 3000"),
    "unnamed": Case(cells("offer", None), "offer: must hold a label; 2 of 3000 rows do not (rows 3, 11)."),
    "nobody": Case(
        cells("customer", None),
        "customer: must name the customer; 2 of 3000 rows do not (rows 3, 11).",
        (*KNOWN, *UNIFORM, "--cluster", "customer"),
    ),
    "sums": Case(cells("mu_card", 0.9), "logging: probabilities of a row must sum to 1; 2 of 3000", TABLES),
    "sets": Case(
        cells("allowed", "gold"),
        "actions (column 'offer'): the chosen action must be eligible; 2 of 3000 rows do not (rows 3, 11).",
        (*KNOWN, *UNIFORM, "--eligible", "allowed"),
    ),
    "no set": Case(
        cells("allowed", None),
        "allowed: must name the actions that could be chosen; 2 of 3000",
        (*KNOWN, *UNIFORM, "--eligible", "allowed"),
    ),
    "target": Case(
        cells("pi_card", 0.1),
        "target: probabilities of a row must sum to 1; 2 of 3000 rows do not (rows 3, 11).",
        WHOLE,
    ),
    "feature": Case(cells("age", np.inf), "age: must be finite, or empty where it is not known; 2 of", WHOLE),
}  # fmt: skip


@pytest.fixture(autouse=True)
def commands(monkeypatch: pytest.MonkeyPatch) -> None:
    declared(monkeypatch)


@pytest.mark.parametrize("name", CASES)
def test_a_log_that_cannot_be_right(name: str, tmp_path: Path, capsys: Capsys) -> None:
    case = CASES[name]
    log = written(tmp_path, case.change(offers(3_000)))
    code, told, error = run(capsys, "evaluate", "--log", log, "--json", *case.words)
    found = json.loads(told)
    assert code == 1 and list(found) == KEYS, error
    assert (found["verdict"], found["n"], found["estimates"]) == ("refused", 3_000, [])
    assert found["effective_n"] is None and found["selected"] is None
    assert any(case.sentence in reason for reason in found["reasons"]), found["reasons"]
    assert "error: The log is refused. " in error


def test_rows_are_counted_over_all_parts(tmp_path: Path, capsys: Capsys) -> None:
    frame = offers(6_000)
    frame.loc[[100, 2_500, 5_999], "p"] = 0.0
    log = tmp_path / "log.parquet"
    frame.to_parquet(log, row_group_size=1_000)
    code, text, _ = run(capsys, "evaluate", "--log", log, *KNOWN, *UNIFORM)
    assert code == 1
    assert (
        "must lie in (0, 1]; 3 of 6000 rows do not (rows 101, 2501, 6000)." in text and "earned" not in text
    )


def test_thin_support_is_an_answer_without_estimates(tmp_path: Path, capsys: Capsys) -> None:
    frame = offers(600)
    found = evaluated(capsys, written(tmp_path, frame), *KNOWN, "--target", "always:card")
    assert found["verdict"] == "refused" and found["estimates"] == [] and found["effective_n"] < 200
    code, text, _ = run(
        capsys, "evaluate", "--log", written(tmp_path, frame), *KNOWN, "--target", "always:card"
    )
    assert code == 0 and "no estimate is printed" in text and "effective rounds" in text


def test_a_target_outside_the_eligible_sets_is_refused(tmp_path: Path, capsys: Capsys) -> None:
    frame = offers(3_000)
    frame = frame[frame["offer"] != "fund"].assign(allowed="loan|card", p=0.5)
    words = (*KNOWN, "--eligible", "allowed", "--target", "columns:pi_")
    found = evaluated(capsys, written(tmp_path, frame), *words)
    assert found["lost_target_mass"] == pytest.approx(0.4) and found["verdict"] == "refused"


def test_wrong_propensities_are_named_by_their_action(tmp_path: Path, capsys: Capsys) -> None:
    frame = offers(6_000)
    frame.loc[frame["offer"] == "card", "p"] = 0.1
    found = evaluated(capsys, written(tmp_path, frame), *KNOWN, *UNIFORM)
    assert found["verdict"] == "refused" and "most of all card: " in " ".join(found["reasons"])


MISTAKES = {
    "column": ((*OFFERS, "--propensity", "q", *UNIFORM), "q: no such column (named by --propensity); did"),
    "label": ((*KNOWN, "--target", "always:lone"), "--target: no row has the action 'lone'; did you mean"),
    "target": ((*KNOWN, "--target", "best"), "'best' is neither a bundle's folder nor one of always:LABEL"),
    "prefix": ((*KNOWN, "--target", "columns:q_"), "--target: no column begins with 'q_'"),
    "value": ((*OFFERS, "--propensity", "1.5", *UNIFORM), "--propensity: must lie in (0, 1]"),
    "range": ((*KNOWN, *UNIFORM, "--reward-range", "1,0"), "--reward-range: must read LOW,HIGH"),
    "outside": ((*KNOWN, *UNIFORM, "--confidence", "1.5"), "confidence: must lie strictly between 0 and 1"),
    "estimator": ((*KNOWN, *UNIFORM, "--estimators", "magic"), "'magic' is not one of ips"),
    "whole": ((*KNOWN, "--target", "column:t", "--estimators", "dr"), "--estimators: dr: needs the target's"),
    "cab": ((*KNOWN, *UNIFORM, "--estimators", "cab"), "--estimators: cab: needs the propensities of all"),
    "mrdr": ((*OFFERS, *UNIFORM, "--estimators", "mrdr"), "--estimators: mrdr: needs logged propensities"),
    "earned": (("--reward", "p", "--action", "offer", "--propensity", "p", *UNIFORM), "p: is the action or"),
    "earned too": (("--reward", "mu_card", *TABLES[2:]), "mu_card: is the action or its propensity, and"),
    "one customer": ((*WHOLE, "--cluster", "same"), "--cluster: all rounds fall into one fold, so no model"),
    "leak": ((*KNOWN, *UNIFORM, "--features", "won"), "won: is 0 exactly where 0 is 'bought', so"),
    "id": (("--reward", "bought", "--action", "customer", *UNIFORM), "different labels, and at most 2,000"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_of_use_are_told_in_one_line(name: str, tmp_path: Path, capsys: Capsys) -> None:
    words, sentence = MISTAKES[name]
    frame = offers(3_000)
    log = written(tmp_path, frame.assign(won=frame["bought"], same="c"))
    code, told, error = run(capsys, "evaluate", "--log", log, "--json", *words)
    assert code == 2 and told == "", told
    assert sentence in error.splitlines()[-1], error


@pytest.mark.parametrize("content", [b"", b"a,b\n", b"PK\x03\x04", b"PAR1junk", b"\x1f\x8bjunk"])
def test_files_that_are_no_table(content: bytes, tmp_path: Path, capsys: Capsys) -> None:
    log = tmp_path / "log.csv"
    log.write_bytes(content)
    code, _, error = run(capsys, "evaluate", "--log", log, "--reward", "a", "--action", "b", *UNIFORM)
    assert code == 2 and str(log) in error
    code, _, error = run(capsys, "evaluate", "--log", tmp_path / "none", *KNOWN, *UNIFORM)
    assert code == 2 and "cannot be read: No such file" in error
