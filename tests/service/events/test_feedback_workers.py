"""Feedback to several workers, real processes: one row for each event, whatever becomes of a worker."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from contextlib import closing

import httpx
import pytest

from tests.support.feedback import event, kept
from tests.support.service_process import serving, wait_until

pytestmark = pytest.mark.slow


def test_workers_share_one_database_and_one_that_is_killed_loses_nothing(watched, tmp_path):
    """Four callers send the same events in requests of their own, repeating what has no answer."""
    folder = tmp_path / "events"
    batches = [[event(f"{n}-{m}", item_id=f"v{m}") for m in range(30)] for n in range(20)]
    accepted, half = [0] * 4, threading.Barrier(5)

    def call(url, caller):
        # A connection each, so that all workers get some.
        with httpx.Client(timeout=60, limits=httpx.Limits(max_keepalive_connections=0)) as http:
            for n, batch in enumerate(batches):
                if n == len(batches) // 2:
                    half.wait()

                def answer(batch=batch):
                    found = http.post(f"{url}/v1/feedback", json={"events": batch})
                    return found if found.status_code == 202 else None

                accepted[caller] += wait_until(answer).json()["accepted"]

    with serving(
        tmp_path / "log", bundle=watched.bundle, features=watched.features, workers=3, events=folder
    ) as service:
        callers = [threading.Thread(target=call, args=(service.url, caller)) for caller in range(4)]
        for caller in callers:
            caller.start()
        half.wait()
        os.kill(service.workers()[0], signal.SIGKILL)
        for caller in callers:
            caller.join()
        wait_until(lambda: httpx.get(f"{service.url}/readyz").json()["workers"]["ready"] == 3)
        assert httpx.get(f"{service.url}/readyz").json()["feedback"] == "written"
        assert service.stop() == 0
    assert accepted == [600] * 4
    rows = kept(folder)
    assert {key: row[1] for key, row in rows.items()} == {
        one["event_id"]: one["item_id"] for batch in batches for one in batch
    }
    with closing(sqlite3.connect(folder / "feedback.sqlite")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("SELECT count(*) FROM feedback").fetchone() == (600,)
