"""A real service in a process of its own, for tests that kill it."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

# Some environments keep no bytecode; two dozen starts then compile the same libraries two dozen times.
BYTECODE = tempfile.mkdtemp(prefix="nba-bytecode-")
atexit.register(shutil.rmtree, BYTECODE, ignore_errors=True)
ENVIRONMENT = {
    "PYTHONDONTWRITEBYTECODE": "",
    "PYTHONPYCACHEPREFIX": os.environ.get("PYTHONPYCACHEPREFIX", BYTECODE),
    "PYTHONWARNINGS": "error",
}
ROOT = Path(__file__).parent.parent
PATIENCE = 30.0  # seconds; the machine may be busy
RUN = "from nba.cli import main; main()"


class Service:
    """`nba serve --json` on a free port; leaving the block ends it with SIGTERM if it still runs."""

    def __init__(self, bundle: Path, store: Path | str, *arguments: str, failpoint: str = "") -> None:
        command = [
            sys.executable,
            "-c",
            RUN,
            "serve",
            "--bundle",
            str(bundle),
            "--store",
            store if isinstance(store, str) else f"sqlite:///{store}",
        ]
        environment = os.environ | ENVIRONMENT | {"NBA_FAILPOINT": failpoint}
        self.process = subprocess.Popen(
            [*command, "--port", "0", "--publish-seconds", "0.05", "--json", *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Service:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the service did not start: {self.process.communicate()[1]}")
        self.ready_line: dict[str, Any] = json.loads(line)
        self.client = httpx.Client(base_url=self.ready_line["url"], timeout=PATIENCE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.stop()
        self.client.close()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def stop(self) -> int:
        """End the service as an operator does; gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def kill(self) -> int:
        """End the service as a power cut of the process does."""
        self.process.kill()
        return self.process.wait(PATIENCE)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.client.post(path, json=body)
        assert answer.status_code in (200, 202), answer.text
        found: dict[str, Any] = answer.json()
        return found

    def learner(self) -> dict[str, Any]:
        """The learner's state once it has folded and published all of the log."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            status: dict[str, Any] = self.client.get("/v1/learner").json()
            if status["lag"] == 0 and status["is_current"]:
                return status
            time.sleep(0.02)
        raise AssertionError(f"the learner did not catch up: {status}")


def nba(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `nba` with some arguments to its end."""
    command = [sys.executable, "-c", RUN, *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        check=False,
    )
