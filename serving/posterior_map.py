"""The learner's beliefs for other processes of a host: two slots of a file that all of them share.

The learner is the only writer. It fills the slot that is not in use - body, then header with generation,
length and checksum - and then turns the word at the front to it. Readers trust no slot whose checksum does
not hold, so a writer that is killed at any step, a bit that flips and a file that is cut short leave them
with what the other slot holds, with what they had, or with the posterior saved in the store (`Follower`).

Slots are read and written by position, through the page cache: the memory that a mapping would show. A
mapped page that a cut file lost would end its reader with SIGBUS; a read of it is short, and refused.
On /dev/shm the bytes never touch a disk (design/serving.md 4.4).
"""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from nba.bundle import (
    bundle_digest,
    load_bundle,
    outcomes_from_bytes,
    posterior_bytes,
    posterior_from_bytes,
)
from nba.errors import BundleError, InvalidConfig, NBAError
from nba.snapshot import Snapshot
from serving.binding import check_bound
from serving.failpoints import failpoint
from serving.ledger import open_reader
from serving.ledger.lock import WriterLock
from serving.ledger.store import LedgerError, StoreLocked

MAGIC = b"nbaposts"
_FRONT = Struct("<8sQQ")  # magic, bytes that a slot's body may have, generation in use
_HEADER = Struct("<QQQ32s")  # generation, log position, bytes of the body, digest of the bundle
_CHECK = Struct("<I")  # CRC-32 of header and body
_PREFIX = _HEADER.size + _CHECK.size
_WORD = 16  # where the front's generation is
_TRIES = 3  # of a reader that the writer overtakes; then it keeps what it had


class Beliefs(NamedTuple):
    """A posterior as it was published: the log position it stands for, its bundle and its bytes."""

    generation: int
    posterior_seq: int
    bundle_digest: str
    posterior: bytes


class PosteriorMap:
    """The writing end; InvalidConfig where another process writes the file, or it cannot be written.

    Every opening begins a file of its own, which takes the place of an earlier one with its first beliefs
    in it; readers notice by the file's identity. So does one that grew beyond its slots.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._descriptor, self._capacity, self._generation = path, -1, 0, 0
        try:
            self._lock = WriterLock(path)
        except StoreLocked:
            rule = f"{str(path)!r} is written by another service: name another file"
            raise InvalidConfig("settings", "posterior_map", rule) from None
        except LedgerError as error:
            raise InvalidConfig("settings", "posterior_map", str(error)) from None

    def publish(self, posterior_seq: int, digest: str, posterior: bytes) -> None:
        """Show beliefs to all readers; those who read meanwhile see these or the ones before."""
        self._generation += 1
        header = _HEADER.pack(self._generation, posterior_seq, len(posterior), bytes.fromhex(digest))
        if self._descriptor < 0 or len(posterior) > self._capacity:
            self._begin(header, posterior)
        else:
            self._fill(header, posterior)
            failpoint("map.before_flip")
            self._write(self._generation.to_bytes(8, "little"), _WORD)
        failpoint("map.after_flip")

    def close(self) -> None:
        """Release the file, which stays: readers go on with what it shows."""
        self._leave()
        self._lock.release()

    def _leave(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _begin(self, header: bytes, posterior: bytes) -> None:
        """A new file with twice the room, put in place when it holds its first beliefs."""
        fresh = self._path.with_name(self._path.name + ".new")
        self._leave()
        self._capacity = 2 * len(posterior)
        self._descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(self._descriptor, 0, _offset(2, self._capacity))  # a full disk is told here
            self._write(_FRONT.pack(MAGIC, self._capacity, self._generation), 0)
            self._fill(header, posterior)
            failpoint("map.before_replace")
            os.replace(fresh, self._path)
        except OSError:
            self._leave()  # the next publication begins again: nobody would see what is written to this one
            raise

    def _fill(self, header: bytes, posterior: bytes) -> None:
        """The slot that is not in use: void while it changes, and its header last."""
        at, half = _offset(self._generation % 2, self._capacity), len(posterior) // 2
        self._write(bytes(_PREFIX), at)
        failpoint("map.before_body")
        self._write(posterior[:half], at + _PREFIX)
        failpoint("map.in_body")
        self._write(posterior[half:], at + _PREFIX + half)
        failpoint("map.before_header")
        self._write(header + _CHECK.pack(crc32(posterior, crc32(header))), at)

    def _write(self, data: bytes, at: int) -> None:
        done = 0
        while done < len(data):
            done += os.pwrite(self._descriptor, data[done:], at + done)


class PosteriorReader:
    """The reading end, in any number of processes; it waits for nobody and writes nothing."""

    def __init__(self, path: Path) -> None:
        self._path, self._descriptor, self._file = path, -1, (0, 0)
        self._last: Beliefs | None = None

    def newest(self) -> Beliefs | None:
        """The newest beliefs whose checksum holds, never older than the last ones of the same file.

        None: there is no file, or neither slot of it holds - take the posterior saved in the store.
        """
        try:
            is_same = self._opened()
        except OSError:
            return None
        word = os.pread(self._descriptor, 8, _WORD)
        last = self._last if is_same else None
        if last is not None and int.from_bytes(word, "little") == last.generation:
            return last
        for _ in range(_TRIES):
            found = max(filter(None, map(self._slot, (0, 1))), default=last)
            if found is not None and (last is None or found.generation >= last.generation):
                self._last = found
                return found
        return last

    def close(self) -> None:
        """Release the file; a second time does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _opened(self) -> bool:
        """Open what is at the path now; whether it is the file of the last time."""
        there = os.stat(self._path)
        if self._descriptor >= 0 and (there.st_dev, there.st_ino) == self._file:
            return True
        self.close()
        self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        opened = os.fstat(self._descriptor)  # it may have been replaced since
        self._file, self._last = (opened.st_dev, opened.st_ino), None
        return False

    def _slot(self, number: int) -> Beliefs | None:
        """What a slot holds, if all of it is there and belongs together."""
        front = os.pread(self._descriptor, _FRONT.size, 0)
        if len(front) < _FRONT.size or not front.startswith(MAGIC):
            return None
        capacity = _FRONT.unpack(front)[1]
        size = os.fstat(self._descriptor).st_size
        if size != _offset(2, capacity):
            return None
        at = _offset(number, capacity)
        prefix = os.pread(self._descriptor, _PREFIX, at)
        if len(prefix) < _PREFIX:
            return None
        generation, seq, length, digest = _HEADER.unpack_from(prefix)
        if not 0 < length <= capacity:
            return None
        body = os.pread(self._descriptor, length, at + _PREFIX)
        (check,) = _CHECK.unpack_from(prefix, _HEADER.size)
        is_whole = len(body) == length and crc32(body, crc32(prefix[: _HEADER.size])) == check
        # A checksum can hold by chance, once in four thousand million; that nothing moved meanwhile cannot.
        if not is_whole or os.pread(self._descriptor, _PREFIX, at) != prefix:
            return None
        return Beliefs(generation, seq, digest.hex(), body)


class Follower:
    """What a running service believes, in another process: by its map on this host, else by its store.

    The store's posterior is saved from time to time (`Settings.save_seconds`), so another host is behind
    by up to that. Beliefs only: prices and budgets stay with the service, which alone decides.
    """

    def __init__(self, bundle: Path, store: str, posterior_map: Path | None = None) -> None:
        self._base, self._digest = load_bundle(bundle), bundle_digest(bundle)
        self._ledger = open_reader(store)
        self._map = None if posterior_map is None else PosteriorReader(posterior_map)
        try:
            check_bound(self._ledger, self._digest)
        except NBAError:
            self.close()
            raise
        self._newest = self._base.at(self._base.posterior, 0)

    def snapshot(self) -> Snapshot:
        """The newest beliefs there are; positions never go back."""
        shown = None if self._map is None else self._map.newest()
        if shown is not None and shown.bundle_digest == self._digest:
            self._take(shown.posterior_seq, shown.posterior)
            return self._newest
        for saved in self._ledger.saved_posteriors():
            if sha256(saved.posterior).hexdigest() == saved.sha256 and self._take(
                saved.last_seq, saved.posterior
            ):
                break
        return self._newest

    def close(self) -> None:
        """Release map and store."""
        self._ledger.close()
        if self._map is not None:
            self._map.close()

    def _take(self, seq: int, blob: bytes) -> bool:
        """Go on to a posterior if it is newer; False where it cannot be read."""
        if seq > self._newest.posterior_seq:
            try:
                strategy = self._base.strategy
                outcomes = outcomes_from_bytes(blob, strategy)
                self._newest = self._base.at(posterior_from_bytes(blob, strategy), seq, outcomes)
            except BundleError:
                return False
        return True


def show(shared: PosteriorMap, snapshot: Snapshot, digest: str) -> None:
    """Publish a snapshot's beliefs, under the digest of its bundle."""
    shared.publish(snapshot.posterior_seq, digest, posterior_bytes(snapshot.posterior, snapshot.outcomes))


def _offset(slot: int, capacity: int) -> int:
    """Where a slot begins; slot 2 is the file's end."""
    return _FRONT.size + slot * (_PREFIX + capacity)
