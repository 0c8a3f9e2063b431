"""Packed rows in Redis: which key holds which value, and whether a value is a row. Opens no connection.

The format of the Redis feature store, written by publishing and read by serving:

    fulcrum:<encoder fingerprint>:generation    names the last publishing that changed something
    fulcrum:<encoder fingerprint>:u:<id>        a user
    fulcrum:<encoder fingerprint>:i:<id>        an item

The generation is written last: where it stands, all rows of the first publishing stand, too. A row is a
format byte, 8 bytes of checksum and the record of `model.packed`. The checksum (XXH3-64) spans key and
record, so that a truncated or overwritten value, a row under a foreign key and an answer to another question
are seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from model.encoding import Encoder
from model.packed import PackedLayout, TableName

__all__ = ["RedisTable", "generation_key"]

_FORMAT = b"\x01"
_HEADER = 9


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

    def values(self, keys: Sequence[bytes], records: npt.NDArray[np.void]) -> list[bytes]:
        """What to store under each key."""
        raw, width = records.tobytes(), self._dtype.itemsize
        values = []
        for place, key in enumerate(keys):
            row = raw[place * width : (place + 1) * width]
            values.append(_FORMAT + xxhash.xxh3_64_digest(key + row) + row)
        return values

    def row(self, key: bytes, value: Any) -> bytes | None:
        """The record in a value as it was read, None where it is no sound row of this key."""
        if not isinstance(value, bytes) or len(value) != self._size:
            return None
        row = value[_HEADER:]
        return row if value[:_HEADER] == _FORMAT + xxhash.xxh3_64_digest(key + row) else None

    def records(self, rows: Sequence[bytes]) -> npt.NDArray[np.void]:
        """Rows as records: [R]."""
        if not rows or not self._dtype.itemsize:
            return np.zeros(len(rows), self._dtype)
        return np.frombuffer(b"".join(rows), self._dtype)
