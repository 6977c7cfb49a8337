"""One writer per store: a lock on a file beside it, which the kernel releases when the process dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from serving.ledger.store import LedgerError, StoreLocked


class WriterLock:
    """An exclusive lock on `<store>.writer.lock`; raises StoreLocked when another writer has it."""

    def __init__(self, store: Path) -> None:
        self._path = store.with_name(store.name + ".writer.lock")
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise LedgerError(f"{str(self._path)!r} cannot be written: {error.strerror}.") from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            raise StoreLocked(
                f"The store {str(store)!r} already has a writer (process {holder}). A store takes one "
                "service process: stop that one, or give this one another --store."
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, str(os.getpid()).encode("ascii"))

    def release(self) -> None:
        """Give the lock up; a second time does nothing."""
        # The file stays: removing it would let two writers lock two files of one name.
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
