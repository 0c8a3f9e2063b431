"""The control store in SQLite: files that are damaged, moved, replaced; forks; what no other store has."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from model.sqlite_file import writing
from service.control.state.desired import StateError
from service.control.state.opening import open_control
from service.control.state.sqlite import APPLICATION, SqliteControl, connect
from tests.support.control_changes import assert_whole, change_of, proposal, propose


@pytest.fixture
def path(tmp_path):
    return tmp_path / "control.sqlite"


@pytest.fixture
def store(path):
    store = open_control(path)
    yield store
    store.close()


def replace(path, other):
    """Another file at the path, as `mv` puts it there, and the former's log taken away."""
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink()
    other.replace(path)


def test_opening_leaves_one_file_and_a_lock(path):
    open_control(path)
    assert sorted(one.name for one in path.parent.iterdir()) == ["control.lock", "control.sqlite"]


def test_a_store_that_is_there_is_opened_again(store, path):
    first = propose(store)
    assert change_of(open_control(path)) == first


def test_a_store_of_an_earlier_program_takes_looks_and_keeps_its_history(store, path):
    first = propose(store)
    store.close()
    run(path, "DROP TABLE looks")
    again = open_control(path)
    again.keep_looks("one", b"a", b"[a]")
    assert (again.looks("one"), assert_whole(again)) == (b"[a]", [first])


def test_an_empty_file_becomes_a_store(path):
    path.touch()
    propose(open_control(path))


@pytest.mark.parametrize(
    ("makes", "says"),
    [
        (lambda path: path.write_bytes(b"rubbish" * 1000), "file is not a database"),
        (lambda path: path.mkdir(), "unable to open"),
        (lambda path: os.mkfifo(path), "unable to open|disk I/O error"),
        (lambda path: run(path, "CREATE TABLE feedback (id)"), "no control store; name another file"),
        (lambda path: run(path, "PRAGMA user_version = 1"), "no control store; name another file"),
        (
            lambda path: run(path, f"PRAGMA application_id = {APPLICATION}", "PRAGMA user_version = 2"),
            "version 2; this program reads and writes version 1",
        ),
    ],
)
def test_what_is_no_store_of_this_version_is_refused_and_left_alone(path, makes, says):
    makes(path)
    content = path.read_bytes() if path.is_file() else None
    with pytest.raises(StateError, match=says) as refused:
        open_control(path)
    assert str(path) in str(refused.value)
    assert content is None or path.read_bytes() == content


def run(path, *statements):
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(StateError, match=r"there is no folder .*absent; make it"):
        open_control(tmp_path / "absent" / "control.sqlite")


def test_names_that_mean_something_in_a_url_are_names(tmp_path):
    path = tmp_path / "a?mode=ro&b#c%20d.sqlite"
    propose(open_control(path))
    assert path.exists()


def test_a_deleted_file_is_told_and_no_empty_store_made_in_its_place(store, path):
    propose(store)
    path.rename(path.with_name("away"))
    for attempt in (store.read, lambda: store.events(None, 9)):
        with pytest.raises(StateError, match="moved or deleted"):
            attempt()
    with pytest.raises(StateError, match=r"moved or deleted.*; nothing was changed"):
        store.commit(proposal(None))
    assert not path.exists()
    path.with_name("away").rename(path)
    assert assert_whole(store)


def test_the_last_to_close_leaves_one_file_that_has_all(store, path):
    other = open_control(path)
    first = propose(other)
    assert change_of(store) == first
    other.close()
    assert change_of(store) == first
    store.close()
    assert sorted(one.name for one in path.parent.iterdir()) == ["control.lock", "control.sqlite"]
    assert assert_whole(store) == [first]


def test_a_file_put_in_place_of_another_is_followed(store, path, tmp_path):
    propose(store)
    (tmp_path / "other").mkdir()
    other = open_control(tmp_path / "other" / path.name)
    expected = propose(other)
    other.close()
    replace(path, tmp_path / "other" / path.name)
    assert change_of(store) == expected
    propose(store)
    assert len(assert_whole(store)) == 2


def test_a_copy_that_sqlite_made_is_followed(store, path):
    first = propose(store)
    run(path, f"VACUUM INTO '{path.parent}/copy'")
    propose(store)
    replace(path, path.with_name("copy"))
    assert change_of(store) == first
    second = propose(store)
    assert assert_whole(store) == [first, second]


def test_a_file_put_beside_the_log_of_another_is_not_taken(store, path):
    propose(store)
    run(path, f"VACUUM INTO '{path.parent}/copy'")
    propose(store)
    path.with_name("copy").replace(path)
    for _ in range(2):
        with pytest.raises(StateError, match=r"control\.sqlite-wal is still the former one's"):
            store.read()
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink()
    assert len(assert_whole(store)) == 1


def test_a_file_that_is_replaced_by_rubbish_is_told_until_it_is_back(store, path):
    first = propose(store)
    store.close()  # else its log would be needed, too
    shutil.copy(path, path.with_name("copy"))
    path.with_name("rubbish").write_bytes(b"rubbish" * 1000)
    path.with_name("rubbish").replace(path)
    for _ in range(2):
        with pytest.raises(StateError, match="file is not a database"):
            store.read()
    path.with_name("copy").replace(path)
    assert change_of(store) == first


@pytest.mark.parametrize("content", [b"{", b'{"schema_version": 2}'])
def test_a_document_that_is_none_is_told(store, path, content):
    propose(store)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE document SET content = ?", (content,))
    for _ in range(2):
        with pytest.raises(StateError, match="the document"):
            store.read()


def test_a_full_disk_changes_nothing_and_is_told(path):
    room = [1 << 30]

    def scarce(uri, mode):
        connection = connect(uri, mode)
        if mode == "rw":
            connection.execute(f"PRAGMA max_page_count = {room[0]}")  # what is there already is the least
        return connection

    store = SqliteControl(path, scarce)
    store.make()
    first = propose(store)
    room[0] = 1
    large = proposal(store.read(), networks={"ab": b"x" * 100_000})
    with pytest.raises(StateError, match=r"database or disk is full.*; nothing was changed"):
        store.commit(large)
    assert assert_whole(store) == [first]
    room[0] = 1 << 30
    assert store.commit(large)
    store.close()


def test_a_commit_that_fails_at_its_end_is_told_as_unknown(path):
    class Fails(sqlite3.Connection):
        def execute(self, statement, *given):
            if statement == "COMMIT":
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = sqlite3.SQLITE_IOERR
                raise error
            return super().execute(statement, *given)

    store = SqliteControl(
        path, lambda uri, mode: sqlite3.connect(uri, uri=True, isolation_level=None, factory=Fails)
    )
    open_control(path)
    with pytest.raises(StateError, match="not known whether the change was made"):
        store.commit(proposal(None))
    assert store.read() is None


def test_what_was_written_to_a_file_that_is_gone_by_then_is_not_acknowledged(path):
    class Connection(sqlite3.Connection):
        def execute(self, statement, *given):
            if statement == "COMMIT":
                path.unlink()
            return super().execute(statement, *given)

    open_control(path)
    store = SqliteControl(
        path, lambda uri, mode: sqlite3.connect(uri, uri=True, isolation_level=None, factory=Connection)
    )
    with pytest.raises(StateError, match="moved or deleted while it was written; it is not known"):
        store.commit(proposal(None))


def test_one_that_writes_for_long_is_not_waited_for_and_readers_go_on(store, path, monkeypatch):
    first = propose(store)
    monkeypatch.setattr(SqliteControl, "patience_s", 0.02)
    with writing(path):
        with pytest.raises(StateError, match=r"writing for 0\.02 s; nothing was changed"):
            store.commit(proposal(store.read()))
        assert change_of(store) == first
    run_as_other = sqlite3.connect(path, isolation_level=None)
    run_as_other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateError, match=r"database is locked.*; nothing was changed"):
        store.commit(proposal(store.read()))
    run_as_other.close()
    propose(store)


@pytest.mark.slow
def test_a_forked_process_opens_what_its_parent_has_open(store, path):
    """SQLite's locks are the process's: a connection from before the fork would damage the database."""
    propose(store)
    assert held(path)
    child = os.fork()
    if child == 0:
        inherited, name = held(path), propose(store)
        os._exit(0 if not inherited and name == change_of(store) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    propose(store)
    assert len(assert_whole(store)) == 3


def held(path):
    """Files of the store that this process has open."""
    links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [link for link in links if link.startswith(str(path.with_suffix("")))]


def test_a_store_that_may_only_be_read_is_refused_at_the_start_and_read_later(store, path):
    first = propose(store)
    limited = SqliteControl(path, lambda uri, mode: connect(re.sub("mode=rwc?", "mode=ro", uri), mode))
    with pytest.raises(StateError, match="attempt to write a readonly database"):
        limited.make()
    with pytest.raises(StateError, match=r"attempt to write a readonly database.*; nothing was changed"):
        limited.commit(proposal(limited.read()))
    assert change_of(limited) == first
    limited.close()


def test_a_link_is_the_store_that_it_leads_to(store, path):
    link = path.with_name("link.sqlite")
    link.symlink_to(path)
    first = propose(open_control(link))
    assert change_of(store) == first
    assert not path.with_name("link.lock").exists()
