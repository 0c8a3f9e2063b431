"""What deployment files must agree with: the project's version, settings, routes and metrics."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Series:
    """A metric as Prometheus sees it: its type and the labels of its samples."""

    type: str
    labels: frozenset[str]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.fixture(scope="session")
def settings() -> set[str]:
    """Environment variables that the service reads."""
    from service.settings import Settings

    return {f"FULCRUM_{name.upper()}" for name in Settings.model_fields}


@pytest.fixture(scope="session")
def routes() -> set[str]:
    """Paths that the service answers."""
    from service.http.routes.status import router

    return {route.path for route in router.routes}


@pytest.fixture(scope="session")
def series() -> dict[str, Series]:
    """By name, what /metrics of a service holds that has counted one of everything."""
    from service.processes.fleet import Fleet
    from service.ranking.stopwatch import Stopwatch
    from service.telemetry.metrics import Metrics

    fleet = Fleet()
    fleet.report(ready=True, bundle="sha256:1", fusion="sha256:2", generation="g")
    metrics, watch = Metrics(fleet), Stopwatch()
    metrics.answered("/v1/rank", 200, 0.01)
    watch.lap("network")
    ranking = SimpleNamespace(
        candidates=1,
        scored=1,
        best_score=0.5,
        degraded=["deadline"],
        default_features=0,
        cache_hits=1,
        cache_misses=0,
        arms=("fusion/one:more",),
    )
    metrics.ranked(ranking, watch)
    metrics.experiments.watched = SimpleNamespace(
        live=lambda: {"fusion/one": 100}, ages=lambda: {"fusion/one": 60.0}
    )
    return _series(metrics.scrape().decode())


def _series(text: str) -> dict[str, Series]:
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    labels: dict[str, set[str]] = {}
    for name, given in re.findall(r"^(\w+)(?:\{(.*)\})? ", text, re.MULTILINE):
        labels.setdefault(name, set()).update(re.findall(r'(\w+)="', given))
    found = {}
    for name, kind in types.items():
        for full in (
            [name] if kind != "histogram" else [f"{name}_{end}" for end in ("bucket", "sum", "count")]
        ):
            found[full] = Series(kind, frozenset(labels.get(full, set())))
    return found
