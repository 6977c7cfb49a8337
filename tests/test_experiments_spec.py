"""Experiments as TOML: the shipped one decodes; a broken one is told in one line: file, key and rule."""

from __future__ import annotations

import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from small import bank

from experiments.spec import BUSINESS_AS_USUAL, CONTROL, RANDOM, load_experiment
from nba import cli
from nba.errors import InvalidConfig

TEXT = (resources.files("experiments") / "specs" / "demo.toml").read_text()
KINDS = {"no_contact", "random_eligible", "greedy", "linucb", "thompson"}


def replaced(old: str, new: str) -> str:
    assert old in TEXT, f"{old!r} must stand in the shipped experiment"
    return TEXT.replace(old, new, 1)


BROKEN = {
    "unknown field": ("colour = 'red'\n" + TEXT, ["unknown field", "colour"]),
    "unknown field of a phase": (replaced("seed = 11", "seed = 11\nhours = 3"), ["hours", "$.train"]),
    "unknown field of a strategy": (
        replaced("floor = { epsilon = 0.1 }", "fuel = 3"),
        ["unknown field", "fuel", "$.strategies[3]"],
    ),
    "unknown field of a policy": (replaced("alpha = 0.3", "beta = 0.3"), ["beta", "$.strategies[4].policy"]),
    "missing field": (replaced("seed = 12", ""), ["missing", "seed", "$.evaluate"]),
    "empty": ("", ["missing", "name"]),
    "no control": (replaced('name = "no-contact"', 'name = "nobody"'), ["strategies", "'no-contact'"]),
    "same names": (replaced('name = "random"', 'name = "rules"'), ["strategies", "unique", "rules"]),
    "text for a number": (replaced("customers = 4000", 'customers = "many"'), ["int", "$.train.customers"]),
    "number for a name": (replaced('name = "linucb"', "name = 5"), ["str", "$.strategies[4].name"]),
    "half a customer": (replaced("customers = 4000", "customers = 4000.5"), ["int", "$.train.customers"]),
    "no customers": (
        replaced("customers = 4000", "customers = 0"),
        ["customers", "at least 1", "got 0", "train"],
    ),
    "no days": (replaced("days = 42", "days = 0"), ["days", "at least 1", "got 0", "evaluate"]),
    "negative seed": (replaced("seed = 12", "seed = -1"), ["seed", "at least 0", "evaluate"]),
    "negative rhythm": (
        replaced("publish_every_days = 4", "publish_every_days = -4"),
        ["publish_every_days", "at least 0", "train"],
    ),
    "negative settling": (replaced("settle_days = 28", "settle_days = -1"), ["settle_days", "at least 0"]),
    "floor": (replaced("epsilon = 0.1", "epsilon = 1.5"), ["epsilon", "[0, 1]", "$.strategies[3].floor"]),
    "floor not a number": (replaced("epsilon = 0.1", "epsilon = nan"), ["epsilon", "[0, 1]", "nan"]),
    "optimism": (replaced("alpha = 0.3", "alpha = -0.3"), ["alpha", ">= 0", "$.strategies[4].policy"]),
    "draws": (replaced('type = "thompson"', 'type = "thompson", n_draws = 0'), ["n_draws", "at least 1"]),
    "unknown policy": (replaced('type = "linucb"', 'type = "oracle"'), ["oracle", "policy.type"]),
    "unknown model": (replaced('type = "factored"', 'type = "deep"'), ["deep", "$.strategies[3].model.type"]),
    "unknown rule": (replaced('type = "house_channels"', 'type = "habit"'), ["habit", "rules[0].type"]),
    "malformed": (replaced("[train]", "[train"), ["line 5"]),
    "same key twice": (replaced("seed = 12", "seed = 12\nseed = 12"), ["line 16"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_experiment_names_file_key_and_rule(case: str, tmp_path: Path) -> None:
    text, named = BROKEN[case]
    path = tmp_path / "my-trial.toml"
    path.write_text(text)
    with pytest.raises(InvalidConfig) as caught:
        load_experiment(str(path))
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    for part in named:
        assert part in message


def test_the_shipped_demo_is_what_the_readme_says() -> None:
    demo = load_experiment("demo")
    assert {spec.policy.__struct_config__.tag for spec in demo.strategies} == KINDS
    assert {CONTROL, BUSINESS_AS_USUAL, RANDOM} <= {spec.name for spec in demo.strategies}
    assert len(demo.strategies) >= 6
    assert demo.train.seed != demo.evaluate.seed
    assert all(spec.description for spec in demo.strategies)
    # Beliefs are frozen when a strategy is judged, and the last contacts have time to show what they bring.
    assert demo.evaluate.publish_every_days == 0 and demo.evaluate.settle_days > 0


def test_every_shipped_strategy_can_be_made_in_its_world() -> None:
    demo = load_experiment("demo")
    for spec in demo.strategies:
        strategy = spec.strategy(bank(), seed=7)
        assert (strategy.name, strategy.seed) == (spec.name, 7)
        # The bank's rules hold for everybody, a strategy's own come after them.
        n_bank = len(bank().config.contact.rules)
        assert strategy.rules[:n_bank] == bank().config.contact.rules
        assert strategy.rules[n_bank:] == spec.rules
        assert strategy.contact_policy == bank().config.contact.policy


def test_customer_days_count_the_settling_too() -> None:
    demo = load_experiment("demo")
    assert demo.train.customer_days == demo.train.customers * demo.train.days
    judged = demo.evaluate
    assert judged.customer_days == judged.customers * (judged.days + judged.settle_days)


def test_the_shipped_experiment_loads_by_path_as_by_name(tmp_path: Path) -> None:
    path = tmp_path / "copy.toml"
    path.write_text(TEXT)
    assert load_experiment(str(path)) == load_experiment("demo")


def test_an_unknown_experiment_lists_the_known_ones() -> None:
    with pytest.raises(
        InvalidConfig, match="^trial: .* use one of demo, follow-up, long-run, shared-limits, or"
    ):
        load_experiment("trial")


def test_an_unknown_strategy_lists_the_known_ones() -> None:
    with pytest.raises(InvalidConfig, match="^demo: strategies: 'best' is not.* no-contact, .*, thompson$"):
        load_experiment("demo").spec("best")


def test_an_unknown_strategy_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "my-trial.toml"
    path.write_text(TEXT)
    assert "my-trial.toml" in told_by_main(
        ["simulate", "--experiment", str(path), "--strategy", "best"], tmp_path
    )


def test_a_rule_about_something_unknown_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "my-trial.toml"
    path.write_text(replaced('otherwise = "sms"', 'otherwise = "fax"'))
    told = told_by_main(["simulate", "--experiment", str(path), "--strategy", "rules"], tmp_path)
    assert "my-trial.toml" in told and "rules[0]" in told and "'fax'" in told


def test_a_rule_about_an_unknown_segment_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "my-trial.toml"
    path.write_text(replaced("student =", "studnt ="))
    with pytest.raises(InvalidConfig, match="studnt"):
        load_experiment(str(path)).spec("rules").strategy(bank(), 1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("customers = 4000", "customers = 10000001"),  # training customers would be judged, too
        ("days = 84", "days = 1048577"),  # decision numbers of different customers would collide
    ],
)
def test_numbers_that_break_the_numbering_are_refused(old: str, new: str, tmp_path: Path) -> None:
    path = tmp_path / "my-trial.toml"
    path.write_text(replaced(old, new))
    with pytest.raises(InvalidConfig):
        load_experiment(str(path))


# The command line.


def told_by_main(words: list[str], folder: Path) -> str:
    """What `nba` says on stderr when it refuses; nothing is written and stdout stays empty."""
    out = folder / "out"
    # A fresh process shows what imports warn of, too.
    done = subprocess.run(
        [sys.executable, "-m", "nba", *words, *(["--out", str(out)] if words[0] == "simulate" else [])],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2 and done.stdout == "" and not out.exists(), done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("error: "), done.stderr
    return done.stderr


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The same within this process, which is quicker."""
    with pytest.raises(SystemExit) as exit_:
        cli.main(words)
    told = capsys.readouterr()
    assert exit_.value.code == 2 and told.out == ""
    assert told.err.count("\n") == 1 and told.err.startswith("error: ")
    return told.err


@pytest.mark.parametrize("words", [["simulate"], ["train", "--workers", "1"]], ids=lambda words: words[0])
def test_a_malformed_file_is_one_line(words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "my-trial.toml"
    path.write_text(BROKEN["malformed"][0])
    told = told_by_main([*words, "--experiment", str(path)], tmp_path)
    assert "my-trial.toml" in told and "line 5" in told
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["simulate", "--world", "moon-bank"], ["moon-bank", "retail-bank"]),
        (["simulate", "--world", "moon-bank.toml"], ["moon-bank.toml", "cannot be read"]),
        (["simulate", "--experiment", "trial"], ["trial", "use one of demo"]),
        (["simulate", "--experiment", "trial.toml"], ["trial.toml", "cannot be read"]),
        (["simulate", "--strategy", "best"], ["best", "thompson"]),
        (["train", "--experiment", "trial"], ["trial", "use one of demo"]),
    ],
    ids=" ".join,
)
def test_an_unknown_name_is_one_line(
    words: list[str],
    named: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    told = refused(words, capsys)
    for part in named:
        assert part in told
    assert list(tmp_path.iterdir()) == []


def test_a_malformed_world_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "my-bank.toml"
    path.write_text("name = ")
    assert "my-bank.toml" in refused(["simulate", "--world", str(path)], capsys)


def test_an_experiment_in_an_unknown_world_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "my-trial.toml"
    path.write_text(replaced('world = "retail-bank"', 'world = "moon-bank"'))
    store = tmp_path / "runs"
    told = refused(["train", "--workers", "1", "--experiment", str(path), "--store", str(store)], capsys)
    assert "moon-bank" in told and "retail-bank" in told
    assert not store.exists()
