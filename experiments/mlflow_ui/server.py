"""`mlflow server` as a child process in a group of its own, which is stopped whole.

What was seen to matter (serving 2.1): without its job runner it is two processes instead of six, and a
parent that is stopped alone leaves the others behind.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from threading import Event
from typing import IO

import msgspec
import typer

from experiments.store import ARTIFACTS, DATABASE, open_store
from experiments.terminal import say
from nba.errors import NBAError

HOST = "127.0.0.1"
_SAFE = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
_START_SECONDS, _STOP_SECONDS, _POLL_SECONDS = 120.0, 10.0, 0.2
_SHOWN = 300  # last characters of what a server said that did not start


class ServerNotStarted(NBAError, RuntimeError):
    """MLflow's server did not come up."""


@contextmanager
def serving(store: Path, port: int) -> Iterator[str]:
    """The server on a store, from when it answers to when the block ends; gives its URL.

    Raises MissingStoreError where there is no store, and ServerNotStarted with the server's last words.
    """
    open_store(store)  # puts the paths of a store right that was moved
    port = _free(port)
    folder = store.resolve()
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--workers",
        "1",
        "--host",
        HOST,
        "--port",
        str(port),
    ]
    command += ["--backend-store-uri", f"sqlite:///{folder / DATABASE}"]
    command += ["--artifacts-destination", str(folder / ARTIFACTS)]
    say(f"starting MLflow on {store}")
    with TemporaryFile() as words:
        process = subprocess.Popen(
            command,
            env=os.environ | _SAFE,
            stdout=words,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            url = f"http://{HOST}:{port}"
            _wait(process, url, words)
            yield url
        finally:
            _stop(process)


def until_stopped(links: dict[str, str], as_json: bool) -> None:
    """Print the links and wait for Ctrl-C or SIGTERM."""
    stopped = Event()
    before = {one: signal.signal(one, lambda *_: stopped.set()) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        if as_json:
            print(msgspec.json.encode(links).decode(), flush=True)
        else:
            width = max(map(len, links))
            typer.echo("\n".join(f"{name.ljust(width)}  {link}" for name, link in links.items()))
            typer.echo("Ctrl-C stops it.")
            sys.stdout.flush()
        while not stopped.wait(_POLL_SECONDS):  # a plain wait would not let Python see signals everywhere
            pass
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    say("stopping MLflow")


def _free(port: int) -> int:
    """The port, or a free one for 0; ServerNotStarted if somebody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            way = "name another one: --port, 0 for any"
            raise ServerNotStarted(
                f"port {port} of {HOST} cannot be had ({error.strerror}); {way}."
            ) from None
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], url: str, words: IO[bytes]) -> None:
    """Until the server answers; it takes seconds on a quiet machine, and most of a minute on a busy one."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(f"{url}/health", timeout=5):
            return
        time.sleep(_POLL_SECONDS)
    words.seek(0)
    said = " ".join(words.read().decode(errors="replace").split())[-_SHOWN:]
    code = process.poll()
    what = f"did not answer within {_START_SECONDS:.0f} s" if code is None else f"ended with exit code {code}"
    raise ServerNotStarted(f"MLflow's server {what}; its last words: {said or 'none'}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the whole group, by force if it does not want to."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
            break
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # workers that outlived their parent
