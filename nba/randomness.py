"""Counter-based random numbers: a number belongs to its key, never to a generator's past.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011). Because a uniform is a pure function of
(seed, purpose, id, day, block), results do not depend on order, sharding or worker count, and two
strategies meet the same noise.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nba.arrays import FloatArray, IntArray, KeyArray
from nba.kernels import compiled

_MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], dtype=np.uint64)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_ID_BYTES = 7
_FEW = 16  # keys, of which each is faster alone
_CHUNK = 8_192  # customers whose words stay in the cache between two rounds


class Purpose(IntEnum):
    """What a random number is for; the top byte of the second counter word."""

    DECISION = 1
    POPULATION = 2
    LIFE_CYCLE = 3
    ORGANIC = 4
    DELIVERY = 5
    ENGAGEMENT = 6
    CONVERSION = 7
    OPT_OUT = 8
    COMPLAINT = 9
    PROBE = 10
    MARKET = 11
    DAY = 12
    CONTACT = 13
    EVENT = 14
    DROP_OUT = 15
    REFERRAL = 16
    RESALE = 17
    BOOTSTRAP = 18
    MEMBER = 19
    AMOUNT = 20
    EXPOSURE = 21
    LOTTERY = 30


def philox4x32(counter: NDArray[np.uint32], key: tuple[int, int], rounds: int = 10) -> NDArray[np.uint32]:
    """Philox4x32 of counters (n, 4) under one key of two 32-bit words; returns (n, 4) words."""
    words = np.empty((4, counter.shape[0]), dtype=np.uint32)  # column by column, as they are read
    for start in range(0, counter.shape[0], _CHUNK):
        part = slice(start, start + _CHUNK)
        _mix(counter[part].T.astype(np.uint64), key, rounds, words[:, part])
    return words.T


def _mix(counter: NDArray[np.uint64], key: tuple[int, int], rounds: int, words: NDArray[np.uint32]) -> None:
    """Write the words (4, n) of one chunk's counters (4, n): nothing is allocated between rounds."""
    c0, c1, c2, c3 = counter
    left, right = np.empty_like(c0), np.empty_like(c0)
    k0, k1 = key
    for _ in range(rounds):
        np.multiply(c0, _MULTIPLIERS[0], out=left)
        np.multiply(c2, _MULTIPLIERS[1], out=right)
        np.right_shift(right, _SHIFT, out=c0)
        c0 ^= c1
        c0 ^= np.uint64(k0)
        np.right_shift(left, _SHIFT, out=c2)
        c2 ^= c3
        c2 ^= np.uint64(k1)
        np.bitwise_and(right, _LOW, out=c1)
        np.bitwise_and(left, _LOW, out=c3)
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    words[:] = counter


def keyed_words(
    seed: int, purpose: int, ids: IntArray | KeyArray, day: int = 0, block: int = 0
) -> NDArray[np.uint32]:
    """(n, 4) random 32-bit words for each id (n,) below 2^56: one Philox block, the key's own."""
    counter = np.empty((4, ids.size), dtype=np.uint32)
    counter[:2] = _id_words(ids.astype(np.uint64, copy=False), purpose)
    counter[2:] = [[day], [block]]
    return philox4x32(counter.T, _key(seed))


def keyed_uniforms(
    seed: int, purpose: int, ids: ArrayLike, day: int | NDArray[Any] = 0, block: int | NDArray[Any] = 0
) -> FloatArray:
    """One uniform in [0, 1) with 53 bits for each id; `ids`, `day` and `block` broadcast to one shape.

    ids are integers below 2^56 (customers, or `decision_keys`), day and block below 2^32.
    """
    ids = np.asarray(ids, dtype=np.uint64)
    if isinstance(day, int) and isinstance(block, int):
        kernels = compiled("randomness")
        if kernels is not None:
            found: FloatArray = kernels.uniforms(seed, int(purpose), ids, day, block)
            return found
        if ids.size <= _FEW:
            few = [one_uniform_python(seed, int(purpose), one, day, block) for one in ids.ravel().tolist()]
            return np.array(few, dtype=np.float64).reshape(ids.shape)
    ids, day, block = np.broadcast_arrays(
        ids, np.asarray(day, dtype=np.uint32), np.asarray(block, dtype=np.uint32)
    )
    counter = np.empty((4, ids.size), dtype=np.uint32)
    counter[:2] = _id_words(ids.ravel(), purpose)
    counter[2:] = day.ravel(), block.ravel()
    words = philox4x32(counter.T, _key(seed))
    return words_to_uniforms(words).reshape(ids.shape)


def one_uniform_python(seed: int, purpose: int, one: int, day: int, block: int) -> float:
    """The uniform of one key in Python's own integers: a thirtieth of the time of ten rounds of NumPy."""
    low = 0xFFFFFFFF
    c0, c1, c2, c3 = one & low, ((one >> 32) & 0xFFFFFF) | purpose << 24, day, block
    for k0, k1 in _round_keys(seed):
        left, right = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (right >> 32) ^ c1 ^ k0, right & low, (left >> 32) ^ c3 ^ k1, left & low
    return ((c0 >> 5) * 2.0**26 + (c1 >> 6)) / 2.0**53


def words_to_uniforms(words: NDArray[np.uint32]) -> FloatArray:
    """(n,) uniforms in [0, 1) with 53 bits, of the first two words of blocks (n, 4) or (n, 2)."""
    high = words[:, 0].astype(np.uint64) >> np.uint64(5)  # 27 bits
    low = words[:, 1].astype(np.uint64) >> np.uint64(6)  # 26 bits
    uniforms: FloatArray = (high.astype(np.float64) * 2.0**26 + low.astype(np.float64)) / 2.0**53
    return uniforms


def decision_keys(decision_ids: list[str] | NDArray[np.object_]) -> KeyArray:
    """(B,) 56-bit keys of decision ids; the same id gives the same key everywhere."""
    digests = [blake2b(str(one).encode(), digest_size=8).digest()[:_ID_BYTES] for one in decision_ids]
    return np.array([int.from_bytes(digest, "little") for digest in digests], dtype=np.uint64)


def draw_generator(seed: int, version: int) -> np.random.Generator:
    """The generator of a snapshot's posterior draws: fixed by (seed, version), fresh at each call."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, version], dtype=np.uint64)))


def _id_words(ids: KeyArray, purpose: int) -> tuple[KeyArray, KeyArray]:
    """The counter's words of ids (n,): 56 bits of the id, and the purpose above them."""
    return ids & _LOW, ((ids >> _SHIFT) & np.uint64(0xFFFFFF)) | np.uint64(int(purpose) << 24)


def _key(seed: int) -> tuple[int, int]:
    return seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF


@lru_cache(maxsize=64)
def _round_keys(seed: int) -> tuple[tuple[int, int], ...]:
    """The keys of the ten rounds."""
    first, second = _key(seed)
    return tuple(
        ((first + n * _WEYL[0]) & 0xFFFFFFFF, (second + n * _WEYL[1]) & 0xFFFFFFFF) for n in range(10)
    )
