"""A worker that is killed loses the last interval's exposures at most; one that is stopped loses none."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.support.exposures import exposure_rows
from tests.support.service_process import ServiceProcess, serving, wait_until

pytestmark = pytest.mark.slow

INTERVAL_MS = 100
LATE_S = 1.0
"""Seconds that a busy machine may keep the writer from its work, beyond the interval."""


class Asked:
    """Asks without a pause until it is told to end, or the service is gone for good.

    Attributes:
        answered: exposure id, and when it was asked for and its answer had come, of `time.monotonic`.
    """

    def __init__(self, url: str) -> None:
        self.answered: dict[str, tuple[float, float]] = {}
        self._url = url
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Asked:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _ask(self) -> None:
        body = {"user_id": "u1", "candidate_ids": [f"v{place}" for place in range(50)]}
        with httpx.Client(base_url=self._url, timeout=30) as http:
            while not self._ended.is_set():
                asked = time.monotonic()
                try:
                    answer = http.post("/v1/rank", json=body)
                except httpx.TransportError:
                    self._ended.wait(0.01)
                    continue
                if answer.status_code == 200:
                    self.answered[answer.json()["exposure_id"]] = (asked, time.monotonic())


@contextmanager
def keeping(watched: Any, tmp_path: Any, **given: Any) -> Iterator[ServiceProcess]:
    """A service of two workers that keeps everything."""
    settings = {
        "bundle": watched.bundle,
        "features": watched.features,
        "events": tmp_path / "events",
        "exposure_candidates": 1.0,
        "events_interval_ms": INTERVAL_MS,
        "workers": 2,
        **given,
    }
    with serving(tmp_path / "log", **settings) as service:
        yield service


def killed_at_moments(watched: Any, tmp_path: Any, moments: int) -> float:
    """Kill a worker again and again while one asks; the age of the oldest exposure that was lost, seconds."""
    draw = random.Random(3)
    killed: list[float] = []
    with keeping(watched, tmp_path) as service:
        with Asked(service.url) as asked:
            for _ in range(moments):
                enough = len(asked.answered) + 5
                wait_until(lambda: len(asked.answered) >= enough)  # noqa: B023
                time.sleep(draw.uniform(0.0, 2 * INTERVAL_MS / 1000.0))
                workers = wait_until(lambda: (found := service.workers()) and len(found) == 2 and found)
                os.kill(draw.choice(workers), signal.SIGKILL)
                killed.append(time.monotonic())
        service.stop()
    kept = [row["exposure_id"] for row in exposure_rows(tmp_path / "events")]
    known = set(kept)
    assert len(kept) == len(known), "what stands twice"
    lost = [times for name, times in asked.answered.items() if name not in known]
    # A worker may be killed between its answer and the moment in which that is read.
    ages = [
        min((max(kill - answered, 0.0) for kill in killed if kill >= sent), default=float("inf"))
        for sent, answered in lost
    ]
    return max(ages, default=0.0)


def test_a_killed_worker_loses_the_last_interval_at_most(watched, tmp_path):
    assert killed_at_moments(watched, tmp_path, moments=4) <= INTERVAL_MS / 1000.0 + LATE_S


@pytest.mark.long
def test_two_hundred_killed_workers_lose_their_last_interval_at_most(watched, tmp_path):
    age_s = killed_at_moments(watched, tmp_path, moments=200)
    print(f"the oldest that was lost had its answer {age_s * 1e3:.0f} ms before its worker was killed")  # noqa: T201
    assert age_s <= INTERVAL_MS / 1000.0 + LATE_S


def test_a_service_that_is_stopped_loses_nothing(watched, tmp_path):
    with keeping(watched, tmp_path, events_interval_ms=60_000) as service, Asked(service.url) as asked:
        wait_until(lambda: len(asked.answered) > 20)
        assert service.stop() == 0
    kept = [row["exposure_id"] for row in exposure_rows(tmp_path / "events")]
    assert sorted(kept) == sorted(asked.answered)


def test_a_worker_that_takes_anothers_place_starts_without_the_folder(watched, tmp_path):
    home = tmp_path / "events"
    with keeping(watched, tmp_path) as service:
        home.rename(tmp_path / "away")
        first = service.workers()[0]
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: (found := service.workers()) and len(found) == 2 and first not in found)
        ready = {"wanted": 2, "ready": 2, "replaced": 1}
        wait_until(lambda: httpx.get(f"{service.url}/readyz", timeout=30).json()["workers"] == ready)
        assert not home.exists()
        with Asked(service.url) as asked:
            wait_until(lambda: len(asked.answered) > 20)
            (tmp_path / "away").rename(home)
            wait_until(lambda: len(exposure_rows(home)) > 20)
        service.stop()
    assert {row["exposure_id"] for row in exposure_rows(home)} == set(asked.answered)
