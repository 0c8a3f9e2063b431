"""The revision in force: a store, followed. What one activates, every worker ranks by within a second.

A worker reads the store's document; where it names another revision, this is judged here as an edited file
would be, and taken if it fits the bundle. While the store is away, what was in force stays. A revision that
was activated together with a bundle waits until this worker serves the bundle, and then both come at once.

A service that starts while the store is away, and has nobody to ask, ranks by the fusion file or the bundle's
own config until the store is back; each answer says so.

A fusion file beside the store is watched as ever: its edits become revisions. Knows no HTTP and no threads,
as `service/control/fusion/file.py`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import orjson
import structlog

from model.errors import checked
from model.files import now
from model.fusion import (
    FusionConfig,
    FusionError,
    LearnedFormula,
    canonical_json,
    check_conditions,
    check_tasks,
    version,
)
from model.fusion.network_file import read_networks
from service.control.fusion.file import FusionFile
from service.control.fusion.networks import Networks, TrialError
from service.control.fusion.revisions import Revisions, config_of
from service.control.fusion.schedules import Schedules
from service.control.fusion.state import (
    ActiveFusion,
    FusionState,
    Keep,
    RejectedFusion,
    Reload,
    Serving,
    check_fit,
)
from service.control.state.control import Activation, Document, Revision, Schedule
from service.control.state.desired import StateError

UNREACHABLE = "control_store_unreachable"
"""What answers say while a service does not know the active revision."""

_AGAIN_S = 30.0
"""Seconds until a revision is judged again that failed for reasons that may pass."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Found:
    """What is wanted, judged but for the bundle.

    Attributes:
        change: name of the document.
        activation: what is wanted.
        active: its config, if it can be used.
        error: why not.
    """

    change: str
    activation: Activation
    active: ActiveFusion | None
    error: Exception | None = None


class InForce:
    """The revision that this worker ranks by.

    Args:
        revisions: of the store; an empty one takes the file's config, or the bundle's own, as revision 1.
        own: the bundle's own fusion file.
        file: a fusion file whose edits become revisions, if there is one.
        serving: the bundle.
        on_reload: called at each change that was judged.
        keep: where the revision in force is kept for a worker that starts while the store is away.
        networks: opens those of learned formulas.

    Attributes:
        schedule: the activation that is to come, when the store was last read.

    Raises:
        FusionError: no revision of the store can be used.
    """

    def __init__(
        self,
        revisions: Revisions,
        own: Path,
        file: Path | None,
        serving: Serving,
        on_reload: Callable[[Reload], None] | None = None,
        keep: Keep | None = None,
        networks: Networks | None = None,
    ) -> None:
        self.revisions = revisions
        self.schedule: Schedule | None = None
        self._schedules = Schedules(revisions)
        self._own = own
        self._path = file
        self._serving = serving
        self._on_reload = on_reload
        self._keep = keep
        self._networks = networks or Networks()
        self._problem: str | None = None
        self._file: FusionFile | None = None
        self._recorded: str | None = None
        self._file_lock = threading.Lock()
        self._pending: Found | None = None
        self._reserved: tuple[str, ActiveFusion] | None = None
        self._seen: str | None = None
        self._again_at = float("inf")
        self._state = self._first()
        self._keep_it()

    @property
    def state(self) -> FusionState:
        """The present state; take it once for each piece of work."""
        file = self._file
        if self._state.rejected is None and file is not None and file.state.rejected is not None:
            return replace(self._state, rejected=file.state.rejected)
        return self._state

    @property
    def problem(self) -> str | None:
        """Why the store cannot be followed now; None if it can."""
        return self._problem

    def look(self) -> Found | None:
        """Look once at file and store; judge what has changed."""
        try:
            self._record_file()
            document = self._schedules.due(self.fits)
            if document is None:
                if self._state.active.revision is not None:
                    raise StateError(self._emptied)
                document = self._seed()  # it was away when this worker started
            self._say(None)
            self.schedule = document.schedule
            if document.change == self._seen and time.monotonic() < self._again_at:
                return None
            return self._judge(document)
        except StateError as error:
            self._say(str(error))
            return None

    def take(self, found: Found) -> None:
        """Put it into force if it can be used and fits the bundle; else keep the revision before."""
        self._seen, self._again_at = found.change, float("inf")
        before, wanted = self._state.active, found.activation
        self._pending = None
        try:
            if found.active is None:
                raise found.error or FusionError("nothing was found")
            self._fitting(found)
        except Exception as error:
            if isinstance(error, TrialError):
                self._again_at = time.monotonic() + _AGAIN_S
            self._pending = found if found.active is not None else None  # it may fit the bundle that comes
            self._state = FusionState(before, _rejection(error))
            log.error("fusion_rejected", revision=wanted.revision, error=str(error), serving=before.version)
            self._report("rejected")
        else:
            self._enforce(found.active)

    def judged(self, revision: Revision) -> ActiveFusion:
        """A revision with its networks, which are tried where they have not been.

        Raises:
            FusionError: it cannot be used.
            StateError: the store is away.
        """
        return self._opened(revision, kept=False)

    def fits(self, activation: Activation) -> None:
        """Raise FusionError where a revision cannot serve with the bundle that it would come into force with.

        Of a bundle that this worker does not serve nothing is known: whoever loads it finds out.
        """
        active = self.judged(self.revisions.get(activation.revision))
        if not activation.together or activation.bundle == self._serving.version:
            check_fit(active, self._serving)

    def check_config(self, config: FusionConfig) -> None:
        """Raise FusionError if the bundle that serves could not serve with this config."""
        check_tasks(config, self._serving.tasks)
        if self._serving.features is not None:
            check_conditions(config, self._serving.features)

    def try_networks(self, config: FusionConfig, given: Mapping[str, bytes]) -> None:
        """Try the networks that a config names.

        Args:
            config: names them.
            given: those that the store may lack, by checksum.

        Raises:
            FusionError: one is in neither, or may not rank.
        """

        def read(scene: LearnedFormula) -> bytes:
            return given[scene.sha256] if scene.sha256 in given else self._network(scene)

        self._networks.of(config, read)

    def check(self, serving: Serving) -> None:
        """Raise FusionError if a bundle could not serve with the revision that would be in force with it."""
        check_fit(self._with(serving.version), serving)

    def fit(self, serving: Serving) -> None:
        """Judge by another bundle from now on, and take the revision that waited for it.

        Raises:
            FusionError: the config that would be in force does not fit; nothing has changed.
        """
        active = self._with(serving.version)
        check_fit(active, serving)
        self._serving = serving
        pending = self._pending
        self._enforce(active)
        if pending is not None and active is not pending.active:
            self.take(pending)
        with self._file_lock:
            if self._file is not None:
                try:
                    self._file.fit(serving)
                except FusionError as error:  # its next edit may fit
                    log.warning("fusion_file_unfit", error=str(error))

    @contextmanager
    def reserved(self, bundle: str, active: ActiveFusion) -> Iterator[None]:
        """Meanwhile, this config comes into force with that bundle, whatever the store says of it by then."""
        self._reserved = bundle, active
        try:
            yield
        finally:
            self._reserved = None

    def _with(self, version: str | None) -> ActiveFusion:
        """The config that would be in force with this bundle."""
        reserved, pending = self._reserved, self._pending
        if reserved is not None and reserved[0] == version:
            return reserved[1]
        if pending is not None and pending.active is not None and pending.activation.bundle == version:
            return pending.active
        return self._state.active

    def _fitting(self, found: Found) -> None:
        wanted, active = found.activation, found.active
        if active is None or active is self._state.active:
            return
        if wanted.together and wanted.bundle != self._serving.version:
            raise FusionError(f"revision {wanted.revision} waits for bundle {wanted.bundle}")
        check_fit(active, self._serving)

    def _enforce(self, active: ActiveFusion | None) -> None:
        if active is None:
            return
        before, self._state = self._state, FusionState(active)
        if active is not before.active:
            self._pending = None
            self._keep_it()
            log.info("fusion_loaded", source=active.source, version=active.version)
            self._report("loaded")

    def _judge(self, document: Document) -> Found:
        wanted = document.active
        try:
            revision = self.revisions.get(wanted.revision)
            now_active = self._state.active
            if (revision.revision, revision.version) == (now_active.revision, now_active.version):
                return Found(document.change, wanted, now_active)
            return Found(document.change, wanted, self.judged(revision))
        except StateError:
            raise
        except Exception as error:  # whatever a revision does to the parser, the next one must be looked at
            return Found(document.change, wanted, None, error)

    def _first(self) -> FusionState:
        kept = None if self._keep is None else self._keep.read()
        try:
            document = self.revisions.store.read()
            if document is None:
                if kept is not None:  # of a worker before: what is lost must not be replaced in silence
                    raise StateError(self._emptied)
                document = self._seed()
            return self._newest_that_fits(document)
        except StateError as error:
            self._say(str(error))
            if kept is None:
                return FusionState(replace(self._own_config(), degraded=(UNREACHABLE,)))
            active = self._opened(checked(Revision, orjson.loads(kept)), kept=True)
            check_fit(active, self._serving)
            return FusionState(active)

    def _newest_that_fits(self, document: Document) -> FusionState:
        """What is wanted; where it cannot serve with this bundle, what was active before."""
        first: FusionError | None = None
        for activation in reversed(document.trail):
            found = Found(document.change, activation, None)
            try:
                active = self.judged(self.revisions.get(activation.revision))
                found = replace(found, active=active)
                if activation.together and activation.bundle != self._serving.version:
                    raise FusionError(f"revision {activation.revision} waits for bundle {activation.bundle}")
                check_fit(active, self._serving)
            except FusionError as error:
                if first is None:
                    first, self._pending = error, found
                    log.error("fusion_rejected", revision=activation.revision, error=str(error))
                continue
            self._seen = document.change if first is None else None
            return FusionState(active, _rejection(first) if first else None)
        raise first or FusionError(f"{self.revisions.store.name}: nothing was ever active")

    @property
    def _emptied(self) -> str:
        return f"{self.revisions.store.name}: it is empty now; restore it, or start the service anew"

    def _own_config(self) -> ActiveFusion:
        """Of the fusion file, or of the bundle."""
        path, serving = self._path or self._own, self._serving
        return FusionFile(path, serving.tasks, None, None, self._networks, serving.features).state.active

    def _seed(self) -> Document:
        path, config = self._path or self._own, self._own_config().config
        origin: Literal["file", "bundle"] = "file" if self._path else "bundle"
        return self.revisions.seed(config, origin, str(path), read_networks(config, path.parent))

    def _record_file(self) -> None:
        """Have an edit of the fusion file become a revision."""
        if self._path is None:
            return
        with self._file_lock:
            if self._file is None:
                serving, kept = self._serving, _Kept(canonical_json(self._state.active.config))
                self._file = FusionFile(
                    self._path, serving.tasks, None, kept, self._networks, serving.features
                )
            else:
                self._file.poll()
            state = self._file.state
        edited = state.active
        if state.rejected is not None or edited.version == self._recorded:
            return
        beside = read_networks(edited.config, self._path.parent)
        self.revisions.record_file(edited.config, str(self._path), beside)
        self._recorded = edited.version

    def opened(self, config: FusionConfig, source: str, kept: bool = False) -> ActiveFusion:
        """A config with its networks, of the store, which are tried where they have not been.

        Raises:
            FusionError: one cannot be used; `source` stands in front.
            StateError: the store is away.
        """
        try:
            networks = self._networks.of(config, self._network, kept)
        except FusionError as error:
            raise type(error)(f"{source}: {error}") from error
        return ActiveFusion(config, version(config), source, now(), networks)

    def _opened(self, revision: Revision, kept: bool) -> ActiveFusion:
        source = f"revision {revision.revision} of {self.revisions.store.name}"
        active = self.opened(config_of(revision), source, kept)
        return replace(active, version=revision.version, revision=revision.revision)

    def _network(self, scene: LearnedFormula) -> bytes:
        content = self.revisions.store.network(scene.sha256)
        if content is None:
            raise FusionError(f"{self.revisions.store.name} lacks it; propose the config again with its file")
        return content

    def _keep_it(self) -> None:
        number = self._state.active.revision
        if self._keep is None or number is None:
            return
        try:
            self._keep.write(orjson.dumps(self.revisions.get(number).model_dump(mode="json")))
        except StateError as error:  # it is kept at the next change
            self._say(str(error))

    def _say(self, problem: str | None) -> None:
        if problem != self._problem:
            log.log(40 if problem else 20, "control_store", problem=problem)
        self._problem = problem

    def _report(self, outcome: Reload) -> None:
        if self._on_reload is not None:
            self._on_reload(outcome)


class _Kept:
    """What a watched file falls back to that is bad from the start."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def read(self) -> bytes | None:
        return self._content

    def write(self, content: bytes) -> None:
        """The store keeps what is good."""


def _rejection(error: Exception) -> RejectedFusion:
    return RejectedFusion(str(error) or repr(error), now(), None)
