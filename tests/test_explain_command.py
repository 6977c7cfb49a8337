"""`nba policies explain`: the funnel of many customers, one customer in full, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from small import small_contexts
from test_rules_layers import layered

from experiments.explain_command import explain
from nba.bundle import save_bundle
from nba.errors import InvalidConfig
from nba.explain import Explanation, Funnel
from nba.snapshot import Snapshot


def files(folder: Path, n: int = 300) -> tuple[Path, Path]:
    bundle = save_bundle(Snapshot.start(layered()), folder / "bundle")
    contexts = folder / "customers.jsonl"
    contexts.write_bytes(b"\n".join(map(msgspec.json.encode, small_contexts(layered(), n))))
    return bundle, contexts


def test_the_funnel_of_a_file_is_that_of_its_customers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    explain(*files(tmp_path), as_json=True)
    found = json.loads(capsys.readouterr().out)
    strategy = layered()
    batch = strategy.encode(small_contexts(strategy, 300))
    steps = Funnel.of(strategy, strategy.eligible(batch)).steps(strategy)
    assert found["customers"] == 300 and found["steps"] == list(msgspec.to_builtins(steps))
    shares = Snapshot.start(strategy).action_distribution(batch)
    assert found["expected_contacts"] == pytest.approx((1 - shares[:, 0]).sum(), rel=1e-12)
    explain(*files(tmp_path))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:-1]] == [step.layer for step in steps]
    assert f"gentle {steps[4].removed['gentle']}" in lines[6]


def test_one_customer_is_explained_in_full(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, contexts = files(tmp_path)
    context = small_contexts(layered(), 300)[7]
    told = Snapshot.start(layered()).explain(context)
    explain(bundle, contexts, customer="c7", as_json=True)
    assert msgspec.json.decode(capsys.readouterr().out, type=Explanation) == told
    explain(bundle, contexts, customer="c7")
    text = capsys.readouterr().out
    assert f"c7: {len(told.candidates)} actions may be drawn" in text
    for one in told.removed:
        assert f"{len(one.actions)} removed by {one.rule} ({one.layer}): needs {one.needs}" in text


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{", "line 301: Input data was truncated"),
        (b'{"customer_id": "c", "at": "2026-01-01T00:00:00Z"}', "line 301: .*attributes"),
        (
            b'{"customer_id": "c", "at": "2026-01-01T00:00:00Z", "attributes": {"height": 2}}',
            "line 301: /height: is not declared",
        ),
    ],
    ids=["cut", "field", "attribute"],
)
def test_a_line_that_cannot_be_read_is_named(line: bytes, told: str, tmp_path: Path) -> None:
    bundle, contexts = files(tmp_path)
    contexts.write_bytes(contexts.read_bytes() + b"\n" + line)
    with pytest.raises(InvalidConfig, match=f"customers.jsonl: {told}"):
        explain(bundle, contexts)


def test_a_customer_or_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    bundle, contexts = files(tmp_path, 3)
    with pytest.raises(InvalidConfig, match="no line is of customer 'nobody'"):
        explain(bundle, contexts, customer="nobody")
    with pytest.raises(InvalidConfig, match="there is no such file"):
        explain(bundle, tmp_path / "else.jsonl")
