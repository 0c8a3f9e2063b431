"""Previews: how soon a slider becomes a picture, and what previews cost rankings.

    python -m benchmarks.preview latency     one caller, one preview after another
    python -m benchmarks.preview rankings    rankings while ten clients post previews, over those without

Bundle and users are those of `make bench`. Rankings and previews go to one service on this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import numpy as np
import numpy.typing as npt
import orjson
import typer
from rich.table import Table

from benchmarks.load import Callers, Line, Reply
from benchmarks.rig import HOME, Broken, console, finish, requests_of, running_service
from benchmarks.turns import add_percentiles, order, turn
from tests.support.service_process import ServiceProcess

app = typer.Typer(add_completion=False, help=__doc__, rich_markup_mode=None)

PATH = "/v1/fusion/preview"
AIMS_MS = {50: 100.0, 95: 200.0}
"""By percentile: milliseconds from a slider to a picture, of which this is the service's part."""
BOUND = 1.05
"""What the 99th percentile of rankings with previews may be, of that without."""
CLIENTS, PERIOD_S = 10, 0.2
PACE_S = 0.055
"""Seconds between rankings that are all remembered."""


@app.callback()
def _commands() -> None:
    """Commands by name."""


@app.command()
def latency(
    previews: int = typer.Option(200, help="Of each formula."),
    requests: int = typer.Option(300, help="Of the sample."),
    candidates: int = typer.Option(500, help="Of a request."),
) -> None:
    """Print how long previews take, by formula."""
    table = Table("formula", "p50, ms", "p95, ms", title=f"{requests} requests of {candidates} candidates")
    broken: Broken = []
    with _service() as service, Line(service.url) as line:
        _fill(line, requests, candidates)
        for formula in ("log_power", "weighted_sum", "rank_ensemble"):
            body = _previews(service, formula, requests)
            _until_answered(line, body(0))
            replies = [line.post(body(number), PATH) for number in range(previews)]
            assert {reply.status for reply in replies} == {200}, Counter(reply.status for reply in replies)
            assert {reply.answer["requests"] for reply in replies} == {requests}
            ms = np.array([reply.seconds for reply in replies]) * 1e3
            table.add_row(formula, *(f"{np.percentile(ms, each):.1f}" for each in AIMS_MS))
            broken += [
                f"p{each} of {formula} is {np.percentile(ms, each):.0f} ms, over {aim:.0f}"
                for each, aim in AIMS_MS.items()
                if np.percentile(ms, each) > aim
            ]
    finish(table, broken)


@app.command()
def rankings(
    pairs: int = typer.Option(12, help="Turns with previews and without."),
    requests: int = typer.Option(400, help="Of a turn."),
    candidates: int = typer.Option(500, help="Of a request."),
) -> None:
    """Print how long rankings take with previews and without, and the ratio with its 95 % interval."""
    body = requests_of(candidates)
    took: dict[bool, list[npt.NDArray[np.float64]]] = {False: [], True: []}
    seen: Counter[int] = Counter()
    waits: list[float] = []
    with _service() as service, Line(service.url) as line:
        _fill(line, 300, candidates)
        _until_answered(line, _previews(service, "log_power", 300)(0))
        for number in range(pairs):
            for on in order(number):
                with _clients(service.url, seen, waits) if on else contextlib.nullcontext():
                    took[on].append(turn(line, body, requests))
                time.sleep(0.5)
    table = Table("percentile", "without, ms", "with, ms", "with over without", "95 %")
    broken: Broken = []
    if (low := add_percentiles(table, took, (50, 99))[99]) > BOUND:
        broken.append(f"p99 with previews is at least {low:.3f} of that without, over {BOUND}")
    answers = ", ".join(f"{count} with {status}" for status, count in sorted(seen.items()))
    console.print(
        f"previews answered: {answers}; p50 and p95 of 200, ms: {np.percentile(waits, [50, 95]) * 1e3}"
    )
    finish(table, broken)


@app.command(hidden=True)
def clients(url: str, sample: str) -> None:
    """Post previews until standard input ends; then print statuses and seconds."""
    os.nice(10)  # who measures goes first
    replies = asyncio.run(_post(url, sample))
    sys.stdout.write(orjson.dumps([[reply.status, reply.seconds] for reply in replies]).decode() + "\n")


async def _post(url: str, sample: str) -> list[Reply]:
    config = _config(url)
    callers, running, number = Callers(url), [], 0
    stop = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while not stop.done():
        body = _body(config, "log_power", 300, number, sample)
        running.append(asyncio.create_task(callers.post(body, PATH)))
        number += 1
        await asyncio.sleep(PERIOD_S / CLIENTS)
    return list(await asyncio.gather(*running))


@contextlib.contextmanager
def _clients(url: str, seen: Counter[int], waits: list[float]) -> Iterator[None]:
    sample = httpx.post(f"{url}{PATH}", json={"recent": 1, "config": _config(url)}).json()["sample_id"]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.preview", "clients", url, sample],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    process.stdout.readline()
    time.sleep(1.0)
    yield
    process.stdin.close()
    for status, seconds in orjson.loads(process.stdout.read()):
        seen[status] += 1
        if status == 200:
            waits.append(seconds)
    process.wait()


@contextlib.contextmanager
def _service() -> Iterator[ServiceProcess]:
    with TemporaryDirectory() as folder:
        control = Path(folder) / "control.sqlite"
        with running_service(features=str(HOME / "features"), control=control) as service:
            yield service


def _fill(line: Line, requests: int, candidates: int) -> None:
    """Have the service remember this number of requests."""
    body = requests_of(candidates)
    for number in range(requests):
        turn(line, body, 1) if number == 0 else line.post(body(number))
        time.sleep(PACE_S)


def _until_answered(line: Line, body: bytes) -> None:
    for _ in range(60):
        if line.post(body, PATH).status == 200:
            return
        time.sleep(0.5)
    raise AssertionError("no preview was answered")


def _config(url: str) -> dict[str, object]:
    config: dict[str, object] = httpx.get(f"{url}/v1/fusion").json()["config"]
    return config


def _previews(service: ServiceProcess, formula: str, requests: int) -> Callable[[int], bytes]:
    config = _config(service.url)
    return lambda number: _body(config, formula, requests, number)


def _body(config: object, formula: str, requests: int, number: int, sample: str | None = None) -> bytes:
    """A slider that moves: another weight of the first task each time."""
    document = orjson.loads(orjson.dumps(config))
    default = document["scenes"]["default"]
    names = list(default["tasks"])
    word = "price" if formula == "weighted_sum" else "weight"
    if formula != "log_power":
        default = {"tasks": {name: {word: 1.0} for name in names}}
    default["formula"] = formula
    default["tasks"][names[0]][word] = round(0.5 + 0.01 * (number % 150), 2)
    document["scenes"]["default"] = default
    return orjson.dumps({"recent": requests, "config": document} | ({"sample_id": sample} if sample else {}))


if __name__ == "__main__":
    app()
