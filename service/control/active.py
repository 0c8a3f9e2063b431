"""Control: what is active in this process, as one snapshot, and the watched fusion file. Knows no HTTP.

Fusion and bundle may change at the same time; whichever comes second must fit the first, so both take one
lock. Requests take none: they read one attribute.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from model.fusion import check_conditions, check_tasks
from service.control.fusion.file import FusionFile, FusionState, Reload
from service.control.fusion.networks import Networks
from service.control.snapshot import ActiveBundle, Snapshot
from service.processes.fleet import Fleet
from service.processes.memory import trim

_POLL_S = 0.1
_LEAVE_S = 2.0
"""Seconds that the trial of a network has to end at a stop; it changes nothing any more."""

_TRIM_S = 5.0
"""Seconds between two times at which free memory goes back to the system: about a millisecond each."""

log = structlog.get_logger(__name__)


class Control:
    """The active bundle with the active fusion config.

    Args:
        active: the first bundle.
        fusion: the fusion file; None for each bundle's own.
        fleet: told of what is active.
        on_reload: told of each judged change of the fusion file.

    Raises:
        FusionError: the fusion file cannot be used.
    """

    def __init__(
        self,
        active: ActiveBundle,
        fusion: Path | None,
        fleet: Fleet,
        on_reload: Callable[[Reload], None] | None = None,
    ) -> None:
        self._path = fusion
        self._keep = fleet.place.fusion if fusion and fleet.place else None
        self._on_reload = on_reload
        self._fleet = fleet
        self._networks = Networks(fleet.folder)
        self._fusion = self._watched(active)
        self._snapshot = Snapshot(active, self._fusion.state.active)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        # Apart, as a network that comes with a config may be tried for seconds.
        self._watchers = [
            threading.Thread(target=self._watch, args=(turn,), name=name, daemon=True)
            for name, turn in (("fusion", self._poll), ("features", self._refresh))
        ]
        self._trim_at = 0.0
        self._tell()

    def snapshot(self) -> Snapshot:
        """What is active now; take it once a request."""
        return self._snapshot

    @property
    def fusion(self) -> FusionState:
        """The config that requests are scored with, and what was refused since."""
        return FusionState(self._snapshot.fusion, self._fusion.state.rejected)

    def check(self, tasks: Sequence[str]) -> None:
        """Raise FusionError if a bundle of these tasks could not serve with the fusion file."""
        if self._path:
            check_tasks(self.fusion.active.config, tasks, source=self._path)

    def swap(self, active: ActiveBundle, commit: Callable[[], None] = lambda: None) -> None:
        """Serve this bundle from the next request on; the one before goes when its last request ends.

        Args:
            active: the bundle.
            commit: called once nothing else can fail; where it raises, nothing has changed.

        Raises:
            FusionError: the fusion config in force names tasks that the bundle lacks; nothing has changed.
        """
        own = None if self._path else self._watched(active)
        with self._lock:
            if own is None:
                self.check(active.bundle.task_names)
                check_conditions(self.fusion.active.config, active.bundle.request_features, self._path)
            commit()
            if own is None:
                self._fusion.fit(active.bundle.task_names, active.bundle.request_features)
            else:
                self._fusion = own
            previous = self._snapshot.active.bundle.version
            self._snapshot = Snapshot(active, self._fusion.state.active)
        self._fleet.report(previous=previous)
        self._tell()

    def start(self) -> None:
        """Begin to watch the fusion file and what is published."""
        for watcher in self._watchers:
            watcher.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped.set()
        for watcher in self._watchers:
            if watcher.is_alive():
                watcher.join(_LEAVE_S)

    def _watched(self, active: ActiveBundle) -> FusionFile:
        path = self._path or active.bundle.fusion_path
        bundle = active.bundle
        return FusionFile(
            path, bundle.task_names, self._on_reload, self._keep, self._networks, bundle.request_features
        )

    def _watch(self, turn: Callable[[], None]) -> None:
        while not self._stopped.wait(_POLL_S):
            try:
                turn()
            except Exception:  # a full disk must not end the watching
                log.exception("fusion_watch_failed")

    def _poll(self) -> None:
        file = self._fusion
        found = file.look()
        if found is None:
            return
        with self._lock:
            if file is not self._fusion:
                return
            file.take(found)
            active = self._snapshot.active
            if file.state.active is not self._snapshot.fusion:
                self._snapshot = Snapshot(active, file.state.active)
        self._tell()

    def _refresh(self) -> None:
        self._snapshot.active.store.seek()
        self._tell()
        if time.monotonic() >= self._trim_at:
            self._trim_at = time.monotonic() + _TRIM_S
            trim()

    def _tell(self) -> None:
        snapshot, rejected = self._snapshot, self._fusion.state.rejected
        self._fleet.report(
            bundle=snapshot.active.bundle.version,
            fusion=snapshot.fusion.version,
            fusion_rejected=rejected and rejected.error,
            generation=snapshot.active.store.generation,
        )
