"""Rollout: which bundle of the models folder this worker serves, and how it gets there. Knows no HTTP.

    scan the folder, read the desired state -> the wanted bundle -> trial -> verify, rows, network -> swap

A bundle that fails any of these is refused (`refusals.py` says for how long), and what serves goes on. A
trial holds up nobody: another bundle can be activated meanwhile. Workers swap one after the other, so that
all but one answer at full speed.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import structlog

from model.bundle import Bundle, Manifest, load_bundle
from model.errors import FulcrumError
from model.fusion import FusionError
from service.control.active import Control
from service.control.bundles.catalog import Catalog, Model, Signature
from service.control.bundles.loading import Loader
from service.control.bundles.refusals import Refusals
from service.control.fusion.state import Serving
from service.control.snapshot import ActiveBundle
from service.control.state.desired import Desired, StateError, StateStore, UnknownVersionError
from service.processes.fleet import Fleet
from service.processes.memory import tidy

Judgement = Literal["activated", "refused"]

_POLL_S = 0.25
_LEAVE_S = 2.0
"""Seconds that a load has to end at a stop; it changes nothing any more."""

log = structlog.get_logger(__name__)


class AmbiguousVersionError(FulcrumError):
    """Several bundles begin with what was given."""


class Rollout:
    """Brings this worker to the desired bundle.

    Args:
        catalog: the models folder.
        state: says which bundle is wanted.
        loader: loads bundles, tried elsewhere first.
        fleet: told of refusals, and asked what the others run.
        begin: puts the first bundle into service.
        on_judged: told of each bundle that was put into service or refused.

    Raises:
        FulcrumError: no bundle can serve.
    """

    def __init__(
        self,
        catalog: Catalog,
        state: StateStore,
        loader: Loader,
        fleet: Fleet,
        begin: Callable[[ActiveBundle], Control],
        on_judged: Callable[[Judgement], None],
    ) -> None:
        self.catalog = catalog
        self._state = state
        self._loader = loader
        self._fleet = fleet
        self._on_judged = on_judged
        self._desired: Desired | None = None
        self._problem: str | None = None
        self._refusals = Refusals(self._refused)
        self._passed: dict[Path, Signature] = {}
        self._untidy = False
        self._changing = threading.Lock()
        self._stopped = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="rollout", daemon=True)
        self._control: Control | None = None
        self._control = self._first(begin)

    @property
    def control(self) -> Control:
        """What is active."""
        assert self._control is not None, "only while the first bundle is sought"  # noqa: S101
        return self._control

    @property
    def desired(self) -> str | None:
        """The version that the state names; None for the newest."""
        return self._desired.bundle if self._desired else None

    @property
    def problem(self) -> str | None:
        """What is wrong with the desired state, None if nothing is."""
        return self._problem

    def start(self) -> None:
        """Begin to watch folder and state."""
        self._watcher.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped.set()
        if self._watcher.is_alive():
            self._watcher.join(_LEAVE_S)

    def poll(self) -> None:
        """Look once, and go on to the wanted bundle if it is another and can serve."""
        with self._changing:
            self.catalog.scan()
            self._read_state()
            untried = self._advance()
            self._forget()
        if untried is not None:
            self._try(untried)
            with self._changing:
                self._advance()

    def full_version(self, wanted: str) -> str:
        """The version of the bundle that begins with this.

        Raises:
            UnknownVersionError: there is none such.
            AmbiguousVersionError: there are several.
        """
        with self._changing:
            self.catalog.scan()
            return _version(self._find(wanted))

    def activate(self, wanted: str, commit: Callable[[str], object] | None = None) -> None:
        """Serve this bundle, and want it from now on in all workers.

        Args:
            wanted: a version, or the beginning of one.
            commit: writes down that this version is wanted, once nothing else can fail; without it, the state
                is written.

        Raises:
            UnknownVersionError: there is none such.
            AmbiguousVersionError: there are several.
            StateError: the desired state cannot be written; nothing has changed.
            FulcrumError: the bundle is refused; nothing has changed.
        """
        with self._changing:
            self.catalog.scan()
            model = self._find(wanted)
        if _version(model) != self.control.snapshot().active.bundle.version and not self._try(model):
            raise FulcrumError(self._refusals.reason(model))
        with self._changing:
            desired = Desired(bundle=_version(model))

            def write() -> None:
                if commit is None:
                    self._state.write(desired)
                else:
                    commit(_version(model))

            if desired.bundle == self.control.snapshot().active.bundle.version:
                write()
            else:
                with self._in_turn():
                    active = self._load(model)
                if active is None:
                    raise FulcrumError(self._refusals.reason(model))
                # Written once nothing else can fail: else workers would follow what was refused.
                self._swap(active, write)
            self._desired, self._problem = desired, None

    def refusals(self) -> dict[Path, str]:
        """Why bundles are refused, by any worker."""
        reasons: dict[Path, str] = {}
        for report in self._fleet.workers():
            reasons |= {Path(path): reason for path, reason in report.refused.items()}
        return reasons

    def _first(self, begin: Callable[[ActiveBundle], Control]) -> Control:
        """The wanted bundle in service; where it cannot serve, the newest that can."""
        self._read_state()
        models = [model for model in self.catalog.models if model.manifest]
        # Where the state cannot be read, what the others run is the best guess at it.
        running = {report.bundle for report in self._fleet.workers()}
        first = self._wanted() if self._desired else [m for m in models if _version(m) in running]
        for model in [*first, *(model for model in models if model not in first)]:
            active = self._load(model) if self._try(model) else None
            if active is None:
                continue
            try:
                control = begin(active)
            except FusionError as error:
                self._refusals.refuse(model, str(error))
                self._tell()
                continue
            if first and model is not first[0]:
                log.error("another_bundle_serves", version=active.bundle.version, wanted=_version(first[0]))
            return control
        reasons = list(self._refusals.reasons.values())
        reasons += [model.problem for model in self.catalog.models if model.problem]
        why = "; ".join(dict.fromkeys(reasons)) or "it holds none; `fulcrum train` writes one"
        raise FulcrumError(f"models folder {self.catalog.folder}: no bundle can serve: {why}")

    def _watch(self) -> None:
        while not self._stopped.wait(_POLL_S):
            try:
                if self._untidy:
                    self._untidy = False
                    tidy()
                self.poll()
            except Exception:
                log.exception("rollout_failed")
                self._stopped.wait(10 * _POLL_S)

    def _read_state(self) -> None:
        """What is wanted; while the state cannot be read, what was wanted before."""
        problem = None
        try:
            self._desired = self._state.read()
        except StateError as error:
            problem = str(error)
        else:
            if self.desired and not self._wanted():
                problem = (
                    f"{self._state.name} wants {self.desired}, which {self.catalog.folder} does not hold"
                )
        if problem and problem != self._problem:
            log.error("desired_state", problem=problem)
        self._problem = problem

    def _wanted(self) -> list[Model]:
        """The bundles that will do, the most wanted first; none while nothing is known."""
        if self._desired is None:
            return []
        return [m for m in self.catalog.models if m.manifest and self.desired in (None, m.manifest.version)]

    def _find(self, wanted: str) -> Model:
        known = {_version(model): model for model in reversed(self.catalog.models) if model.manifest}
        prefix = wanted if wanted.startswith("sha256:") else f"sha256:{wanted}"
        found = [version for version in known if version.startswith(prefix)]
        if not found:
            raise UnknownVersionError(
                f"no bundle {wanted!r} in {self.catalog.folder}; it holds {', '.join(known) or 'none'}"
            )
        if len(found) > 1:
            raise AmbiguousVersionError(f"{wanted!r} may be {' or '.join(found)}; give more of it")
        return known[found[0]]

    def _advance(self) -> Model | None:
        """Serve the most wanted bundle that can; where one must be tried before, that one."""
        active = self.control.snapshot().active
        for model in self._wanted():
            refusal = self._refusals.of(model)
            if _version(model) == active.bundle.version:
                if active.store.seek() is not False:
                    return None
            elif refusal and not refusal.due:
                continue
            elif self._passed.get(model.path) != model.signature:
                return model
            elif self._take(model):
                return None
        return None

    def _try(self, model: Model) -> bool:
        """Whether the bundle passes a trial load, in a process of its own and without holding up anybody."""
        problem: Exception | None = None
        try:
            if model.manifest and self._control is not None:
                self._control.check(_serving(model.manifest))
            self._loader.try_elsewhere(model)
        except Exception as error:  # whatever a bundle holds, it must not end the watching
            problem = error
        with self._changing:
            if problem is None:
                self._passed[model.path] = model.signature
            else:
                self._failed(model, problem)
        return problem is None

    def _take(self, model: Model) -> bool:
        """Whether this bundle serves now."""
        with self._in_turn():
            active = self._load(model)
            if active is None:
                return False
            try:
                self._swap(active)
            except FusionError as error:
                self._failed(model, error)
                return False
        return True

    def _load(self, model: Model) -> ActiveBundle | None:
        """A bundle that passed its trial, ready to serve; None if it is refused."""
        began = time.monotonic()
        refusal = self._refusals.of(model)
        bundle = refusal.waiting if refusal else None
        try:
            if model.manifest and self._control is not None:
                self._control.check(_serving(model.manifest))
            bundle = bundle or load_bundle(model.path)
            store = self._loader.open(bundle, first=self._control is None)
            active = self._loader.complete(bundle, store)
        except Exception as error:  # as above
            self._failed(model, error, bundle)
            return None
        self._refusals.lift(model)
        log.info("bundle_loaded", version=bundle.version, seconds=round(time.monotonic() - began, 3))
        return active

    def _failed(self, model: Model, error: Exception, bundle: Bundle | None = None) -> None:
        """Refuse the bundle, for as long as it deserves."""
        self._refusals.failed(model, error, bundle)
        self._soil()  # what was loaded of it
        self._tell()

    def _swap(self, active: ActiveBundle, commit: Callable[[], None] = lambda: None) -> None:
        previous = self.control.snapshot().active
        self.control.swap(active, commit)
        weakref.finalize(previous, self._soil).atexit = False
        self._on_judged("activated")
        log.info("bundle_activated", path=str(active.bundle.path), version=active.bundle.version)

    def _refused(self, model: Model, reason: str) -> None:
        log.error("bundle_refused", path=str(model.path), version=_version(model), reason=reason)
        self._on_judged("refused")

    def _forget(self) -> None:
        """What is gone or has changed is refused no longer."""
        signatures = {model.path: model.signature for model in self.catalog.models}
        self._passed = {path: seen for path, seen in self._passed.items() if signatures.get(path) == seen}
        if self._refusals.forget(self.catalog.models):
            self._soil()  # one that waited for its rows is held no longer
        self._tell()

    def _soil(self) -> None:
        """A bundle was given up: by its last request, or before it served."""
        self._untidy = True

    def _tell(self) -> None:
        self._fleet.report(refused=self._refusals.reasons)

    def _in_turn(self) -> AbstractContextManager[None]:
        """One worker at a time."""
        return self._fleet.turn("swap")


def _version(model: Model) -> str:
    return model.manifest.version if model.manifest else "unknown"


def _serving(manifest: Manifest) -> Serving:
    return Serving(manifest.version, [task.name for task in manifest.tasks])
