"""Rules, limits and budgets laid over a learnt policy, by `nba policies govern`."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec import structs
from typer.testing import CliRunner, Result

from experiments.policies_command import app
from experiments.spec import load_experiment
from nba.allocation.budgets import Budget, Pacing
from nba.bundle import load_bundle, posterior_bytes, save_bundle
from nba.conditions import Condition, Tag
from nba.errors import InvalidConfig
from nba.governance import Governance
from nba.snapshot import Snapshot
from simulator.world import load_world
from tests.small import small_strategy

EXAMPLE = Path(__file__).parents[1] / "examples" / "limits.toml"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The bank's Thompson sampling before any round."""
    spec = load_experiment("demo").spec("thompson")
    return save_bundle(Snapshot.start(spec.strategy(load_world("retail-bank"), 1)), tmp_path / "bundle")


def govern(bundle: Path, limits: Path, out: Path) -> Result:
    words = ("--bundle", str(bundle), "--with", str(limits), "--out", str(out))
    return CliRunner().invoke(app, ["govern", *words, "--json"])


def test_the_example_governs_a_bundle_of_the_bank(bundle: Path, tmp_path: Path) -> None:
    words = [
        "govern",
        "--bundle",
        str(bundle),
        "--with",
        str(EXAMPLE),
        "--out",
        str(tmp_path / "out"),
        "--json",
    ]
    told = json.loads(CliRunner().invoke(app, words, catch_exceptions=False).stdout)
    before, after = load_bundle(bundle), load_bundle(tmp_path / "out")
    assert told["rules"] == list(after.strategy.rule_names)
    assert {"of_age", "contact_policy.quiet_hours", "budget"} <= set(told["rules"])
    assert posterior_bytes(after.posterior) == posterior_bytes(before.posterior)
    assert after.prices.shape == (before.prices.size + 2,)
    wanted = msgspec.toml.decode(EXAMPLE.read_bytes(), type=Governance)
    assert after.strategy.contact_policy == wanted.contact_policy
    assert after.strategy.arbitration == before.strategy.arbitration  # not named in the example


def test_prices_of_channels_stay_and_those_of_budgets_begin_at_zero() -> None:
    snapshot = structs.replace(Snapshot.start(small_strategy()), prices=np.array([1.5, 0.25]))
    pacing = Pacing(budgets=(Budget(name="calls", at_most=3.0, traffic=10.0, where={"channel": "call"}),))
    assert Governance(pacing=pacing).over(snapshot).prices.tolist() == [1.5, 0.25, 0.0]
    assert Governance().over(snapshot).prices.tolist() == [1.5, 0.25]


def test_what_the_catalogue_does_not_know_is_refused(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "limits.toml").write_text(
        '[contact_policy]\nquiet_hours = [{ start = "21:00", end = "08:00", channels = ["fax"] }]\n'
    )
    words = [
        "govern",
        "--bundle",
        str(bundle),
        "--with",
        str(tmp_path / "limits.toml"),
        "--out",
        str(tmp_path / "out"),
    ]
    caught = CliRunner().invoke(app, words).exception
    assert isinstance(caught, InvalidConfig) and "'fax'" in str(caught) and "app_push" in str(caught)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "pointer"),
    [
        ('[[rules]]\ntype = "consent"\nname = "c"\n[[rules]]\ntype = "only_if"\n'
         'when = { attribute = "agee", at_least = 1 }',
         "rules[1].when.attribute"),
        ('[[rules]]\ntype = "consent"\nname = "consent"', "rules[0].name"),  # is taken
        ('[[tags]]\nname = "old"\nwhen = { tag = "older" }', "tags[0].when.tag"),
        ('[contact_policy]\nlimits = [{contacts = 1, days = 7, channel="fax"}]', "contact_policy.limits[0]"),
    ],
    ids=["rule", "name", "tag", "limit"],
)  # fmt: skip
def test_errors_count_as_the_file_does(settings: str, pointer: str) -> None:
    snapshot = Snapshot.start(small_strategy(tags=(Tag(name="all", when=Condition(owns="card")),)))
    with pytest.raises(InvalidConfig) as caught:
        msgspec.toml.decode(settings, type=Governance).over(snapshot)
    assert (caught.value.source, caught.value.pointer) == ("strategy small", pointer)


def test_nothing_is_written_over(bundle: Path) -> None:
    caught = govern(bundle, EXAMPLE, bundle).exception
    assert isinstance(caught, InvalidConfig) and "name a new folder" in str(caught)
