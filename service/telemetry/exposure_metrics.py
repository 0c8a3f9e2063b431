"""Metrics of exposures. Knows numbers of records, decides nothing."""

from __future__ import annotations

from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.events.writer import Loss

_SECONDS = (0.1, 0.25, 0.5, 1, 1.5, 2, 5, 10, 30, 60, 300, 1800)


class ExposureMetrics:
    """One service's numbers of exposures.

    Args:
        registry: where they are kept.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._written = Counter("fulcrum_exposures_written", "Exposures written.", registry=registry)
        self._bytes = Counter("fulcrum_exposures_bytes", "Bytes of exposures written.", registry=registry)
        self._dropped = Counter(
            "fulcrum_exposures_dropped", "Exposures lost, by reason.", ["reason"], registry=registry
        )
        self._waited = Histogram(
            "fulcrum_exposures_wait_seconds",
            "Seconds for which the first exposure of a write waited for it.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._waiting = Gauge(
            "fulcrum_exposures_waiting",
            "Exposures that wait to be written, after the last write.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._failing = Gauge(
            "fulcrum_exposures_failing",
            "Workers whose last write of exposures failed.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        for reason in get_args(Loss):
            self._dropped.labels(reason)

    def written(self, exposures: int, size: int, waited_s: float) -> None:
        """`exposures` are written, in `size` bytes; the first of them waited for `waited_s`."""
        self._written.inc(exposures)
        self._bytes.inc(size)
        self._waited.observe(waited_s)

    def dropped(self, reason: Loss, exposures: int) -> None:
        """`exposures` are lost."""
        self._dropped.labels(reason).inc(exposures)

    def waiting(self, exposures: int) -> None:
        """`exposures` wait now."""
        self._waiting.set(exposures)

    def failing(self, fails: bool) -> None:
        """Whether the last write failed."""
        self._failing.set(fails)
