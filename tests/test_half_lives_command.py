"""`nba half-lives`: what it compares, what it says, and the line for the experiment's file."""

from __future__ import annotations

import json
from typing import Any

import pytest
import typer
from msgspec import toml
from small import bank
from typer.testing import CliRunner

from experiments.commands import half_lives
from experiments.half_lives_command import settings_of, snippet
from experiments.spec import StrategySpec
from nba.errors import InvalidConfig
from nba.policies import Greedy
from nba.posteriors import FactoredModel, LogisticModel, Model, SegmentRatesModel
from nba.posteriors.forgetting import HalfLives


@pytest.fixture(autouse=True)
def calibrated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.half_lives_command.load_world", lambda name: bank())


def told(*words: str) -> Any:
    app = typer.Typer()
    app.command()(half_lives)
    sizes = ["--customers", "60", "--days", "8", "--half-life", "never", "--half-life", "5"]
    return CliRunner().invoke(app, [*sizes, *words], catch_exceptions=False)


@pytest.mark.slow
def test_it_scores_each_half_life_on_the_same_days() -> None:
    run = told("--json", "--half-life", "blocks")
    assert run.exit_code == 0 and "scoring 3 half-lives: 100 %" in run.stderr
    found = json.loads(run.stdout)
    rows = {row["half_life"]: row for row in found["scored"]}
    assert list(rows) == ["never", "5 days", "blocks"]
    assert found["world"] == "retail-bank" and found["rounds"] > 100 and 1 < found["days"] <= 8
    best = rows[found["best"]]
    assert best["above_best"] == best["standard_error"] == 0.0
    assert all(row["above_best"] == pytest.approx(row["loss"] - best["loss"]) for row in rows.values())
    assert found["toml"].startswith('model = { type = "factored"')


def test_it_tells_people_what_cannot_be_told_apart() -> None:
    text = told("--strategy", "rules").stdout
    assert text.startswith("rules in retail-bank: ") and "half-life     loss per round" in text
    assert "foresees best: " in text and 'model = { type = "segment_rates"' in text


def spec(model: Model) -> StrategySpec:
    return StrategySpec(name="one", model=model, policy=Greedy())


def test_without_a_word_the_usual_ones_are_compared() -> None:
    assert settings_of((), spec(FactoredModel())) == [None, 365.0, HalfLives(), 120.0, 30.0]
    assert settings_of((), spec(SegmentRatesModel())) == [None, 365.0, 120.0, 30.0]


@pytest.mark.parametrize("word", ["0", "-3", "inf", "nan", "weekly"])
def test_what_is_no_half_life_is_refused(word: str) -> None:
    rule = f"nba half-lives: --half-life: must be a number of days above 0, never or blocks, got '{word}'"
    with pytest.raises(InvalidConfig, match=rule):
        settings_of([word, "never"], spec(FactoredModel()))


@pytest.mark.parametrize(
    "model",
    [
        FactoredModel(),
        FactoredModel(level_sd=0.7, half_life_days=30.0),
        FactoredModel(half_life_days=HalfLives(contact=5.0)),
        LogisticModel(organic=False, half_life_days=120.0),
    ],
)
def test_the_line_is_the_model_in_toml(model: Model) -> None:
    """Read back as part of a strategy it is the model."""
    text = f'name = "one"\npolicy = {{ type = "greedy" }}\n{snippet(model)}\n'
    assert toml.decode(text, type=StrategySpec).model == model
