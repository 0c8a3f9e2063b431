"""Startup: from settings to a service that can answer, or one clear error. Knows no HTTP."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from model.bundle import load_bundle
from service.control.fusion_file import FusionFile
from service.engine import Engine
from service.features.embedded import EmbeddedStore
from service.metrics import Metrics
from service.ranker import ActiveBundle, Ranker
from service.settings import Settings

__all__ = ["Service", "load_service"]

_POOL_THREADS = 2
"""Requests computed at a time: one parses or answers while another's network runs without the interpreter."""


@dataclass(frozen=True)
class Service:
    """Everything loaded and proven.

    Attributes:
        settings: what it was told.
        active: the bundle in service.
        fusion: the fusion config in force.
        pool: threads for work that would hold up the event loop.
    """

    settings: Settings
    active: ActiveBundle
    fusion: FusionFile
    ranker: Ranker
    metrics: Metrics
    pool: ThreadPoolExecutor

    def start(self) -> None:
        """Begin to watch the fusion file."""
        self.fusion.start()

    def stop(self) -> None:
        """End threads."""
        self.fusion.stop()
        self.pool.shutdown()


def load_service(settings: Settings, metrics: Metrics) -> Service:
    """Load bundle, store and fusion config, and prove the network; `metrics` will count what it does.

    Raises:
        FulcrumError: one of them cannot be used; says which and why.
    """
    bundle = load_bundle(settings.bundle)
    store = EmbeddedStore(Path(settings.features), bundle.encoder)
    fusion = FusionFile(settings.fusion or bundle.fusion_path, bundle.task_names, metrics.reloaded)
    engine = Engine.load(bundle, settings.provider, settings.threads)
    active = ActiveBundle(bundle, engine, store)
    pool = ThreadPoolExecutor(_POOL_THREADS, thread_name_prefix="rank")
    return Service(settings, active, fusion, Ranker(active, fusion, pool), metrics, pool)
