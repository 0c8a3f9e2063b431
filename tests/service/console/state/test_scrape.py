"""Prometheus' text: counters between two looks, and quantiles of histograms."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from service.console.state.scrape import histograms, quantile, read, since


def test_quantiles_are_within_the_bucket_that_holds_them() -> None:
    registry = CollectorRegistry()
    seconds = Histogram("s", "seconds", ["stage"], buckets=(0.1, 0.2, 0.4), registry=registry)
    for value in [0.05] * 50 + [0.15] * 49 + [0.9]:
        seconds.labels("network").observe(value)
    buckets = histograms(read(generate_latest(registry).decode(), 0.0).samples, "s", "stage")["network"]
    assert quantile(0.5, buckets) == pytest.approx(0.1)
    assert quantile(0.75, buckets) == pytest.approx(0.1 + 0.1 * 25 / 49)
    assert quantile(0.999, buckets) == 0.4
    assert quantile(0.5, {}) is None
    assert quantile(0.5, {0.1: 0.0}) is None


def test_between_two_looks_counts_what_was_counted_meanwhile() -> None:
    registry = CollectorRegistry()
    counter = Counter("c", "count", ["reason"], registry=registry)
    counter.labels("a").inc(3)
    before = read(generate_latest(registry).decode(), 0.0)
    counter.labels("a").inc(2)
    counter.labels("b").inc(1)
    now = read(generate_latest(registry).decode(), 1.0)
    counted = since(now, before)
    assert counted["c_total", (("reason", "a"),)] == 2.0
    assert counted["c_total", (("reason", "b"),)] == 1.0
    assert since(now, None) == now.samples
    assert since(before, now)["c_total", (("reason", "a"),)] == 3.0  # it began anew
    assert now.by("c_total", "reason") == {"a": 5.0, "b": 1.0}


def test_what_is_no_scrape_has_no_samples() -> None:
    assert read("<html>not it", 0.0).samples == {}
