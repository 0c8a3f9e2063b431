"""Metrics of feedback. Knows numbers of events, decides nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Histogram

from service.events.feedback_store import Refusal

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_LATENESS = (1, 10, 60, 600, 3600, 6 * 3600, 86_400, 3 * 86_400, 7 * 86_400)
_EVENTS = (1, 10, 50, 100, 200, 500, 1000, 2000, 5000, 20_000)


class FeedbackMetrics:
    """One service's numbers of feedback.

    Args:
        registry: where they are kept.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._events = Counter(
            "fulcrum_feedback_events",
            "Events by outcome: written, duplicate (taken, and there already) or rejected.",
            ["outcome"],
            registry=registry,
        )
        self._refused = Counter(
            "fulcrum_feedback_refused",
            "Requests with feedback that could not be kept, by reason.",
            ["reason"],
            registry=registry,
        )
        self._commit_seconds = Histogram(
            "fulcrum_feedback_commit_seconds",
            "Seconds of a commit, until it is on the disk.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._lateness = Histogram(
            "fulcrum_feedback_lateness_seconds",
            "Seconds from what happened, by its sender's clock, to its receipt.",
            buckets=_LATENESS,
            registry=registry,
        )
        self._commit_events = Histogram(
            "fulcrum_feedback_commit_events", "Events of a commit.", buckets=_EVENTS, registry=registry
        )
        for outcome in ("written", "duplicate", "rejected"):
            self._events.labels(outcome)
        for reason in get_args(Refusal):
            self._refused.labels(reason)

    def committed(self, events: int, new: int, seconds: float) -> None:
        """`events` are on the disk, of which `new` were not there before."""
        self._events.labels("written").inc(new)
        self._events.labels("duplicate").inc(events - new)
        self._commit_seconds.observe(seconds)
        self._commit_events.observe(events)

    def rejected(self, events: int) -> None:
        """`events` cannot be taken."""
        self._events.labels("rejected").inc(events)

    def late(self, milliseconds: Iterable[int]) -> None:
        """Events were taken, each this number of milliseconds after it happened."""
        for one in milliseconds:
            self._lateness.observe(max(0, one) / 1000.0)

    def refused(self, reason: Refusal) -> None:
        """A request was refused."""
        self._refused.labels(reason).inc()
