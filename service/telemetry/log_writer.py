"""Log writer: lines to standard error, without ever waiting for its reader. Knows no events.

A thread writes; lines that it cannot get rid of, and floods from one line of code, are left out and counted.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable

_LINES_A_SECOND = 20
"""From one line of code; the first line of a later second says how many were left out."""

_MOST_WAITING_BYTES = 1024 * 1024
"""Lines that wait for the reader."""

_FLUSH_S = 1.0
"""Seconds that the end of the process waits for the reader."""


class LogWriter(logging.Handler):
    """Writes formatted records to a file descriptor. Works on in a forked process.

    Args:
        descriptor: where to.

    Attributes:
        on_left_out: called for each line that was left out.
    """

    def __init__(self, descriptor: int = 2) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.on_left_out: Callable[[], None] = lambda: None
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        """With nothing waiting: what did when this process was forked is its parent's to write."""
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._thread: threading.Thread | None = None
        self._second = 0
        self._lines_of: dict[tuple[str, int], int] = {}
        self._left_out = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Have the record written, or leave it out."""
        try:
            self._admit(record)
        except Exception:  # as all handlers do: a line that cannot be formatted is no reason to fail
            self.handleError(record)

    def flush(self) -> None:
        """Wait until all is written, for a second at most."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting_bytes, _FLUSH_S)

    def _admit(self, record: logging.LogRecord) -> None:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._lines_of = second, {}
            # While nobody reads, a report a second would only take the room of lines.
            is_read = self._waiting_bytes < _MOST_WAITING_BYTES / 2
            if self._left_out and is_read and self._put(self._line(_report(self._left_out))):
                self._left_out = 0
        source = record.pathname, record.lineno
        lines = self._lines_of[source] = self._lines_of.get(source, 0) + 1
        if lines > _LINES_A_SECOND or not self._put(self._line(record)):
            self._left_out += 1
            self.on_left_out()

    def _line(self, record: logging.LogRecord) -> bytes:
        return f"{self.format(record)}\n".encode(errors="backslashreplace")

    def _put(self, line: bytes) -> bool:
        with self._changed:
            if self._waiting_bytes + len(line) > _MOST_WAITING_BYTES:
                return False
            self._waiting.append(line)
            self._waiting_bytes += len(line)
            self._changed.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="log", daemon=True)
            self._thread.start()
        return True

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                line = self._waiting.popleft()
            rest = memoryview(line)
            with contextlib.suppress(OSError):  # nobody can read any more
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
            with self._changed:
                self._waiting_bytes -= len(line)
                self._changed.notify_all()


def _report(left_out: int) -> logging.LogRecord:
    message = f"{left_out} log lines were left out: too many of a kind in a second, or nobody reads them"
    return logging.LogRecord(__name__, logging.WARNING, __file__, 0, message, None, None)
