"""Metrics by arm of an experiment. Knows labels and seconds, decides nothing.

Testers' requests, whose label ends in `@override`, are in none: an arm's numbers are those of its units.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram


class ArmMetrics:
    """One service's numbers by arm.

    Args:
        registry: where they are kept.
        seconds: bounds of the histogram.
    """

    def __init__(self, registry: CollectorRegistry, seconds: Sequence[float]) -> None:
        self._answers = Counter(
            "fulcrum_arm_answers",
            "Rankings by arm (layer/experiment:arm, layer/holdout) and outcome: ok, degraded, failed.",
            ["arm", "outcome"],
            registry=registry,
        )
        self._seconds = Histogram(
            "fulcrum_arm_seconds",
            "Seconds from the arrival of a ranking request to its answer, by arm.",
            ["arm"],
            buckets=seconds,
            registry=registry,
        )

    def ranked(self, arms: Sequence[str], degraded: bool, seconds: float) -> None:
        """A request with these arms has its answer."""
        for arm in _counted(arms):
            self._answers.labels(arm, "degraded" if degraded else "ok").inc()
            self._seconds.labels(arm).observe(seconds)

    def failed(self, arms: Sequence[str]) -> None:
        """A request with these arms gets none."""
        for arm in _counted(arms):
            self._answers.labels(arm, "failed").inc()


def _counted(arms: Sequence[str]) -> Iterable[str]:
    return (arm for arm in arms if not arm.endswith("@override"))
