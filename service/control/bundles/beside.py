"""Beside: bundles of the models folder that arms of experiments name, loaded beside the active one.

Each passes what a bundle passes that is to serve alone: a trial in a process of its own, its checksums, its
rows, its parity sample. Workers that share weights share these, too.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Collection
from dataclasses import dataclass

import structlog

from model.bundle import load_bundle
from model.errors import FulcrumError
from service.control.bundles.catalog import Catalog, Model
from service.control.bundles.loading import Loader
from service.control.bundles.refusals import Refusals
from service.control.fusion.state import Serving
from service.control.snapshot import ActiveBundle
from service.control.state.desired import UnknownVersionError
from service.processes.fleet import Fleet
from service.processes.memory import resident, tidy

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Held:
    active: ActiveBundle
    memory: int


class BundlesBeside:
    """Holds bundles by version. One thread loads; any thread may ask what is held.

    Args:
        catalog: the models folder, which somebody else scans.
        loader: loads bundles, tried elsewhere first.
        fleet: workers load one after the other, so that all but one answer at full speed.
    """

    def __init__(self, catalog: Catalog, loader: Loader, fleet: Fleet) -> None:
        self._catalog = catalog
        self._loader = loader
        self._fleet = fleet
        self._held: dict[str, _Held] = {}
        self._refusals = Refusals(_log_refusal)
        self._untidy = threading.Event()

    @property
    def memory(self) -> dict[str, int]:
        """What is loaded: bytes by version, as far as the worker grew meanwhile."""
        return {version: held.memory for version, held in list(self._held.items())}

    def serving(self, version: str) -> Serving:
        """A bundle as far as a config must fit it, by its manifest.

        Raises:
            UnknownVersionError: the models folder does not hold it.
        """
        held = self._held.get(version)
        if held is not None:
            return held.active.serving
        manifest = self._model(version).manifest
        assert manifest is not None  # noqa: S101 - it was found by it
        return Serving(manifest.version, [task.name for task in manifest.tasks])

    def load(self, version: str) -> ActiveBundle:
        """The bundle, loaded where it is not. May take seconds.

        Raises:
            UnknownVersionError: the models folder does not hold it.
            FulcrumError: it was refused; says why.
        """
        model = self._model(version)
        held = self._held.get(version)
        if held is not None:
            return held.active
        refusal = self._refusals.of(model)
        if refusal is not None and not refusal.due:
            raise FulcrumError(refusal.reason)
        bundle = refusal.waiting if refusal is not None else None
        try:
            self._loader.try_elsewhere(model)
            with self._fleet.turn("swap"):
                began, before = time.monotonic(), resident()
                bundle = bundle or load_bundle(model.path)
                active = self._loader.complete(bundle, self._loader.open(bundle))
                memory = max(0, resident() - before)
        except Exception as error:  # whatever a bundle holds, it must not end the loading
            self._refusals.failed(model, error, bundle)
            self._untidy.set()
            raise FulcrumError(self._refusals.reason(model)) from error
        seconds = round(time.monotonic() - began, 3)
        log.info("arm_bundle_loaded", version=version, seconds=seconds, memory=memory)
        self._refusals.lift(model)
        self._held[version] = _Held(active, memory)
        return active

    def keep(self, versions: Collection[str]) -> list[ActiveBundle]:
        """Let go of other bundles, and of those that left the models folder or whose rows are gone; these.

        What is held follows what is published.
        """
        there = {model.manifest.version for model in self._catalog.models if model.manifest}
        lost = [
            version
            for version, held in self._held.items()
            if version not in versions or version not in there or held.active.store.seek() is False
        ]
        gone = [self._held.pop(version).active for version in lost]
        for active in gone:
            weakref.finalize(active, self._untidy.set).atexit = False  # requests may still hold it
            log.info("arm_bundle_dropped", version=active.bundle.version)
        self._refusals.forget(self._catalog.models)
        if self._untidy.is_set():
            self._untidy.clear()
            tidy()
        return gone

    def _model(self, version: str) -> Model:
        for model in self._catalog.models:
            if model.manifest is not None and model.manifest.version == version:
                return model
        raise UnknownVersionError(f"bundle {version} is not in {self._catalog.folder}; put it there")


def _log_refusal(model: Model, reason: str) -> None:
    log.error("arm_bundle_refused", path=str(model.path), reason=reason)
