"""Metrics: what Prometheus scrapes. Knows numbers of requests and rankings, decides nothing."""

from __future__ import annotations

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from service.control.fusion_file import ActiveFusion, FusionState, Reload
from service.ranker import ActiveBundle, Ranking
from service.stopwatch import Stopwatch

__all__ = ["Metrics"]

_SECONDS = (
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.0075,
    0.01,
    0.015,
    0.025,
    0.04,
    0.06,
    0.1,
    0.25,
    0.5,
    1,
    5,
)
_CANDIDATES = (1, 10, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)


class Metrics:
    """One service's numbers, in a registry of their own."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "fulcrum_requests", "HTTP requests.", ["route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "fulcrum_request_seconds",
            "Seconds from arrival to the end of the answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._stages = Histogram(
            "fulcrum_rank_stage_seconds",
            "Seconds of a ranking by stage; wait is for a free thread.",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._candidates = Histogram(
            "fulcrum_rank_candidates", "Candidates of a ranking.", buckets=_CANDIDATES, registry=self.registry
        )
        self._degraded = Counter(
            "fulcrum_rank_degraded", "Rankings degraded, by reason.", ["reason"], registry=self.registry
        )
        self._unscored = Counter(
            "fulcrum_rank_unscored_candidates", "Candidates left unscored.", registry=self.registry
        )
        self._defaults = Counter(
            "fulcrum_rank_default_features_candidates",
            "Candidates scored without stored features of the user or of themselves.",
            registry=self.registry,
        )
        self._reloads = Counter(
            "fulcrum_fusion_reloads",
            "Changes of the fusion file, by outcome.",
            ["outcome"],
            registry=self.registry,
        )
        for outcome in ("loaded", "rejected"):
            self._reloads.labels(outcome)
        self._bundle = Gauge(
            "fulcrum_bundle_info",
            "1 for the bundle in service.",
            ["name", "version", "variant", "provider", "generation"],
            registry=self.registry,
        )
        self._fusion = Gauge(
            "fulcrum_fusion_info", "1 for the fusion config in force.", ["version"], registry=self.registry
        )
        self._fusion_rejected = Gauge(
            "fulcrum_fusion_rejected",
            "1 while the fusion file holds what was refused.",
            registry=self.registry,
        )

    def answered(self, route: str, status: int, seconds: float) -> None:
        """An HTTP request has its answer."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def ranked(self, ranking: Ranking, watch: Stopwatch) -> None:
        """A ranking was made."""
        for stage, seconds in watch.stages.items():
            self._stages.labels(stage).observe(seconds)
        self._candidates.observe(ranking.candidates)
        self._defaults.inc(ranking.default_features)
        self._unscored.inc(ranking.candidates - ranking.body["scored"])
        for reason in ranking.body["degraded"]:
            self._degraded.labels(reason).inc()

    def reloaded(self, outcome: Reload) -> None:
        """The fusion file changed and was judged."""
        self._reloads.labels(outcome).inc()

    def scrape(self, active: ActiveBundle, fusion: FusionState) -> bytes:
        """Everything in the text format, with what is active at this moment."""
        bundle = active.bundle
        self._bundle.labels(
            bundle.manifest.name, bundle.version, "fp32", active.engine.provider, active.store.generation
        ).set(1)
        self._name_fusion(fusion.active)
        self._fusion_rejected.set(fusion.rejected is not None)
        return generate_latest(self.registry)

    def _name_fusion(self, active: ActiveFusion) -> None:
        self._fusion.clear()
        self._fusion.labels(active.version).set(1)
