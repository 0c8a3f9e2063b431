"""Metrics: what Prometheus scrapes. Knows numbers of requests and rankings, decides nothing.

Of several workers each counts in memory that all share, at its place; whoever is scraped adds them up.
A replacement goes on where the worker before it stopped, so that no counter ever falls.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from socket import gethostname
from typing import Literal, get_args

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client import values as counting
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.control.bundles.rollout import Judgement
from service.control.fusion.state import Reload
from service.processes.fleet import Fleet
from service.ranking.admission import Shed
from service.ranking.ranker import Ranking
from service.ranking.stopwatch import Stopwatch
from service.telemetry.arm_metrics import ArmMetrics
from service.telemetry.experiment_metrics import ExperimentMetrics
from service.telemetry.exposure_metrics import ExposureMetrics
from service.telemetry.feedback_metrics import FeedbackMetrics
from service.telemetry.shared_values import SharedValues, value_class

Cut = Literal["malformed", "head_too_slow", "head_too_large", "answer_not_taken", "too_many_connections"]
"""Why the service ended a connection."""

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
_SCORES = tuple(10.0 ** (power / 3.0) for power in range(-18, 10))


class Metrics:
    """One service's numbers, in a registry of their own.

    Args:
        fleet: the workers of which this is one.

    Attributes:
        feedback: those of feedback.
        exposures: those of exposures.
        arms: those by arm of an experiment.
        experiments: those of experiments.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, fleet: Fleet) -> None:
        self._scraped = registry = CollectorRegistry()
        registry.register(_OfFleet(fleet))
        self.experiments = ExperimentMetrics()
        registry.register(self.experiments)
        if fleet.board is not None and fleet.place is not None:
            registry = CollectorRegistry()
            counting.ValueClass = value_class(fleet.place.counts)
            self._scraped.register(SharedValues(fleet, fleet.board))
        self._requests = Counter("fulcrum_requests", "HTTP requests.", ["route", "status"], registry=registry)
        self._seconds = Histogram(
            "fulcrum_request_seconds",
            "Seconds from arrival to the end of the answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._inside = Gauge(
            "fulcrum_rank_inside",
            "Ranking requests that wait or are worked on.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._cut = Counter(
            "fulcrum_connections_cut",
            "Connections ended by the service, by reason; what came on them counts as no request.",
            ["reason"],
            registry=registry,
        )
        self._log_lines_left_out = Counter(
            "fulcrum_log_lines_left_out",
            "Log lines that were not written: floods of one kind, or nobody read them.",
            registry=registry,
        )
        self._shed = Counter(
            "fulcrum_rank_shed",
            "Ranking requests refused for lack of time, by reason.",
            ["reason"],
            registry=registry,
        )
        self._stages = Histogram(
            "fulcrum_rank_stage_seconds",
            "Seconds of a ranking by stage; wait is for a free thread.",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._candidates = Histogram(
            "fulcrum_rank_candidates", "Candidates of a ranking.", buckets=_CANDIDATES, registry=registry
        )
        self._score = Histogram(
            "fulcrum_rank_best_score",
            "The formula's value of a ranking's first item.",
            buckets=_SCORES,
            registry=registry,
        )
        self._degraded = Counter(
            "fulcrum_rank_degraded", "Rankings degraded, by reason.", ["reason"], registry=registry
        )
        self._unscored = Counter(
            "fulcrum_rank_unscored_candidates", "Candidates left unscored.", registry=registry
        )
        self._defaults = Counter(
            "fulcrum_rank_default_features_candidates",
            "Candidates scored without stored features of the user or of themselves.",
            registry=registry,
        )
        self._cache = Counter(
            "fulcrum_feature_cache",
            "Candidates whose features a worker remembered, or had to ask the store for.",
            ["outcome"],
            registry=registry,
        )
        self._reloads = Counter(
            "fulcrum_fusion_reloads",
            "Changes of the fusion file, by outcome, as each worker judged them.",
            ["outcome"],
            registry=registry,
        )
        self._bundles = Counter(
            "fulcrum_bundle_changes",
            "Bundles of the models folder put into service or refused, as each worker judged them.",
            ["outcome"],
            registry=registry,
        )
        self.feedback = FeedbackMetrics(registry)
        self.exposures = ExposureMetrics(registry)
        self.arms = ArmMetrics(registry, _SECONDS)
        for counter, labels in (
            (self._reloads, ("loaded", "rejected")),
            (self._bundles, ("activated", "refused")),
            (self._shed, ("queue_full", "wait_too_long")),
            (self._cache, ("hit", "miss")),
            (self._cut, get_args(Cut)),
        ):
            for label in labels:
                counter.labels(label)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """An HTTP request has its answer."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def inside(self) -> AbstractContextManager[object]:
        """For as long as a ranking request waits or is worked on."""
        return self._inside.track_inprogress()

    def cut(self, reason: Cut) -> None:
        """A connection was ended because of what came on it, or did not."""
        self._cut.labels(reason).inc()

    def log_line_left_out(self) -> None:
        """A line of the log was not written."""
        self._log_lines_left_out.inc()

    def shed(self, reason: Shed) -> None:
        """A ranking request was refused for lack of time."""
        self._shed.labels(reason).inc()

    def ranked(self, ranking: Ranking, watch: Stopwatch) -> None:
        """A ranking was made."""
        for stage, seconds in watch.stages.items():
            self._stages.labels(stage).observe(seconds)
        self._candidates.observe(ranking.candidates)
        self._defaults.inc(ranking.default_features)
        self._unscored.inc(ranking.candidates - ranking.scored)
        self._cache.labels("hit").inc(ranking.cache_hits)
        self._cache.labels("miss").inc(ranking.cache_misses)
        for reason in ranking.degraded:
            self._degraded.labels(reason).inc()
        if ranking.best_score is not None:
            self._score.observe(ranking.best_score)
        self.arms.ranked(ranking.arms, bool(ranking.degraded), watch.elapsed)

    def reloaded(self, outcome: Reload) -> None:
        """The fusion file changed and was judged."""
        self._reloads.labels(outcome).inc()

    def judged(self, outcome: Judgement) -> None:
        """A bundle was put into service or refused."""
        self._bundles.labels(outcome).inc()

    def scrape(self) -> bytes:
        """Everything in the text format, of all workers, with what is active at this moment."""
        return generate_latest(self._scraped)


class _OfFleet(Collector):
    """What the workers report of themselves."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def describe(self) -> Iterable[Metric]:
        """Nothing ahead of time."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """As of now."""
        workers, headcount = self._fleet.workers(), self._fleet.headcount()
        ready = [worker for worker in workers if worker.ready]
        host = GaugeMetricFamily(
            "fulcrum_host", "The host that counts: of several, who asks meets one.", labels=["host"]
        )
        host.add_metric([gethostname()], 1)
        yield host
        yield GaugeMetricFamily("fulcrum_workers", "Workers there should be.", headcount.workers)
        yield GaugeMetricFamily("fulcrum_workers_ready", "Workers that answer.", len(ready))
        yield CounterMetricFamily("fulcrum_workers_replaced", "Workers that died.", headcount.replaced)
        for what, of, label in (
            ("bundle", "the bundle", "version"),
            ("fusion", "the fusion config", "version"),
            ("revision", "the revision of the fusion", "revision"),
            ("generation", "the published features", "generation"),
        ):
            family = GaugeMetricFamily(f"fulcrum_active_{what}", f"Workers that run {of}.", labels=[label])
            for name, number in sorted(
                Tally(str(getattr(worker, what) or "none") for worker in ready).items()
            ):
                family.add_metric([name], number)
            yield family
        rejected = sum(worker.fusion_rejected is not None for worker in ready)
        yield GaugeMetricFamily(
            "fulcrum_fusion_rejected",
            "Workers that refuse what the fusion file holds now, or the active revision.",
            rejected,
        )
        away = sum(worker.control_problem is not None for worker in ready)
        yield GaugeMetricFamily("fulcrum_control_away", "Workers that cannot follow the control store.", away)
        refused = {folder for worker in ready for folder in worker.refused}
        yield GaugeMetricFamily(
            "fulcrum_bundles_refused", "Bundles of the models folder that cannot serve.", len(refused)
        )
        loaded = GaugeMetricFamily(
            "fulcrum_arm_bundles", "Workers that hold a bundle for arms of experiments.", labels=["version"]
        )
        for version, number in sorted(Tally(one for worker in ready for one in worker.arm_bundles).items()):
            loaded.add_metric([version], number)
        yield loaded
        waiting = {experiment for worker in ready for experiment in worker.waiting}
        yield GaugeMetricFamily(
            "fulcrum_experiments_waiting",
            "Experiments that some worker cannot serve, and keeps out.",
            len(waiting),
        )
