"""Fault suite, callers who leave and processes that are told to end, or are killed.

    python -m benchmarks.faults_processes storm             callers who leave, and whose answers others get
    python -m benchmarks.faults_processes term              SIGTERM under load
    python -m benchmarks.faults_processes kill              SIGKILL of workers under load

Each exits with 1 if an answer held another's data, an accepted request was lost, or a worker was missed for
longer than 2 s.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from typing import Any

import httpx
import numpy as np
import orjson
import typer
from rich.table import Table

from benchmarks.load import Callers, Reply, milliseconds
from benchmarks.rig import HOME, Broken, finish, make_bundle, running_service
from model.bundle import load_bundle
from tests.support.faulty_proxy import Fault, FaultyProxy
from tests.support.redis_server import RedisServer, redis_binaries
from tests.support.service_process import ServiceProcess, wait_until
from training.publishing.publish import publish

CANDIDATES = 100
WEATHER: tuple[Fault, ...] = (
    "none",
    "slow",
    "none",
    "cut",
    "none",
    "garble",
    "none",
    "hang",
    "none",
    "reset",
)
app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.command()
def storm(
    seconds: float = typer.Option(60.0, help="Of the storm."),
    callers: int = typer.Option(12, help="Who ask without a pause."),
    leaving: float = typer.Option(0.5, help="Share of requests whose caller leaves before the answer."),
) -> None:
    """Let callers leave at any moment while the way to Redis breaks, and check whose answers the others get.

    Every whole answer must be, to the last digit, the one that its request gets in peace.
    """
    bodies = [_body(number) for number in range(64)]
    server = RedisServer(redis_binaries()[0])
    server.start()
    publish(load_bundle(make_bundle()), None, server.url)
    proxy = FaultyProxy(server.port)
    proxy.slow_s = 0.02
    table = Table("what", "figure", title=f"{seconds:.0f} s, {callers} callers, {leaving:.0%} leave")
    with running_service(features=proxy.url, feature_cache_items=5_000, feature_cache_ttl_s=0.5) as service:
        in_peace = asyncio.run(_in_peace(service.url, bodies))
        seen = asyncio.run(_storm(service.url, bodies, in_peace, proxy, seconds, callers, leaving))
        proxy.fault = "none"
        wait_until(lambda: not httpx.post(f"{service.url}/v1/rank", content=bodies[0]).json()["degraded"], 5)
        after = asyncio.run(_in_peace(service.url, bodies))
    proxy.close()
    server.stop()
    for what, times in sorted(seen.items()):
        table.add_row(what, f"{times:,}")
    broken = [what for what in seen if what.isupper()]
    if after != in_peace:
        broken.append("ANOTHER ANSWER THAN BEFORE")
    finish(table, broken)


def _body(number: int) -> bytes:
    ids = [str((number * 250 + place) % 20_000) for place in range(CANDIDATES)]
    return orjson.dumps(
        {"request_id": f"r{number}", "user_id": str(number), "candidate_ids": ids, "top_k": 20}
    )


async def _in_peace(url: str, bodies: list[bytes]) -> list[Any]:
    callers = Callers(url)
    answers = [(await callers.post(body)).answer for body in bodies]
    assert not any(answer["degraded"] for answer in answers)
    return [(answer["request_id"], answer["items"]) for answer in answers]


async def _storm(
    url: str,
    bodies: list[bytes],
    in_peace: list[Any],
    proxy: FaultyProxy,
    seconds: float,
    number: int,
    leaving: float,
) -> Counter[str]:
    """How many answers were what; what must not be is in capitals."""
    seen: Counter[str] = Counter()
    ends = time.perf_counter() + seconds
    callers = Callers(url)

    async def call(seed: int) -> None:
        draw = random.Random(seed)
        while time.perf_counter() < ends:
            place = draw.randrange(len(bodies))
            asking = asyncio.create_task(callers.post(bodies[place]))
            if draw.random() < leaving:
                await asyncio.wait({asking}, timeout=draw.uniform(0.0, 0.05))
                if asking.cancel():
                    seen["left before the answer"] += 1
                    await asyncio.wait({asking})
                    continue
            seen[_judged(await asking, place, in_peace)] += 1

    async def weather() -> None:
        while time.perf_counter() < ends:
            for proxy.fault in WEATHER:
                await asyncio.sleep(0.5)

    changing = asyncio.create_task(weather())
    await asyncio.gather(*(call(seed) for seed in range(number)))
    changing.cancel()
    return seen


def _judged(reply: Reply, place: int, in_peace: list[Any]) -> str:
    if reply.status == 503:
        return "503, too much to do"
    if reply.status != 200:
        return f"STATUS {reply.status}"
    answer = reply.answer
    if answer["request_id"] != in_peace[place][0]:
        return "ANOTHER REQUEST'S ANSWER"
    known = {item["id"]: item["predictions"] for item in in_peace[place][1]}
    if not answer["degraded"]:
        return "whole, and its own" if answer["items"] == in_peace[place][1] else "WHOLE, AND ANOTHER'S"
    ok = [item for item in answer["items"] if item["status"] == "ok" and item["id"] in known]
    if any(item["predictions"] != known[item["id"]] for item in ok):
        return "DEGRADED, AND ANOTHER'S ROWS"
    return "degraded by the way to Redis"


@app.command()
def term(
    rounds: int = typer.Option(20, help="Services that are told to end."),
    workers: int = typer.Option(2, help="Of each."),
    callers: int = typer.Option(
        8, help="Who ask without a pause, half of them on a fresh connection each time."
    ),
) -> None:
    """Tell a busy service to end: every request that it accepted has its answer."""
    seen: Counter[str] = Counter()
    took = []
    for _ in range(rounds):
        with running_service(features=str(HOME / "features"), workers=workers) as service:
            replies, seconds = asyncio.run(_until_gone(service, callers))
            took.append(seconds)
            seen.update(map(_end_of, replies))
    table = Table("what", "figure", title=f"SIGTERM to {rounds} busy services of {workers} workers")
    for what, times in sorted(seen.items()):
        table.add_row(what, f"{times:,}")
    table.add_row(
        "until all processes had ended, s: median, longest", f"{np.median(took):.2f}, {max(took):.2f}"
    )
    finish(table, [what for what in seen if what.isupper()])


def _end_of(reply: Reply) -> str:
    """What became of a request; what must not be is in capitals."""
    if reply.status == 200:
        return "answered"
    if reply.status == 503 and reply.answer["title"] == "The service is overloaded":
        return "503, too much to do"  # which a busy machine may make it, signal or not
    return f"STATUS {reply.status}: {reply.body[:200]!r}" if reply.status else "LOST"


async def _until_gone(service: ServiceProcess, number: int) -> tuple[list[Reply], float]:
    """Replies to all requests whose connection was accepted, and seconds from the signal to the end."""
    replies: list[Reply] = []
    told = 0.0

    async def call(seed: int) -> None:
        callers, turn = Callers(service.url), seed
        while True:
            if seed % 2:
                callers = Callers(service.url)
            turn += 1
            kept = callers.kept
            reply = await callers.post(_body(turn % 64))
            if reply.status == 0 and kept:
                # It was closed while idle, as far as a client knows: all clients of HTTP ask once more.
                reply = await callers.post(_body(turn % 64))
            if reply.refused:
                return
            replies.append(reply)

    calling = [asyncio.create_task(call(seed)) for seed in range(number)]
    await asyncio.sleep(1.0)
    told = time.perf_counter()
    service.process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(service.process.wait, 30)
    ended = time.perf_counter() - told
    await asyncio.gather(*calling)
    return replies, ended


@app.command()
def kill(
    rounds: int = typer.Option(20, help="Workers that are killed, one after the other."),
    workers: int = typer.Option(4, help="Of the service."),
    callers: int = typer.Option(8, help="Who ask without a pause."),
) -> None:
    """Kill workers of a busy service: only their own requests are lost, and they are replaced at once."""
    broken: Broken = []
    with running_service(features=str(HOME / "features"), workers=workers) as service:
        replies, back_s, most_lost = asyncio.run(_killed(service, rounds, workers, callers))
    lost = sum(reply.status == 0 for reply in replies)
    wrong = Counter(reply.status for reply in replies if reply.status not in (0, 200))
    table = Table("what", "figure", title=f"SIGKILL of {rounds} of {workers} busy workers")
    table.add_row("answered", f"{sum(reply.status == 200 for reply in replies):,}")
    table.add_row("lost, all at a kill", f"{lost}, at most {most_lost} at one")
    table.add_row(
        "until all workers were ready, s: median, longest", f"{np.median(back_s):.2f}, {max(back_s):.2f}"
    )
    table.add_row("answer, ms: median, 99 %, longest", milliseconds(replies, 50, 99, 100))
    if wrong:
        broken.append(f"statuses {dict(wrong)}")
    if max(back_s) > 2.0:
        broken.append("a worker was missed for longer than 2 s")
    finish(table, broken)


async def _killed(
    service: ServiceProcess, rounds: int, workers: int, number: int
) -> tuple[list[Reply], list[float], int]:
    replies: list[Reply] = []
    going = True

    async def call(seed: int) -> None:
        callers = Callers(service.url)
        while going:
            replies.append(await callers.post(_body(seed)))

    calling = [asyncio.create_task(call(seed)) for seed in range(number)]
    back_s, lost = [], []
    for each in range(rounds):
        await asyncio.sleep(1.5)
        before = len(replies)
        os.kill(random.Random(each).choice(service.workers()), signal.SIGKILL)
        began = time.perf_counter()
        await asyncio.to_thread(wait_until, lambda n=each + 1: _all_ready(service, workers, n), 20)
        back_s.append(time.perf_counter() - began)
        lost.append(sum(reply.status == 0 for reply in replies[before:]))
    going = False
    await asyncio.gather(*calling)
    return replies, back_s, max(lost)


def _all_ready(service: ServiceProcess, workers: int, replaced: int) -> bool:
    found = httpx.get(f"{service.url}/readyz").json()["workers"]
    return bool(found == {"wanted": workers, "ready": workers, "replaced": replaced})


if __name__ == "__main__":
    app()
