"""A server in a process of its own, with what the kernel counts of it."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

_SECONDS = 120.0  # to start and to stop: the machine may be busy
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Server:
    """`python -m MODULE ARGUMENTS`, which tells its port in a line of JSON; leaving the block ends it."""

    def __init__(self, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", module, *arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = 0

    @staticmethod
    def of_service(bundle: Path, store: Path) -> Server:
        """`nba serve` with its defaults: a durable log in SQLite, and learning."""
        stored = ("--bundle", str(bundle), "--store", f"sqlite:///{store}")
        return Server("nba", "serve", *stored, "--port", "0", "--json")

    @staticmethod
    def of_echo(decision_bytes: int, receipt_bytes: int) -> Server:
        """The bare application, whose answers are as long as the service's."""
        sizes = ("--decision-bytes", str(decision_bytes), "--receipt-bytes", str(receipt_bytes))
        return Server("experiments.benchmarks.load.echo", *sizes)

    def __enter__(self) -> Server:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the server ended at once with exit code {self._process.wait(_SECONDS)}")
        self.port = int(msgspec.json.decode(line)["port"])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        code = self._process.wait(_SECONDS)
        assert self._process.stdout is not None
        self._process.stdout.close()
        # uvicorn raises the signal again after a clean end, and only the service answers that with 0.
        if code not in (0, -signal.SIGTERM) and kind is None:
            raise RuntimeError(f"the server did not end cleanly: exit code {code}")

    def ask(self, path: str, body: bytes, media_type: str = "application/json") -> bytes:
        """The body of the answer to one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_SECONDS)
        try:
            connection.request("POST", path, body, {"content-type": media_type})
            answer = connection.getresponse()
            found = answer.read()
        finally:
            connection.close()
        if answer.status not in (200, 202):
            raise RuntimeError(f"{path} answered {answer.status}: {found[:500]!r}")
        return found

    def tell(self, path: str, body: object) -> Any:
        """The same for a record, as JSON both ways."""
        return msgspec.json.decode(self.ask(path, msgspec.json.encode(body)))

    def cpu_seconds(self) -> float:
        """CPU time of all threads of the process so far."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident_bytes(self) -> int:
        """Memory that the process has in use."""
        return int(self._proc("statm").split()[1]) * _PAGE

    def _proc(self, name: str) -> str:
        return Path(f"/proc/{self._process.pid}/{name}").read_text(encoding="ascii")
