"""Feedback store: events to the disk, durably, many requests in one commit. Knows no HTTP, judges nothing.

One thread of each worker writes: all that waits goes into one transaction, so that the disk is waited for
once. Workers share one database, and take turns. What fails is tried again with the next request, or after a
second without one: a disk that is back is found.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import shutil
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import structlog

from model.errors import FulcrumError
from model.events.feedback import Feedback
from model.events.feedback_table import VERSION, FeedbackTableError, insert, open_feedback
from model.sqlite_file import writing
from service.contract.errors import FeedbackUnavailableError

Refusal = Literal["queue_full", "sink_away", "too_late"]
"""Why a request was refused."""

_MOST_WAITING = 20_000
"""Events that wait for the disk, some 20 MB."""

_PATIENCE_S = 5.0
"""Seconds that a request waits for the disk, and a commit takes before the sink counts as away."""

_RETRY_S = 1.0
"""Seconds between two tries where the last one failed and nobody sends anything."""

_LEAST_BYTES = 8 << 20
"""Room on the disk without which a try alone proves nothing: it writes a page, a request some hundred."""

_Identity = tuple[tuple[int, int] | None, ...]
"""Device and number of the database and of its log; None for one that is not there."""

log = structlog.get_logger(__name__)


class FeedbackReport(Protocol):
    """Counts what becomes of feedback."""

    def committed(self, events: int, new: int, seconds: float) -> None:
        """`events` are on the disk, of which `new` were not there before."""

    def rejected(self, events: int) -> None:
        """`events` cannot be taken."""

    def late(self, milliseconds: Iterable[int]) -> None:
        """Events were taken, each this number of milliseconds after it happened."""

    def refused(self, reason: Refusal) -> None:
        """A request was refused."""


class FeedbackSink(Protocol):
    """One worker's way to a database or a broker."""

    @property
    def state(self) -> str:
        """`written`, or `failing: ...` and why."""

    async def write(self, events: Sequence[Feedback]) -> None:
        """Return once the events are durable.

        Raises:
            FeedbackUnavailableError: they are not, or it is not known whether they are.
        """

    def stop(self) -> None:
        """Write what waits, and let go."""


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """The events of one request, and who waits for them.

    Attributes:
        outcome: None once they are on the disk, else why they are not.
    """

    events: Sequence[Feedback]
    loop: asyncio.AbstractEventLoop
    outcome: asyncio.Future[str | None]

    def settle(self, outcome: str | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._settle, outcome)

    def _settle(self, outcome: str | None) -> None:
        if not self.outcome.done():  # else nobody waits any more
            self.outcome.set_result(outcome)


class FeedbackStore:
    """Writes events to one database. To be made after the process was forked.

    Args:
        path: of the database; its folder is there, or comes back.
        report: called with what is written and refused.
        connect: opens the database.
        patience_s: seconds that a request waits, and that a commit may take.

    Raises:
        FeedbackTableError: the database is of another version. Anything else may heal.
    """

    def __init__(
        self,
        path: Path,
        report: FeedbackReport,
        connect: Callable[[Path], sqlite3.Connection] = open_feedback,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._path = path
        self._report = report
        self._connect = connect
        self._patience_s = patience_s
        self._changed = threading.Condition()
        self._waiting: deque[_Batch] = deque()
        self._waiting_events = 0
        self._stopping = False
        self._busy_since: float | None = time.monotonic()
        self._failure: str | None = None
        self._refused_at_start: FeedbackTableError | None = None
        self._begun = threading.Event()
        self._connection: sqlite3.Connection | None = None
        self._identity: _Identity = ()
        self._writer = threading.Thread(target=self._work, name="feedback", daemon=True)
        self._writer.start()
        self._begun.wait(patience_s)
        if self._refused_at_start is not None:
            raise self._refused_at_start

    @property
    def state(self) -> str:
        """`written`, or `failing: ...` and why."""
        since = self._busy_since
        if since is not None and (seconds := time.monotonic() - since) > self._patience_s:
            return f"failing: the disk, or another process that writes, has not answered for {seconds:.0f} s"
        return "written" if self._failure is None else f"failing: {self._failure}"

    async def write(self, events: Sequence[Feedback]) -> None:
        """Return once the events are on the disk. They are written even if the caller stops waiting.

        Raises:
            FeedbackUnavailableError: they are not, or it is not known whether they are.
        """
        if not events:
            return
        loop = asyncio.get_running_loop()
        batch = _Batch(events, loop, loop.create_future())
        with self._changed:
            if self._stopping or self._waiting_events + len(events) > _MOST_WAITING:
                why = f"{self._waiting_events:,} events wait for the disk already"
                raise self._refusal("queue_full", why)
            self._waiting.append(batch)
            self._waiting_events += len(events)
            self._changed.notify()
        try:
            async with asyncio.timeout(self._patience_s):
                failure = await batch.outcome
        except TimeoutError:
            raise self._refusal("too_late", f"the disk took more than {self._patience_s:g} s") from None
        if failure is not None:
            raise self._refusal("sink_away", failure)

    def stop(self) -> None:
        """Write what waits, and let go of the database; takes what a request may wait, at most."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._writer.join(self._patience_s)

    def _refusal(self, reason: Refusal, why: str) -> FeedbackUnavailableError:
        self._report.refused(reason)
        return FeedbackUnavailableError(
            f"{why}; send it again later: events that were written all the same are not counted twice", 1
        )

    def _work(self) -> None:
        self._begin()
        while (batches := self._next()) is not None:
            failure = self._commit([event for batch in batches for event in batch.events])
            for batch in batches:
                batch.settle(failure)
        with contextlib.suppress(OSError), writing(self._path):
            self._let_go()

    def _begin(self) -> None:
        self._commit(())
        if self._refused_at_start is not None:
            self._stopping = True
        self._busy_since = None
        self._begun.set()

    def _next(self) -> list[_Batch] | None:
        """All that waits; nothing where it is time to try again; None at the end."""
        with self._changed:
            while not self._waiting:
                if self._stopping:
                    return None
                if not self._changed.wait(None if self._failure is None else _RETRY_S):
                    break
            batches = list(self._waiting)
            self._waiting.clear()
            self._waiting_events = 0
            return batches

    def _commit(self, events: Sequence[Feedback]) -> str | None:
        """Have the events on the disk, or say why they are not. Without any, try whether they could be."""
        self._busy_since = time.monotonic()
        try:
            with writing(self._path):
                connection = self._connected()
                began = time.perf_counter()
                if events:
                    new = insert(connection, events)
                else:
                    if shutil.disk_usage(self._path.parent).free < _LEAST_BYTES:
                        raise OSError(errno.ENOSPC, f"the disk has less than {_LEAST_BYTES >> 20} MiB left")
                    connection.execute(f"PRAGMA user_version = {VERSION}")
                seconds = time.perf_counter() - began
                if self._found() != self._identity:
                    raise OSError(errno.ESTALE, "the database was moved or deleted while it was written")
        except (sqlite3.Error, OSError, FulcrumError) as error:
            if isinstance(error, FeedbackTableError) and not self._begun.is_set():
                self._refused_at_start = error
            self._let_go()
            return self._fail(error)
        except Exception as error:  # one request must not end the writing of all others
            log.exception("feedback_failed")
            self._let_go()
            return self._fail(error)
        finally:
            self._busy_since = None
        if events:
            self._report.committed(len(events), new, seconds)
        if self._failure is not None:
            log.info("feedback_written_again", path=str(self._path))
            self._failure = None
        return None

    def _connected(self) -> sqlite3.Connection:
        """The database that is at the path now: what was moved or deleted would take events and lose them."""
        if self._connection is not None and self._found() != self._identity:
            self._let_go()
        if self._connection is None:
            self._connection = self._connect(self._path)
            self._identity = self._found()
        return self._connection

    def _found(self) -> _Identity:
        return _file(self._path), _file(self._path.with_name(f"{self._path.name}-wal"))

    def _let_go(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _fail(self, error: Exception) -> str:
        failure = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        if failure != self._failure:
            log.error("feedback_not_written", path=str(self._path), error=failure)
            self._failure = failure
        return failure


def _file(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
