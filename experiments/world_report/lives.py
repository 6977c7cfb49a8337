"""What must hold of customers from morning to morning: products, stages, conversions."""

from __future__ import annotations

import numpy as np

from experiments.world_report.check import Check
from experiments.world_report.contacts_made import made
from experiments.world_report.trace import Trace
from nba.arrays import BoolArray, IntArray
from simulator.config import STAGES
from simulator.mechanisms import switched

_ACQUISITION, _ONBOARDING, _GROWTH, _CHURNED = (
    STAGES.index(name) for name in ("acquisition", "onboarding", "growth", "churned")
)


def ownership(run: Trace) -> Check:
    """Products lost, gained without a conversion, or bought twice."""
    before, after = run.owned[:-1], run.owned[1:]
    bought = _bought(run)
    lost, gained = before & ~after, after & ~before
    repeatable = [one.repeatable for one in run.world.config.catalogue.products]
    lasting = np.uint32(sum(1 << place for place, again in enumerate(repeatable) if not again))
    wrong = (lost != 0) | (gained != (bought & lasting)) | ((bought & before & lasting) != 0)
    return Check(
        name="ownership",
        what="what a customer holds is never lost, and grows by what the log says was bought",
        cases=before.size,
        violations=int(wrong.sum()),
        detail=f"{int((gained != 0).sum())} customer-days with something new",
    )


def one_a_day(run: Trace) -> Check:
    """More than one conversion of a customer on a day."""
    keys = run.sales.customer * run.n_days + run.sales.day
    return Check(
        name="one conversion a day",
        what="a customer converts at most once a day",
        cases=keys.size,
        violations=keys.size - np.unique(keys).size,
    )


def causes(run: Trace) -> Check:
    """Conversions that a contact is said to have caused, without such a contact."""
    out, seen = run.sales, made(run)
    noticed = run.decisions.seen[seen.entry]
    n_products = len(run.world.config.catalogue.products)
    pairs = seen.customer[noticed] * n_products + seen.product[noticed]
    first_of, first = np.unique(pairs[np.argsort(seen.day[noticed], kind="stable")], return_index=True)
    day = np.sort(seen.day[noticed], kind="stable")[first]
    wanted = (out.customer * n_products + out.product)[out.caused]
    place = np.minimum(np.searchsorted(first_of, wanted), max(first_of.size - 1, 0))
    found = np.zeros(wanted.size, dtype=np.bool_)
    if first_of.size:
        found = (first_of[place] == wanted) & (day[place] <= out.day[out.caused])
    return Check(
        name="causes",
        what="every conversion said to be caused follows a contact about that product that the customer saw",
        cases=wanted.size,
        violations=int((~found).sum()),
    )


def stages(run: Trace) -> Check:
    """Moves of the life cycle that nothing in the world's file allows."""
    config, before, after = switched(run.world.config), run.stage[:-1], run.stage[1:]
    allowed = np.eye(len(STAGES), dtype=np.bool_)
    for move in config.life_cycle.transitions:
        allowed[STAGES.index(move.source), STAGES.index(move.to)] = True
    bought, joined = _bought(run) != 0, _joined(run)
    possible = allowed[before, after]
    possible |= bought & (before == _ACQUISITION) & (after == _ONBOARDING)
    if config.life_cycle.drop_out is not None:
        possible |= bought & (after == _CHURNED)
    tenure = np.arange(1, run.n_days + 1)[:, None] - joined
    ripe = tenure >= config.life_cycle.onboarding_days
    possible |= (before == _ONBOARDING) & (after == _GROWTH) & ripe
    # The honeymoon ends when it must, and nobody who buys stays outside.
    possible &= ~((before == _ONBOARDING) & (after == _ONBOARDING) & ripe & ~bought)
    possible &= ~(bought & (before == _ACQUISITION) & (after == _ACQUISITION))
    return Check(
        name="stages",
        what="life-cycle stages change only along the configured transitions, by a first purchase, or when "
        "onboarding is over, and then they do",
        cases=before.size,
        violations=int((~possible).sum()),
        detail=f"{int((before != after).sum())} moves",
    )


def withdrawn(run: Trace) -> Check:
    """Consents that come back, or go without an opt-out in the log."""
    before, after = run.consents[:-1], run.consents[1:]
    log, gone = run.decisions, np.zeros(before.shape, dtype=before.dtype)
    left = np.flatnonzero(log.opted_out)
    channel = run.world.config.catalogue.channel_of[log.action[left]].astype(before.dtype)
    np.bitwise_or.at(
        gone, (log.day[left], np.searchsorted(run.ids, log.customer[left])), before.dtype.type(1) << channel
    )
    return Check(
        name="withdrawals",
        what="consents change by the opt-outs of the log, and never come back",
        cases=before.size,
        violations=int((after != (before & ~gone)).sum()),
        detail=f"{left.size} opt-outs",
    )


def _bought(run: Trace) -> np.ndarray:
    """(D, N) masks of the products bought on each day."""
    bought = np.zeros(run.owned[:-1].shape, dtype=np.uint32)
    row = np.searchsorted(run.ids, run.sales.customer)
    bits = np.uint32(1) << run.sales.product.astype(np.uint32)
    np.bitwise_or.at(bought, (run.sales.day, row), bits)
    return bought


def _joined(run: Trace) -> IntArray:
    """(D, N) day on which each customer came, as it is known in the evening of each day."""
    first_purchase: BoolArray = (_bought(run) != 0) & (run.stage[:-1] == _ACQUISITION)
    joined = np.tile(run.joined, (run.n_days, 1))
    for day, row in np.argwhere(first_purchase):
        joined[day:, row] = day
    return joined
