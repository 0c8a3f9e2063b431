"""Startup: from settings to a service that can answer, or one clear error. Knows no HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

import structlog

from model.bundle import Bundle
from model.errors import FulcrumError
from model.redis_url import RedisUrl
from service.control.active import Control
from service.control.actors import Actors
from service.control.bundles.beside import BundlesBeside
from service.control.bundles.catalog import Catalog
from service.control.bundles.loading import Loader
from service.control.bundles.rollout import Rollout
from service.control.bundles.trial import Trials
from service.control.bundles.wanted import WantedBundle
from service.control.changing import Operator
from service.control.experiments.watched import Watched
from service.control.fusion.revisions import Revisions
from service.control.snapshot import ActiveBundle
from service.control.state.desired import StateStore
from service.control.state.opening import open_control, open_state
from service.events.feedback import FeedbackIntake
from service.events.opening import open_exposures, open_feedback_sink, prepare_place
from service.events.writer import Bounds, ExposureWriter
from service.features.stores import FeatureStores
from service.inference.crew import Crew
from service.inference.engine import CHUNK, Engine, EngineOptions
from service.inference.shared_weights import SharedWeights
from service.preview.preview import Preview
from service.preview.recording import Recorder
from service.processes.fleet import Fleet
from service.processes.memory import memory_limit
from service.ranking.admission import Admission
from service.ranking.execution import Execution
from service.ranking.exposures import Exposures, Sampling
from service.ranking.ranker import Ranker
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.telemetry.traces import Traces

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Service:
    """Everything loaded and proven.

    Attributes:
        settings: what it was told.
        fleet: the workers of which this is one.
        control: what is active.
        rollout: brings other bundles into service; None where there is but one.
        execution: threads for work that would hold up the event loop.
        crew: threads that share its inferences.
        stores: connections to features.
        traces: where spans go; None where nobody wants them.
        feedback: takes it; None where it is not kept.
        exposures: writes what was shown; None where it is not kept.
        operator: changes fusion and bundle; None without a control store.
        actors: who may do so.
        preview: says what another fusion config would do; None where nobody may ask.
        watched: tells metrics of experiments; None without a control store.
    """

    settings: Settings
    fleet: Fleet
    control: Control
    rollout: Rollout | None
    ranker: Ranker
    execution: Execution
    crew: Crew
    stores: FeatureStores
    metrics: Metrics
    traces: Traces | None
    actors: Actors
    operator: Operator | None = None
    feedback: FeedbackIntake | None = None
    exposures: ExposureWriter | None = None
    preview: Preview | None = None
    watched: Watched | None = None

    def start(self) -> None:
        """Begin to watch what may change."""
        self.control.start()
        if self.rollout is not None:
            self.rollout.start()
        if self.exposures is not None:
            self.exposures.start()
        if self.preview is not None:
            self.preview.start()
        if self.watched is not None:
            self.watched.start()
        self.fleet.report(ready=True)

    async def stop(self) -> None:
        """End threads and connections."""
        self.fleet.report(ready=False)
        if self.watched is not None:
            self.watched.stop()
        if self.preview is not None:
            self.preview.stop()
        if self.rollout is not None:
            self.rollout.stop()
        self.control.stop()
        if self.feedback is not None:
            self.feedback.stop()
        if self.exposures is not None:
            self.exposures.stop()
        self.execution.close()
        self.crew.close()
        await self.stores.close()
        if self.operator is not None:
            self.operator.revisions.store.close()
        if self.traces is not None:
            self.traces.close()


def import_parts(settings: Settings) -> None:
    """Import what these settings need and others do not: before workers are forked, who then share it.

    Raises:
        FulcrumError: no events can be kept where they are to be.
    """
    if isinstance(settings.features, RedisUrl):
        import_module("service.features.redis_store")
    if isinstance(settings.state, RedisUrl):
        import_module("service.control.state.redis")
    if isinstance(settings.control, RedisUrl):
        import_module("service.control.state.redis_control")
    if settings.events is not None:
        prepare_place(settings.events)


def load_service(settings: Settings, metrics: Metrics, fleet: Fleet) -> Service:
    """Load bundle, store and fusion config, and prove the network; `metrics` will count what it does.

    Raises:
        FulcrumError: one of them cannot be used; says which and why.
    """
    traces = Traces(settings.otel_endpoint) if settings.otel_endpoint else None
    stores = FeatureStores(settings)
    crew = Crew(settings.threads)
    shared = SharedWeights(fleet.folder) if fleet.folder is not None else None
    options = EngineOptions(settings.provider, settings.threads, settings.variant, shared, crew)

    def load_engine(bundle: Bundle) -> Engine:
        return Engine.load(bundle, options)

    token = settings.admin_token
    actors = Actors(None if token is None else token.get_secret_value(), settings.tokens)
    revisions = None if settings.control is None else Revisions(open_control(settings.control))

    bundles: BundlesBeside | None = None

    def begin(active: ActiveBundle) -> Control:
        return Control(active, settings.fusion, fleet, metrics.reloaded, revisions, bundles)

    rollout = None
    if settings.models is not None:
        # A worker holds two bundles while it swaps; this leaves as much for the rest.
        share = memory_limit() // (settings.workers + 1)
        trials = Trials(settings.provider, settings.variant, fleet.folder, share)
        catalog, loader = Catalog(settings.models), Loader(stores.open, load_engine, trials.run)
        bundles = BundlesBeside(catalog, loader, fleet)
        wanted = _wanted_bundle(settings, revisions, actors)
        rollout = Rollout(catalog, wanted, loader, fleet, begin, metrics.judged)
        control = rollout.control
    elif settings.bundle is not None:
        control = begin(Loader(stores.open, load_engine).load(settings.bundle))
    else:
        raise FulcrumError("settings: expected either bundle or models")
    execution = Execution(settings.threads)
    admission = Admission(
        settings.threads, settings.max_queue, settings.max_queue_wait_ms / 1000.0, CHUNK, metrics.shed
    )
    exposures, feedback = None, None
    if settings.events is not None:
        if fleet.board is None:  # of several workers, the supervisor has done so
            prepare_place(settings.events)
        sink = open_exposures(settings.events, settings.exposure_precision)
        bounds = Bounds(settings.events_interval_ms / 1000.0)
        exposures = ExposureWriter(sink, bounds, metrics.exposures)
        bundle = control.snapshot().active.bundle
        if bundle.manifest.events is None:
            log.warning("no_feedback_is_taken", bundle=str(bundle.path), missing="events: in its recipe")
        feedback = FeedbackIntake(open_feedback_sink(settings.events, metrics.feedback), metrics.feedback)
    records = None if exposures is None else _exposures(settings)
    recorder = None if revisions is None else Recorder()
    ranker = Ranker(
        control,
        execution,
        admission,
        records,
        settings.events_salt.get_secret_value(),
        None if recorder is None else recorder.offer,
        metrics.arms.failed,
    )
    preview = None
    if revisions is not None and recorder is not None:
        preview = Preview(control, ranker, recorder, fleet, revisions, settings.max_candidates)
    watched = None if revisions is None else Watched(revisions.store)
    metrics.experiments.watched = watched
    return Service(
        settings,
        fleet,
        control,
        rollout,
        ranker,
        execution,
        crew,
        stores,
        metrics,
        traces,
        actors,
        None if revisions is None else Operator(revisions, control, rollout),
        exposures=exposures,
        feedback=feedback,
        preview=preview,
        watched=watched,
    )


def _wanted_bundle(settings: Settings, revisions: Revisions | None, actors: Actors) -> StateStore:
    if revisions is not None:
        return WantedBundle(revisions.store)
    assert settings.models is not None  # noqa: S101 - without models, no bundle is wanted
    return open_state(settings.state or settings.models / "state.json", actors.known)


def _exposures(settings: Settings) -> Exposures:
    key = settings.events_user_key
    return Exposures(
        Sampling(settings.exposure_candidates, settings.exposure_rows),
        None if key is None else key.get_secret_value(),
    )
