"""Packed rows in Redis: which key holds which value, and whether a value is a row. Opens no connection.

The format of the Redis feature store, written by publishing and read by serving:

    fulcrum:<encoder fingerprint>:generation    names the last publishing that changed something
    fulcrum:<encoder fingerprint>:u:<id>        a user
    fulcrum:<encoder fingerprint>:i:<id>        an item

The generation is written last: where it stands, all rows of the first publishing stand, too. A row is a
format byte, 8 bytes of checksum and the record of `model.store.packed`. The checksum (XXH3-64) spans key and
record, so that a truncated or overwritten value, a row under a foreign key and an answer to another question
are seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import add
from typing import cast

import numpy as np
import numpy.typing as npt
import xxhash

from model.encoding import Encoder
from model.store.packed import PackedLayout, TableName

_FORMAT = b"\x01"
_HEADER = 9
_HEADER_DTYPE = np.dtype([("format", "u1"), ("checksum", ">u8")])
_checksum = xxhash.xxh3_64_intdigest


def generation_key(encoder: Encoder) -> bytes:
    """The key that says that this encoder's rows are there."""
    return f"fulcrum:{encoder.fingerprint}:generation".encode()


class RedisTable:
    """One table of one encoder: ids to keys, records to values and back."""

    def __init__(self, encoder: Encoder, table: TableName) -> None:
        self._dtype = PackedLayout.of(encoder, table).dtype
        self._prefix = f"fulcrum:{encoder.fingerprint}:{'u' if table == 'users' else 'i'}:".encode()
        self._size = _HEADER + self._dtype.itemsize

    def key(self, entity: str) -> bytes:
        """The key of an id."""
        return self._prefix + entity.encode("utf-8", "surrogatepass")

    def keys(self, entities: Sequence[str]) -> list[bytes]:
        """The key of each."""
        prefix = self._prefix
        try:
            return [prefix + name for name in map(str.encode, entities)]
        except UnicodeEncodeError:  # a lone surrogate
            return list(map(self.key, entities))

    def values(self, keys: Sequence[bytes], records: npt.NDArray[np.void]) -> list[bytes]:
        """What to store under each key."""
        raw, width = records.tobytes(), self._dtype.itemsize
        values = []
        for place, key in enumerate(keys):
            row = raw[place * width : (place + 1) * width]
            values.append(_FORMAT + xxhash.xxh3_64_digest(key + row) + row)
        return values

    def read(
        self, keys: Sequence[bytes], values: Sequence[bytes | None]
    ) -> tuple[npt.NDArray[np.void], npt.NDArray[np.int64]]:
        """The sound rows among values as they were read.

        Args:
            keys: that were asked for [K].
            values: theirs, None where there is none [K].

        Returns:
            Records, and where each key's stands among them, -1 where its value is no sound row of it: [K].
        """
        places = np.full(len(keys), -1, np.int64)
        fitting = [
            place for place, value in enumerate(values) if value is not None and len(value) == self._size
        ]
        if not fitting:
            return np.zeros(0, self._dtype), places
        keys, whole = [keys[place] for place in fitting], [cast(bytes, values[place]) for place in fitting]
        rows = [value[_HEADER:] for value in whole]
        headers = np.frombuffer(b"".join([value[:_HEADER] for value in whole]), _HEADER_DTYPE)
        checksums = np.fromiter(map(_checksum, map(add, keys, rows)), np.uint64, len(rows))
        sound = (headers["format"] == _FORMAT[0]) & (headers["checksum"] == checksums)
        places[fitting] = np.where(sound, np.arange(len(rows)), -1)
        if not self._dtype.itemsize:
            return np.zeros(len(rows), self._dtype), places
        return np.frombuffer(b"".join(rows), self._dtype), places
