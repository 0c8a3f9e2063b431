"""The control store in a SQLite database, for the workers of one host.

WAL with synchronous=FULL: what `commit` has acknowledged is on the disk. The folder must be on a disk of this
host, since WAL shares memory between processes. A file that is moved, deleted or replaced is not followed
blindly: what was written to it would be lost. To take a copy, use `VACUUM INTO` of SQLite, or copy FILE while
nothing is changed. To restore one, stop the service, remove FILE-wal and FILE-shm where a process that was
killed has left them, and put the copy in place of FILE.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from model.sqlite_file import log_ahead, sync_folders, writing
from service.control.audit import AuditEvent
from service.control.state.control import Change, Document, Revision
from service.control.state.desired import StateError
from service.control.state.records import dumped, parsed

APPLICATION = 0x46756C43
"""SQLite's `application_id` of a control store."""
VERSION = 1
"""SQLite's `user_version` of a control store."""

_TABLES = (
    "CREATE TABLE document (only_one INTEGER PRIMARY KEY CHECK (only_one = 1), change TEXT NOT NULL,"
    " content BLOB NOT NULL)",
    "CREATE TABLE revisions (revision INTEGER PRIMARY KEY, content BLOB NOT NULL)",
    "CREATE TABLE networks (sha256 TEXT PRIMARY KEY, content BLOB NOT NULL)",
    "CREATE TABLE events (event INTEGER PRIMARY KEY, content BLOB NOT NULL)",
)
_LATER_TABLES = (
    "CREATE TABLE IF NOT EXISTS looks (experiment TEXT PRIMARY KEY, newest BLOB NOT NULL,"
    " content BLOB NOT NULL)",
)
"""Which databases of this version may lack that an earlier program has made; it lets them be."""
_CHECKPOINT_PAGES = 1
"""Each commit moves its pages from the log into the database: changes are few, and a copy of FILE has all."""
_NEWEST = (1 << 63) - 1

Mode = Literal["ro", "rw", "rwc"]
Connect = Callable[[str, Mode], Any]
_Identity = tuple[tuple[int, int] | None, ...]
"""Device and number of the database and of its log; None for one that is not there."""

_reading, _writing = threading.Lock(), threading.Lock()
"""Of all stores of this process; taken in the order writing, reading."""
_stores: weakref.WeakSet[SqliteControl] = weakref.WeakSet()


def connect(uri: str, mode: Mode) -> Any:
    """A connection: without transactions of its own, for any thread. Readers must not wait for long."""
    timeout_s = 0.5 if mode == "ro" else SqliteControl.patience_s
    return sqlite3.connect(uri, timeout=timeout_s, isolation_level=None, check_same_thread=False, uri=True)


class SqliteControl:
    """The control store in a SQLite database. Opens it when it is first read, and again after a fork.

    Args:
        path: of the database; `make` makes it, nothing else does.
        connect: opens a connection to `file:PATH?mode=MODE`.

    Attributes:
        patience_s: seconds that a commit waits for another process that writes.
    """

    patience_s = 5.0

    def __init__(self, path: Path, connect: Connect = connect) -> None:
        self._path = path.resolve()  # SQLite's other files, and so the lock, lie beside the file itself
        self._connect = connect
        self._reader: Any = None
        self._identity: _Identity = ()
        self._seen: int | None = None
        self._document: Document | None = None
        with _reading:
            _stores.add(self)

    @property
    def name(self) -> str:
        """For messages."""
        return f"control store {self._path}"

    def make(self) -> None:
        """Make the database where there is none, durably. Leaves no connection open.

        Raises:
            StateError: it cannot be made or written, is another program's, or of another version.
        """
        if not self._path.parent.is_dir():
            raise StateError(f"{self.name}: there is no folder {self._path.parent}; make it")
        with _writing, self._told("cannot be opened"), self._turn():
            writer = self._opened("rwc")
            try:
                if not self._is_new(writer):
                    self._check(writer)
                log_ahead(writer, _CHECKPOINT_PAGES)
                writer.execute("BEGIN IMMEDIATE")
                if self._is_new(writer):
                    for table in _TABLES:
                        writer.execute(table)
                    writer.execute(f"PRAGMA application_id = {APPLICATION}")
                    writer.execute(f"PRAGMA user_version = {VERSION}")
                for table in _LATER_TABLES:
                    writer.execute(table)
                writer.execute("DELETE FROM document WHERE FALSE")  # fails where nothing may be written
                writer.execute("COMMIT")
            finally:
                writer.close()
            sync_folders(self._path.parent)

    def read(self) -> Document | None:
        """What is wanted; None while the store is empty."""
        with self._read() as reader:
            (seen,) = reader.execute("PRAGMA data_version").fetchone()
            if seen != self._seen:  # by a commit of another connection
                row = reader.execute("SELECT change, content FROM document").fetchone()
                if row is None:
                    self._document = None
                elif self._document is None or self._document.change != row[0]:  # else it was a look
                    self._document = parsed(Document, row[1], self.name)
                self._seen = seen
            return self._document

    def commit(self, change: Change) -> bool:
        """Make this change, durably, unless the document is no longer the expected one: then False."""
        with self._writer() as writer:
            return self._write(writer, change)

    def revision(self, number: int) -> Revision | None:
        """One revision; None where there is none."""
        rows = self._rows("SELECT content FROM revisions WHERE revision = ?", _int64(number))
        return parsed(Revision, rows[0], self.name) if rows else None

    def revisions(self, before: int | None, limit: int) -> list[Revision]:
        """Revisions below `before` (None: all), the newest first, at most `limit`."""
        rows = self._rows(
            "SELECT content FROM revisions WHERE revision < ? ORDER BY revision DESC LIMIT ?",
            _NEWEST if before is None else _int64(before),
            max(_int64(limit), 0),
        )
        return [parsed(Revision, row, self.name) for row in rows]

    def network(self, sha256: str) -> bytes | None:
        """A network; None where there is none."""
        rows = self._rows("SELECT content FROM networks WHERE sha256 = ?", sha256)
        return rows[0] if rows else None

    def events(self, before: int | None, limit: int) -> list[AuditEvent]:
        """Audit events below `before` (None: all), the newest first, at most `limit`."""
        rows = self._rows(
            "SELECT content FROM events WHERE event < ? ORDER BY event DESC LIMIT ?",
            _NEWEST if before is None else _int64(before),
            max(_int64(limit), 0),
        )
        return [parsed(AuditEvent, row, self.name) for row in rows]

    def looks(self, experiment: str) -> bytes:
        """What was kept of the looks at an experiment; empty where nothing was."""
        rows = self._rows("SELECT content FROM looks WHERE experiment = ?", experiment)
        return rows[0] if rows else b""

    def newest_looks(self, experiments: Collection[str]) -> dict[str, bytes]:
        """The newest look at each of these that has one."""
        with self._read() as reader:  # the newest stands before all of them, which are not read
            rows = reader.execute("SELECT experiment, newest FROM looks").fetchall()
        return {name: newest for name, newest in rows if newest and name in experiments}

    def keep_looks(self, experiment: str, newest: bytes, all_of_them: bytes) -> None:
        """Keep this in place of what was kept of an experiment."""
        with self._writer() as writer:
            row = (experiment, newest, all_of_them)
            writer.execute("INSERT OR REPLACE INTO looks VALUES (?, ?, ?)", row)

    def close(self) -> None:
        """Give up the connection; one that is needed later is opened again. The last to close tidies up."""
        with _reading:
            self.let_go()
        with contextlib.suppress(StateError), _writing, self._told("cannot be closed"), self._turn(0.0):
            if self._found()[0] is not None:
                writer = self._opened("rw")
                try:
                    writer.execute("PRAGMA user_version")
                finally:
                    writer.close()  # which empties the log and takes it away, if no other is open

    def let_go(self) -> None:
        """As `close`, for who holds the lock."""
        if self._reader is not None:
            with contextlib.suppress(sqlite3.Error):
                self._reader.close()
            self._reader = None

    def _rows(self, query: str, *given: object) -> list[bytes]:
        with self._read() as reader:
            return [row[0] for row in reader.execute(query, given).fetchall()]

    @contextlib.contextmanager
    def _writer(self) -> Iterator[Any]:
        """A connection to write, for who waits their turn."""
        with _writing, self._told("cannot be written", "; nothing was changed"), self._turn():
            try:
                with self._read():
                    writer = self._opened("rw")
            except StateError as error:
                raise StateError(f"{error}; nothing was changed") from error
            try:
                log_ahead(writer, _CHECKPOINT_PAGES)
                self._check(writer)
                yield writer
            finally:
                with contextlib.suppress(sqlite3.Error):  # what was committed stays so
                    writer.close()

    @contextlib.contextmanager
    def _read(self) -> Iterator[Any]:
        with _reading, self._told("cannot be read"):
            try:
                yield self._followed()
            except sqlite3.Error:
                self.let_go()
                raise

    def _followed(self) -> Any:
        """A connection to read, to the database that is at the path now."""
        found = self._found()
        if self._reader is not None and found == self._identity:
            return self._reader
        if found[0] is None:
            raise StateError(f"{self.name}: was moved or deleted; put it back, or restart to begin anew")
        if self._reader is not None:
            if found[0] != self._identity[0] and found[1] is not None and found[1] == self._identity[1]:
                raise StateError(
                    f"{self.name}: another file took its place, but {self._log} is still the former one's; "
                    "remove that and the -shm file"
                )
            self.let_go()
        # One that only reads never moves pages from the log into the database, so it needs no turn.
        reader = self._opened("ro")
        try:
            self._check(reader)
            opened = self._found()
            if opened[0] != found[0]:
                raise StateError(f"{self.name}: was replaced while it was opened")
        except BaseException:
            reader.close()
            raise
        self._reader, self._identity, self._seen = reader, opened, None
        return reader

    def _write(self, writer: Any, change: Change) -> bool:
        try:
            writer.execute("BEGIN IMMEDIATE")
            row = writer.execute("SELECT change FROM document").fetchone()
            if (None if row is None else row[0]) != change.expected:
                writer.execute("ROLLBACK")
                return False
            document = change.document
            writer.execute(
                "INSERT OR REPLACE INTO document VALUES (1, ?, ?)", (document.change, dumped(document))
            )
            if change.revision is not None:
                row = (change.revision.revision, dumped(change.revision))
                writer.execute("INSERT INTO revisions VALUES (?, ?)", row)
            for network in change.networks.items():
                writer.execute("INSERT OR IGNORE INTO networks VALUES (?, ?)", network)
            for event in change.events:
                writer.execute("INSERT INTO events VALUES (?, ?)", (event.event, dumped(event)))
            found = self._found()
        except BaseException:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            raise
        try:
            writer.execute("COMMIT")
        except sqlite3.Error as error:
            if error.sqlite_errorcode in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY):
                raise
            raise StateError(
                f"{self.name}: cannot be written ({error}); it is not known whether the change was made"
            ) from error
        if self._found() != found:
            raise StateError(
                f"{self.name}: was moved or deleted while it was written; "
                "it is not known whether the change was made"
            )
        return True

    def _opened(self, mode: Mode) -> Any:
        return self._connect(f"file:{quote(str(self._path))}?mode={mode}", mode)

    def _is_new(self, connection: Any) -> bool:
        kind, version = _kind(connection)
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        return not (kind or version or tables)

    def _check(self, connection: Any) -> None:
        kind, version = _kind(connection)
        if kind != APPLICATION:
            raise StateError(f"{self.name}: is a database, but no control store; name another file")
        if version != VERSION:
            raise StateError(
                f"{self.name}: is of version {version}; this program reads and writes version {VERSION}"
            )

    @contextlib.contextmanager
    def _turn(self, within_s: float | None = None) -> Iterator[None]:
        """One writer at a time, of all processes: see `model.sqlite_file.writing`."""
        patience_s = self.patience_s if within_s is None else within_s
        lock, deadline = writing(self._path), time.monotonic() + patience_s
        while not lock.take():
            if time.monotonic() > deadline:
                raise StateError(
                    f"{self.name}: another process has been writing for {patience_s:g} s; nothing was changed"
                )
            time.sleep(0.002)
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def _told(self, what: str, so: str = "") -> Iterator[None]:
        """Faults of the disk and of SQLite as a StateError."""
        try:
            yield
        except sqlite3.Error as error:
            raise StateError(f"{self.name}: {what} ({error}){so}") from error
        except OSError as error:
            raise StateError(f"{self.name}: {what} ({error.strerror or error}){so}") from error

    @property
    def _log(self) -> Path:
        return self._path.with_name(f"{self._path.name}-wal")

    def _found(self) -> _Identity:
        return _file(self._path), _file(self._log)


def _kind(connection: Any) -> tuple[int, int]:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return application, version


def _int64(number: int) -> int:
    """SQLite takes no greater numbers, and has none."""
    return max(-_NEWEST, min(number, _NEWEST))


def _file(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _before_fork() -> None:
    """Close what is open: SQLite's locks are the process's, and a forked one would believe it has them."""
    _writing.acquire()
    _reading.acquire()
    for store in _stores:
        store.let_go()


def _after_fork() -> None:
    _reading.release()
    _writing.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
