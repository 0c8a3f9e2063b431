"""What a crash leaves of feedback: nothing that was acknowledged may be missing.

A VFS records what SQLite writes and syncs. A crash leaves of each file what was synced, and of the writes
since then some, of which some in part; of files made or deleted since their folder was synced, some.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from model.events import Feedback
from model.events.feedback_table import prepare
from service.events.feedback_store import FeedbackStore
from tests.support.feedback import Report

SECTOR = 512
Log = list[tuple[Any, ...]]


class Recorder(apsw.VFS):
    """The default VFS, with a log of all that changes files."""

    def __init__(self) -> None:
        self.log: Log = []
        super().__init__("recorder", "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _File(self.log, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        self.log.append(("delete", Path(filename).name))
        if syncdir:
            self.log.append(("sync folder",))


class _File(apsw.VFSFile):
    def __init__(self, log: Log, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._log = log
        self._name = Path(name if isinstance(name, str) else name.filename()).name
        # As os_unix.c: the first sync of a journal or of a log syncs its folder, too.
        self._syncs_folder = self._name.endswith(("-journal", "-wal"))
        log.append(("create", self._name))

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        super().xWrite(data, offset)
        self._log.append(("write", self._name, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        super().xTruncate(newsize)
        self._log.append(("truncate", self._name, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802
        super().xSync(flags)
        self._log.append(("sync", self._name))
        if self._syncs_folder:
            self._syncs_folder = False
            self._log.append(("sync folder",))


class _Connection:
    """apsw's connection, as far as the table of feedback knows one of sqlite3."""

    def __init__(self, path: Path) -> None:
        self._connection = apsw.Connection(str(path), vfs="recorder")
        self.execute, self.close = self._connection.execute, self._connection.close
        self.executemany = self._connection.executemany

    @property
    def total_changes(self) -> int:
        return self._connection.total_changes()

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction


class Disk:
    """Files as a log leaves them, and as a crash would."""

    def __init__(self) -> None:
        self._there: dict[str, bytearray] = {}
        self._synced: dict[str, bytearray] = {}
        self._since: dict[str, Log] = {}
        self._names: Log = []

    def apply(self, entry: tuple[Any, ...]) -> None:
        match entry:
            case ("create", name):
                if name not in self._there:
                    self._there[name] = bytearray()
                    self._synced[name], self._since[name] = bytearray(), []
                    self._names.append(entry)
            case ("delete", name):
                del self._there[name]
                self._names.append((*entry, self._synced.pop(name), self._since.pop(name)))
            case ("sync", name):
                self._synced[name], self._since[name] = bytearray(self._there[name]), []
            case ("sync folder",):
                self._names = []
            case (_, name, *_):
                _change(self._there[name], entry)
                self._since[name].append(entry)

    def crash(self, folder: Path, draw: random.Random) -> None:
        """Write to a folder what a crash might leave."""
        kept = draw.randint(0, len(self._names))  # a file system keeps changes of a folder in their order
        lost = self._names[kept:]
        gone = {entry[1] for entry in lost if entry[0] == "create"}
        files = {name: (content, self._since[name]) for name, content in self._synced.items()}
        for entry in reversed(lost):
            if entry[0] == "delete":
                files[entry[1]] = entry[2:]
        for name, (synced, since) in files.items():
            if name in gone:
                continue
            content = bytearray(synced)
            for entry in since:
                for part in _left(entry, draw):
                    _change(content, part)
            (folder / name).write_bytes(content)


def _left(entry: tuple[Any, ...], draw: random.Random) -> Iterator[tuple[Any, ...]]:
    """What there is of a change that was not synced: all, nothing, or some sectors, one of them in part."""
    fate = draw.random()
    if fate < 0.4 or entry[0] == "truncate":
        if fate < 0.4:
            yield entry
        return
    if fate < 0.7:
        return
    kind, name, offset, data = entry
    for start in range(0, len(data), SECTOR):
        if draw.random() < 0.5:
            length = draw.randint(1, SECTOR) if draw.random() < 0.2 else SECTOR
            yield kind, name, offset + start, data[start : start + length]


def _change(content: bytearray, entry: tuple[Any, ...]) -> None:
    if entry[0] == "truncate":
        del content[entry[2] :]
        return
    _, _, offset, data = entry
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


def recorded(folder: Path, synchronous: str, rounds: int) -> Log:
    """What a store writes and acknowledges: requests one after another, and some at a time."""
    recorder = Recorder()

    def connect(path: Path) -> Any:
        connection = _Connection(path)
        prepare(connection, path)  # type: ignore[arg-type]
        recorder.log.append(("sync folder",))
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        return connection

    async def send(store: FeedbackStore) -> None:
        draw, number = random.Random(4), 0

        async def one(size: int) -> None:
            nonlocal number
            number += size
            ids = [f"{draw.getrandbits(64):x}" for _ in range(size)]
            await store.write([Feedback(one, "exposure", "item" * 9, "is_click", 1.0, 5, 6) for one in ids])
            recorder.log.append(("acknowledged", ids))

        for _ in range(rounds):
            await asyncio.gather(*(one(draw.randint(1, 60)) for _ in range(draw.choice((1, 1, 3)))))

    store = FeedbackStore(folder / "feedback.sqlite", Report(), connect)
    asyncio.run(send(store))
    store.stop()
    recorder.unregister()
    return recorder.log


def losses(log: Log, points: int, folder: Path) -> list[str]:
    """What was wrong after crashes at so many points of the log."""
    draw, disk, acknowledged = random.Random(7), Disk(), list[str]()
    crash_at = sorted(draw.randrange(len(log) + 1) for _ in range(points))
    found, done = [], 0
    for number, at in enumerate(crash_at):
        for entry in log[done:at]:
            if entry[0] == "acknowledged":
                acknowledged += entry[1]
            else:
                disk.apply(entry)
        done = max(done, at)
        left = folder / str(number)
        left.mkdir()
        disk.crash(left, draw)
        try:
            with closing(sqlite3.connect(left / "feedback.sqlite")) as database:
                (verdict,) = database.execute("PRAGMA integrity_check").fetchone()
                tables = database.execute("SELECT count(*) FROM sqlite_schema WHERE type = 'table'")
                rows = (
                    set(database.execute("SELECT event_id, item_id FROM feedback"))
                    if tables.fetchone()[0]
                    else set()
                )
        except sqlite3.DatabaseError as error:
            verdict, rows = str(error), set()
        lost = sum((one, "item" * 9) not in rows for one in acknowledged)
        if verdict != "ok" or lost:
            found.append(f"point {at} of {len(log)}: {verdict}, {lost} of {len(acknowledged)} lost")
    return found


@pytest.fixture
def few_pages(monkeypatch):
    """The log is moved into the database every few commits, so that many crashes fall into that."""
    monkeypatch.setattr("model.events.feedback_table._CHECKPOINT_PAGES", 60)


@pytest.mark.parametrize(
    ("rounds", "points"), [(60, 60), pytest.param(400, 1000, marks=[pytest.mark.long, pytest.mark.slow])]
)
def test_nothing_that_was_acknowledged_is_lost_by_a_crash(few_pages, tmp_path, rounds, points):
    log = recorded(tmp_path, "FULL", rounds)
    moved = [entry for entry in log if entry[0] == "write" and entry[1] == "feedback.sqlite"]
    assert len(moved) > 2 * rounds, "no crash could fall into a move of pages"
    assert losses(log, points, tmp_path) == []


@pytest.mark.parametrize("synchronous", ["OFF", "NORMAL"])
def test_without_the_sync_of_each_commit_the_crashes_do_lose_events(few_pages, tmp_path, synchronous):
    assert losses(recorded(tmp_path, synchronous, 30), 60, tmp_path)


def test_the_log_is_synced_after_its_last_write_and_before_each_acknowledgement(few_pages, tmp_path):
    dirty = False
    log = recorded(tmp_path, "FULL", 30)
    for entry in log:
        if entry[:2] in (("write", "feedback.sqlite-wal"), ("sync", "feedback.sqlite-wal")):
            dirty = entry[0] == "write"
        assert not (dirty and entry[0] == "acknowledged")
    assert sum(entry[0] == "acknowledged" for entry in log) >= 30
