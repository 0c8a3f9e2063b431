"""Key index: from string keys to row numbers by sorted 64-bit hashes. Knows nothing of what the rows hold.

Two arrays and a binary search: 16 bytes a key, memory-mappable and shared between workers, where a dict
of a million ids takes over 100 MB in each. Keys are hashed by XXH3-64. Building refuses a collision; a
foreign key that collides with a known one (about 1 in 10^13 at a million keys) would be taken for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
import xxhash

from model.errors import FulcrumError


def hash_key(key: str) -> int:
    """XXH3-64 of the key's UTF-8 bytes; lone surrogates hash as they stand."""
    return xxhash.xxh3_64_intdigest(key.encode("utf-8", "surrogatepass"))


def hash_keys(keys: Sequence[str]) -> npt.NDArray[np.uint64]:
    """`hash_key` of each: [K]."""
    try:
        return np.fromiter(map(xxhash.xxh3_64_intdigest, map(str.encode, keys)), np.uint64, count=len(keys))
    except UnicodeEncodeError:  # a lone surrogate
        return np.fromiter(map(hash_key, keys), np.uint64, count=len(keys))


class KeyIndex:
    """Finds row numbers of keys.

    Attributes:
        hashes: sorted hashes, uint64 [K].
        rows: row number of each hash, int64 [K].
    """

    def __init__(self, hashes: npt.NDArray[np.uint64], rows: npt.NDArray[np.int64]) -> None:
        self.hashes = hashes
        self.rows = rows

    @classmethod
    def build(cls, keys: Sequence[str]) -> Self:
        """Index `keys` by their position.

        Raises:
            FulcrumError: a key stands twice, or two keys share a hash.
        """
        hashes = hash_keys(keys)
        order = np.argsort(hashes, kind="stable")
        hashes = hashes[order]
        clash = np.flatnonzero(hashes[1:] == hashes[:-1])
        if clash.size:
            first, second = (keys[int(order[clash[0] + step])] for step in (0, 1))
            raise FulcrumError(f"keys {first!r} and {second!r} are the same or share a hash; keys are unique")
        return cls(hashes, order.astype(np.int64))

    def __len__(self) -> int:
        return len(self.hashes)

    def find(self, keys: Sequence[str]) -> npt.NDArray[np.int64]:
        """Row number of each key, -1 where it is unknown: [len(keys)]."""
        return self.find_hashes(hash_keys(keys))

    def find_hashes(self, wanted: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Row number of each hash, -1 where it is unknown."""
        if not len(self.hashes):
            return np.full(len(wanted), -1, np.int64)
        place = np.minimum(np.searchsorted(self.hashes, wanted), len(self.hashes) - 1)
        return np.where(self.hashes[place] == wanted, self.rows[place], -1)
