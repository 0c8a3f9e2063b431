"""Fleet: what each worker of this service runs, told in a file each, so that any of them can speak for all.

The run directory, made fresh by the supervisor:

    fleet.json           how many workers there should be, how many were replaced
    worker-<place>.json  a worker's report; its time stamp is its heartbeat
    *.db                 metrics (service/telemetry/metrics.py)
    weights/             networks that all workers map (service/inference/shared_weights.py)

A single worker has no run directory: it is the fleet. Knows neither bundles nor HTTP.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from model.files import replace_file

_HEADCOUNT = "fleet.json"


@dataclass(frozen=True)
class WorkerReport:
    """What one worker says of itself.

    Attributes:
        worker: its place, from 0; a replacement takes the place of the one it replaces.
        ready: whether it answers requests.
        bundle: version of the bundle it serves, None before the first.
        previous: version it served before, None if none.
        fusion: version of the fusion config in force.
        fusion_rejected: why the present content of the fusion file is refused, None if it is not.
        generation: name of the published rows in use.
        refused: why bundles of the models folder are refused, by folder.
    """

    worker: int
    ready: bool = False
    bundle: str | None = None
    previous: str | None = None
    fusion: str | None = None
    fusion_rejected: str | None = None
    generation: str | None = None
    refused: Mapping[str, str] = field(default_factory=dict)


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
        folder: the run directory; None for a single worker.
        worker: this worker's place.
    """

    def __init__(self, folder: Path | None = None, worker: int = 0) -> None:
        self.folder = folder
        self._own = WorkerReport(worker)
        self._lock = threading.Lock()
        self._write()

    @property
    def own(self) -> WorkerReport:
        """This worker's report."""
        return self._own

    def report(self, **changes: Any) -> None:
        """Change fields of this worker's report, and tell the others."""
        with self._lock:
            changed = replace(self._own, **changes)
            if changed != self._own:
                self._own = changed
                self._write()

    def beat(self) -> None:
        """Show the supervisor that this worker's event loop turns."""
        if self.folder is not None:
            with contextlib.suppress(OSError):
                os.utime(report_path(self.folder, self._own.worker))

    def workers(self) -> list[WorkerReport]:
        """The reports of all workers that live, by place."""
        others = [] if self.folder is None else [_read(path) for path in self.folder.glob("worker-*.json")]
        reports = {report.worker: report for report in others if report is not None}
        reports[self._own.worker] = self._own
        return [report for _, report in sorted(reports.items())]

    def headcount(self) -> Headcount:
        """How many workers there should be."""
        if self.folder is None:
            return Headcount()
        return Headcount(**orjson.loads((self.folder / _HEADCOUNT).read_bytes()))

    def _write(self) -> None:
        if self.folder is not None:
            with contextlib.suppress(OSError):  # a full disk must not stop a worker from changing
                replace_file(report_path(self.folder, self._own.worker), orjson.dumps(asdict(self._own)))


def report_path(folder: Path, worker: int) -> Path:
    """Where the worker at this place reports."""
    return folder / f"worker-{worker}.json"


def write_headcount(folder: Path, headcount: Headcount) -> None:
    """Tell the workers; the supervisor does."""
    replace_file(folder / _HEADCOUNT, orjson.dumps(asdict(headcount)))


def _read(path: Path) -> WorkerReport | None:
    try:
        return WorkerReport(**orjson.loads(path.read_bytes()))
    except OSError:
        return None  # it died meanwhile
