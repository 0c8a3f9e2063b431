"""Prometheus' text as numbers, and quantiles of what was counted between two looks. Knows no page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

Labels = tuple[tuple[str, str], ...]
Samples = dict[tuple[str, Labels], float]


@dataclass(frozen=True)
class Look:
    """What was scraped.

    Attributes:
        at: seconds of a clock that never goes back.
        samples: by name and labels in order.
    """

    at: float
    samples: Samples

    def value(self, name: str, **labels: str) -> float | None:
        """One sample; None where there is none."""
        return self.samples.get((name, tuple(sorted(labels.items()))))

    def by(self, name: str, label: str) -> dict[str, float]:
        """Samples of a name by one label, the others summed."""
        found: dict[str, float] = {}
        for (each, labels), value in self.samples.items():
            if each == name:
                key = dict(labels).get(label, "")
                found[key] = found.get(key, 0.0) + value
        return found


def read(text: str, at: float) -> Look:
    """What a scrape says; of a text that is none, as much as can be read."""
    return Look(at, dict(_samples(text)))


def _samples(text: str) -> Iterator[tuple[tuple[str, Labels], float]]:
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                yield (sample.name, tuple(sorted(sample.labels.items()))), float(sample.value)
    except ValueError:
        return


def since(now: Look, before: Look | None) -> Samples:
    """What counters have counted since; since the start where nobody looked, or where they began anew."""
    if before is None:
        return now.samples
    return {
        key: value - before.samples.get(key, 0.0) if value >= before.samples.get(key, 0.0) else value
        for key, value in now.samples.items()
    }


def histograms(samples: Samples, name: str, label: str) -> dict[str, dict[float, float]]:
    """By a label's value: counts below each bucket's bound, which are not in order."""
    found: dict[str, dict[float, float]] = {}
    for (each, labels), value in samples.items():
        if each == f"{name}_bucket":
            named = dict(labels)
            bounds = found.setdefault(named.get(label, ""), {})
            bound = float(named["le"])
            bounds[bound] = bounds.get(bound, 0.0) + value
    return found


def quantile(q: float, buckets: Mapping[float, float]) -> float | None:
    """As Prometheus' histogram_quantile: linear within a bucket; the last bound where it is beyond it."""
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0.0
    if total <= 0.0:
        return None
    below, lower = 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= q * total:
            if math.isinf(bound):
                return lower
            inside = buckets[bound] - below
            share = (q * total - below) / inside if inside else 1.0
            return lower + (bound - lower) * share
        below, lower = buckets[bound], bound
    return lower
