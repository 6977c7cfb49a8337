"""Logs of offers as tables, for the tests of `nba evaluate`, and the commands as they are declared."""

from __future__ import annotations

import json
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tables_fixtures import run

from nba import cli

LABELS = ("loan", "card", "fund")
OFFERS = ("--reward", "bought", "--action", "offer")
KNOWN = (*OFFERS, "--propensity", "p")
WHOLE = (*KNOWN, "--target", "columns:pi_", "--features", "age,segment")
KEYS = [
    "n", "effective_n", "max_weight", "mean_weight", "lost_target_mass", "on_policy_mean", "estimates",
    "selected", "verdict", "reasons",
]  # fmt: skip


def declared(patch: pytest.MonkeyPatch) -> None:
    """Let the console script find its commands where the project declares them, installed or not."""
    text = (Path(__file__).resolve().parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    commands = tomllib.loads(text)["project"]["entry-points"][cli.COMMANDS]
    points = [EntryPoint(name, place, cli.COMMANDS) for name, place in commands.items()]
    patch.setattr(cli, "entry_points", lambda group: points)


def offers(n: int = 4_000, seed: int = 0) -> Any:
    """Offers by a logging policy that knows the segment; cards sell above fifty, funds to the rich."""
    import pandas as pd

    rng = np.random.default_rng(seed)
    age, segment = rng.uniform(18, 80, n).round(1), rng.choice(["mass", "rich"], n, p=[0.7, 0.3])
    logging = np.where((segment == "rich")[:, None], [0.2, 0.2, 0.6], [0.6, 0.2, 0.2])
    action = (rng.random(n)[:, None] > logging.cumsum(axis=1)).sum(axis=1)
    rates = np.column_stack([np.full(n, 0.1), 0.1 + 0.1 * (age > 50), 0.1 + 0.2 * (segment == "rich")])
    target, rows = np.tile([0.2, 0.4, 0.4], (n, 1)), np.arange(n)
    frame = pd.DataFrame(
        {
            "customer": [f"c{row}" for row in rows],
            "age": np.where(rng.random(n) < 0.1, np.nan, age),
            "segment": pd.Series(segment).where(rng.random(n) > 0.05),
            "offer": np.array(LABELS)[action],
            "p": logging[rows, action],
            "bought": (rng.random(n) < rates[rows, action]).astype(int),
            "t": target[rows, action],
            "allowed": "loan|card|fund",
        }
    )
    for place, label in enumerate(LABELS):
        frame[f"pi_{label}"], frame[f"mu_{label}"] = target[:, place], logging[:, place]
    frame.attrs["truth"] = float((target * rates).sum(axis=1).mean())
    return frame


def evaluated(capsys: pytest.CaptureFixture[str], log: Path, *words: object) -> dict[str, Any]:
    """What `nba evaluate --json` tells of a log without fault."""
    code, told, error = run(capsys, "evaluate", "--log", log, "--json", *words)
    assert code == 0, error
    found: dict[str, Any] = json.loads(told)
    assert list(found) == KEYS
    return found


def estimates(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Estimates by name."""
    return {one["estimator"]: one for one in found["estimates"]}
