"""What came of one strategy in one world under one seed, per customer: small enough to keep for good.

Shape letters: N customers judged, S segments, C channels, P products, T timings, D days.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

import numpy as np

from experiments.audit import violations
from experiments.kept import npz_bytes, npz_read
from experiments.logs import DecisionLog
from experiments.rollout import Rollout
from experiments.tallies import Totals
from nba.arrays import AnyArray, FloatArray, IntArray, StrArray
from nba.catalogue import Catalogue
from simulator.world import World

EVERYBODY = "everybody"
_NOT_RESULTS = ("seconds",)


class Played(NamedTuple):
    """One run; money in account currency per customer over the judged days."""

    segment: IntArray  # (N,) index in `segments`, -1 for none
    reach: FloatArray  # (N,) channels open at the start
    value: FloatArray  # (N,) amounts of all conversions, organic ones included
    cost: FloatArray  # (N,) of contacts
    loss: FloatArray  # (N,) by opt-outs and complaints, modelled
    contacts: FloatArray  # (N,) that were made
    opt_outs: FloatArray  # (N,)
    complaints: FloatArray  # (N,)
    conversions: FloatArray  # (N,)
    fatigue: FloatArray  # (N,) short and long counters of all channels, on the last day with decisions
    believed: FloatArray  # (N,) net value that the strategy expected of its decisions
    expected: FloatArray  # (N,) the same in truth, of its distribution; NaN without the oracle
    possible: FloatArray  # (N,) of the best allowed action at each decision; NaN without the oracle
    channel_counts: FloatArray  # (C + 1,) decisions by channel, the last is silence
    product_counts: FloatArray  # (P,) contacts
    timing_counts: FloatArray  # (T,) contacts
    training_daily: FloatArray  # (D, len(tallies.DAILY)) sums over the training customers, no row if none
    evaluation_daily: FloatArray  # (D, len(tallies.DAILY)) sums over the judged customers
    customers_trained: IntArray  # ()
    guard: FloatArray  # (2,) smallest propensity, broken contact limits
    seconds: FloatArray  # (2,) of training and of judging: the machine's, not the result's
    segments: StrArray  # (S,) names
    channels: StrArray  # (C,)
    products: StrArray  # (P,)
    timings: StrArray  # (T,)

    @property
    def net(self) -> FloatArray:
        """(N,) value minus contact cost minus modelled losses."""
        return self.value - self.cost - self.loss

    @property
    def n_customers(self) -> int:
        """N."""
        return self.value.size

    @property
    def digest(self) -> str:
        """SHA-256 of everything but the seconds: the same wherever it was run."""
        running = sha256()
        for name, column in self._asdict().items():
            if name not in _NOT_RESULTS:
                running.update(name.encode())
                running.update(np.ascontiguousarray(column).tobytes())
        return running.hexdigest()

    def of(self, segment: int) -> Played:
        """The same for the customers of a segment; what is not per customer stays as it is."""
        rows = self.segment == segment
        columns = {name: column for name, column in self._asdict().items() if column.shape == rows.shape}
        own = {name: column[rows] for name, column in columns.items() if name in _PER_CUSTOMER}
        return self._replace(**own)


_PER_CUSTOMER = Played._fields[: Played._fields.index("channel_counts")]


class Ran(NamedTuple):
    """What a run knows besides what it logged."""

    world: World
    evaluation: Rollout
    training_daily: FloatArray | None
    customers_trained: int
    days: int  # with decisions
    seconds: tuple[float, float]


def played(ran: Ran, seed: int, ids: IntArray) -> Played:
    """The record of customers `ids` (N,), whose judging was under a seed."""
    world, (totals, log) = ran.world, (ran.evaluation.totals, ran.evaluation.decisions)
    catalogue, schema = world.config.catalogue, world.config.schema
    segment, reach = _people(world, seed, ids)
    daily = ran.evaluation.daily
    columns = {name: getattr(totals, name) for name in Totals._fields if name in Played._fields}
    household = world.config.population.household_customers
    broken = violations(log, catalogue, world.config.contact.policy, household)
    return Played(
        **columns,
        segment=segment,
        reach=reach,
        fatigue=_fatigue(log, world, ran.days, ids),
        believed=_by_customer(log.customer - ids[0], log.expected_value, ids.size),
        expected=totals.expected_value,
        possible=totals.oracle_value,
        **_counts(log, catalogue),
        training_daily=np.zeros((0, daily.shape[1])) if ran.training_daily is None else ran.training_daily,
        evaluation_daily=daily,
        customers_trained=np.array(ran.customers_trained),
        guard=np.array([log.propensity.min(initial=1.0), broken]),
        seconds=np.array(ran.seconds),
        segments=_names((EVERYBODY,) if schema.segment is None else schema.segments),
        channels=_names([one.name for one in catalogue.channels]),
        products=_names([one.name for one in catalogue.products]),
        timings=_names([one.name for one in catalogue.timings]),
    )


def _names(names: Sequence[str]) -> StrArray:
    found: StrArray = np.array(list(names), dtype=np.str_)
    return found


def _people(world: World, seed: int, ids: IntArray) -> tuple[IntArray, FloatArray]:
    """(N,) segment and number of open channels on the first day."""
    seen = world.observe(world.reset(seed, ids), np.arange(ids.size))
    codes = seen.features[:, world.config.schema.segment_columns]
    return np.where(codes.any(axis=1), codes.argmax(axis=1), -1), seen.consents.sum(axis=1).astype(np.float64)


def _fatigue(log: DecisionLog, world: World, days: int, ids: IntArray) -> FloatArray:
    """(N,) counters at the end of the last day with decisions, of contacts made by then."""
    catalogue, kernel = world.config.catalogue, world.kernel
    made = (log.action > 0) & ~log.refused & (log.contact_day < days)
    left = kernel.recovery((days - log.contact_day[made]).astype(np.float64)).sum(axis=1)
    raised = kernel.spill(catalogue).sum(axis=1)[catalogue.channel_of[log.action[made]]]
    return _by_customer(log.customer[made] - ids[0], left * raised, ids.size)


def _by_customer(rows: IntArray, amounts: FloatArray, size: int) -> FloatArray:
    return np.bincount(rows, amounts, minlength=size).astype(np.float64)


def _counts(log: DecisionLog, catalogue: Catalogue) -> dict[str, FloatArray]:
    found = {}
    for factor in ("channel", "product", "timing"):
        levels = getattr(catalogue, f"{factor}_of")[log.action]
        size = len(getattr(catalogue, f"{factor}s"))
        counts = np.bincount(np.where(levels < 0, size, levels), minlength=size + 1).astype(np.float64)
        found[f"{factor}_counts"] = counts if factor == "channel" else counts[:size]
    return found


def runs_bytes(runs: Sequence[Played]) -> bytes:
    """The runs of a cell as an archive."""
    return npz_bytes(
        {f"{place}/{name}": a for place, one in enumerate(runs) for name, a in one._asdict().items()}
    )


def runs_read(data: bytes) -> tuple[Played, ...]:
    """The runs of an archive; errors as of npz_read."""
    stored: dict[str, AnyArray] = npz_read(data)
    places = range(len({name.partition("/")[0] for name in stored}))
    return tuple(Played(*(stored[f"{place}/{name}"] for name in Played._fields)) for place in places)
