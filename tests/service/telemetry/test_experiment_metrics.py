"""What /metrics says of experiments."""

from __future__ import annotations

from types import SimpleNamespace

from service.processes.fleet import Fleet
from service.telemetry.metrics import Metrics


def samples(metrics):
    lines = metrics.scrape().decode().splitlines()
    return [line for line in lines if line.startswith("fulcrum_experiment_")]


def test_experiments_are_told_as_of_the_scrape():
    metrics = Metrics(Fleet())
    assert samples(metrics) == []  # without a control store
    live, ages = {"fusion/one": 500, "fusion/two": 0}, {"fusion/one": 90.0}
    metrics.experiments.watched = SimpleNamespace(live=lambda: live, ages=lambda: ages)
    assert samples(metrics) == [
        'fulcrum_experiment_live_buckets{experiment="fusion/one"} 500.0',
        'fulcrum_experiment_live_buckets{experiment="fusion/two"} 0.0',
        'fulcrum_experiment_look_age_seconds{experiment="fusion/one"} 90.0',
    ]
    ages["fusion/one"] = 95.0
    assert samples(metrics)[-1].endswith(" 95.0")
