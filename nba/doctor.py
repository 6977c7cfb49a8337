"""Looks at the machine and the installation, and says in plain words what is wrong."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sqlite3
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Annotated

import msgspec
import typer

BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
MINIMUM_PYTHON = (3, 11)
MINIMUM_FREE_GB = 1.0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What doctor found; `problems` make it fail, `warnings` do not."""

    python: str
    platform: str
    packages: dict[str, str | None]  # distribution -> version, None when absent
    extras: dict[str, bool]  # extra -> all its packages are there
    sqlite: dict[str, str | None]  # "apsw", "stdlib" -> version of SQLite
    cpu_count: int
    blas_threads: dict[str, str | None]
    free_disk_gb: float  # where the working directory is
    tracking_store: str
    problems: list[str]
    warnings: list[str]


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")] = False,
) -> None:
    """Check this machine and installation; exit with 1 when something is wrong."""
    report = examine(os.environ, Path.cwd())
    typer.echo(msgspec.json.encode(report).decode() if json else "\n".join(_lines(report)))
    if report.problems:
        raise typer.Exit(1)


def examine(environment: Mapping[str, str], directory: Path) -> Report:
    """Gather the facts and judge them; `directory` is where the demo and its store would be written."""
    needed = requirements()
    packages = {name: installed(name) for names in needed.values() for name in names}
    extras = {
        extra: all(packages[name] for name in names) for extra, names in sorted(needed.items()) if extra
    }
    sqlite = {"apsw": _apsw_sqlite(), "stdlib": sqlite3.sqlite_version}
    free_gb = shutil.disk_usage(directory).free / 1e9
    store = directory / "mlruns" / "mlflow.db"
    problems = [
        *_python_problems(),
        *(f"{name} is missing: pip install {name}" for name in needed.get("", ()) if packages[name] is None),
        *_sqlite_problems(sqlite["apsw"]),
        *_disk_problems(free_gb),
        *(_store_problems(store) if extras.get("train") else ()),
    ]
    return Report(
        python=platform.python_version(),
        platform=platform.platform(),
        packages=dict(sorted(packages.items())),
        extras=extras,
        sqlite=sqlite,
        cpu_count=os.cpu_count() or 1,
        blas_threads={name: environment.get(name) for name in BLAS_THREADS},
        free_disk_gb=round(free_gb, 1),
        tracking_store=str(store),
        problems=problems,
        warnings=_warnings(sqlite3.sqlite_version, environment),
    )


def requirements() -> dict[str, list[str]]:
    """Distribution names that each extra of this project needs; the key "" holds the base ones."""
    needed: dict[str, list[str]] = {}
    for requirement in requires("nba") or ():
        name = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", requirement)
        if name:
            needed.setdefault(extra[1] if extra else "", []).append(name[0])
    return needed


def installed(distribution: str) -> str | None:
    """Version of an installed distribution, without importing it; None when it is absent."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def has_wal_reset_bug(sqlite_version: str) -> bool:
    """Tell whether this SQLite may corrupt a write-ahead log with several writers.

    The race was there from 3.7.0 to 3.51.2; 3.44.6 and 3.50.7 have the repair too (sqlite.org/wal.html).
    """
    number = tuple(int(part) for part in sqlite_version.split(".")[:3])
    repaired = (3, 44, 6) <= number < (3, 45) or (3, 50, 7) <= number < (3, 51)
    return (3, 7, 0) <= number < (3, 51, 3) and not repaired


def _apsw_sqlite() -> str | None:
    try:
        import apsw
    except ImportError:
        return None
    return apsw.sqlite_lib_version()


def _python_problems() -> list[str]:
    if sys.version_info >= MINIMUM_PYTHON:
        return []
    return [f"Python {platform.python_version()} is too old: 3.11 or newer is needed"]


def _sqlite_problems(apsw_version: str | None) -> list[str]:
    if apsw_version is None or not has_wal_reset_bug(apsw_version):
        return []
    return [f"apsw brings SQLite {apsw_version}, whose WAL can be corrupted: pip install 'apsw>=3.51.3'"]


def _disk_problems(free_gb: float) -> list[str]:
    if free_gb >= MINIMUM_FREE_GB:
        return []
    return [f"Only {free_gb:.1f} GB of disk are free: make room for {MINIMUM_FREE_GB:.0f} GB"]


def _store_problems(store: Path) -> list[str]:
    """The default MLflow store must lie in a directory we may write to."""
    place = next(parent for parent in store.absolute().parents if parent.exists())
    if os.access(place, os.W_OK) and (not store.exists() or os.access(store, os.W_OK)):
        return []
    return [f"The MLflow store {store} cannot be written: name a folder that can be with --store"]


def _warnings(stdlib_sqlite: str, environment: Mapping[str, str]) -> list[str]:
    warnings = []
    if has_wal_reset_bug(stdlib_sqlite):
        warnings.append(
            f"Python's own SQLite {stdlib_sqlite} has the WAL-reset bug; "
            "the ledger uses apsw instead, and other programs should not write to it"
        )
    if any(environment.get(name, "1") != "1" for name in BLAS_THREADS):
        warnings.append("BLAS may use several threads, which slows parallel runs: set OPENBLAS_NUM_THREADS=1")
    return warnings


def _lines(report: Report) -> list[str]:
    packages = (f"  {name} {found or 'absent'}" for name, found in report.packages.items())
    return [
        f"Python {report.python} on {report.platform}",
        f"{report.cpu_count} CPUs, {report.free_disk_gb} GB of disk free",
        "SQLite: " + ", ".join(f"{name} {found or 'absent'}" for name, found in report.sqlite.items()),
        "BLAS threads: " + ", ".join(f"{name}={n or 'unset'}" for name, n in report.blas_threads.items()),
        "Extras: " + ", ".join(f"{name} {'yes' if there else 'no'}" for name, there in report.extras.items()),
        f"MLflow store: {report.tracking_store}",
        "Packages:",
        *packages,
        *(f"warning: {text}" for text in report.warnings),
        *(f"problem: {text}" for text in report.problems),
        "All is well." if not report.problems else f"{len(report.problems)} problem(s) found.",
    ]
