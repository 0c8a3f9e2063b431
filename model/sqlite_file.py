"""SQLite databases that several processes write: one at a time, each commit on the disk. Knows no table."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from model.files import FileLock

PAGE_BYTES = 4096


def writing(path: Path) -> FileLock:
    """A lock for one writer at a time: `with writing(path):` waits for it.

    Up to version 3.51.2 of SQLite, connections that checkpoint and write at one time may damage a database
    ("WAL-reset bug"). It is fair, too, where SQLite's own lock makes a waiter sleep and try again.

    Args:
        path: of the database; the lock is a file beside it.
    """
    return FileLock(path.with_suffix(".lock"))


def log_ahead(connection: sqlite3.Connection, checkpoint_pages: int) -> None:
    """Write changes to a log first, and have every commit reach the disk: WAL with synchronous=FULL.

    Args:
        connection: to a database; it may be new.
        checkpoint_pages: pages in the log from which a commit moves them into the database.

    Raises:
        sqlite3.Error: the database cannot be opened or written.
    """
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {checkpoint_pages}")
    connection.execute(f"PRAGMA journal_size_limit = {checkpoint_pages * PAGE_BYTES * 2}")
    connection.execute("PRAGMA synchronous = FULL")


def sync_folders(folder: Path) -> None:
    """Have a folder that was just made, and what was made in it, survive a power cut."""
    for each in (folder, folder.parent):
        descriptor = os.open(each, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
