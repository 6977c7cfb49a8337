"""A bundle judged on our own ledger: every decision made again in the context that it was made in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from experiments.evaluation.names import Rows
from experiments.evaluation.own import BODY, POSTERIOR, Body
from experiments.evaluation.stored import Stored
from experiments.evaluation.survey import floats_of
from experiments.tables.read import Table
from nba.arrays import BoolArray, FloatArray
from nba.bundle import bundle_digest, load_bundle
from nba.catalogue import NO_ACTION, Catalogue
from nba.errors import InvalidConfig, NBAError
from nba.snapshot import Snapshot

_SAME = 1e-9  # of a propensity that is made again


class OfLedger(NamedTuple):
    """A policy bundle, asked in the contexts of a ledger."""

    snapshot: Snapshot
    is_own: bool  # whether the ledger was begun with this very bundle
    columns: tuple[str, ...] = (BODY, POSTERIOR)
    is_whole: bool = True

    @property
    def labels(self) -> tuple[str, ...]:
        """All actions of its catalogue."""
        return self.snapshot.strategy.catalogue.action_ids

    def of(self, rows: Rows) -> FloatArray:
        """(n, A) probabilities."""
        return self.distribution(rows.table, rows.labels)

    def distribution(self, table: Table, labels: Sequence[str]) -> FloatArray:
        """(n, A) probabilities by labels (A,), among the actions that each request left."""
        bodies = [msgspec.json.decode(text, type=Body) for text in table.columns[BODY].to_pylist()]
        strategy = self.snapshot.strategy
        contexts = strategy.encode([body.context for body in bodies])
        requested = np.stack([_requested(body, strategy.catalogue) for body in bodies])
        place = {label: number for number, label in enumerate(labels)}
        target = np.zeros((table.n_rows, len(labels)))
        target[:, [place[label] for label in self.labels]] = self.snapshot.action_distribution(
            contexts, requested
        )
        return target

    def strays(self, table: Table, chances: FloatArray, propensities: FloatArray) -> BoolArray:
        """(n,) decisions of this very bundle, before it learnt, whose logged propensity is another one.

        chances are those it gives the chosen actions now. Decisions of later posteriors are made again by
        `nba replay`, which learns as the service did.
        """
        if not self.is_own:
            return np.zeros(table.n_rows, dtype=np.bool_)
        before = floats_of(table.columns[POSTERIOR]) == 0.0
        strays: BoolArray = before & ~(np.abs(chances - propensities) <= _SAME)
        return strays


def ledger_target(path: Path, log: Stored) -> OfLedger:
    """The bundle in a folder; InvalidConfig where the ledger's contexts are not what it asks for."""
    target = OfLedger(load_bundle(path), bundle_digest(path) == log.bundle)
    _, first = next(log.read(log.parts[0], target.columns, (BODY,), 1))
    try:
        target.distribution(first, target.labels)
    except NBAError as error:
        rule = f"cannot decide in the contexts of {log.source}: {error}"
        raise InvalidConfig(str(path), "--target", rule) from None
    return target


def _requested(body: Body, catalogue: Catalogue) -> BoolArray:
    """(A,) the actions that a request leaves; no-contact always is one."""
    left = np.ones(catalogue.n_actions, dtype=np.bool_)
    if body.channels is not None:
        left &= np.isin(catalogue.channel_of, [catalogue.level("channel", one) for one in body.channels])
    if body.candidates is not None:
        left &= _named(catalogue, body.candidates)
    left &= ~_named(catalogue, body.exclude)
    left[NO_ACTION] = True
    return left


def _named(catalogue: Catalogue, names: Sequence[str]) -> BoolArray:
    """(A,) actions by their ids, or all of a product."""
    hit = np.zeros(catalogue.n_actions, dtype=np.bool_)
    products = {product.name for product in catalogue.products}
    for name in names:
        if name in products:
            hit |= catalogue.product_of == catalogue.level("product", name)
        else:
            hit[catalogue.row_of(name)] = True
    return hit
