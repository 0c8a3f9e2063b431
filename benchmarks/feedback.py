"""Feedback over HTTP beside a bare loop over SQLite that is as durable.

    python -m benchmarks.feedback [--requests 600] [--rounds 5]

Both write the same events in parts of 100, each to a fresh database of one file system, in turns: the loop
one part after another, each synced before the next; the service for callers that send the next part once the
last is acknowledged.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import orjson
import typer
from rich.table import Table

from benchmarks.load import Callers
from benchmarks.rig import HOME, finish, make_bundle
from model.events import Feedback
from model.events.feedback_table import insert, open_feedback
from tests.support.bundle_variants import write_edited
from tests.support.service_process import serving

PART = 100
"""Events of a request, and of a commit of the loop."""

GOAL = 0.6
"""Of the loop's events a second."""


def main(
    requests: int = typer.Option(600, help="Parts of a round."),
    rounds: int = typer.Option(5, help="Pairs of measurements; the median counts."),
    callers: int = typer.Option(16, help="At a time."),
    workers: int = typer.Option(1, help="Of the service."),
) -> None:
    """Measure in turns, print, and exit with 1 where the goal is missed."""
    with tempfile.TemporaryDirectory(dir=HOME) as scratch:
        bundle = Path(scratch) / "bundle"
        kinds = [{"kind": "is_click"}, {"kind": "play_time_ms", "type": "integer"}]
        write_edited(make_bundle(), bundle, lambda _: None, events={"kinds": kinds})
        table = Table(
            "round", "loop, events/s", "HTTP, events/s", "ratio", "events a commit", "p50 / p99, ms"
        )
        ratios = []
        for number in range(rounds):
            parts = [_events() for _ in range(requests)]
            folder = Path(scratch) / str(number)
            folder.mkdir()
            loop = _loop(folder / "loop.sqlite", parts)
            settings = {"bundle": bundle, "features": HOME / "features", "workers": workers}
            with serving(folder / "log", events=folder, **settings) as service:
                bodies = [orjson.dumps({"events": part}) for part in parts]
                over_http, seconds = asyncio.run(_over_http(service.url, callers, bodies))
                commit = _events_of_a_commit(service.url)
            with closing(open_feedback(folder / "feedback.sqlite")) as database:
                assert database.execute("SELECT count(*) FROM feedback").fetchone() == (requests * PART,)
            ratios.append(over_http / loop)
            tail = statistics.quantiles(seconds, n=100)
            table.add_row(
                str(number + 1),
                f"{loop:,.0f}",
                f"{over_http:,.0f}",
                f"{ratios[-1]:.2f}",
                f"{commit:,.0f}",
                f"{tail[49] * 1e3:.1f} / {tail[98] * 1e3:.1f} ms",
            )
    middle = statistics.median(ratios)
    table.title = f"feedback, {callers} callers, parts of {PART}: {middle:.2f} of the loop, goal {GOAL}"
    finish(table, [] if middle >= GOAL else [f"feedback: {middle:.2f} of the loop's events a second"])


def _events() -> list[dict[str, Any]]:
    now = time.time_ns() // 1_000_000
    return [
        {
            "event_id": str(uuid.uuid4()),
            "exposure_id": str(uuid.uuid4()),
            "item_id": str(number),
            "kind": "play_time_ms" if number % 2 else "is_click",
            "value": 31_500 if number % 2 else True,
            "time_ms": now,
        }
        for number in range(PART)
    ]


def _loop(path: Path, parts: list[list[dict[str, Any]]]) -> float:
    """Events a second of the bare loop."""
    ready = [[Feedback(**event, received_ms=0) for event in part] for part in parts]
    with closing(open_feedback(path)) as database:
        began = time.perf_counter()
        for part in ready:
            insert(database, part)
        return len(parts) * PART / (time.perf_counter() - began)


async def _over_http(url: str, callers: int, bodies: list[bytes]) -> tuple[float, list[float]]:
    """Events a second over HTTP, and the seconds of each request."""
    lines, supply, seconds = Callers(url), iter(bodies), []

    async def call() -> None:
        for body in supply:
            reply = await lines.post(body, "/v1/feedback")
            assert (reply.status, reply.answer["rejected"]) == (202, []), reply
            seconds.append(reply.seconds)

    began = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(callers)))
    return len(bodies) * PART / (time.perf_counter() - began), seconds


def _events_of_a_commit(url: str) -> float:
    lines = dict(line.rsplit(" ", 1) for line in httpx.get(f"{url}/metrics").text.splitlines() if line)
    name = "fulcrum_feedback_commit_events"
    return float(lines[f"{name}_sum"]) / float(lines[f"{name}_count"])


if __name__ == "__main__":
    typer.run(main)
