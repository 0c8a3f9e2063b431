"""`python -m benchmarks.path`: what a ranking call costs beside the network, stage by stage.

A service runs in a process of its own, on one inference thread; this process asks over a plain socket, one
call after another. Outside the network is all processor time that the service's process spends on a call, the
kernel's share for its sockets included, less that of `session.run`; the same by the clock is the caller's
whole wait less the run. Both are told over the bare run of the standard float32 export on as many rows, whose
calls alternate with the requests. Stages are the service's own, in processor time; what they do not cover is
HTTP: reading and writing sockets, the server, the application around the route.
"""

from __future__ import annotations

import json
import mmap
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import typer
from rich.table import Table

from benchmarks.load import Line
from benchmarks.rig import HOME, console, published_redis, stage_sums
from benchmarks.serving.material import TOP_K, Material
from model.bundle.session import NetworkSession

SIZES = (50, 500, 5_000)

_WARM_UP = 10
"""Calls that do not count."""

_SPENT = struct.Struct("dd")

_PROGRAM = """
import json, mmap, struct, sys, time, types
import onnxruntime
import service.ranking.stopwatch
from service.server import run
from service.settings import load_settings

file = open(sys.argv[1], "r+b")
spent = mmap.mmap(file.fileno(), 16)
whole = onnxruntime.InferenceSession.run

def timed(*arguments):
    began = time.perf_counter(), time.thread_time()
    found = whole(*arguments)
    ended = time.perf_counter(), time.thread_time()
    so_far = struct.unpack_from("dd", spent)
    struct.pack_into("dd", spent, 0, *(old + end - begin for old, end, begin in zip(so_far, ended, began)))
    return found

onnxruntime.InferenceSession.run = timed
service.stopwatch.time = types.SimpleNamespace(perf_counter=time.process_time)
run(load_settings(**json.loads(sys.argv[2])))
"""
"""A service that keeps account of the network's time, by the clock and by the processor, in a shared file."""


@dataclass(frozen=True)
class Spent:
    """Of all calls so far, seconds.

    Attributes:
        network_wall: in `session.run`, by the clock.
        network_cpu: in `session.run`, of the processor.
        cpu: of the service's process.
    """

    network_wall: float
    network_cpu: float
    cpu: float


class Measured:
    """A running service, and where its time goes."""

    def __init__(self, process: subprocess.Popen[str], url: str, account: mmap.mmap) -> None:
        self._process = process
        self._url = url
        self._account = account
        self._line = Line(url)

    def call(self, body: bytes) -> float:
        """One ranking over a connection that stays open: seconds."""
        reply = self._line.post(body)
        assert reply.status == 200, reply.body
        return reply.seconds

    def spent(self) -> Spent:
        """Until now."""
        return Spent(*_SPENT.unpack_from(self._account), self.cpu_s)

    def stages(self) -> dict[str, float]:
        """Seconds of all calls so far, by the service's own account."""
        return {stage: seconds for stage, (seconds, _) in stage_sums(self._url).items()}

    @property
    def cpu_s(self) -> float:
        """Processor time of the service's process: user's and kernel's, all threads."""
        return time.clock_gettime(~self._process.pid << 3 | 2)  # as clock_getcpuclockid(3) spells it


@dataclass(frozen=True)
class Case:
    """A way of asking.

    Attributes:
        name: for the table.
        settings: of the service.
        candidates: the part of a request that names so many of them.
    """

    name: str
    settings: dict[str, Any]
    candidates: Callable[[int], dict[str, Any]]


def main(
    repetitions: int = typer.Option(300, help="Calls of each case and size; a tenth of it at 5,000."),
    only: str = typer.Option("", help="Cases whose name holds this."),
    variant: str = typer.Option("fp32", help="Of the network that the service runs."),
) -> None:
    """Measure what surrounds the network."""
    material = Material()
    if (why_not := material.add_variant(variant)) is not None:
        sys.exit(f"{variant}: {why_not}")
    path = material.bundle.path
    standard = NetworkSession(material.standard, threads=1)
    with ExitStack() as stack:
        redis_url = stack.enter_context(published_redis(path))
        cases = [case for case in _cases(redis_url) if only in case.name]
        costs, stages = _costs_table(repetitions), _stages_table()
        for case in cases:
            with _served(path, {**case.settings, "variant": variant}) as service:
                for size in SIZES:
                    turns = max(20, repetitions // 10) if size == SIZES[-1] else repetitions
                    _measure(service, standard, material, case, size, turns, costs, stages)
    console.print(costs)
    console.print(stages)


def _measure(
    service: Measured,
    standard: NetworkSession,
    material: Material,
    case: Case,
    size: int,
    turns: int,
    costs: Table,
    stages: Table,
) -> None:
    inputs = material.inputs(size, 0)
    requests = [
        orjson.dumps({"user_id": str(user), "top_k": TOP_K, **case.candidates(size)}) for user in range(16)
    ]
    bare, calls, outside = [], [], []
    for turn in range(_WARM_UP):
        service.call(requests[turn % 16])
        standard.predict(inputs)
    stages_before = service.stages()
    before = service.spent()
    idle_cpu = 0.0
    for turn in range(turns):
        began, cpu = time.perf_counter(), service.cpu_s
        standard.predict(inputs)
        called = time.perf_counter()
        idle_cpu += service.cpu_s - cpu  # what it does between calls is not a call's
        calls.append(service.call(requests[turn % 16]))
        bare.append(called - began)
    after = service.spent()
    stages_after = service.stages()
    run_s = float(np.median(bare))
    run_wall, run_cpu = after.network_wall - before.network_wall, after.network_cpu - before.network_cpu
    outside = (after.cpu - before.cpu - idle_cpu - run_cpu) / turns
    waited = float(np.mean(calls)) - run_wall / turns
    costs.add_row(
        case.name,
        f"{size:,}",
        f"{run_s * 1e3:.2f}",
        f"{run_wall / turns * 1e3:.2f}",
        f"{outside * 1e6:,.0f}",
        f"{outside / run_s:.1%}",
        f"{waited * 1e6:,.0f}",
        f"{waited / run_s:.1%}",
    )
    spent = {name: (stages_after[name] - stages_before.get(name, 0.0)) / turns for name in stages_after}
    spent["network"] -= run_cpu / turns
    named = ["parse", "features", "wait", "network", "fusion", "respond"]
    covered = sum(spent[name] for name in named)
    stages.add_row(
        case.name,
        f"{size:,}",
        *(f"{seconds * 1e6:,.0f}" for seconds in (*(spent[name] for name in named), outside - covered)),
    )


def _costs_table(repetitions: int) -> Table:
    return Table(
        *(
            "asked",
            "candidates",
            "bare, ms",
            "run, ms",
            "outside, us",
            "of bare",
            "by the clock, us",
            "of bare",
        ),
        title=f"A call beside its network: {repetitions} calls, one thread; processor time, and by the clock",
    )


def _stages_table() -> Table:
    names = ("parse", "features", "wait", "around the run", "fusion", "respond", "HTTP")
    return Table("asked", "candidates", *names, title="Its stages, microseconds a call")


def _cases(redis_url: str) -> list[Case]:
    folder = str(HOME / "features")

    def by_id(size: int) -> dict[str, Any]:
        return {"candidate_ids": _names(size)}

    def by_object(size: int) -> dict[str, Any]:
        return {
            "candidates": [
                {
                    "id": name,
                    "video_len": 10.5 + place % 60,
                    "features": {"i0": str(place % 90), "i5": str(place % 7)},
                }
                for place, name in enumerate(_names(size))
            ]
        }

    return [
        Case("ids, embedded", {"features": folder}, by_id),
        Case("objects, embedded", {"features": folder}, by_object),
        Case("ids, Redis", {"features": redis_url, "feature_cache_items": 0}, by_id),
        Case("ids, Redis, remembered", {"features": redis_url}, by_id),
    ]


def _names(size: int) -> list[str]:
    """Items that lie far apart in the store."""
    return [str(place * 3_001 % 20_000) for place in range(size)]


@contextmanager
def _served(bundle: Path, settings: dict[str, Any]) -> Iterator[Measured]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(_SPENT.size))
        file.flush()
        given = {"bundle": str(bundle), "port": 0, "threads": 1, **settings}
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, file.name, json.dumps(given)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        try:
            url = process.stdout.readline().split()[-1]
            yield Measured(process, url, mmap.mmap(file.fileno(), _SPENT.size))
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()


if __name__ == "__main__":
    typer.run(main)
