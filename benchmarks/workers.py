"""Workers, threads and memory: what a second worker costs, what a start costs, and how cores are best used.

    python -m benchmarks.workers memory       private memory of 1, 2 and 3 workers, a million items embedded
    python -m benchmarks.workers start        seconds until the service is ready, and where they go
    python -m benchmarks.workers inference    the network alone: threads inside operators, or rows parted
    python -m benchmarks.workers throughput   the service: workers and threads, by candidates

Bundle and users are those of `make bench`; the million items are its items again and again, under other keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import orjson
import typer
from rich.table import Table

from benchmarks.load import Callers, Reply, bodies_for, milliseconds
from benchmarks.rig import FULCRUM, HOME, console, make_bundle
from model.bundle import Bundle, load_bundle
from model.bundle.inputs import NetworkInputs
from model.bundle.session import NetworkSession
from model.cores import available_cores
from model.store.packed import current_generation, open_tables, write_store
from service.inference.crew import Crew
from tests.support.service_process import ServiceProcess, serving

ITEMS = 1_000_000
STORE = HOME / "million"
SETTLED_S = 7.0
"""After traffic: free pages go back to the system every five seconds."""

_bundle = functools.cache(make_bundle)
app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.command()
def memory(
    requests: int = typer.Option(400, help="Of 50 to 5,000 candidates, before memory is read."),
) -> None:
    """Print the memory of whole process trees, after traffic, and what the second worker adds."""
    table = Table(
        *(
            "workers",
            "anonymous",
            "mapped files",
            "all",
            "private pages",
            "of the last worker: private",
            "mapped",
        ),
        title="MiB of the whole process tree, shared pages counted once (Pss), after traffic",
    )
    trees, places = {}, Table("one worker, private pages", "MiB", "the second of two", title="Where it is")
    kept: list[dict[str, float]] = []
    for workers in (1, 2, 3):
        with _service(workers=workers, threads=1) as service:
            asyncio.run(_ask(service, requests))
            time.sleep(SETTLED_S)
            pids = _tree(service.process.pid)
            of_all = [_rollup(pid) for pid in pids]
            if workers < 3:
                kept.append(_private_by_place(pids[-1]))
        tree = {field: sum(one[field] for one in of_all) for field in of_all[0]}
        trees[workers] = tree
        last = of_all[-1]
        table.add_row(
            str(workers),
            *(f"{tree[field]:.1f}" for field in ("Pss_Anon", "Pss_File", "Pss", "Private")),
            *(f"{last[field]:.1f}" for field in ("Private", "Pss_File")),
        )
    for place in sorted(kept[0], key=lambda place: -kept[0][place]):
        if max(one.get(place, 0.0) for one in kept) >= 0.5:
            places.add_row(place, *(f"{one.get(place, 0.0):.1f}" for one in kept))
    console.print(table)
    console.print(places)
    one, two, three = (trees[workers] for workers in (1, 2, 3))
    console.print(
        f"The second worker adds {two['Pss'] - one['Pss']:.1f} MiB, "
        f"{(two['Pss'] - one['Pss']) / one['Private']:.0%} of the first one's private pages; of anonymous "
        f"memory alone {two['Pss_Anon'] - one['Pss_Anon']:.1f} MiB, "
        f"{(two['Pss_Anon'] - one['Pss_Anon']) / one['Pss_Anon']:.0%}. The third adds "
        f"{three['Pss'] - two['Pss']:.1f} and {three['Pss_Anon'] - two['Pss_Anon']:.1f} MiB."
    )


@app.command()
def start(times: int = typer.Option(7, help="Starts of each kind, in turns.")) -> None:
    """Print seconds from the command until the service is ready, and what one start does with them."""
    bundle = _bundle()
    models = HOME / "models"
    if not models.exists():
        models.mkdir()
        (models / "bench").symlink_to(bundle.resolve())
    kinds = {
        "a bundle, 1 worker": ("--bundle", str(bundle), "--workers", "1"),
        "a bundle, 2 workers": ("--bundle", str(bundle), "--workers", "2"),
        "a folder of bundles, 1 worker": ("--models", str(models), "--workers", "1"),
        "a folder of bundles, 2 workers": ("--models", str(models), "--workers", "2"),
    }
    store = _million_items()
    took = defaultdict(list)
    for _ in range(times):
        for kind, words in kinds.items():
            took[kind].append(_seconds_to_ready(*words, "--features", str(store)))
    table = Table("start with", "median, s", "least", "most", title=f"Until ready, {times} starts of each")
    for kind, seconds in took.items():
        table.add_row(kind, *(f"{figure:.2f}" for figure in (np.median(seconds), min(seconds), max(seconds))))
    console.print(table)
    steps = [_steps_of_a_start(bundle, store) for _ in range(times)]
    table = Table("step", "median, ms", title="One process, one worker, step by step")
    for step in steps[0]:
        table.add_row(step, f"{np.median([one[step] for one in steps]):.0f}")
    console.print(table)


@app.command()
def inference(
    rounds: int = typer.Option(8, help="Turns of each kind."),
    seconds: float = typer.Option(0.3, help="Of a turn."),
) -> None:
    """Print what the network alone does, by how it uses the cores: one caller, and as many as cores."""
    bundle = load_bundle(_bundle())
    cores = available_cores()
    alone, crew = NetworkSession(bundle.network_path), Crew(cores)
    kinds: dict[str, Callable[[NetworkInputs], object]] = {
        "one thread a run": alone.predict,
        f"{cores} threads inside operators, spinning": _spinning(bundle, cores).predict,
        f"{cores} threads inside operators, not spinning": NetworkSession(
            bundle.network_path, threads=cores
        ).predict,
        f"rows parted over {cores} cores": lambda inputs: crew.run(alone.predict, inputs),
    }
    table = Table(
        *("candidates", "how", "one caller: ms", "CPU ms", f"{cores} callers: runs/s", "ms", "CPU ms"),
        title=f"The network alone; medians of {rounds} turns, in brackets the best turn",
    )
    for size in (50, 100, 500):
        inputs = _inputs(bundle, size)
        seen = defaultdict(list)
        for _ in range(rounds):
            for how, predict in kinds.items():
                for callers in (1, cores):
                    seen[how, callers].append(_turn(predict, inputs, callers, seconds))
        for how in kinds:
            (rate, ms, cpu), (rates, all_ms, all_cpu) = (
                zip(*seen[how, callers], strict=True) for callers in (1, cores)
            )
            del rate
            table.add_row(
                *(str(size), how, f"{np.median(ms):.2f} ({min(ms):.2f})", f"{np.median(cpu):.2f}"),
                *(f"{np.median(rates):.0f} ({max(rates):.0f})", f"{np.median(all_ms):.2f}"),
                f"{np.median(all_cpu):.2f}",
            )
    crew.close()
    console.print(table)


@app.command()
def throughput(
    rounds: int = typer.Option(5, help="Turns of each service and size."),
    seconds: float = typer.Option(2.0, help="Of a turn."),
    callers: int = typer.Option(8, help="Who ask without a pause."),
) -> None:
    """Print what services of several workers and threads answer, alone and at saturation, in turns."""
    shapes = ((1, 1), (1, 2), (2, 1), (2, 2))
    table = Table(
        *("candidates", "workers x threads", "one caller: ms", "CPU ms", f"{callers} callers: answers/s"),
        *("ms: half, 99 %", "CPU ms"),
        title=f"The whole service, load on the same cores; medians of {rounds} turns, in brackets the best",
    )
    with contextlib.ExitStack() as stack:
        services = {
            shape: stack.enter_context(_service(workers=shape[0], threads=shape[1])) for shape in shapes
        }
        for service in services.values():
            asyncio.run(_ask(service, 20))
        for size in (50, 500, 5_000):
            seen = defaultdict(list)
            for _ in range(rounds):
                for shape, service in services.items():
                    for number in (1, callers):
                        seen[shape, number].append(asyncio.run(_saturate(service, size, number, seconds)))
            for shape in shapes:
                alone, crowd = seen[shape, 1], seen[shape, callers]
                ms = [float(np.median([reply.seconds for reply in replies])) * 1e3 for replies, _ in alone]
                rates = [len(replies) / seconds for replies, _ in crowd]
                every = [reply for replies, _ in crowd for reply in replies]
                table.add_row(
                    *(f"{size:,}", f"{shape[0]} x {shape[1]}", f"{np.median(ms):.1f} ({min(ms):.1f})"),
                    *(_cpu_ms(alone), f"{np.median(rates):.1f} ({max(rates):.1f})"),
                    *(milliseconds(every, 50, 99), _cpu_ms(crowd)),
                )
    console.print(table)


def _million_items() -> Path:
    bundle = load_bundle(_bundle())
    if current_generation(STORE, bundle.encoder) is None:
        _, tables = open_tables(HOME / "features", bundle.encoder)
        users = [str(number) for number in range(len(tables["users"]))]
        items = np.resize(np.arange(len(tables["items"])), ITEMS)
        write_store(
            STORE,
            bundle.encoder,
            [
                ("users", users, tables["users"].records[tables["users"].find(users)]),
                ("items", [str(number) for number in range(ITEMS)], tables["items"].records[items]),
            ],
        )
    return STORE


@contextlib.contextmanager
def _service(**settings: Any) -> Iterator[ServiceProcess]:
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(
            Path(folder) / "log",
            bundle=_bundle(),
            features=_million_items(),
            max_queue_wait_ms=60_000,
            **settings,
        ) as service,
    ):
        yield service


def _body(random: np.random.Generator, candidates: int) -> bytes:
    ids = [str(item) for item in random.choice(ITEMS, candidates, replace=False)]
    return orjson.dumps({"user_id": str(random.integers(2_000)), "candidate_ids": ids, "top_k": 50})


async def _ask(service: ServiceProcess, requests: int) -> None:
    """Requests of all sizes, over all items."""
    random = np.random.default_rng(0)
    sizes = (50, 200, 500, 1_000, 5_000)
    bodies = (_body(random, sizes[number % len(sizes)]) for number in range(requests))
    replies = await Callers(service.url).one_after_another(8, bodies)
    assert {reply.status for reply in replies} == {200}


async def _saturate(
    service: ServiceProcess, candidates: int, callers: int, seconds: float
) -> tuple[list[Reply], float]:
    """The replies to so many callers who ask without a pause, and the processor seconds of the service."""
    random = np.random.default_rng(candidates)
    bodies = [_body(random, candidates) for _ in range(16)]
    pids = _tree(service.process.pid)
    before = sum(map(_cpu_s, pids))
    supply = bodies_for(seconds, lambda number: bodies[number % len(bodies)])
    replies = await Callers(service.url).one_after_another(callers, supply)
    assert {reply.status for reply in replies} == {200}
    return replies, sum(map(_cpu_s, pids)) - before


def _cpu_ms(turns: list[tuple[list[Reply], float]]) -> str:
    """Of an answer."""
    return f"{np.median([cpu_s / len(replies) for replies, cpu_s in turns]) * 1e3:.1f}"


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _turn(
    predict: Callable[[NetworkInputs], object], inputs: NetworkInputs, callers: int, seconds: float
) -> tuple[float, float, float]:
    """Runs a second, median milliseconds of one, and processor milliseconds of one."""
    took: list[float] = []
    predict(inputs)
    cpu, began = time.process_time(), time.perf_counter()

    def call() -> None:
        while (now := time.perf_counter()) < began + seconds:
            predict(inputs)
            took.append(time.perf_counter() - now)

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole, cpu = time.perf_counter() - began, time.process_time() - cpu
    return len(took) / whole, float(np.median(took)) * 1e3, cpu / len(took) * 1e3


def _spinning(bundle: Bundle, threads: int) -> NetworkSession:
    """As onnxruntime does it unless it is told not to."""
    session = NetworkSession(bundle.network_path)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session._session = ort.InferenceSession(
        str(bundle.network_path), options, providers=["CPUExecutionProvider"]
    )
    return session


def _inputs(bundle: Bundle, candidates: int) -> NetworkInputs:
    """One user, as in every request."""
    sample = bundle.sample.inputs
    rows = np.resize(np.arange(len(sample.row_to_user)), candidates)
    return NetworkInputs(sample.user.take(np.zeros(1, np.int64)), sample.item.take(rows), np.zeros_like(rows))


def _seconds_to_ready(*words: str) -> float:
    began = time.perf_counter()
    service = subprocess.Popen(
        [FULCRUM, "serve", *words, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert service.stdout is not None
    said = service.stdout.readline()
    took = time.perf_counter() - began
    assert said.startswith("Fulcrum serves"), "run `fulcrum serve` with the same options to see why"
    service.terminate()
    service.wait()
    return took


_STEPS = """
import gc, json, sys, time
began, steps = time.perf_counter(), {}
def step(name):
    global began
    now = time.perf_counter()
    steps[name], began = (now - began) * 1e3, time.perf_counter()
import fulcrum
gc.disable()
step("import the front door (typer, rich)")
import numpy, onnxruntime
step("import NumPy, onnxruntime")
import fastapi, uvicorn, uvloop, httptools
step("import FastAPI, uvicorn")
import service.server
step("import the rest")
from pathlib import Path
from model.bundle import load_bundle
from model.bundle.session import NetworkSession
from service.inference.crew import Crew
from service.inference.engine import Engine, EngineOptions
from service.features.embedded import EmbeddedStore
gc.freeze()
bundle = load_bundle(Path(sys.argv[1]))
step("verify and read the bundle")
EmbeddedStore(Path(sys.argv[2]), bundle.encoder)
step("map the store")
NetworkSession(bundle.network_path)
step("load the network")
Engine.load(bundle, EngineOptions(crew=Crew(1)))
step("load it, prove it, warm it up")
steps["prove it, warm it up"] = steps.pop("load it, prove it, warm it up") - steps["load the network"]
gc.collect()
step("collect what loading left")
print(json.dumps(steps))
"""


def _steps_of_a_start(bundle: Path, store: Path) -> dict[str, float]:
    said = subprocess.run(
        [sys.executable, "-c", _STEPS, str(bundle), str(store)], check=True, capture_output=True, text=True
    )
    found: dict[str, float] = orjson.loads(said.stdout)
    return found


def _tree(pid: int) -> list[int]:
    """The process and all below it."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    return [pid, *(below for child in children for below in _tree(child))]


def _rollup(pid: int) -> dict[str, float]:
    """MiB by field of smaps_rollup, and of private pages, clean and dirty."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    found = {line.split()[0][:-1]: int(line.split()[1]) / 1024 for line in lines}
    return {**found, "Private": found["Private_Clean"] + found["Private_Dirty"]}


def _private_by_place(pid: int) -> dict[str, float]:
    """MiB of private pages by what they are."""
    found: dict[str, float] = defaultdict(float)
    place = ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if mapping := re.match(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+ *(.*)$", line):
            place = _place(mapping[1])
        elif line.startswith(("Private_Clean:", "Private_Dirty:")):
            found[place] += int(line.split()[1]) / 1024
    return found


def _place(mapped: str) -> str:
    if mapped == "[heap]":
        return "heap (malloc)"
    if not mapped:
        return "anonymous (Python's objects, onnxruntime's arena, stacks)"
    if str(STORE) in mapped:
        return "the store's tables, mapped"
    if "/weights/" in mapped:
        return "the network, mapped"
    return "libraries" if ".so" in mapped else "other"


if __name__ == "__main__":
    app()
