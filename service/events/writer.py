"""Writer: exposures from the event loop to a sink, by a thread, and never the other way round that one waits.

What waits is bounded by number and by bytes; what does not fit is dropped and counted. Exposures are prepared
as they come and written together, every interval: that is what a crash may cost. While the sink is away, they
wait for it as far as there is room, and it is tried again and again. Knows no sink.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Literal, Protocol

import structlog

from model.events import Shown
from service.events.sink import ExposureSink

Loss = Literal["queue_full", "sink_away", "unwritable"]
"""Why an exposure was dropped: they came faster than they are written, the sink is away, or it cannot be put
into the sink's form."""

_REST_S = 5.0
"""Seconds without an exposure after which the sink does what is due, and between two tries at most."""

_CLOSE_S = 5.0
"""Seconds that the end of the service waits for the sink."""

_BYTES, _ID_BYTES, _NUMBER_BYTES = 2_000, 64, 8
"""Of an exposure, of an id and of a number in memory, about."""

log = structlog.get_logger(__name__)


class ExposureReport(Protocol):
    """Counts what becomes of exposures."""

    def written(self, exposures: int, size: int, waited_s: float) -> None:
        """`exposures` are in the sink, in `size` bytes; the first of them waited for `waited_s`."""

    def dropped(self, reason: Loss, exposures: int) -> None:
        """`exposures` are lost."""

    def waiting(self, exposures: int) -> None:
        """`exposures` wait now."""

    def failing(self, fails: bool) -> None:
        """Whether the last write failed."""


@dataclass(frozen=True)
class Bounds:
    """How much waits, and for how long.

    Attributes:
        interval_s: between two writes.
        exposures: that wait at most.
        size: bytes of memory that these take at most, about.
        early: share of either bound from which a write does not wait for the interval.
    """

    interval_s: float = 1.0
    exposures: int = 20_000
    size: int = 32 * 1024 * 1024
    early: float = 0.25


class ExposureWriter:
    """Writes exposures until it is stopped.

    Args:
        sink: where to.
        bounds: of what waits.
        report: called with what becomes of exposures.
        clock: seconds, of any beginning.
    """

    def __init__(
        self,
        sink: ExposureSink[Any],
        bounds: Bounds,
        report: ExposureReport,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sink = sink
        self._bounds = bounds
        self._report = report
        self._clock = clock
        self._coming: SimpleQueue[tuple[Shown, int] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._count = self._size = 0  # of what waits, prepared or not
        self._prepared: list[Any] = []
        self._sizes = 0  # of the prepared
        self._first_at = 0.0  # when the first of the prepared came
        self._try_at = 0.0
        self._failures = 0
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._run, name="exposures", daemon=True)

    @property
    def state(self) -> str:
        """`written`, or `failing: ` and why."""
        return "written" if self._failure is None else f"failing: {self._failure}"

    def offer(self, shown: Shown) -> None:
        """Have an exposure written, or drop it; returns at once."""
        size = _size(shown)
        with self._lock:
            fits = self._count < self._bounds.exposures and self._size + size <= self._bounds.size
            if fits:
                self._count += 1
                self._size += size
        if fits:
            self._coming.put((shown, size))
        else:
            self._report.dropped("queue_full" if self._failure is None else "sink_away", 1)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write all that waits, and end; waits for a sink that hangs for some seconds only."""
        self._coming.put(None)
        if self._thread.is_alive():
            self._thread.join(_CLOSE_S)
        if self._thread.is_alive():
            log.error("exposures_lost", exposures=self._count, why="the sink hangs")

    def _run(self) -> None:
        while True:
            try:
                come = self._coming.get(timeout=self._patience_s())
            except Empty:
                come = None
            else:
                if come is None:
                    break
                self._prepare(*come)
            try:
                self._look(come is None)
            except Exception:  # whatever it is, later exposures are worth a try
                log.exception("exposures_failed")
                self._forget("unwritable")
        self._end()

    def _patience_s(self) -> float:
        """Seconds until there is something to do even if no exposure comes."""
        if not self._prepared:
            return _REST_S
        return max(0.0, self._due_at - self._clock())

    @property
    def _due_at(self) -> float:
        return max(self._first_at + self._bounds.interval_s, self._try_at)

    def _prepare(self, shown: Shown, size: int) -> None:
        try:
            prepared = self._sink.prepare(shown)
        except ValueError as error:
            log.error("exposure_unwritable", exposure=shown.exposure.exposure_id, error=str(error))
            self._leave(1, size)
            self._report.dropped("unwritable", 1)
            return
        if not self._prepared:
            self._first_at = self._clock()
        self._prepared.append(prepared)
        self._sizes += size

    def _look(self, idle: bool) -> None:
        """Write what is due."""
        now, bounds = self._clock(), self._bounds
        if self._prepared:
            many = len(self._prepared) >= bounds.exposures * bounds.early
            large = self._sizes >= bounds.size * bounds.early
            if now >= self._due_at or ((many or large) and now >= self._try_at):
                self._write()
        elif idle:
            with contextlib.suppress(OSError):
                self._sink.rest()

    def _write(self) -> None:
        try:
            size = self._sink.write(self._prepared)
        except OSError as error:
            self._fail(error)
            return
        if self._failure is not None:
            log.info("exposures_written_again")
        self._failure, self._failures, self._try_at = None, 0, 0.0
        self._report.written(len(self._prepared), size, self._clock() - self._first_at)
        self._report.failing(False)
        self._clear()

    def _fail(self, error: OSError) -> None:
        reason = f"{error.strerror or error}" + (f" ({error.filename})" if error.filename else "")
        if reason != self._failure:
            log.error("exposures_not_written", error=reason, hint="they wait, then they are dropped")
        self._failure = reason
        self._failures += 1
        pause_s = self._bounds.interval_s * 2.0 ** min(self._failures - 1, 10)
        self._try_at = self._clock() + min(pause_s, _REST_S)
        self._report.failing(True)
        self._report.waiting(self._count)

    def _end(self) -> None:
        """Write what is left; what cannot be written is lost."""
        self._try_at = 0.0
        try:
            if self._prepared:
                self._write()
            if self._prepared:
                log.error("exposures_lost", exposures=len(self._prepared), why=self._failure)
                self._forget("sink_away")
            self._sink.close()
        except Exception:
            log.exception("exposures_failed")

    def _forget(self, reason: Loss) -> None:
        self._report.dropped(reason, len(self._prepared))
        self._clear()

    def _clear(self) -> None:
        self._leave(len(self._prepared), self._sizes)
        self._prepared, self._sizes = [], 0
        self._report.waiting(self._count)

    def _leave(self, count: int, size: int) -> None:
        with self._lock:
            self._count -= count
            self._size -= size


def _size(shown: Shown) -> int:
    """Bytes of memory that an exposure takes, about."""
    exposure, candidates = shown.exposure, shown.exposure.candidates
    size = _BYTES + _ID_BYTES * len(exposure.items)
    if candidates is not None:
        size += len(candidates.ids) * (_ID_BYTES + _NUMBER_BYTES * (1 + len(candidates.predictions)))
        if candidates.rows is not None:
            size += len(candidates.rows.user) + len(candidates.rows.items)
    return size
