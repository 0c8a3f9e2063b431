"""Metrics of experiments: what is live, and how long ago anybody looked. Reads no store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class Watched(Protocol):
    """Experiments that were started and not stopped, by `layer/experiment`."""

    def live(self) -> Mapping[str, int]:
        """Buckets that are live."""

    def ages(self) -> Mapping[str, float]:
        """Seconds since the last look at those that run and are judged."""


class ExperimentMetrics(Collector):
    """What the control store says of experiments. Every worker knows, so that whichever is scraped says it.

    Attributes:
        watched: where it is from; None without a control store.
    """

    def __init__(self) -> None:
        self.watched: Watched | None = None

    def describe(self) -> Iterable[Metric]:
        """Nothing ahead of time."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """As of now."""
        for name, help_, values in (
            (
                "fulcrum_experiment_live_buckets",
                "Buckets of its layer, of 10,000, that take part in an experiment; 0 while it is paused.",
                self.watched.live() if self.watched else {},
            ),
            (
                "fulcrum_experiment_look_age_seconds",
                "Seconds since anybody looked at an experiment that runs; since its start where nobody has.",
                self.watched.ages() if self.watched else {},
            ),
        ):
            family = GaugeMetricFamily(name, help_, labels=["experiment"])
            for experiment, value in values.items():
                family.add_metric([experiment], value)
            yield family
