"""The service under load, in one run beside a bare Litestar application that echoes the same bodies.

The service is `nba serve` with its defaults: uvicorn, a SQLite log that is on the disk before an answer
is given, and learning; one request in twenty is feedback. The bank's 840 contacts are all in the catalogue,
under its own rules and limits; the store is new. Load comes from a process of its own, by plain sockets.

    throughput_ratio       requests a second of the service over those of the echo, median of rounds in turn
    p50_ms, p99_ms         of decisions at 500 requests a second, each timed from the moment it was due
    batch_per_second       decisions a second of the batch endpoint, median of batches
    feedback_to_policy_ms  from sending feedback until a policy decides that has learnt from it, at worst

Wall-clock figures move with whatever else the machine does; CPU time of the server's process for each
request (`*_cpu_us`) moves less. `--soak MINUTES` measures memory instead: the slope of the resident size
under a steady load, with its standard error.
"""

from __future__ import annotations

from experiments.benchmarks._harness import parser, report  # first: it pins the BLAS threads

# isort: split
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import NamedTuple

import msgspec
import numpy as np

from experiments.benchmarks.load.bank import bank_bundle, bank_requests
from experiments.benchmarks.load.generator import Plan, Sent, load
from experiments.benchmarks.load.memory import soak
from experiments.benchmarks.load.server import Server

RATE = 500.0  # requests a second of the open loop
_CONNECTIONS = 64
_POLL_SECONDS = 0.01


class Size(NamedTuple):
    """How much of everything."""

    customers: int
    rounds: int
    round_seconds: float
    open_seconds: float
    batches: int
    feedbacks: int

    @staticmethod
    def of(options: Namespace) -> Size:
        """A quick look, or the whole."""
        return Size(1_000, 2, 3.0, 4.0, 2, 3) if options.quick else Size(20_000, 5, 8.0, 30.0, 5, 20)


class Bench(NamedTuple):
    """The two servers, and where the decision requests are that they are sent."""

    service: Server
    echo: Server
    bodies: Path
    size: Size

    def plan(self, server: Server, first: int, seconds: float, rate: float = 0.0) -> Plan:
        """Load on a server, from some customer on."""
        return Plan(
            port=server.port,
            bodies=str(self.bodies),
            first=first,
            connections=_CONNECTIONS,
            seconds=seconds,
            rate=rate,
        )


def measure(options: Namespace) -> dict[str, float]:
    """All figures."""
    with TemporaryDirectory() as name:
        folder, size = Path(name), Size.of(options)
        bundle, bodies = bank_bundle(folder / "bundle"), folder / "requests.ndjson"
        requests = bank_requests(size.customers)
        bodies.write_bytes(b"\n".join(requests))
        with Server.of_service(bundle, folder / "log.sqlite") as service:
            if options.soak:
                return soak(service, bodies, options.soak)
            lengths = _answer_bytes(service, requests[0])
            with Server.of_echo(*lengths) as echo:
                bench = Bench(service, echo, bodies, size)
                steps: list[Callable[[], dict[str, float]]] = [
                    lambda: throughput(bench),
                    lambda: latency(bench),
                    lambda: batches(service, requests, size.batches),
                    lambda: feedback_to_policy(service, requests, size.feedbacks),
                ]
                return {key: value for step in steps for key, value in step().items()}


def throughput(bench: Bench) -> dict[str, float]:
    """Requests a second of both in a closed loop, taking turns, and CPU microseconds for each."""
    size, found = bench.size, list[tuple[float, ...]]()
    for server in (bench.service, bench.echo):
        load(server, bench.plan(server, 0, size.round_seconds / 2))  # the first round warms up
    for number in range(size.rounds):
        first = (1 + number) * size.customers // (1 + size.rounds)
        plans = [(one, bench.plan(one, first, size.round_seconds)) for one in (bench.service, bench.echo)]
        (served, cpu), (echoed, echo_cpu) = (_rates(server, plan) for server, plan in plans)
        found.append((served / echoed, served, echoed, cpu, echo_cpu, cpu / echo_cpu))
        say(f"{served:,.0f} requests/s, echo {echoed:,.0f}; CPU {cpu:.0f} us each, echo {echo_cpu:.0f}")
    names = (
        "throughput_ratio", "requests_per_second", "echo_per_second",
        "request_cpu_us", "echo_cpu_us", "cpu_ratio",
    )  # fmt: skip
    return {name: median(column) for name, column in zip(names, zip(*found, strict=True), strict=True)}


def latency(bench: Bench) -> dict[str, float]:
    """Percentiles at a fixed rate, of the service and of the echo, and the CPU time that the service took."""
    figures: dict[str, float] = {"rate": RATE}
    for prefix, server in (("", bench.service), ("echo_", bench.echo)):
        begun = server.cpu_seconds()
        sent = _answered(load(server, bench.plan(server, 0, bench.size.open_seconds, RATE)))
        for name, percent in (("p50_ms", 50), ("p99_ms", 99), ("p999_ms", 99.9)):
            figures[prefix + name] = 1e3 * float(np.percentile(sent.latencies, percent))
        figures[f"{prefix}open_cpu_us"] = 1e6 * (server.cpu_seconds() - begun) / sent.requests
        figures[f"{prefix}answered_per_second"] = sent.requests / sent.seconds
        p50, p99 = figures[f"{prefix}p50_ms"], figures[f"{prefix}p99_ms"]
        say(f"at {RATE:g}/s: {prefix}p50 {p50:.2f} ms, {prefix}p99 {p99:.1f} ms")
    return figures


def batches(service: Server, requests: Sequence[bytes], n: int) -> dict[str, float]:
    """Decisions a second of whole batches, and CPU microseconds for each decision."""
    rates, costs, lines = [], [], min(len(requests), 10_000)
    for number in range(-1, n):  # the first one warms up
        begun, cpu = perf_counter(), service.cpu_seconds()
        start = (number + 1) * lines % len(requests)
        asked = requests[start : start + lines]
        answers = service.ask("/v1/decisions/batch", b"\n".join(asked), "application/x-ndjson").splitlines()
        if len(answers) != len(asked) or not all(b'"status":200' in answer for answer in answers):
            raise RuntimeError("a line of the batch was not decided")
        if number >= 0:
            rates.append(len(asked) / (perf_counter() - begun))
            costs.append(1e6 * (service.cpu_seconds() - cpu) / len(asked))
    say(f"batches: {median(rates):,.0f} decisions/s, CPU {median(costs):.0f} us each")
    return {
        "batch_per_second": median(rates),
        "batch_best_per_second": max(rates),
        "batch_cpu_us": median(costs),
    }


def feedback_to_policy(service: Server, requests: Sequence[bytes], n: int) -> dict[str, float]:
    """Milliseconds until what was reported is in the policy that decides."""
    found = []
    for number in range(n):
        made = msgspec.json.decode(service.ask("/v1/decisions", requests[number]))
        told = {"event_id": f"told-{number}", "decision_id": made["decision_id"], "outcome": "converted"}
        begun = perf_counter()
        seq = service.tell("/v1/feedback", told)["seq"]
        while msgspec.json.decode(service.ask("/v1/decisions", requests[-1 - number]))["posterior_seq"] < seq:
            sleep(_POLL_SECONDS)
        found.append(1e3 * (perf_counter() - begun))
        sleep(0.037 * number % 0.5)  # at another moment of the learner's round
    say(f"feedback to policy: {median(found):.0f} ms, at most {max(found):.0f}")
    return {"feedback_to_policy_ms": max(found), "feedback_to_policy_median_ms": median(found)}


def say(line: str) -> None:
    """Tell how far it is, beside the output."""
    print(line, file=sys.stderr, flush=True)


def _answer_bytes(service: Server, request: bytes) -> tuple[int, int]:
    """How long the service's answers are: to a decision request, and to feedback on it."""
    answer = service.ask("/v1/decisions", request)
    told = {"event_id": "first", "decision_id": msgspec.json.decode(answer)["decision_id"], "outcome": "seen"}
    return len(answer), len(service.ask("/v1/feedback", msgspec.json.encode(told)))


def _rates(server: Server, plan: Plan) -> tuple[float, float]:
    """Requests a second, and CPU microseconds for each."""
    begun = server.cpu_seconds()
    sent = _answered(load(server, plan))
    return sent.requests / sent.seconds, 1e6 * (server.cpu_seconds() - begun) / sent.requests


def _answered(sent: Sent) -> Sent:
    if sent.failed:
        raise RuntimeError(f"{sent.failed:,} of {sent.requests:,} requests were refused")
    return sent


if __name__ == "__main__":
    asked = parser("serving")
    asked.add_argument("--soak", type=float, default=0.0, metavar="MINUTES", help="measure memory instead")
    chosen = asked.parse_args()
    report("serving-soak" if chosen.soak else "serving", chosen, measure(chosen))
