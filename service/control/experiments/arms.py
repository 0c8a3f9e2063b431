"""Arms: experiments of the control document put into force in this worker. Knows no HTTP.

    document, what is active -> bundles loaded beside it, all combinations of arms made -> requests look up

While any arm of an experiment cannot be served here, the whole experiment is out here: all of its requests
get what is active, and no label, so that the ratio of arms is what was declared. When what is active changes,
all arms are dropped with it, at once, and made anew.

One thread follows the document, and is never held up; another loads and makes what is missing. While the
store is away, what was in force stays.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from model.errors import FulcrumError, listed
from model.experiments import Experiment, ExperimentError, Experiments
from model.fusion import FusionError, patched
from service.control.experiments.combinations import Combination, Named, Part, combinations, served
from service.control.fusion.in_force import InForce
from service.control.fusion.state import ActiveFusion, Serving, check_fit
from service.control.snapshot import ActiveBundle, Dealt, Snapshot
from service.control.state.control import Document
from service.control.state.desired import StateError, UnknownVersionError
from service.processes.fleet import Fleet

_POLL_S = 0.1
_AGAIN_S = 1.0
"""Seconds until what is missing is looked for again."""
_UNFIT_AGAIN_S = 30.0
"""Seconds until a config is judged again; a network's trial may have failed for reasons that pass."""
_LEAVE_S = 2.0
"""Seconds that a load has to end at a stop; it changes nothing any more."""

log = structlog.get_logger(__name__)


class Active(Protocol):
    """What is active in this worker."""

    def snapshot(self) -> Snapshot:
        """As of now."""

    def deal(self, base: Snapshot, arms: Dealt | None) -> None:
        """Put arms into force beside this, unless something else is active by now."""


class BundlesBeside(Protocol):
    """Bundles beside the active one."""

    @property
    def memory(self) -> Mapping[str, int]:
        """What is loaded: bytes by version."""

    def serving(self, version: str) -> Serving:
        """A bundle as far as a config must fit it. Raises FulcrumError where there is no such bundle."""

    def load(self, version: str) -> ActiveBundle:
        """The bundle, loaded where it is not. Raises FulcrumError where it cannot serve."""

    def keep(self, versions: Collection[str]) -> Sequence[ActiveBundle]:
        """Let go of others, and of what can serve no longer: these."""


@dataclass(frozen=True)
class _Failure:
    reason: str
    again_at: float


class Arms:
    """The arms in force in this worker.

    Args:
        active: what is active here.
        in_force: of the control store, whose document is followed.
        bundles: others than the active one; None where there are none.
        fleet: told of what is loaded and of what waits.
    """

    def __init__(
        self, active: Active, in_force: InForce, bundles: BundlesBeside | None, fleet: Fleet
    ) -> None:
        self._active = active
        self._in_force = in_force
        self._bundles = bundles
        self._fleet = fleet
        self._document: Document | None = None
        self._base: Snapshot | None = None
        self._made: dict[Combination, Snapshot | _Failure] = {}
        self._rounds = 0
        self._seen: tuple[object, ...] = ()
        self._waits: Mapping[str, str] = {}
        self._lock = threading.Lock()
        self._preparing = threading.Lock()
        self._missing = threading.Event()
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(turn, pause_s), name=name, daemon=True)
            for name, turn, pause_s in (
                ("arms", self.follow, _POLL_S),
                ("arms-load", self._prepare_when_missing, 0.0),
            )
        ]

    def check(self, experiments: Experiments, new: str | None = None) -> None:
        """Raise where requests could not get each combination of the arms of unstopped experiments.

        Args:
            experiments: as they would be.
            new: the one that is asked about; None for all. Combinations without its arms are not judged.

        Raises:
            ExperimentError: there are too many combinations or bundles, two layers name a bundle or a
                revision, or nobody would take part: a condition looks at what no request may say, or a scene
                is unknown.
            FusionError: a combination is no config, or does not fit its bundle.
            UnknownVersionError: the models folder lacks a bundle.
            UnknownRevisionError: there is no such revision.
            StateError: the store is away.
        """
        base = self._active.snapshot()
        open_ones = [one for one in experiments.experiments if one.state != "stopped"]
        asked = [one for one in open_ones if new in (None, one.id)]
        parts = {Part.of(arm) for one in asked for arm in one.arms} - {None}
        for one in asked:
            _check_conditions(one, base)
        for combination in combinations(experiments.layers, open_ones):
            if not parts.isdisjoint(combination):
                named = Named.of(combination)
                try:
                    serving = self._serving(base, named.bundle)
                except UnknownVersionError:
                    if any(named.bundle == arm.bundle for one in asked for arm in one.arms):
                        raise
                    continue  # another experiment waits for it
                check_fit(self._fusion(base, named), serving)

    def waits(self, experiment: str) -> str | None:
        """Why this worker does not serve an experiment that should be in force; None where it does, or where
        nothing of it should be.
        """
        return self._waits.get(experiment)

    @property
    def memory(self) -> Mapping[str, int]:
        """Bundles that are loaded for arms: bytes by version, as far as this worker grew meanwhile."""
        return {} if self._bundles is None else self._bundles.memory

    def start(self) -> None:
        """Begin to follow."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Follow no longer."""
        self._stopped.set()
        self._missing.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_LEAVE_S)

    def follow(self) -> None:
        """Look at the document once, and put into force what of it is ready. Loads nothing."""
        with self._lock:
            document, base = self._read(), self._active.snapshot()
            if self._base is None or not self._base.is_like(base):
                self._base, self._made, self._seen = Snapshot(base.active, base.fusion), {}, ()
            if document is None:
                return
            wanted = _wanted(document)
            seen = (document.change, self._rounds, [one.id for one in wanted])
            if seen == self._seen:
                return
            self._seen = seen
            self._deal(document, base, wanted)

    def prepare(self) -> None:
        """Load and make what is missing, then put it into force. May take seconds."""
        with self._preparing:
            with self._lock:
                document, base = self._document, self._base
            if document is None or base is None:
                return
            wanted = _wanted(document)
            self._let_go(wanted, base)
            if _apart(document, base) is None:
                served(document.experiments, wanted, lambda one: self._make(base, one))
            self._report()
        self.follow()

    def _read(self) -> Document | None:
        with contextlib.suppress(StateError):  # what follows the revision says so
            self._document = self._in_force.revisions.store.read() or self._document
        return self._document

    def _deal(self, document: Document, base: Snapshot, wanted: Sequence[Experiment]) -> None:
        """Put into force what is ready."""
        apart = _apart(document, base)
        if apart is None:
            taken, waits = served(document.experiments, wanted, self._ready)
        else:
            taken, waits = [], {one.id: apart for one in wanted}
        layers = document.experiments.layers
        arms = None
        if taken or any(layer.holdout for layer in layers):
            arms = self._dealt(Experiments(layers=layers, experiments=tuple(taken)))
        self._active.deal(base, arms)
        for name, reason in waits.items():
            if self._waits.get(name) != reason:
                log.warning("experiment_waits", experiment=name, reason=reason)
        if waits != self._waits or self._rounds == 0:
            self._missing.set()
        self._waits = waits
        self._report()

    def _dealt(self, experiments: Experiments) -> Dealt:
        """The arms of experiments all of whose combinations are made."""
        numbers: dict[Part, int] = {}
        parts: dict[tuple[str, str], int] = {}
        for one in experiments.experiments:
            for arm in one.arms:
                part = Part.of(arm)
                parts[one.id, arm.name] = 0 if part is None else numbers.setdefault(part, len(numbers) + 1)
        snapshots = {
            tuple(numbers[part] for part in combination): made
            for combination in combinations(experiments.layers, experiments.experiments)
            if isinstance(made := self._made.get(combination), Snapshot)
        }
        return Dealt(experiments, parts, snapshots)

    def _ready(self, combination: Combination) -> None:
        made = self._made.get(combination)
        if combination and not isinstance(made, Snapshot):
            raise FulcrumError("its arms are being made ready" if made is None else made.reason)

    def _make(self, base: Snapshot, combination: Combination) -> None:
        """Have a combination made, unless it failed a moment ago."""
        if self._base is not base:
            raise FulcrumError("what is active changed meanwhile")
        before = self._made.get(combination)
        if isinstance(before, _Failure) and time.monotonic() < before.again_at:
            raise FulcrumError(before.reason)
        if not combination or isinstance(before, Snapshot):
            return
        found: Snapshot | _Failure
        try:
            named = Named.of(combination)
            active = self._loaded(base, named.bundle)
            fusion = self._fusion(base, named)
            check_fit(fusion, active.serving)
            found = Snapshot(active, fusion)
        except FulcrumError as error:
            again_s = _UNFIT_AGAIN_S if isinstance(error, FusionError) else _AGAIN_S
            found = _Failure(str(error), time.monotonic() + again_s)
        with self._lock:
            if self._base is base:
                self._made[combination] = found
                self._rounds += 1
        if isinstance(found, _Failure):
            raise FulcrumError(found.reason)

    def _loaded(self, base: Snapshot, version: str | None) -> ActiveBundle:
        if version in (None, base.active.bundle.version):
            return base.active
        return self._others.load(version)

    def _serving(self, base: Snapshot, version: str | None) -> Serving:
        if version in (None, base.active.bundle.version):
            return base.active.serving
        return self._others.serving(version)

    @property
    def _others(self) -> BundlesBeside:
        if self._bundles is None:
            raise ExperimentError(
                "this service was started with one bundle; set models, not bundle, to serve others"
            )
        return self._bundles

    def _fusion(self, base: Snapshot, named: Named) -> ActiveFusion:
        fusion = base.fusion
        if named.revision is not None:
            fusion = self._in_force.judged(self._in_force.revisions.get(named.revision))
        if not named.patches:
            return fusion
        config = fusion.config
        for patch in named.patches:
            config = patched(config, patch, named.title)
        made = self._in_force.opened(config, named.title)
        return fusion if made.version == fusion.version else made

    def _let_go(self, wanted: Sequence[Experiment], base: Snapshot) -> None:
        """Of bundles that no arm names any more, or that can serve no longer."""
        if self._bundles is None:
            return
        named = {arm.bundle for one in wanted for arm in one.arms if arm.bundle}
        gone = self._bundles.keep(named - {base.active.bundle.version})
        if not gone:
            return
        with self._lock:
            self._made = {
                combination: made
                for combination, made in self._made.items()
                if isinstance(made, _Failure) or not any(made.active is one for one in gone)
            }
            self._rounds += 1

    def _report(self) -> None:
        self._fleet.report(arm_bundles=self.memory, waiting=dict(self._waits))

    def _run(self, turn: Callable[[], None], pause_s: float) -> None:
        while not self._stopped.is_set():
            try:
                turn()
            except Exception:  # whatever a document holds, the next one must be looked at
                log.exception("arms_failed")
            self._stopped.wait(pause_s)

    def _prepare_when_missing(self) -> None:
        self._missing.wait(_AGAIN_S)
        self._missing.clear()
        if not self._stopped.is_set():
            self.prepare()


def _wanted(document: Document) -> list[Experiment]:
    """Experiments that some request may be in: those that run or will, and drafts that have testers."""
    now_ms = time.time_ns() // 1_000_000
    return [
        one
        for one in document.experiments.experiments
        if (one.state == "running" and (one.stop_ms is None or now_ms < one.stop_ms))
        or (one.state == "draft" and one.overrides)
    ]


def _apart(document: Document, base: Snapshot) -> str | None:
    """Why this worker is not where the document is, and so compares nothing; None if it is."""
    wanted, revision, bundle = document.active, base.fusion.revision, base.active.bundle.version
    if wanted.revision != revision:
        return f"revision {wanted.revision} is active, and this worker ranks by {revision or 'a file'}"
    if wanted.bundle not in (None, bundle):
        return f"bundle {wanted.bundle} is active, and this worker serves {bundle}"
    return None


def _check_conditions(experiment: Experiment, base: Snapshot) -> None:
    """Raise ExperimentError where an experiment would take in nobody."""
    features, scenes = base.active.bundle.request_features, base.fusion.config.scenes
    for name in experiment.when or {}:
        if name not in features:
            raise ExperimentError(
                f"experiment {experiment.id}: when looks at {name!r}; a request may say {listed(features)}"
            )
    for name in experiment.scenes or ():
        if name not in scenes:
            raise ExperimentError(
                f"experiment {experiment.id}: unknown scene {name!r}; the active config has {listed(scenes)}"
            )
