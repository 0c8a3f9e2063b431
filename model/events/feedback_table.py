"""The table of feedback in SQLite: how it is opened, made and written. Starts no thread.

WAL with synchronous=FULL: what is committed is on the disk. Of several events of one id the first one stays.
Each open for writing, write and close holds `model.sqlite_file.writing` meanwhile.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from model.errors import FulcrumError
from model.events.feedback import Feedback
from model.sqlite_file import log_ahead, sync_folders

VERSION = 1
_TABLE = """
CREATE TABLE IF NOT EXISTS feedback (
    event_id TEXT PRIMARY KEY, exposure_id TEXT NOT NULL, item_id TEXT NOT NULL, kind TEXT NOT NULL,
    value REAL NOT NULL, time_ms INTEGER NOT NULL, received_ms INTEGER NOT NULL
)
"""
_CHECKPOINT_PAGES = 4_000
"""Pages of 4 KiB in the log from which a commit moves them into the database. Random ids change a page each:
few pages would be moved at every commit."""
INSERT = "INSERT OR IGNORE INTO feedback VALUES (?, ?, ?, ?, ?, ?, ?)"


class FeedbackTableError(FulcrumError):
    """The database is none of feedback, or of another version."""


def open_feedback(path: Path, timeout_s: float = 5.0) -> sqlite3.Connection:
    """Open the database to write to it, and make it where it is not there.

    Args:
        path: of the database; its folder is there.
        timeout_s: seconds to wait for another process that writes.

    Raises:
        FeedbackTableError: it is of another version.
        OSError, sqlite3.Error: it cannot be opened or written.
    """
    connection = sqlite3.connect(path, timeout=timeout_s, isolation_level=None, check_same_thread=False)
    try:
        prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the table where it is not there, and have every commit reach the disk.

    Raises:
        FeedbackTableError, OSError, sqlite3.Error: as for `open_feedback`.
    """
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found not in (0, VERSION):
        raise FeedbackTableError(
            f"{path}: feedback of version {found}; this program writes version {VERSION}"
        )
    log_ahead(connection, _CHECKPOINT_PAGES)
    if not found:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_TABLE)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    sync_folders(path.parent)


def insert(connection: sqlite3.Connection, events: Iterable[Feedback]) -> int:
    """Write events in one transaction, which is on the disk when this returns.

    Returns:
        How many there were not yet.

    Raises:
        sqlite3.Error: none of them is written.
    """
    before = connection.total_changes
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.executemany(INSERT, map(_row, events))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return connection.total_changes - before


def _row(event: Feedback) -> tuple[str, str, str, str, float, int, int]:
    return (
        event.event_id,
        event.exposure_id,
        event.item_id,
        event.kind,
        event.value,
        event.time_ms,
        event.received_ms,
    )
