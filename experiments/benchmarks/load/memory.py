"""Whether memory is steady under a steady load: the slope of the resident size, with its standard error."""

from __future__ import annotations

import sys
from pathlib import Path
from threading import Event, Thread
from time import perf_counter
from typing import NamedTuple

import numpy as np

from experiments.benchmarks.load.generator import Plan, load
from experiments.benchmarks.load.server import Server
from nba.arrays import FloatArray

_RATE = 150.0  # requests a second
_CONNECTIONS = 16
_BLOCKS = 10
_WARM_SHARE = 1.0 / 3.0  # of the time, while caches fill
_MEGABYTE = 2.0**20


class Slope(NamedTuple):
    """A line through the floors of blocks, with the standard error that their scatter about it gives."""

    per_hour: float
    error: float

    @staticmethod
    def of(hours: FloatArray, values: FloatArray, blocks: int = _BLOCKS) -> Slope:
        """Of a series (n,) with its times (n,), by ordinary least squares over the least values of blocks.

        A publication needs memory for a moment: what stays is the floor. Successive values of a process hang
        together and blocks hardly do, so their residuals tell the error. NaN for too few values.
        """
        if hours.size < 2 * blocks:
            return Slope(float("nan"), float("nan"))
        parts = np.array_split(np.arange(hours.size), blocks)
        x, y = np.array([hours[one].mean() for one in parts]), np.array([values[one].min() for one in parts])
        centred = x - x.mean()
        spread = float(centred @ centred)
        slope = float(centred @ y) / spread
        residuals = y - y.mean() - slope * centred
        return Slope(slope, float(np.sqrt(residuals @ residuals / (blocks - 2) / spread)))


def soak(service: Server, bodies: Path, minutes: float) -> dict[str, float]:
    """Megabytes of the service under a steady load of decisions and feedback, and how fast they grow."""
    times, sizes, over = list[float](), list[float](), Event()
    begun, period = perf_counter(), max(0.2, min(5.0, minutes * 60.0 / 200.0))

    def watch() -> None:
        while not over.wait(period):
            times.append((perf_counter() - begun) / 3600.0)
            sizes.append(service.resident_bytes() / _MEGABYTE)

    watching = Thread(target=watch)
    watching.start()
    try:
        plan = Plan(
            port=service.port,
            bodies=str(bodies),
            first=0,
            connections=_CONNECTIONS,
            seconds=minutes * 60.0,
            rate=_RATE,
        )
        sent = load(service, plan)
    finally:
        over.set()
        watching.join()
    hours, megabytes = np.array(times), np.array(sizes)
    steady = hours >= _WARM_SHARE * minutes / 60.0
    slope = Slope.of(hours[steady], megabytes[steady])
    print(f"{slope.per_hour:+.2f} MB/h, standard error {slope.error:.2f}", file=sys.stderr)
    return {
        "minutes": minutes,
        "requests": sent.requests,
        "failed": sent.failed,
        "rss_first_mb": float(megabytes[0]),
        "rss_warm_mb": float(megabytes[steady][0]),
        "rss_last_mb": float(megabytes[-1]),
        "rss_mb_per_hour": slope.per_hour,
        "rss_mb_per_hour_error": slope.error,
    }
