"""Make every stored decision again from the bundle and the log, and compare it bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from msgspec import Struct

from nba.bundle import bundle_digest, load_bundle, posterior_bytes
from nba.snapshot import Snapshot
from serving.binding import check_bound
from serving.body import decode_body, requested_of
from serving.evidence import Folder
from serving.learner import BATCH
from serving.ledger import DecisionRow, Reader, open_reader

SHOWN = 20  # mismatches named in the report; all are counted


class ReplayReport(Struct, frozen=True, kw_only=True):
    """What a replay found; `mismatched` names the first decisions that did not come out the same."""

    bundle_digest: str
    counts: dict[str, int]
    decisions: int
    snapshots: int
    mismatches: int
    mismatched: list[str]
    last_seq: int
    posterior_sha256: str


def replay(bundle: Path, store: str) -> ReplayReport:
    """Fold the whole log from the bundle, and decide again at each posterior that ever decided.

    The store may be in use: what is committed after the start may or may not be seen.
    """
    base, digest = load_bundle(bundle), bundle_digest(bundle)
    reader = open_reader(store)
    try:
        check_bound(reader, digest)
        return _Replay(base.at(base.posterior, 0), reader).report(digest)
    finally:
        reader.close()


class _Replay:
    def __init__(self, base: Snapshot, reader: Reader) -> None:
        self._base, self._reader = base, reader
        self._folder = Folder(base)

    def report(self, digest: str) -> ReplayReport:
        decisions = snapshots = 0
        mismatched: list[str] = []
        snapshot: Snapshot | None = None
        for row in self._rows():
            if snapshot is None or snapshot.posterior_seq != row.posterior_seq:
                self._fold_to(row.posterior_seq)
                snapshot = self._base.at(self._folder.posterior, row.posterior_seq, self._folder.outcomes)
                snapshots += 1
            decisions += 1
            if not _is_same(row, snapshot):
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
            last_seq=self._folder.seq,
            posterior_sha256=sha256(learnt).hexdigest(),
        )

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


def _is_same(row: DecisionRow, snapshot: Snapshot) -> bool:
    body = decode_body(row.body)
    requested = requested_of(body, snapshot.strategy.catalogue)
    again = snapshot.decide_one(body.context, row.decision_id, body.limit, requested)
    return again == body.decision
