"""Retention by time: whom old decisions were about is forgotten, what they taught stays."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from nba.bundle import bundle_digest, load_bundle
from nba.errors import require
from serving.binding import check_bound
from serving.body import redacted
from serving.ledger import open_ledger
from serving.ledger.erasure import Retained
from serving.ledger.records import to_micros

_LONGEST_DAYS = 36_500.0


def retain(bundle: Path, store: str, days: float, now: datetime) -> Retained:
    """Write every decision anew whose feedback ended more than `days` ago and of which nothing is watched.

    Refuses what the rules of the bundle's strategy still look back on: limits would forget contacts.
    """
    strategy = load_bundle(bundle).strategy
    rule = f"must be at least the {strategy.lookback_days:g} days that the strategy's rules look back"
    require(strategy.lookback_days <= days <= _LONGEST_DAYS, "retain", "--days", f"{rule}, got {days:g}")
    ledger = open_ledger(store, must_exist=True)
    try:
        reader = ledger.reader()
        check_bound(reader, bundle_digest(bundle))
        reader.close()
        before, at = to_micros(now - timedelta(days=days)), to_micros(now)
        decisions = events = last = 0
        while (found := ledger.retain(before, last, at, "nba retain", redacted).result()).decisions:
            decisions, events, last = decisions + found.decisions, events + found.events, found.last
        return Retained(decisions=decisions, events=events, last=last)
    finally:
        ledger.close()
