"""The source of load: one process, one thread, plain sockets, requests that are made beforehand.

In a closed loop every connection asks again as soon as it is answered, which measures throughput. In an open
loop requests are due at fixed moments whether or not earlier ones are answered, and each is timed from the
moment it was due: a server that stalls is charged for all who came meanwhile (no coordinated omission). One
request in `feedback_every` reports what came of the decision answered last.
"""

from __future__ import annotations

import selectors
import socket
import subprocess
import sys
from collections import deque
from itertools import count
from pathlib import Path
from time import perf_counter, process_time

import msgspec
from msgspec import Struct

from experiments.benchmarks.load.server import Server

_ID = b'"decision_id":"'
_LENGTH = b"content-length: "
_NOBODY = b"01890000-0000-7000-8000-000000000000"


class Plan(Struct, frozen=True, kw_only=True):
    """What to send: `rate` is requests a second, 0 for a closed loop."""

    port: int
    bodies: str  # file of decision requests, one a line
    first: int  # line of the file to begin with; after the last comes the first
    connections: int
    seconds: float
    rate: float = 0.0
    feedback_every: int = 20


class Sent(Struct, frozen=True, kw_only=True):
    """What came of it; latencies are in seconds and of decisions only, in the order of their answers."""

    requests: int
    failed: int
    seconds: float
    latencies: list[float]
    own_cpu_seconds: float


def load(server: Server, plan: Plan) -> Sent:
    """Carry out a plan in a process of its own."""
    command = [sys.executable, "-m", "experiments.benchmarks.load.generator"]
    done = subprocess.run(command, input=msgspec.json.encode(plan), stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(done.stdout, type=Sent)


class Line:
    """One connection: what it waits for, since when, and what has come of the answer."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due, self.is_decision, self._read = 0.0, True, b""

    def send(self, request: bytes, due: float, *, is_decision: bool) -> None:
        """Ask; the connection must be idle."""
        self.due, self.is_decision = due, is_decision
        self.socket.sendall(request)

    def answer(self) -> bytes | None:
        """The whole answer with its head, or None while some of it is still to come."""
        part = self.socket.recv(65_536)
        if not part:
            raise ConnectionError("the server closed a connection")
        self._read += part
        head = self._read.find(b"\r\n\r\n")
        if head < 0:
            return None
        at = self._read.index(_LENGTH) + len(_LENGTH)
        length = int(self._read[at : self._read.index(b"\r\n", at)])
        if len(self._read) < head + 4 + length:
            return None
        answer, self._read = self._read, b""
        return answer


class Generator:
    """Sends a plan's requests and times their answers."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        bodies = Path(plan.bodies).read_bytes().splitlines()
        turned = bodies[plan.first % len(bodies) :] + bodies[: plan.first % len(bodies)]
        self._requests = [_request("/v1/decisions", body) for body in turned]
        self._lines = [Line(plan.port) for _ in range(plan.connections)]
        self._numbers, self._last_id = count(), _NOBODY
        self._latencies: list[float] = []
        self._answered = self._failed = 0

    def run(self) -> Sent:
        """Send for as long as planned, then wait for what is on its way."""
        with selectors.DefaultSelector() as waiting:
            for line in self._lines:
                waiting.register(line.socket, selectors.EVENT_READ, line)
            begun, own = perf_counter(), process_time()
            self._loop(waiting, begun)
            ended, own = perf_counter(), process_time() - own
        for line in self._lines:
            line.socket.close()
        return Sent(
            requests=self._answered,
            failed=self._failed,
            seconds=ended - begun,
            latencies=self._latencies,
            own_cpu_seconds=own,
        )

    def _loop(self, waiting: selectors.BaseSelector, begun: float) -> None:
        idle, n_due, until = deque(self._lines), 0, begun + self._plan.seconds
        rate = self._plan.rate
        while True:
            now = perf_counter()
            is_over = now >= until
            while idle and not (is_over and rate == 0.0):
                due = begun + n_due / rate if rate else now
                if due > min(now, until):
                    break
                self._send(idle.popleft(), due)
                n_due += 1
            is_over &= not rate or begun + n_due / rate > until  # what was due is sent, however late
            if is_over and len(idle) == len(self._lines):
                return
            pause = max(0.0, begun + n_due / rate - now) if rate and idle and not is_over else 1.0
            for key, _ in waiting.select(pause):
                if self._has_answered(key.data):
                    idle.append(key.data)

    def _send(self, line: Line, due: float) -> None:
        number, every = next(self._numbers), self._plan.feedback_every
        if every and number % every == every - 1:
            line.send(self._feedback(number), due, is_decision=False)
        else:
            line.send(self._requests[number % len(self._requests)], due, is_decision=True)

    def _feedback(self, number: int) -> bytes:
        body = b'{"event_id":"%s-%d","decision_id":"%s","outcome":"converted","value":50}'
        return _request("/v1/feedback", body % (self._last_id, number, self._last_id))

    def _has_answered(self, line: Line) -> bool:
        answer = line.answer()
        if answer is None:
            return False
        self._answered += 1
        self._failed += not answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 202"))
        if line.is_decision:
            self._latencies.append(perf_counter() - line.due)
            at = answer.find(_ID)
            if at >= 0:
                self._last_id = answer[at + len(_ID) : at + len(_ID) + 36]
        return True


def _request(path: str, body: bytes) -> bytes:
    named = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"POST {path} HTTP/1.1\r\n{named}\r\n\r\n".encode() + body


if __name__ == "__main__":
    sent = Generator(msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)).run()
    sys.stdout.buffer.write(msgspec.json.encode(sent))
