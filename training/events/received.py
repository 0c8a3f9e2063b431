"""Received: feedback copied out of its database, by the hour of the exposure that it belongs to.

The database is in the order of receipt and knows no exposures. Each join copies what is new, sorted by exposure,
so that a slice reads little more than its own:

FOLDER/YYYY-MM-DDTHH/<first row>-<last row>-<newest receipt>.parquet
FOLDER/later.parquet                          what belongs to no hour that there is yet

After an interruption a row may lie in two copies; it is read once. Joins nothing.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from model.errors import FulcrumError
from model.events.folder import HOUR_MS, EventFolder, hour_name
from model.files import fresh_file
from training.events.sources import id_time

CHUNK_ROWS = 250_000
"""Rows that are copied at once: 100 MiB."""
MOST_PARTS = 8
"""Copies of an hour from which they are put together."""
_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("exposure_id", pa.string()),
        ("item_id", pa.string()),
        ("kind", pa.string()),
        ("value", pa.float64()),
        ("time_ms", pa.int64()),
        ("received_ms", pa.int64()),
    ]
)
_SELECT = (
    "SELECT rowid, exposure_id, item_id, kind, value, time_ms, received_ms FROM feedback "
    "WHERE rowid > ? AND rowid <= ? ORDER BY rowid LIMIT ?"
)
_WRITING = {"compression": "zstd", "compression_level": 1, "store_schema": False}
_GROUP_ROWS = 16_384


class FeedbackDatabase:
    """The database of feedback, read while others write to it: no reading holds it for long.

    Args:
        path: of the file.

    Raises:
        FulcrumError: from every method, where it is damaged or of another version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def state(self) -> tuple[int, int]:
        """Number of its last row, 0 where there is none, and of deletions so far."""
        if not self._path.exists():
            return 0, 0
        with self._open() as database:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, 1):
                raise FulcrumError(f"{self._path}: of version {version}, expected 1; use a newer Fulcrum")
            last = database.execute("SELECT max(rowid) FROM feedback").fetchone()[0] if _has(database, "feedback") else 0
            deletions = database.execute("SELECT count(*) FROM deletions").fetchone()[0] if _has(database, "deletions") else 0
            return last or 0, deletions

    def rows(self, after: int, last: int) -> Iterator[pa.Table]:
        """Rows by number, in chunks."""
        while after < last:
            with self._open() as database:
                rows = database.execute(_SELECT, (after, last, CHUNK_ROWS)).fetchall()
            if not rows:
                return
            after = rows[-1][0]
            arrays = [pa.array(values, field.type) for values, field in zip(zip(*rows, strict=True), _SCHEMA, strict=True)]
            yield pa.Table.from_arrays(arrays, schema=_SCHEMA)

    def delete(self, now_ms: int, condition: str, parameters: ...) -> int:
        ...
