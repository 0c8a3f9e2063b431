"""What a crash leaves of feedback: nothing that was acknowledged may be missing."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from model.events import Feedback
from model.events.feedback_table import prepare
from service.events.feedback_store import FeedbackStore
from tests.support.crashed_disk import VFS, Disk, Log, Recorder
from tests.support.feedback import Report


class _Connection:
    """apsw's connection, as far as the table of feedback knows one of sqlite3."""

    def __init__(self, path: Path) -> None:
        self._connection = apsw.Connection(str(path), vfs=VFS)
        self.execute, self.close = self._connection.execute, self._connection.close
        self.executemany = self._connection.executemany

    @property
    def total_changes(self) -> int:
        return self._connection.total_changes()

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction


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
