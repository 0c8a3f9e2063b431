"""What a crash leaves of a control store: all that was acknowledged, each change whole or not at all."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing, suppress

import apsw
import pytest

from service.control.state.desired import StateError
from service.control.state.sqlite import SqliteControl
from tests.support.control_changes import assert_whole, propose
from tests.support.crashed_disk import VFS, Disk, Log, Recorder

_FLAGS = {
    "ro": apsw.SQLITE_OPEN_READONLY,
    "rw": apsw.SQLITE_OPEN_READWRITE,
    "rwc": apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE,
}


def recorded(folder, monkeypatch, changes, synchronous="FULL") -> Log:
    """What a store writes and acknowledges from its first moment on; some changes it makes anew opened."""
    recorder = Recorder()

    class Connection:
        def __init__(self, uri, mode):
            self._connection = apsw.Connection(uri, _FLAGS[mode] | apsw.SQLITE_OPEN_URI, vfs=VFS)

        def close(self):
            # At its end SQLite tries for a lock that one that only reads cannot have, and passes over that.
            with suppress(apsw.IOError):
                self._connection.close()

        def execute(self, statement, *given):
            return self._connection.execute(statement.replace("= FULL", f"= {synchronous}"), *given)

        @property
        def in_transaction(self):
            return self._connection.in_transaction

    monkeypatch.setattr(
        "service.control.state.sqlite.sync_folders", lambda _: recorder.log.append(("sync folder",))
    )
    store = SqliteControl(folder / "control.sqlite", Connection)
    store.make()
    recorder.log.append(("acknowledged", "made"))
    for number in range(changes):
        recorder.log.append(("acknowledged", propose(store)))
        if number % 4 == 3:
            store.close()  # which empties the log and takes it away
    store.close()
    recorder.unregister()
    return recorder.log


def losses(log: Log, points: int, folder) -> list[str]:
    """What was wrong after crashes at so many points of the log."""
    draw, disk, acknowledged = random.Random(7), Disk(), list[str]()
    found, done = [], 0
    for number, at in enumerate(sorted(draw.randrange(len(log) + 1) for _ in range(points))):
        for entry in log[done:at]:
            if entry[0] == "acknowledged":
                acknowledged.append(entry[1])
            else:
                disk.apply(entry)
        done = max(done, at)
        left = folder / str(number)
        left.mkdir()
        disk.crash(left, draw)
        if wrong := wrong_of(left / "control.sqlite", acknowledged):
            found.append(f"point {at} of {len(log)}: {wrong}")
    return found


def wrong_of(path, acknowledged) -> str | None:
    """A service that starts anew: it must find what was acknowledged, and be able to go on."""
    if acknowledged and not path.exists():
        return "the file is gone"
    store = SqliteControl(path)
    try:
        store.make()
        history = assert_whole(store)
        another = propose(store)
        with closing(sqlite3.connect(path)) as database:
            (verdict,) = database.execute("PRAGMA integrity_check").fetchone()
        if verdict != "ok" or assert_whole(store) != [*history, another]:
            return f"damaged: {verdict}"
    except (AssertionError, StateError, sqlite3.Error) as error:
        return str(error)
    finally:
        store.close()
    known = acknowledged[1:]
    if history[: len(known)] != known or len(history) > len(known) + 1:
        return f"{len(history)} changes of {len(known)} that were acknowledged"
    return None


@pytest.mark.parametrize(
    ("changes", "points"), [(9, 10), pytest.param(200, 1000, marks=[pytest.mark.long, pytest.mark.slow])]
)
def test_a_crash_loses_nothing_acknowledged_and_halves_no_change(tmp_path, monkeypatch, changes, points):
    log = recorded(tmp_path, monkeypatch, changes)
    moved = [entry for entry in log if entry[0] == "write" and entry[1] == "control.sqlite"]
    assert len(moved) > changes, "no crash could fall into a move of pages"
    assert losses(log, points, tmp_path) == []


def test_without_syncs_the_crashes_do_lose_changes(tmp_path, monkeypatch):
    assert losses(recorded(tmp_path, monkeypatch, 9, "OFF"), 10, tmp_path)
