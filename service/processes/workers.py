"""Workers: processes on one socket, kept alive by this one. Knows nothing of what they do.

The supervisor imports everything and loads nothing, then forks: a replacement serves as soon as it has
loaded, and what all have imported lies in memory once. All workers accept from one queue of connections, so
that one which dies takes along no more than what it had accepted.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path

import structlog

from model.errors import FulcrumError
from service.processes.board import Board
from service.processes.bounds import end_with
from service.processes.fleet import Fleet
from service.processes.listener import refuse_newcomers

Work = Callable[[Fleet, Callable[[str], None]], None]
"""What a worker does until it is told to end; it calls the second argument, with a name, once it is ready."""

_TICK_S = 0.1
_SILENT_S = 30.0
"""A worker whose event loop has not turned for so long is killed."""
_STABLE_S = 1.0
"""A worker that dies sooner after it was ready counts as a failure, too."""
_LONGEST_PAUSE_S = 30.0
_MARGIN_S = 5.0
"""Seconds beyond the time to drain after which a worker is killed."""

_fork = multiprocessing.get_context("fork")
log = structlog.get_logger(__name__)


@dataclass
class _Place:
    """One worker, and those who had its place before.

    Attributes:
        number: from 0.
        failures: how many in a row could not start, or died at once.
        start_at: when to start the next, of `time.monotonic`; meaningless while one lives.
    """

    number: int
    process: ForkProcess | None = None
    news: Connection | None = None
    name: str | None = None
    reason: str | None = None
    ready_at: float = 0.0
    failures: int = 0
    start_at: float = 0.0


def supervise(
    workers: int, listener: socket.socket, work: Work, greet: Callable[[str], None], drain_s: float
) -> None:
    """Keep so many workers at work until SIGINT or SIGTERM; then let them drain.

    Args:
        workers: how many.
        listener: what they accept from; closed here at the end.
        work: what each does.
        greet: called once all are ready, with the name that they gave.
        drain_s: seconds in which they end after SIGTERM.

    Raises:
        FulcrumError: one of the first workers could not start.
    """
    with _run_directory() as folder:
        supervisor = _Supervisor(workers, listener, folder, work, greet)
        handlers = {sig: signal.signal(sig, supervisor.stop) for sig in (signal.SIGINT, signal.SIGTERM)}
        try:
            supervisor.run()
        finally:
            listener.close()  # the workers' copies go once they have accepted what had begun
            supervisor.drain(drain_s)
            for sig, handler in handlers.items():
                signal.signal(sig, handler)


class _Supervisor:
    def __init__(
        self,
        workers: int,
        listener: socket.socket,
        folder: Path | None,
        work: Work,
        greet: Callable[[str], None],
    ) -> None:
        self._listener = listener
        self._places = [_Place(number) for number in range(workers)]
        self._folder = folder
        self._work = work
        self._greet = greet
        self._greeted = self._stopping = False
        self._board = Board(workers)

    def stop(self, *_: object) -> None:
        """Handle a signal."""
        if not self._stopping:
            refuse_newcomers(self._listener)
        self._stopping = True

    def run(self) -> None:
        while not self._stopping:
            for place in self._places:
                if place.process is None and time.monotonic() >= place.start_at:
                    self._start(place)
            awaited = [end for p in self._places if p.process for end in (p.news, p.process.sentinel) if end]
            wait(awaited, _TICK_S)
            for place in self._places:
                if place.process is not None:
                    self._look(place, place.process)
            if not self._greeted and all(place.ready_at for place in self._places):
                self._greeted = True
                self._greet(self._places[0].name or "")

    def drain(self, drain_s: float) -> None:
        processes = [place.process for place in self._places if place.process is not None]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + drain_s + _MARGIN_S
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                log.error("worker_killed", pid=process.pid, why="it did not drain in time")
                process.kill()
                process.join()

    def _start(self, place: _Place) -> None:
        place.news, news = _fork.Pipe(duplex=False)
        place.name = place.reason = None
        place.ready_at = 0.0
        place.process = _fork.Process(
            target=_begin,
            args=(self._work, Fleet(self._folder, place.number, self._board), news, os.getpid()),
            name=f"worker-{place.number}",
        )
        place.process.start()
        news.close()

    def _look(self, place: _Place, process: ForkProcess) -> None:
        if place.news is not None and place.news.poll():
            try:
                place.name, place.reason = place.news.recv()
                place.ready_at = 0.0 if place.name is None else time.monotonic()
            except EOFError:
                place.news = None
        if place.ready_at and self._silent(place):
            log.error(
                "worker_killed", worker=place.number, pid=process.pid, why="its event loop stands still"
            )
            process.kill()
            process.join()
        if process.exitcode is not None:
            self._bury(place, process)

    def _silent(self, place: _Place) -> bool:
        beaten_at = self._board.places[place.number].beaten_at
        return time.monotonic() - max(beaten_at, place.ready_at) > _SILENT_S

    def _bury(self, place: _Place, process: ForkProcess) -> None:
        place.process = None
        if self._stopping:
            return
        code = process.exitcode or 0
        how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        reason = place.reason or how
        if not self._greeted:
            raise FulcrumError(
                reason if place.reason else f"worker {place.number}: {how} before it was ready"
            )
        self._board.places[place.number].leave()
        self._board.replaced += 1
        lived_s = time.monotonic() - place.ready_at if place.ready_at else 0.0
        place.failures = 0 if lived_s >= _STABLE_S else place.failures + 1
        doubled = place.failures - (1 if lived_s else 0)  # bad luck once is no reason to wait
        pause_s = min(2.0 ** (doubled - 1), _LONGEST_PAUSE_S) if doubled > 0 else 0.0
        place.start_at = time.monotonic() + pause_s
        log.error("worker_died", worker=place.number, pid=process.pid, reason=reason, next_in_s=pause_s)


def _begin(work: Work, fleet: Fleet, news: Connection, parent: int) -> None:
    """In the forked process."""
    for sig in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sig, signal.SIG_DFL)
    end_with(parent)
    try:
        work(fleet, lambda name: news.send((name, None)))
    except FulcrumError as error:
        news.send((None, str(error)))
        sys.exit(1)


@contextmanager
def _run_directory() -> Iterator[Path | None]:
    """A folder of this run; None where there is none to write to, which costs memory and no more."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="fulcrum-"))
    except OSError as error:
        log.warning("no_run_directory", error=str(error), hint="set TMPDIR to a folder, best in memory")
        yield None
        return
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
