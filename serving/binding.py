"""What a store is bound to: the bundle whose policy wrote it, and the way in which its log teaches."""

from __future__ import annotations

from serving.ledger import Ledger, LedgerError, Reader

BUNDLE_KEY = "bundle_digest"
EVIDENCE_KEY, EVIDENCE = "evidence", "moments"  # exposure is told at a moment of its interval


def bind(ledger: Ledger, digest: str) -> None:
    """Bind a new store to a bundle; raise LedgerError if it belongs to another, or teaches otherwise."""
    bundle = ledger.bind(BUNDLE_KEY, digest).result()
    _check(bundle, ledger.bind(EVIDENCE_KEY, EVIDENCE).result(), digest)


def check_bound(reader: Reader, digest: str) -> None:
    """Raise LedgerError unless a store was written under a bundle and teaches as this version reads it."""
    _check(reader.meta(BUNDLE_KEY), reader.meta(EVIDENCE_KEY), digest)


def _check(bundle: str | None, evidence: str | None, digest: str) -> None:
    if bundle != digest:
        raise LedgerError(
            f"The store was written under bundle {(bundle or 'none')[:12]}, not {digest[:12]}: its log "
            "belongs to that policy. Name that bundle again, or start the new one on a new --store."
        )
    if evidence != EVIDENCE:
        raise LedgerError(
            f"The store's exposure was told at {evidence or 'interval ends'}, by an older nba; this one "
            f"tells it at {EVIDENCE} inside the intervals and would make other posteriors of it. Use the "
            "nba that wrote the store, or start a new --store."
        )
