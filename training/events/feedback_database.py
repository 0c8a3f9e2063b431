"""Feedback database: the service's SQLite file, read and deleted from while the service writes to it.

Nothing here holds it for long. SQLite may give the number of a deleted row to a new one, so that deletions
are counted in a table of their own: a reader of what is new since a row begins again after one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow as pa

from model.errors import FulcrumError
from model.events.feedback_table import VERSION, open_feedback
from model.sqlite_file import writing

CHUNK_ROWS = 250_000
"""Rows that are read at once: 100 MiB."""
_DELETED_ROWS = 25_000
"""Rows of one transaction that deletes: the service waits for it."""
COLUMNS: dict[str, pl.DataType] = {
    "rowid": pl.Int64(),
    "exposure_id": pl.String(),
    "item_id": pl.String(),
    "kind": pl.String(),
    "value": pl.Float64(),
    "time_ms": pl.Int64(),
    "received_ms": pl.Int64(),
}
_SELECT = (
    "SELECT rowid, exposure_id, item_id, kind, value, time_ms, received_ms FROM feedback "
    "WHERE rowid > ? AND rowid <= ? ORDER BY rowid LIMIT ?"
)
_LAST = (
    "SELECT rowid, received_ms, exposure_id, item_id, kind, value FROM feedback "
    "WHERE rowid <= ? ORDER BY rowid DESC LIMIT ?"
)
_LAST_ROWS = 5_000
_PATIENCE_S = 60.0


class FeedbackDatabase:
    """One database of feedback, which may not be there yet. Methods raise FulcrumError where it is damaged.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def state(self) -> tuple[int, int]:
        """Number of its last row, 0 where there is none, and of deletions so far."""
        if not self._path.exists():
            return 0, 0
        with self._reading() as database:
            found = database.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, VERSION):
                raise FulcrumError(f"{self._path}: feedback of version {found}; this program reads {VERSION}")
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
            last, deletions = 0, 0
            if "feedback" in tables:
                last = database.execute("SELECT max(rowid) FROM feedback").fetchone()[0] or 0
            if "deletions" in tables:
                deletions = database.execute("SELECT count(*) FROM deletions").fetchone()[0]
            return last, deletions

    def rows(self, after: int, last: int) -> Iterator[pl.DataFrame]:
        """Rows from after one number to the other, in chunks, in `COLUMNS`."""
        while after < last:
            with self._reading() as database:
                rows = database.execute(_SELECT, (after, last, CHUNK_ROWS)).fetchall()
            if not rows:
                return
            after = rows[-1][0]
            # By Arrow, column by column: four times as fast as row by row.
            arrays = [pa.array(values) for values in zip(*rows, strict=True)]
            yield pl.DataFrame(pl.from_arrow(pa.Table.from_arrays(arrays, list(COLUMNS))))

    def since(self, received_ms: int) -> list[tuple[str, str, str, float]]:
        """`exposure_id, item_id, kind, value` of events received since then, in the order of receipt.

        Reads from the end up to where all was received a minute before.
        """
        found: list[tuple[str, str, str, float]] = []
        before, _ = self.state()
        while before > 0:
            with self._reading() as database:
                rows = database.execute(_LAST, (before, _LAST_ROWS)).fetchall()
            found += [row[2:] for row in rows if row[1] >= received_ms]
            if not rows or all(row[1] < received_ms - 60_000 for row in rows):
                break
            before = rows[-1][0] - 1
        return found[::-1]

    def delete(self, where: str, values: Sequence[object] = (), exposures: Iterable[str] = ()) -> int:
        """Delete events for good, in short transactions.

        Args:
            where: SQL; `exposures` are those of the table `gone`.
            values: its parameters.
            exposures: ids.

        Returns:
            how many there were.
        """
        last, _ = self.state()
        if not last:
            return 0
        with writing(self._path):
            database = open_feedback(self._path, _PATIENCE_S)
        try:
            with writing(self._path):
                database.execute("PRAGMA secure_delete = ON")
                database.execute("CREATE TABLE IF NOT EXISTS deletions (first_row INTEGER)")
                database.execute("INSERT INTO deletions VALUES (0)")
            database.execute("CREATE TEMP TABLE gone (exposure_id TEXT PRIMARY KEY)")
            database.executemany("INSERT OR IGNORE INTO gone VALUES (?)", ((one,) for one in exposures))
            before = database.total_changes
            for start in range(0, last, _DELETED_ROWS):
                rows = (start, start + _DELETED_ROWS)
                statement = f"DELETE FROM feedback WHERE rowid > ? AND rowid <= ? AND ({where})"  # noqa: S608
                with writing(self._path):
                    database.execute(statement, (*rows, *values))
            with writing(self._path):
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return database.total_changes - before
        except sqlite3.Error as error:
            raise self._failed(error) from error
        finally:
            with writing(self._path):
                database.close()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            database = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=_PATIENCE_S
            )
        except sqlite3.Error as error:
            raise self._failed(error) from error
        try:
            yield database
        except sqlite3.Error as error:
            raise self._failed(error) from error
        finally:
            database.close()

    def _failed(self, error: sqlite3.Error) -> FulcrumError:
        return FulcrumError(
            f"{self._path}: feedback cannot be read or written ({error}); check the disk and rights"
        )
