"""Fleet: what each worker of this service runs, told in memory they share: any of them can speak for all.

Beside that memory (service/processes/board.py) there is a run directory, made fresh by the supervisor, for
what is too large or is opened by name. The service goes on without it, only with more memory and more work:

    weights/             networks that all workers map (service/inference/shared_weights.py)
    trial-*              what became of trial loads (service/processes/trials.py)
    network-*            networks of learned formulas that served (service/control/fusion/networks.py)
    *.lock               whose turn it is

A single worker has neither: it is the fleet. Knows neither bundles nor HTTP.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import structlog

from model.files import FileLock
from service.processes.board import Board, Place

_MOST_REFUSED, _MOST_REASON = 200, 500
"""Refused bundles, and characters of each reason, in a report too long for its place."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class WorkerReport:
    """What one worker says of itself.

    Attributes:
        worker: its place, from 0; a replacement takes the place of the one it replaces.
        ready: whether it answers requests.
        bundle: version of the bundle it serves, None before the first.
        previous: version it served before, None if none.
        fusion: version of the fusion config in force.
        revision: its number in the control store; None for a file.
        fusion_rejected: why the present content of the fusion file is refused, None if it is not.
        control_problem: why the control store cannot be followed, None if it can.
        generation: name of the published rows in use.
        refused: why bundles of the models folder are refused, by folder.
        arm_bundles: those that are loaded for arms of experiments: memory by version, bytes.
        waiting: why experiments that should be in force are not, by id.
    """

    worker: int
    ready: bool = False
    bundle: str | None = None
    previous: str | None = None
    fusion: str | None = None
    revision: int | None = None
    fusion_rejected: str | None = None
    control_problem: str | None = None
    generation: str | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    arm_bundles: Mapping[str, int] = field(default_factory=dict)
    waiting: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Headcount:
    """What the supervisor says.

    Attributes:
        workers: how many there should be.
        replaced: how many died and were replaced since the start.
    """

    workers: int = 1
    replaced: int = 0


class Fleet:
    """One worker's view of all.

    Args:
        folder: the run directory; None where there is none.
        worker: this worker's place.
        board: memory that all workers share; None for a single worker.
    """

    def __init__(self, folder: Path | None = None, worker: int = 0, board: Board | None = None) -> None:
        self.folder = folder
        self.board = board
        self._own = WorkerReport(worker)
        self._lock = threading.Lock()
        self._write()

    @property
    def own(self) -> WorkerReport:
        """This worker's report."""
        return self._own

    @property
    def place(self) -> Place | None:
        """Where this worker writes; None for a single worker."""
        return None if self.board is None else self.board.places[self._own.worker]

    def report(self, **changes: Any) -> None:
        """Change fields of this worker's report, and tell the others."""
        with self._lock:
            changed = replace(self._own, **changes)
            if changed != self._own:
                self._own = changed
                self._write()

    def beat(self) -> None:
        """Show the supervisor that this worker's event loop turns."""
        if self.place is not None:
            self.place.beat()

    def workers(self) -> list[WorkerReport]:
        """The reports of all workers that live, by place."""
        told = [] if self.board is None else [place.report.read() for place in self.board.places]
        others = [WorkerReport(**orjson.loads(content)) for content in told if content is not None]
        reports = {report.worker: report for report in others}
        reports[self._own.worker] = self._own
        return [report for _, report in sorted(reports.items())]

    def headcount(self) -> Headcount:
        """How many workers there should be."""
        if self.board is None:
            return Headcount()
        return Headcount(len(self.board.places), self.board.replaced)

    def turn(self, name: str) -> AbstractContextManager[None]:
        """One worker at a time; see `in_turn`."""
        return in_turn(self.folder, name)

    def _write(self) -> None:
        if self.place is None or self.place.report.write(orjson.dumps(asdict(self._own))):
            return
        some = list(self._own.refused.items())[:_MOST_REFUSED]
        shorter = replace(self._own, refused={path: reason[:_MOST_REASON] for path, reason in some})
        self.place.report.write(orjson.dumps(asdict(shorter)))


@contextmanager
def in_turn(folder: Path | None, name: str) -> Iterator[None]:
    """One process at a time, as far as the run directory allows it: without one, all go at once."""
    with ExitStack() as stack:
        if folder is not None:
            try:
                stack.enter_context(FileLock(folder / f"{name}.lock"))
            except OSError as error:
                log.warning("no_turns", what=name, error=str(error))
        yield
