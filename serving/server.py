"""uvicorn, started from here: one worker, one line when ready, a clean end on SIGTERM and SIGINT."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from typing import Any

import msgspec
import uvicorn

from nba.errors import NBAError
from serving.app import create_app
from serving.ledger.store import shown
from serving.logs import set_up
from serving.runtime import Runtime
from serving.settings import Settings

_ALLOCATIONS = 50_000  # objects made and not freed, before cycles are looked for; Python's own is 700


class Server(uvicorn.Server):
    """A server that tells when the service is ready."""

    def __init__(self, config: uvicorn.Config, runtime: Runtime, *, as_json: bool) -> None:
        super().__init__(config)
        self._runtime, self._as_json = runtime, as_json

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell in the background as soon as the log has been replayed."""
        await super().startup(sockets)
        if not self.should_exit:
            self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        await self._runtime.ready.wait()
        _spare_the_collector()
        if self._runtime.failure is not None:
            self.should_exit = True
            return
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        runtime, settings = self._runtime, self._runtime.settings
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        if self._as_json:
            facts = {
                "policy": runtime.policy,
                "version": runtime.version,
                "url": url,
                "port": port,
                "store": shown(settings.store),
            }
            line = msgspec.json.encode(facts).decode()
        else:
            line = f"nba serving {runtime.policy} v{runtime.version} on {url} (store {shown(settings.store)})"
        print(line, flush=True)


def run(settings: Settings, port: int, *, as_json: bool = False) -> None:
    """Serve until told to stop; an address that cannot be listened on is an NBAError."""
    set_up(as_json=as_json)
    with _listen(settings.host, port) as listening:
        app = create_app(settings)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,  # paths hold decision ids
            server_header=False,
            lifespan="on",
            timeout_graceful_shutdown=10,
        )
        # uvicorn raises the signal again after its clean end; a handler of ours makes that exit code 0.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _ignore)
        runtime: Runtime = app.state.runtime
        Server(config, runtime, as_json=as_json).run(sockets=[listening])
    if runtime.failure is not None:
        # The text of a foreign error may quote the ledger, so only its kind is told.
        failure = runtime.failure
        reason = str(failure) if isinstance(failure, NBAError) else type(failure).__name__
        raise NBAError(f"The learner stopped, and the service with it: {reason}") from failure


def _spare_the_collector() -> None:
    """Look for cycles of references seldom: looking at what decisions make took a tenth of their CPU time.

    Decisions leave none behind. What was made at the start stays, and is not looked at again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise NBAError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Choose another --host or --port."
        ) from None
    return listening


def _ignore(number: int, frame: Any) -> None:
    """Let uvicorn's own shutdown be the answer to a signal."""
