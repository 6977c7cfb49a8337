"""Ordinary tables for the tests: a log of contacts in mixed columns, and the digits as a classification."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.tables.read import Format, Table, read_table
from nba import cli

LABELS = ("--action", "action", "--reward", "bought", "--leave-out", "channel,product,revenue,chance")


def log_frame(n: int = 600, seed: int = 0) -> Any:
    """Random contacts: students want loans, everybody over sixty likes calls; some cells are missing."""
    import pandas as pd

    rng = np.random.default_rng(seed)
    age, segment = rng.uniform(18, 80, n), rng.choice(["mass", "rich", "student"], n, p=[0.6, 0.2, 0.2])
    channel, product = rng.choice(["mail", "call"], n, p=[0.7, 0.3]), rng.choice(["loan", "card"], n)
    silent = rng.random(n) < 0.2
    rate = (
        0.1 + 0.5 * ((product == "loan") & (segment == "student")) + 0.3 * ((channel == "call") & (age > 60))
    )
    bought = rng.random(n) < np.where(silent, 0.05, rate)
    chance = np.where(silent, 0.2, 0.8 * np.where(channel == "mail", 0.7, 0.3) * 0.5)
    action = np.where(silent, "none", np.char.add(np.char.add(channel, "-"), product))
    return pd.DataFrame(
        {
            "customer": [f"c{number}" for number in range(n)],
            "age": np.where(rng.random(n) < 0.1, np.nan, age.round(1)),
            "segment": pd.Series(segment).where(rng.random(n) > 0.05),
            "active": rng.random(n) < 0.4,
            "visits": rng.poisson(2.0, n),
            "country": "DE",
            "channel": np.where(silent, "none", channel),
            "product": np.where(silent, "none", product),
            "action": action,
            "chance": chance,
            "bought": bought.astype(int),
            "revenue": np.where(bought, rng.uniform(50, 150, n).round(2), 0.0),
        }
    )


def written(folder: Path, frame: Any, name: str = "log.csv") -> Path:
    """A frame as a CSV or Parquet file."""
    path = folder / name
    if ".parquet" in name:
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    return path


def table_of(folder: Path, text: str | bytes, *texts: str, name: str = "own.csv", **form: Any) -> Table:
    """A file with some content, as it is read."""
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_table(path, texts, Format(**form))


def digits(folder: Path) -> Path:
    """The 1,797 digits of scikit-learn as a CSV, with the column `digit`."""
    from sklearn.datasets import load_digits

    frame = load_digits(as_frame=True).frame
    return written(folder, frame.rename(columns={"target": "digit"}).astype(int), "digits.csv")


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    with pytest.raises(SystemExit) as exit_:
        cli.main([str(word) for word in words])
    told = capsys.readouterr()
    return int(exit_.value.code or 0), told.out, told.err


def learnt(capsys: pytest.CaptureFixture[str], log: Path, out: Path, *words: object) -> dict[str, Any]:
    """What `nba learn --json` tells."""
    code, told, error = run(capsys, "learn", "--log", log, "--out", out, "--json", *words)
    assert code == 0, error
    found: dict[str, Any] = json.loads(told)
    return found
