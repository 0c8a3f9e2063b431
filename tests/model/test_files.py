"""Files and folders replaced whole, and locks between processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from model.errors import FulcrumError
from model.files import (
    FileLock,
    check_folder,
    fresh_file,
    fresh_folder,
    now,
    open_regular,
    read_file,
    replace_file,
)

_HOLD = """
import pathlib, sys
from model.files import FileLock
lock = FileLock(pathlib.Path(sys.argv[1]))
print(lock.take(), flush=True)
sys.stdin.read()
"""


@contextmanager
def held_by_another(path):
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "True\n"
        yield other
        other.kill()


def test_the_time_is_utc_and_sorts_as_text():
    first, second = now(), now()
    assert first <= second
    assert first.endswith("+00:00")


def pipe(path):
    os.mkfifo(path)


def listening_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize(
    "make", [pipe, listening_socket, lambda path: path.mkdir(), lambda path: path.symlink_to("/dev/zero")]
)
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path, make):
    path = tmp_path / "file"
    make(path)
    with pytest.raises(OSError, match=r"regular file|No such device") as refused:
        read_file(path, 100)
    assert refused.value.filename == str(path)


def test_a_file_is_read_up_to_its_bound_and_refused_beyond(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    (tmp_path / "link").symlink_to(path)
    assert read_file(tmp_path / "link", 5) == b"12345"
    with pytest.raises(OSError, match="it has more than 4 bytes"):
        read_file(path, 4)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "absent")


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_made_then_replaced_and_nothing_lies_beside_it(tmp_path, durable):
    for content in (b"old", b"new"):
        replace_file(tmp_path / "record", content, durable=durable)
        assert (tmp_path / "record").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["record"]


def test_who_has_the_old_file_open_goes_on_reading_it(tmp_path):
    replace_file(tmp_path / "record", b"old")
    with (tmp_path / "record").open("rb") as reader:
        replace_file(tmp_path / "record", b"new")
        assert reader.read() == b"old"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    replace_file(tmp_path / "record", b"old")

    def interrupted():
        with fresh_file(tmp_path / "record", durable=True) as fresh:
            fresh.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == ["record"]
    assert (tmp_path / "record").read_bytes() == b"old"


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    for content in ("old", "new"):
        with fresh_folder(tmp_path / "deep" / "bundle") as fresh:
            assert not any(fresh.iterdir())
            (fresh / content).touch()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["bundle"]
    assert [path.name for path in (tmp_path / "deep" / "bundle").iterdir()] == ["new"]


def test_a_folder_that_cannot_be_filled_leaves_the_old_one(tmp_path):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "old").touch()

    def full():
        with fresh_folder(tmp_path / "bundle") as fresh:
            (fresh / "half").touch()
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        full()
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert (tmp_path / "bundle" / "old").exists()


def test_a_fresh_folder_holds_nothing_of_what_a_killed_process_left(tmp_path):
    for left in (".bundle.unfinished", ".bundle.previous"):
        (tmp_path / left).mkdir()
        (tmp_path / left / "half").touch()
    with fresh_folder(tmp_path / "bundle") as fresh:
        (fresh / "new").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["bundle", "new"]


@pytest.mark.slow
@pytest.mark.parametrize("folder", [True, False])
def test_a_lock_that_another_process_holds_is_not_taken_until_that_process_dies(tmp_path, folder):
    path = tmp_path if folder else tmp_path / ".lock"
    lock = FileLock(path)
    with held_by_another(path) as other:
        assert not lock.take()
        other.kill()
        other.wait()
        assert lock.take()


def test_a_lock_is_taken_anew_after_its_release(tmp_path):
    lock = FileLock(tmp_path / ".lock")
    for _ in range(2):
        assert lock.take()
        assert not FileLock(tmp_path / ".lock").take()
        lock.release()
    lock.release()  # which is not held any more


def test_a_block_waits_for_the_lock_and_releases_it_even_when_it_raises(tmp_path):
    held, entered = FileLock(tmp_path), threading.Event()
    assert held.take()

    def wait():
        with FileLock(tmp_path):
            entered.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not entered.wait(0.05)
    held.release()
    waiting.join()
    assert entered.is_set()
    with pytest.raises(ZeroDivisionError), FileLock(tmp_path):
        raise ZeroDivisionError
    assert held.take()


def test_a_file_system_without_locks_keeps_nobody_out(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no locks available")

    monkeypatch.setattr("model.files.fcntl.flock", refuse)
    assert FileLock(tmp_path).take()
    with pytest.raises(OSError, match="no locks"), FileLock(tmp_path):
        pytest.fail("waited for nothing")


def test_a_lock_in_a_folder_that_is_missing_names_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        FileLock(tmp_path / "absent" / ".lock").take()


def test_a_folder_that_can_be_made_or_written_to_passes_and_is_not_made(tmp_path):
    for path in (tmp_path, tmp_path / "new" / "folder"):
        check_folder(path, "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "found"), [("file", "a file"), ("file/b", "the file .*/file"), ("file/b/c", "the file .*/file")]
)
def test_where_a_file_stands_there_is_no_folder(tmp_path, path, found):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FulcrumError, match=f"run .*: expected a folder, found {found}; name another place"):
        check_folder(tmp_path / path, "run")


def test_a_folder_without_the_right_to_write_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("model.files.os.access", lambda path, mode: False)  # root has every right
    with pytest.raises(FulcrumError, match=f"run .*/b: no right to write in {tmp_path}"):
        check_folder(tmp_path / "b", "run")
