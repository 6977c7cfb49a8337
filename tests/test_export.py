"""A service's log goes out as DSJSON and as tables, and comes back the same."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from serving_fixtures import SURE, Clock, decided, reported, service
from typer.testing import CliRunner

from experiments.tables.dsjson import rows_of, write_table
from experiments.tables.import_command import app as import_app
from nba.errors import InvalidConfig
from serving import commands
from serving.export import exported
from serving.ledger import LedgerError, open_ledger


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve decisions of six customers, learnt from on the way; one customer is erased."""
    folder = tmp_path_factory.mktemp("export")

    async def history() -> None:
        clock = Clock()
        async with service(folder, clock=clock, strategy=SURE) as client:
            for number in range(12):
                made = await decided(client, f"c{number % 6}", limit=2, exclude=["loan"])
                if number % 3 == 0:
                    await reported(client, made["decision_id"], "converted", value=7.5)
                await reported(client, made["decision_id"], "seen")
                clock.forward(days=2)
                await asyncio.sleep(0.03)
            await client.delete("/v1/customers/c5")

    asyncio.run(history())
    for form in ("dsjson", "parquet", "arrow"):
        commands.export(folder / "bundle", f"sqlite:///{folder}/log.db", folder / f"out.{form}", form)
    return folder


def test_a_line_says_what_vowpal_wabbit_reads(log: Path) -> None:
    """Its documented fields; every probability is that of the posterior which decided."""
    lines = [json.loads(line) for line in (log / "out.dsjson").read_text().splitlines()]
    made = list(exported(log / "bundle", f"sqlite:///{log}/log.db"))
    assert len(lines) == len(made) == 10
    assert len({one.body.decision.posterior_seq for one in made}) > 1
    for line, one in zip(lines, made, strict=True):
        multi, decision = line["c"]["_multi"], one.body.decision
        chosen = multi[line["_label_Action"] - 1]
        assert line["_label_Action"] == line["a"][0] == line["_labelIndex"] + 1
        assert chosen["_tag"] == decision.actions[0].action_id
        assert line["_label_probability"] == line["p"][0] == decision.actions[0].propensity
        assert sorted(line["a"]) == list(range(1, len(multi) + 1)) and len(multi) == decision.n_eligible
        assert sum(line["p"]) == pytest.approx(1.0, abs=1e-12)
        assert line["p"][1:] == sorted(line["p"][1:], reverse=True)
        assert not any("loan" in action["_tag"] for action in multi)
        silent = [p for place, p in zip(line["a"], line["p"], strict=True) if place == 1]
        assert silent == [decision.no_contact_propensity]
        assert line["c"]["Customer"]["consents=mail"] is True
        assert "seen" in {told["outcome"] for told in line["o"]}
    assert sum(line["_label_cost"] for line in lines) == -sum(one.conversions for one in made) <= -3


def test_what_comes_back_is_what_went_out(log: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    assert write_table(log / "out.dsjson", tmp_path / "back.parquet") == 10
    back = pq.read_table(tmp_path / "back.parquet").to_pylist()
    parquet = pq.read_table(log / "out.parquet").to_pylist()
    with pa.ipc.open_file(log / "out.arrow") as file:
        assert file.read_all().to_pylist() == parquet
    for mine, theirs in zip(parquet, back, strict=True):
        for name in ("action", "reward", "propensity", "eligible", "customer"):
            assert mine[name] == theirs[name]
        assert (mine["decision_id"], mine["age"]) == (theirs["event"], theirs["Customer.age"])
    assert {row["value"] for row in parquet} == {0.0, 7.5}


def test_the_table_is_evaluated(log: Path, tmp_path: Path) -> None:
    from experiments.evaluation.own import stored_ledger
    from experiments.evaluation.stored import stored
    from experiments.tables.read import Format

    ran = CliRunner().invoke(
        import_app, ["dsjson", "--log", str(log / "out.dsjson"), "--out", str(tmp_path / "t.csv"), "--json"]
    )
    assert json.loads(ran.stdout) == {"rows": 10, "out": str(tmp_path / "t.csv")}
    table = stored(tmp_path / "t.csv", Format(), tmp_path, lambda rows: None)
    assert table.n_rows == 10 and {"action", "reward", "propensity"} <= set(table.columns)
    # Of the store itself the erased decisions are not evaluated either: their contexts are gone.
    assert stored_ledger(log / "log.db", tmp_path, lambda rows: None).n_rows == 10


def line(**changes: Any) -> dict[str, Any]:
    fine = {
        "_label_cost": -1.0, "_label_probability": 0.8, "_label_Action": 2, "_labelIndex": 1, "Version": "1",
        "EventId": "e", "Timestamp": "2020-11-15T17:09:31.8350000Z", "a": [2, 1], "p": [0.8, 0.2],
        "c": {"User": {"age": 7, "tags": ["x"]}, "_multi": [{"T": {"id": "a"}}, {"T": {"id": "b"}}]},
        "VWState": {"m": "m"}, "o": [],
    }  # fmt: skip
    return fine | changes


def test_lines_of_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "log.dsjson"
    path.write_text(json.dumps(line()) + "\n\n" + json.dumps(line(_label_cost=0.0, pdrop=0.0)) + "\n")
    first, second = rows_of(path)
    assert first == {
        "User.age": 7, "User.tags.0": "x", "event": "e", "customer": None,
        "at": "2020-11-15T17:09:31.8350000Z", "action": "T.id=b", "reward": 1.0, "propensity": 0.8,
        "eligible": "T.id=a|T.id=b",
    }  # fmt: skip
    assert second["reward"] == 0.0


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("{", "is no decision in DSJSON"),
        (json.dumps({"EventId": "e", "RewardValue": 1}), "is no decision in DSJSON"),
        (json.dumps(line(a=[0, 1])), "a: must name each of the 2 actions"),
        (json.dumps(line(p=[0.8, 0.3])), "p: must be probabilities that sum to 1"),
        (json.dumps(line(_label_probability=0.2)), "_label_probability: must be the probability"),
        (json.dumps(line(p=[0.0, 1.0], _label_probability=0.0)), "_label_probability: must be the"),
        (json.dumps(line(c={"_multi": [{}, {}], "_slots": []})), "c/_slots: is a decision over slots"),
        (json.dumps(line(c={"_multi": [{"T": 1}, {"T": 1}]})), "names 'T=1' twice"),
        (json.dumps(line(c={})), "c/_multi: must list"),
        (json.dumps(line(pdrop=0.5)), "pdrop: is 0.5"),
        ("", "holds no decision"),
    ],
)
def test_lines_that_cannot_be_right_are_named(tmp_path: Path, text: str, rule: str) -> None:
    path = tmp_path / "log.dsjson"
    path.write_text(json.dumps(line()) + "\n" + text + "\n" if text else "\n")
    with pytest.raises(InvalidConfig, match=re.escape(rule)) as caught:
        write_table(path, tmp_path / "out.parquet")
    assert not text or str(caught.value).startswith(f"{path}:2: ")


def test_a_log_that_was_changed_or_a_format_that_is_none_is_refused(log: Path, tmp_path: Path) -> None:
    store = tmp_path / "log.db"
    store.write_bytes((log / "log.db").read_bytes())
    ledger = open_ledger(f"sqlite:///{store}")
    changed = """replace(CAST(body AS TEXT), '"age":40.0', '"age":71.0')"""
    ledger.writer.submit(
        lambda db: db.execute(f"UPDATE decision SET body = CAST({changed} AS BLOB)")
    ).result()
    ledger.close()
    with pytest.raises(LedgerError, match="another propensity"):
        list(exported(log / "bundle", f"sqlite:///{store}"))
    with pytest.raises(InvalidConfig, match="must be one of dsjson, parquet, arrow"):
        commands.export(log / "bundle", f"sqlite:///{store}", tmp_path / "x", "xml")
