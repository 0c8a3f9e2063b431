"""`make faults`: what a service does when its feature store breaks, and when it has too much to do.

    python -m benchmarks.faults_execution redis             each fault of Redis under load
    python -m benchmarks.faults_execution hurry             deadlines of a few milliseconds, a healthy Redis
    python -m benchmarks.faults_execution overload          three times the capacity, open loop

Each starts a service on one core and asks from another, prints a table and exits with 1 if a promise
was broken.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import typer
from rich.table import Table

from benchmarks.load import Callers, Reply, milliseconds
from benchmarks.rig import HOME, Broken, finish, make_bundle, measured_capacity, pinned_service, requests_of
from model.bundle import Bundle, load_bundle
from model.store.redis_rows import RedisTable, generation_key
from tests.support.faulty_proxy import Fault, FaultyProxy
from tests.support.redis_server import RedisServer, redis_binaries
from tests.support.service_process import private_bytes
from training.publishing.publish import publish

CANDIDATES = 500
app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.command()
def redis(
    seconds: float = typer.Option(4.0, help="Of each fault."),
    timeout_ms: float = typer.Option(100.0, help="Of each request."),
    load: float = typer.Option(0.5, help="Share of the capacity that is asked for."),
) -> None:
    """Break Redis in every way while requests come: watch answers, deadlines and recovery."""
    bundle = load_bundle(make_bundle())
    server = RedisServer(redis_binaries()[0])
    server.start()
    publish(bundle, None, server.url)
    proxy = FaultyProxy(server.port)
    columns = ("fault", "requests", "5xx", "no answer", "in deadline + chunk", "p50 / p99 / max, ms")
    table = Table(*columns, "degraded", "whole after, s")
    broken: Broken = []
    with pinned_service(features=proxy.url, feature_cache_ttl_s=1.0) as service:
        most, chunk_s = asyncio.run(measured_capacity(service.url, requests_of(CANDIDATES)))
        table.title = (
            f"{load * most:.0f} requests a second of {CANDIDATES} candidates ({load:.0%} of capacity), "
            f"timeout {timeout_ms:.0f} ms, a chunk {chunk_s * 1e3:.0f} ms"
        )
        for fault in _faults(bundle, server, proxy, seconds):
            asked = requests_of(CANDIDATES, timeout_ms)
            seen = asyncio.run(_through(fault, service.url, asked, load * most, seconds))
            in_time = sum(reply.seconds <= timeout_ms / 1e3 + chunk_s for reply in seen.during)
            replies = seen.during + seen.after
            errors = sum(reply.status >= 500 for reply in replies)
            silent = sum(reply.status == 0 for reply in replies)
            reasons = Counter(reason for reply in seen.during for reason in reply.degraded)
            table.add_row(
                fault.name,
                f"{len(seen.during):,}",
                str(errors),
                str(silent),
                f"{in_time / len(seen.during):.2%}",
                milliseconds(seen.during, 50, 99, 100),
                ", ".join(f"{name.removeprefix('feature_store_')} {n:,}" for name, n in reasons.items()),
                f"{seen.whole_after_s:.2f}",
            )
            late = in_time < 0.999 * len(seen.during)
            unnamed = fault.name != "none" and not reasons
            if errors or silent or late or unnamed or seen.whole_after_s > 2.0:
                broken.append(f"redis {fault.name}")
    proxy.close()
    server.stop()
    finish(table, broken)


@dataclass(frozen=True)
class _Harm:
    """A fault: how it begins, and how it ends."""

    name: str
    begin: Callable[[], Any]
    end: Callable[[], Any]


@dataclass(frozen=True)
class _Seen:
    """Replies to requests that began while a fault was there, and to those after it ended."""

    during: list[Reply]
    after: list[Reply]
    mended: float

    @property
    def whole_after_s(self) -> float:
        """Seconds until the last answer that the store spoiled."""
        spoiled = [
            reply.began
            for reply in self.after
            if any(reason.startswith("feature_store") for reason in reply.degraded)
        ]
        return max(spoiled, default=self.mended) - self.mended


def _faults(bundle: Bundle, server: RedisServer, proxy: FaultyProxy, seconds: float) -> list[_Harm]:
    client, row = server.client, RedisTable(bundle.encoder, "items").key
    rows = [row(str(number)) for number in range(0, 20_000, 10)]

    def publish_again() -> None:
        publish(bundle, None, server.url)

    def on_the_way(name: str, fault: Fault) -> _Harm:
        return _Harm(name, lambda: setattr(proxy, "fault", fault), lambda: setattr(proxy, "fault", "none"))

    def make_lists() -> None:
        client.delete(*rows)
        for key in rows:
            client.rpush(key, "x")

    def truncate() -> None:
        client.mset({key: value[:-1] for key, value in zip(rows, client.mget(rows), strict=True)})

    def rename() -> None:
        for key in client.keys("fulcrum:*"):
            client.rename(key, key.replace(b"fulcrum:", b"fulcrum:0000"))

    def restart() -> None:
        server.stop()
        time.sleep(seconds / 2)
        server.start()

    return [
        _Harm("none", lambda: None, lambda: None),
        on_the_way("refused", "refuse"),
        on_the_way("reset", "reset"),
        on_the_way("hung", "hang"),
        on_the_way("slow by 200 ms", "slow"),
        on_the_way("cut in mid-answer", "cut"),
        on_the_way("garbled", "garble"),
        _Harm("process frozen", server.freeze, server.thaw),
        _Harm("values of a wrong type", make_lists, publish_again),
        _Harm("truncated values", truncate, publish_again),
        _Harm("wrong fingerprint", rename, publish_again),
        _Harm("generation gone", lambda: client.delete(generation_key(bundle.encoder)), publish_again),
        _Harm("flushed", client.flushall, publish_again),
        _Harm("restarted, empty", restart, publish_again),
    ]


async def _through(
    fault: _Harm, url: str, body: Callable[[int], bytes], rate: float, seconds: float
) -> _Seen:
    running = asyncio.create_task(Callers(url).at_rate(rate, seconds + 6.0, body))
    await asyncio.sleep(1.0)
    await asyncio.to_thread(fault.begin)
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    ending = time.perf_counter()
    await asyncio.to_thread(fault.end)
    ended = time.perf_counter()
    replies = await running
    during = [reply for reply in replies if began <= reply.began < ending]
    return _Seen(during, [reply for reply in replies if reply.began >= ended], ended)


@app.command()
def hurry(calls: int = typer.Option(300, help="Of each row of the table.")) -> None:
    """Ask with very little time: whether features are there, and whether anything is scored."""
    table = Table("candidates", "timeout, ms", "with features", "store timed out", "scored", "answer p50, ms")
    server = RedisServer(redis_binaries()[0])
    server.start()
    publish(load_bundle(make_bundle()), None, server.url)
    with pinned_service(features=server.url, feature_cache_items=0) as service:
        asyncio.run(measured_capacity(service.url, requests_of(50), 2.0))
        for candidates in (20, 100, 500):
            for timeout_ms in (2.0, 3.0, 5.0, 10.0, 20.0):
                body = requests_of(candidates, timeout_ms)
                replies = asyncio.run(Callers(service.url).one_after_another(1, map(body, range(calls))))
                timed_out = sum("feature_store_timeout" in reply.degraded for reply in replies)
                scored = sum(reply.answer["scored"] == candidates for reply in replies if reply.status == 200)
                known = sum(
                    reply.status == 200 and reply.answer["items"][0]["status"] == "ok" for reply in replies
                )
                table.add_row(
                    str(candidates),
                    f"{timeout_ms:g}",
                    *(f"{number / calls:.0%}" for number in (known, timed_out, scored)),
                    milliseconds(replies, 50),
                )
    server.stop()
    finish(table, [])


@app.command()
def overload(
    seconds: float = typer.Option(60.0, help="Of overload."),
    timeout_ms: float = typer.Option(100.0, help="Of each request."),
    factor: float = typer.Option(3.0, help="Requests asked for over those that can be served."),
    candidates: int = typer.Option(CANDIDATES, help="Of each request."),
) -> None:
    """Ask for more than can be served: what is served, what is refused and how fast, and what comes after."""
    columns = ("phase", "asked/s", "whole in time/s", "late or in part", "503")
    table = Table(*columns, "503 p50 / p99, ms", "200 p50 / p99, ms", "private MiB")
    broken: Broken = []
    with pinned_service(features=str(HOME / "features")) as service:
        most, chunk_s = asyncio.run(measured_capacity(service.url, requests_of(candidates)))
        asked, in_time_s = requests_of(candidates, timeout_ms), timeout_ms / 1e3 + chunk_s
        table.title = f"{candidates} candidates, timeout {timeout_ms:.0f} ms, a chunk {chunk_s * 1e3:.0f} ms"

        def phase(name: str, rate: float, length: float) -> tuple[float, float]:
            """Goodput, and the share of requests that were answered whole and in time."""
            replies = asyncio.run(Callers(service.url).at_rate(rate, length, asked))
            answered = [reply for reply in replies if reply.status == 200]
            refused = [reply for reply in replies if reply.status == 503]
            good = sum(not reply.degraded and reply.seconds <= in_time_s for reply in answered)
            table.add_row(
                name,
                f"{rate:.0f}",
                f"{good / length:.1f}",
                f"{len(answered) - good:,}",
                f"{len(refused):,}",
                milliseconds(refused, 50, 99),
                milliseconds(answered, 50, 99),
                f"{private_bytes(service.process.pid) / 2**20:.1f}",
            )
            if len(answered) + len(refused) < len(replies):
                broken.append(f"{name}: {Counter(reply.status for reply in replies)}")
            return good / length, good / len(replies)

        peak = max(phase(f"{share:.0%} of capacity", share * most, 8.0)[0] for share in (0.8, 0.9, 1.0))
        phase("overload, first seconds", factor * most, 5.0)
        before = private_bytes(service.process.pid)
        goodput, _ = phase("overload", factor * most, seconds)
        grown = private_bytes(service.process.pid) / before - 1
        _, whole = phase("the second after", 0.3 * most, 1.0)
    table.caption = f"goodput {goodput / peak:.0%} of peak, memory {grown:+.1%}"
    if goodput < 0.8 * peak or grown > 0.05 or whole < 0.95:
        broken.append(f"overload: {table.caption}, {whole:.0%} whole in the second after")
    finish(table, broken)


if __name__ == "__main__":
    app()
