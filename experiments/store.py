"""The local MLflow store: one folder that holds a SQLite database and the artifacts of all runs.

MLflow writes absolute artifact paths into its database. The folder may be moved or copied all the same,
because opening it here puts those paths right; the MLflow user interface then finds them as well.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import Any

from nba.errors import NBAError

DATABASE, ARTIFACTS = "mlflow.db", "artifacts"

_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
# Where MLflow's schema keeps absolute paths.
_PATHS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


class MissingStoreError(NBAError, FileNotFoundError):
    """There is no store in this folder."""


def open_store(store: Path, create: bool = False) -> Any:
    """An MlflowClient on the store; a first time with `create` makes it, in about eight seconds.

    It must have been opened once before several processes use it: MLflow's migrations race.
    """
    database = store / DATABASE
    if database.exists():
        _follow_folder(database, store.resolve())
    elif create:
        (store / ARTIFACTS).mkdir(parents=True, exist_ok=True)
    else:
        raise MissingStoreError(
            f"{store} holds no {DATABASE}: `nba demo` and `nba train` make one; --store names another folder."
        )
    uri = f"sqlite:///{database.resolve()}"
    return _mlflow().MlflowClient(tracking_uri=uri, registry_uri=uri)


def import_meanwhile() -> None:
    """Import MLflow, which takes two seconds, in a thread, while there is other work to wait for."""

    def imported() -> None:
        with suppress(ImportError):  # who needs it will say so
            _mlflow()

    Thread(target=imported, name="import mlflow").start()


def artifact_folder(store: Path, experiment: str) -> Path:
    """Where the artifacts of an experiment lie; the digest keeps names apart that look alike as folders."""
    readable = re.sub(r"[^\w-]+", "-", experiment).strip("-")[:40]
    return store.resolve() / ARTIFACTS / f"{readable}-{sha256(experiment.encode()).hexdigest()[:8]}"


def _mlflow() -> Any:
    """MLflow, silenced: it reports usage and talks about its migrations unless told not to."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import mlflow

    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    return mlflow


def _follow_folder(database: Path, here: Path) -> None:
    """Rewrite the paths of artifacts that lie in this folder but are booked under another."""
    with closing(sqlite3.connect(database)) as connection, connection:
        for (location,) in connection.execute("SELECT artifact_location FROM experiments").fetchall():
            before, _, name = (location or "").removeprefix("file://").rpartition(f"/{ARTIFACTS}/")
            old, new = f"{before}/{ARTIFACTS}/{name}", here / ARTIFACTS / name
            if not name or before == str(here) or not new.is_dir():
                continue
            for table, column in _PATHS:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (str(new), len(old) + 1, old, len(old) + 1, f"{old}/"),
                )
