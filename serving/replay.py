"""Make every stored decision again from the bundle and the log, and compare it bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from msgspec import Struct, structs

from nba.bundle import bundle_digest, load_bundle, posterior_bytes
from nba.snapshot import Snapshot
from serving.arms import Way, Ways, stored_ways
from serving.binding import check_bound
from serving.body import DecisionBody, decode_body, requested_of
from serving.chain import Anchor, ChainReport, verify
from serving.evidence import Folder
from serving.learner import BATCH
from serving.ledger import DecisionRow, Reader, open_reader
from serving.pricing import Priced, at_prices, replayed

SHOWN = 20  # mismatches named in the report; all are counted


class ReplayReport(Struct, frozen=True, kw_only=True):
    """What a replay found; `mismatched` names the first decisions that did not come out the same.

    Of decisions that were `erased` the log no longer says what they knew: they are not made again.
    """

    bundle_digest: str
    counts: dict[str, int]
    decisions: int
    snapshots: int
    mismatches: int
    mismatched: list[str]
    erased: int
    receipts: ChainReport
    last_seq: int
    posterior_sha256: str


def replay(bundle: Path, store: str, anchor: Anchor | None = None) -> ReplayReport:
    """Verify the receipts, fold the whole log from the bundle, decide again at each posterior that decided.

    The store may be in use: what is committed after the start may or may not be seen.
    """
    base, digest = load_bundle(bundle), bundle_digest(bundle)
    reader = open_reader(store)
    try:
        check_bound(reader, digest)
        return _Replay(base.at(base.posterior, 0), reader).report(digest, verify(reader, anchor))
    finally:
        reader.close()


class _Replay:
    def __init__(self, base: Snapshot, reader: Reader) -> None:
        self._base, self._reader = base, reader
        self._folder, self._known_ways = Folder(base), dict[str, Ways]()

    def report(self, digest: str, receipts: ChainReport) -> ReplayReport:
        decisions = snapshots = n_erased = 0
        snapshot: Snapshot | None = None
        state: Priced | None = None  # of the snapshot's prices
        mismatched, prices = self._prices()
        erased = self._reader.erased("decision")
        for row in self._rows():
            if snapshot is None or snapshot.posterior_seq != row.posterior_seq:
                self._fold_to(row.posterior_seq)
                snapshot = self._base.at(self._folder.posterior, row.posterior_seq, self._folder.outcomes)
                snapshots, state = snapshots + 1, None
            decisions += 1
            body = decode_body(row.body)
            version = body.decision.price_version
            if version in prices and prices[version] is not state:
                state = prices[version]
                snapshot = at_prices(snapshot, state)
            chooser = self._ways(body.arms).snapshot(snapshot, Way(body.role, body.direction))
            if row.seq in erased:
                n_erased += 1
            elif not _is_same(body, chooser):
                mismatched.append(row.decision_id)
        self._fold_to(None)
        learnt = posterior_bytes(self._folder.posterior, self._folder.outcomes)
        return ReplayReport(
            bundle_digest=digest,
            counts=self._reader.counts(),
            decisions=decisions,
            snapshots=snapshots,
            mismatches=len(mismatched),
            mismatched=mismatched[:SHOWN],
            erased=n_erased,
            receipts=receipts,
            last_seq=self._folder.seq,
            posterior_sha256=sha256(learnt).hexdigest(),
        )

    def _ways(self, arms: str) -> Ways:
        """The ways of decisions that were made under the arms of a digest."""
        if arms not in self._known_ways:
            self._known_ways[arms] = stored_ways(self._reader, self._base.strategy, arms)
        return self._known_ways[arms]

    def _prices(self) -> tuple[list[str], dict[int, Priced]]:
        """Versions of the prices of budgets that the decisions do not make, by name, and all by number."""
        found = list(replayed(self._base.strategy, self._reader))
        wrong = [f"prices:{state.version}" for state, is_same in found if not is_same]
        return wrong, {state.version: state for state, _ in found}

    def _rows(self) -> Iterator[DecisionRow]:
        after = (-1, 0)
        while rows := self._reader.decisions_by_posterior(after, BATCH):
            yield from rows
            after = (rows[-1].posterior_seq, rows[-1].seq)

    def _fold_to(self, seq: int | None) -> None:
        """Fold accepted events up to a log position, or all of them."""
        while events := self._reader.events_after(self._folder.seq, BATCH):
            wanted = [one for one in events if seq is None or one.event.seq <= seq]
            self._folder.fold(wanted)
            if len(wanted) < len(events):
                return


def _is_same(body: DecisionBody, snapshot: Snapshot) -> bool:
    requested = requested_of(body, snapshot.strategy.catalogue)
    again = snapshot.decide_one(body.context, body.decision.decision_id, body.limit, requested)
    if body.decision.best is None:  # an older nba did not tell
        again = structs.replace(again, best=None, forgone=None)
    return again == body.decision
