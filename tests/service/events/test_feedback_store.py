"""The store of feedback: group commits, bounds, faults and healing. What a crash leaves: beside this."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
import time
from contextlib import closing

import pytest

from model.events import Feedback
from model.events.feedback_table import open_feedback
from model.sqlite_file import writing
from service.contract.errors import FeedbackUnavailableError
from service.events.feedback_store import FeedbackStore
from tests.support.feedback import Report, kept
from tests.support.service_process import wait_until


def some(*ids, **changed):
    plain = {"exposure_id": "e", "item_id": "i", "kind": "k", "value": 1.0, "time_ms": 5, "received_ms": 6}
    return [Feedback(one, **{**plain, **changed}) for one in ids]


@pytest.fixture
def opened(tmp_path):
    """`opened(...)`: a store of `tmp_path`; it is stopped at the end. `opened.report` is what it told."""
    stores = []

    def open_store(**given):
        stores.append(FeedbackStore(tmp_path / "feedback.sqlite", open_store.report, **given))
        return stores[-1]

    open_store.report = Report()
    yield open_store
    for store in stores:
        store.stop()


def test_all_that_waits_goes_into_one_commit(opened, tmp_path):
    store = opened()

    async def crowd():
        with writing(tmp_path / "feedback.sqlite"):
            requests = [asyncio.create_task(store.write(some(f"a{n}", f"b{n}"))) for n in range(9)]
            await asyncio.sleep(0)
            assert not any(request.done() for request in requests)
        await asyncio.gather(*requests)

    asyncio.run(crowd())
    assert len(opened.report.commits) <= 2  # the first may have been taken alone before the others came
    assert sum(events for events, _ in opened.report.commits) == 18 == len(kept(tmp_path))


def test_repeated_events_are_acknowledged_and_told_as_such(opened, tmp_path):
    store = opened()
    asyncio.run(store.write(some("one", "two", "one")))
    asyncio.run(store.write(some("two", "three", item_id="other")))
    assert opened.report.commits == [(3, 2), (2, 1)]
    assert {key: row[1] for key, row in kept(tmp_path).items()} == {"one": "i", "two": "i", "three": "other"}


def test_too_many_waiting_events_are_refused_and_the_others_written(opened, tmp_path, monkeypatch):
    monkeypatch.setattr("service.events.feedback_store._MOST_WAITING", 10)
    store = opened()

    async def crowd():
        with writing(tmp_path / "feedback.sqlite"):
            taken = asyncio.create_task(store.write(some("taken")))
            await asyncio.sleep(0)
            await asyncio.to_thread(wait_until, lambda: not store._waiting)  # its commit waits for the lock
            waiting = asyncio.create_task(store.write(some(*(f"w{n}" for n in range(10)))))
            await asyncio.sleep(0)
            with pytest.raises(FeedbackUnavailableError, match="10 events wait for the disk") as refused:
                await store.write(some("beyond"))
            assert refused.value.retry_after_s >= 1
        await asyncio.gather(taken, waiting)

    asyncio.run(crowd())
    assert opened.report.refusals == ["queue_full"]
    assert len(kept(tmp_path)) == 11


def test_a_caller_that_leaves_changes_nothing(opened, tmp_path):
    store = opened()

    async def leave():
        with writing(tmp_path / "feedback.sqlite"):
            left = asyncio.create_task(store.write(some("left")))
            stayed = asyncio.create_task(store.write(some("stayed")))
            await asyncio.sleep(0)
            left.cancel()
            await asyncio.gather(left, return_exceptions=True)
        await stayed

    asyncio.run(leave())
    assert set(kept(tmp_path)) == {"left", "stayed"}
    assert opened.report.refusals == []


def test_stopping_writes_what_waits_and_leaves_a_database_without_a_log(opened, tmp_path):
    store = opened()

    async def stop_meanwhile():
        with writing(tmp_path / "feedback.sqlite"):
            waiting = asyncio.create_task(store.write(some("waiting")))
            await asyncio.sleep(0)
            stopping = asyncio.create_task(asyncio.to_thread(store.stop))
            await asyncio.to_thread(wait_until, lambda: store._stopping)
            with pytest.raises(FeedbackUnavailableError):
                await store.write(some("late"))
        await asyncio.gather(waiting, stopping)

    asyncio.run(stop_meanwhile())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["feedback.lock", "feedback.sqlite"]
    assert set(kept(tmp_path)) == {"waiting"}


def fails(store, tmp_path, reason):
    with pytest.raises(FeedbackUnavailableError, match=reason):
        asyncio.run(store.write(some("refused")))
    assert store.state.startswith("failing: ")
    assert reason in store.state


def heals_alone(store, tmp_path):
    wait_until(lambda: store.state == "written")
    asyncio.run(store.write(some("healed")))
    assert "healed" in kept(tmp_path)


@pytest.fixture
def _impatient(monkeypatch):
    monkeypatch.setattr("service.events.feedback_store._RETRY_S", 0.01)


@pytest.mark.usefixtures("_impatient")
def test_a_full_disk_is_told_until_there_is_room(opened, tmp_path, monkeypatch):
    room = threading.Event()
    free = shutil.disk_usage(tmp_path)._replace(free=1 << 20)

    def connect(path):
        connection = open_feedback(path)
        if not room.is_set():
            connection.execute("PRAGMA max_page_count = 1")  # what is there already is the least
        return connection

    store = opened(connect=connect)
    asyncio.run(store.write(some("fits")))
    monkeypatch.setattr("shutil.disk_usage", lambda _: free)
    with pytest.raises(FeedbackUnavailableError, match="database or disk is full"):
        asyncio.run(store.write(some(*(f"{m}" for m in range(1000)))))
    assert set(kept(tmp_path)) == {"fits"}
    wait_until(lambda: store.state == "failing: the disk has less than 8 MiB left")  # as tries go on
    room.set()
    monkeypatch.undo()
    heals_alone(store, tmp_path)


@pytest.mark.usefixtures("_impatient")
def test_a_database_that_another_program_holds_is_told_until_it_lets_go(opened, tmp_path):
    store = opened(connect=lambda path: open_feedback(path, timeout_s=0.01))
    with closing(sqlite3.connect(tmp_path / "feedback.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        fails(store, tmp_path, "database is locked")
        other.execute("ROLLBACK")
    heals_alone(store, tmp_path)


@pytest.mark.usefixtures("_impatient")
def test_what_is_no_database_is_told_until_it_is_taken_away(opened, tmp_path):
    (tmp_path / "feedback.sqlite").write_bytes(b"rubbish" * 1000)
    store = opened()
    fails(store, tmp_path, "file is not a database")
    (tmp_path / "feedback.sqlite").unlink()
    heals_alone(store, tmp_path)


@pytest.mark.usefixtures("_impatient")
def test_a_damaged_database_is_told_until_another_takes_its_place(opened, tmp_path):
    with closing(open_feedback(tmp_path / "feedback.sqlite")):
        pass
    sound = (tmp_path / "feedback.sqlite").read_bytes()
    (tmp_path / "feedback.sqlite").write_bytes(sound[:4096] + b"\xff" * (len(sound) - 4096))
    store = opened()
    fails(store, tmp_path, "malformed")
    (tmp_path / "sound").write_bytes(sound)
    (tmp_path / "sound").rename(tmp_path / "feedback.sqlite")
    heals_alone(store, tmp_path)


@pytest.mark.usefixtures("_impatient")
def test_a_folder_that_cannot_be_made_is_told_until_it_is_there(tmp_path):
    (tmp_path / "file").write_text("in the way")
    store = FeedbackStore(tmp_path / "file" / "feedback.sqlite", Report())
    try:
        fails(store, tmp_path, "Not a directory")
        (tmp_path / "file").unlink()
        (tmp_path / "file").mkdir()
        heals_alone(store, tmp_path / "file")
    finally:
        store.stop()


def test_a_database_put_in_place_of_another_is_written_and_its_log_stays(opened, tmp_path):
    """What a path names now counts: a file that was deleted would take events, and lose them."""
    store = opened()
    asyncio.run(store.write(some("old")))
    (tmp_path / "old").mkdir()
    for path in tmp_path.glob("feedback.sqlite*"):
        path.rename(tmp_path / "old" / path.name)
    with closing(open_feedback(tmp_path / "feedback.sqlite")):  # another worker was quicker
        asyncio.run(store.write(some("new")))
        assert (tmp_path / "feedback.sqlite-wal").exists()
        assert set(kept(tmp_path)) == {"new"}
    assert set(kept(tmp_path / "old")) == {"old"}


def test_what_was_written_to_a_file_that_is_gone_by_then_is_not_acknowledged(opened, tmp_path):
    class Connection(sqlite3.Connection):
        def executemany(self, *given):
            done = super().executemany(*given)
            (tmp_path / "feedback.sqlite").unlink(missing_ok=True)
            return done

    def connect(path):
        open_feedback(path).close()
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Connection)

    fails(opened(connect=connect), tmp_path, "moved or deleted while it was written")


def test_a_disk_that_does_not_answer_is_told_and_what_it_takes_later_is_written(opened, tmp_path):
    store = opened(patience_s=0.05)
    with writing(tmp_path / "feedback.sqlite"):
        with pytest.raises(FeedbackUnavailableError, match="took more than"):
            asyncio.run(store.write(some("late")))
        wait_until(lambda: "has not answered" in store.state)
    wait_until(lambda: store.state == "written")
    assert opened.report.refusals == ["too_late"]
    assert set(kept(tmp_path)) == {"late"}


def test_one_that_holds_the_lock_for_long_does_not_keep_a_service_from_its_start(tmp_path):
    with writing(tmp_path / "feedback.sqlite"):
        began = time.monotonic()
        store = FeedbackStore(tmp_path / "feedback.sqlite", Report(), patience_s=0.02)
        assert "has not answered" in wait_until(lambda: store.state if time.monotonic() > began + 0.1 else "")
    wait_until(lambda: store.state == "written")
    store.stop()


def test_the_log_of_the_database_does_not_grow_without_bound(opened, tmp_path, monkeypatch):
    monkeypatch.setattr("model.events.feedback_table._CHECKPOINT_PAGES", 20)
    store, sizes = opened(), []
    for n in range(60):
        asyncio.run(store.write(some(*(f"{n * 7919 % 997}-{m}" for m in range(40)))))
        sizes.append((tmp_path / "feedback.sqlite-wal").stat().st_size)
    assert max(sizes) < 4120 * (20 + 2 * 45)
    assert len(kept(tmp_path)) == 2400
