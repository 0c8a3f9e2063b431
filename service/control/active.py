"""Control: what is active in this process, as one snapshot, and what watches the fusion. Knows no HTTP.

Fusion and bundle may change at the same time; whichever comes second must fit the first, so both take one
lock. Requests take none: they read one attribute.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import structlog

from service.control.experiments.arms import Arms, BundlesBeside
from service.control.fusion.file import FusionFile
from service.control.fusion.in_force import InForce
from service.control.fusion.networks import Networks
from service.control.fusion.revisions import Revisions
from service.control.fusion.state import FusionSource, FusionState, Reload, Serving
from service.control.snapshot import ActiveBundle, Dealt, Snapshot
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
        revisions: of the control store; None without one.
        bundles: that arms of experiments may name beside the active one; None for none.

    Attributes:
        arms: of experiments, in force in this worker; None without a control store.

    Raises:
        FusionError: the fusion file cannot be used, or no revision can.
    """

    def __init__(
        self,
        active: ActiveBundle,
        fusion: Path | None,
        fleet: Fleet,
        on_reload: Callable[[Reload], None] | None = None,
        revisions: Revisions | None = None,
        bundles: BundlesBeside | None = None,
    ) -> None:
        self._path = fusion
        self._revisions = revisions
        self._keep = fleet.place.fusion if (fusion or revisions) and fleet.place else None
        self._on_reload = on_reload
        self._fleet = fleet
        self._networks = Networks(fleet.folder)
        self._fusion = self._source(active)
        self._snapshot = Snapshot(active, self._fusion.state.active)
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._stopped = threading.Event()
        # Apart, as a network that comes with a config may be tried for seconds.
        self._watchers = [
            threading.Thread(target=self._watch, args=(turn,), name=name, daemon=True)
            for name, turn in (("fusion", self._poll), ("features", self._refresh))
        ]
        self._trim_at = 0.0
        in_force = self.in_force
        self.arms = None if in_force is None else Arms(self, in_force, bundles, fleet)
        self._tell()

    def snapshot(self) -> Snapshot:
        """What is active now; take it once a request."""
        return self._snapshot

    @property
    def fusion(self) -> FusionState:
        """The config that requests are scored with, and what was refused since."""
        return FusionState(self._snapshot.fusion, self._fusion.state.rejected)

    @property
    def in_force(self) -> InForce | None:
        """The revision in force; None without a control store."""
        return self._fusion if isinstance(self._fusion, InForce) else None

    def check(self, serving: Serving) -> None:
        """Raise FusionError if a bundle could not serve with the config that would be in force with it."""
        if self._stays:
            self._fusion.check(serving)

    def swap(self, active: ActiveBundle, commit: Callable[[], None] = lambda: None) -> None:
        """Serve this bundle from the next request on; the one before goes when its last request ends.

        Args:
            active: the bundle.
            commit: called once nothing else can fail; where it raises, nothing has changed.

        Raises:
            FusionError: the fusion config that would be in force does not fit it; nothing has changed.
        """
        serving = active.serving
        if self._revisions is not None:
            self.converge()  # what comes with this bundle must be known by now
        own = None if self._stays else self._source(active)
        with self._lock:
            self.check(serving)
            commit()
            if own is None:
                self._fusion.fit(serving)
            else:
                self._fusion = own
            previous = self._snapshot.active.bundle.version
            self._snapshot = Snapshot(active, self._fusion.state.active)
        self._fleet.report(previous=previous)
        self._tell()

    def converge(self) -> None:
        """Look at once at what fusion and arms come from, as the watchers do ten times a second."""
        self._poll()
        if self.arms is not None:
            self.arms.follow()

    def deal(self, base: Snapshot, arms: Dealt | None) -> None:
        """Put arms into force beside this, unless something else is active by now: then they are nobody's."""
        with self._lock:
            if self._snapshot.is_like(base):
                self._snapshot = replace(self._snapshot, arms=arms)

    def start(self) -> None:
        """Begin to watch the fusion file and what is published, and to follow experiments."""
        for watcher in self._watchers:
            watcher.start()
        if self.arms is not None:
            self.arms.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped.set()
        if self.arms is not None:
            self.arms.stop()
        for watcher in self._watchers:
            if watcher.is_alive():
                watcher.join(_LEAVE_S)

    @property
    def _stays(self) -> bool:
        """Whether the fusion comes from the same place whatever the bundle."""
        return self._path is not None or self._revisions is not None

    def _source(self, active: ActiveBundle) -> FusionSource:
        serving, own = active.serving, active.bundle.fusion_path
        if self._revisions is None:
            path = self._path or own
            return FusionFile(
                path, serving.tasks, self._on_reload, self._keep, self._networks, serving.features
            )
        return InForce(self._revisions, own, self._path, serving, self._on_reload, self._keep, self._networks)

    def _watch(self, turn: Callable[[], None]) -> None:
        while not self._stopped.wait(_POLL_S):
            try:
                turn()
            except Exception:  # a full disk must not end the watching
                log.exception("fusion_watch_failed")

    def _poll(self) -> None:
        with self._looking:
            source = self._fusion
            found = source.look()
            if found is None:
                return
            with self._lock:
                if source is not self._fusion:
                    return
                source.take(found)
                active = self._snapshot.active
                if source.state.active is not self._snapshot.fusion:
                    self._snapshot = Snapshot(active, source.state.active)
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
            revision=snapshot.fusion.revision,
            fusion_rejected=rejected and rejected.error,
            control_problem=self.in_force.problem if self.in_force else None,
            generation=snapshot.active.store.generation,
        )
