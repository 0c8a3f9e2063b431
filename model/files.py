"""Files read within bounds, files and folders that appear whole or not at all, locks between processes, and
the time in records.

Knows no file's meaning.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from model.errors import FulcrumError

_BLOCK_BYTES = 1 << 16


def now() -> str:
    """UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def open_regular(path: Path) -> BinaryIO:
    """Open a file of a folder that others write to. Never waits, where a pipe would for its writer.

    Raises:
        OSError: it cannot be opened, or is a folder, a pipe, a socket or a device.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_file(path: Path, most_bytes: int) -> bytes:
    """The content of a file of a folder that others write to.

    Raises:
        OSError: as `open_regular`, or the file has more than `most_bytes` bytes.
    """
    content = bytearray()
    with open_regular(path) as file:
        # By blocks, since a read sets aside what it is asked for, however little there is.
        while block := file.read(_BLOCK_BYTES):
            content += block
            if len(content) > most_bytes:
                raise OSError(errno.EFBIG, f"it has more than {most_bytes} bytes", str(path))
    return bytes(content)


def check_folder(path: Path, what: str) -> None:
    """Refuse what cannot be a folder to write to, whether it is there or is yet to be made; makes nothing.

    Raises:
        FulcrumError: a file stands there or on the way, or nothing may be written. It begins with `what`.
    """
    nearest = path.absolute()
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir():
        found = "a file" if nearest == path.absolute() else f"the file {nearest}"
        raise FulcrumError(f"{what} {path}: expected a folder, found {found}; name another place")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise FulcrumError(
            f"{what} {path}: no right to write in {nearest}; name another place, or give the right"
        )


def replace_file(path: Path, content: bytes, durable: bool = False) -> None:
    """Put `content` in place of the file; as `fresh_file`."""
    with fresh_file(path, durable) as fresh:
        fresh.write_bytes(content)


@contextmanager
def fresh_file(path: Path, durable: bool = False) -> Iterator[Path]:
    """A path to write to, which replaces `path` at the end of the block; not if the block raises.

    A reader sees the old file or the new one; if `durable`, it does so after a power cut, too. A process that
    is killed leaves `.NAME-PID` behind.
    """
    # One name per process: no two of its threads write the same file.
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        yield fresh
        if durable:
            # Else a power cut may leave the new name on blocks that were never written.
            with fresh.open("rb") as file:
                os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


@contextmanager
def fresh_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside `path`, which replaces `path` at the end of the block; not if the block raises.

    For one process at a time: what a killed one left behind is removed.
    """
    fresh, previous = (path.with_name(f".{path.name}.{state}") for state in ("unfinished", "previous"))
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        yield fresh
        shutil.rmtree(previous, ignore_errors=True)
        if path.exists():
            path.rename(previous)
        fresh.rename(path)
        shutil.rmtree(previous, ignore_errors=True)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


class FileLock:
    """An exclusive lock between processes; the system releases that of a process that dies.

    `with FileLock(path):` waits for it.

    Args:
        path: of a folder, or of a file, which is made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> None:
        self._open()
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        except BaseException:
            self.release()
            raise

    def __exit__(self, *_: object) -> None:
        self.release()

    def take(self) -> bool:
        """Take the lock until `release`, without waiting; False where another process holds it."""
        self._open()
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            return False
        except OSError:
            pass  # a file system without locks: no worse than without this one
        return True

    def release(self) -> None:
        """Let another process take it; does nothing where it is not held."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        flags = os.O_RDONLY if self._path.is_dir() else os.O_RDWR | os.O_CREAT
        self._descriptor = os.open(self._path, flags, 0o644)
