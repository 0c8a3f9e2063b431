"""Rig: the service of the fault suite, on the bundle of `make bench`, and what it can do. Knows no faults."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import typer
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from benchmarks.load import Callers, bodies_for
from tests.support.redis_server import RedisServer, redis_binaries
from tests.support.service_process import ServiceProcess, serving

__all__ = [
    "HOME",
    "Broken",
    "console",
    "finish",
    "make_bundle",
    "measured_capacity",
    "pinned_service",
    "published_redis",
    "requests_of",
    "running_service",
    "stage_sums",
]

HOME = Path("build/bench")
FULCRUM = str(Path(sys.executable).with_name("fulcrum"))
console = Console(width=None if sys.stdout.isatty() else 140)

Broken = list[str]
"""Promises that were not kept."""


def make_bundle() -> Path:
    """The bundle, made where it is not there yet, its rows published."""
    path = HOME / "bundle"
    if not (path / "manifest.json").exists():
        words = ["--recipe", "bench", "--out", str(path), "--run", str(HOME / f"run-{int(time.time())}")]
        subprocess.run([FULCRUM, "train", *words, "--set", "training.epochs=1"], check=True)
    subprocess.run(
        [FULCRUM, "publish", str(path), "--to", str(HOME / "features")], check=True, capture_output=True
    )
    return path


@contextmanager
def running_service(**settings: Any) -> Iterator[ServiceProcess]:
    """A service with these settings."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder) / "log", bundle=make_bundle(), **settings) as service,
    ):
        yield service


@contextmanager
def pinned_service(**settings: Any) -> Iterator[ServiceProcess]:
    """On a core of its own; this process takes the others, as far as there are any."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:1])
    try:
        with running_service(**settings) as service:
            os.sched_setaffinity(0, cores[1:] or cores)
            yield service
    finally:
        os.sched_setaffinity(0, cores)


async def measured_capacity(
    url: str, body: Callable[[int], bytes], seconds: float = 6.0
) -> tuple[float, float]:
    """Requests a second of a closed loop of three callers, and seconds of one call alone."""
    callers = Callers(url)
    alone = [await callers.post(body(number)) for number in range(30)]
    replies = await callers.one_after_another(3, bodies_for(seconds, body))
    assert {reply.status for reply in alone + replies} == {200}
    return len(replies) / seconds, sorted(reply.seconds for reply in alone)[15]


@contextmanager
def published_redis(bundle: Path) -> Iterator[str]:
    """The URL of a Redis that holds the bundle's rows."""
    server = RedisServer(redis_binaries()[0])
    server.start()
    try:
        words = [FULCRUM, "publish", str(bundle), "--to", server.url]
        subprocess.run(words, check=True, capture_output=True)
        yield server.url
    finally:
        server.stop()


def stage_sums(url: str) -> dict[str, tuple[float, float]]:
    """By stage of a ranking, by a service's own account: seconds so far, and calls."""
    sums: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(httpx.get(f"{url}/metrics", timeout=30).text):
        if family.name == "fulcrum_rank_stage_seconds":
            for sample in family.samples:
                kind = sample.name.rpartition("_")[2]
                if kind in ("sum", "count"):
                    sums.setdefault(sample.labels["stage"], {})[kind] = sample.value
    return {stage: (found["sum"], found["count"]) for stage, found in sums.items()}


def requests_of(candidates: int, timeout_ms: float | None = None) -> Callable[[int], bytes]:
    """Requests of many users for many videos."""
    made = []
    for number in range(64):
        first = number * 250
        ids = [str((first + place) % 20_000) for place in range(candidates)]
        body: dict[str, Any] = {"user_id": str(number), "candidate_ids": ids, "top_k": 50}
        if timeout_ms is not None:
            body["timeout_ms"] = timeout_ms
        made.append(orjson.dumps(body))
    return lambda number: made[number % len(made)]


def finish(table: Table, broken: Broken) -> None:
    """Print, and exit with 1 if a promise was broken."""
    console.print(table)
    if broken:
        console.print(f"[red]not as promised:[/] {'; '.join(broken)}")
        raise typer.Exit(1)
