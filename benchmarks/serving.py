"""`make bench`: the whole HTTP ranking call against the bare run of the exported network.

One process serves, this one asks; both use one inference thread. The bare runs are onnxruntime with the same
rows, in this process: on the standard float32 export, as torch writes it, which is what ratios are over, and
on the bundle's own graph. Calls alternate, so that all see the same machine; what counts is the ratio of
medians. The bundle (recipe `bench`) is made once below build/bench.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import typer
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.progress import track
from rich.table import Table

from model.bundle import Bundle, load_bundle
from model.encoding import EncodedRows
from model.inference import NetworkInputs, NetworkSession
from model.packed import open_tables
from training.export import export_graph
from training.recipe import load_recipe
from training.train import fresh_network
from training.warm_start import open_bundle

HOME = Path("build/bench")
FULCRUM = str(Path(sys.executable).with_name("fulcrum"))
console = Console(width=None if sys.stdout.isatty() else 120)


def main(
    repetitions: int = typer.Option(200, help="Calls of each kind and size."),
    epochs: int = typer.Option(1, help="Epochs of the benchmark bundle, where it is not there yet."),
) -> None:
    """Measure the cost of a ranking call over the bare network, by number of candidates."""
    bundle = _bundle(epochs)
    _, tables = open_tables(HOME / "features", bundle.encoder)
    standard = NetworkSession(_standard(bundle), threads=1)
    served = NetworkSession(bundle.network_path, threads=1)
    table = Table(
        *("candidates", "standard export, ms", "the bundle's graph, ms", "ratio"),
        *("HTTP call, ms", "ratio", "service outside the network"),
    )
    table.title = f"Medians of {repetitions} alternating calls, one inference thread, {_size(bundle)}"
    with _served() as client:
        for size in (50, 200, 500, 1_000, 5_000):
            names = [str(number) for number in range(size)]
            inputs = _inputs(bundle, tables["users"].records, tables["items"].records, size)
            request = {"user_id": "0", "candidate_ids": names, "top_k": 50}
            before = _stage_seconds(client)
            runs, lowered, calls = [], [], []
            for turn in track(range(repetitions + 10), f"{size} candidates", console=console, transient=True):
                started = time.perf_counter()
                standard.predict(inputs)
                between = time.perf_counter()
                served.predict(inputs)
                before_call = time.perf_counter()
                answer = client.post("/v1/rank", json=request)
                if turn >= 10:
                    runs.append(between - started)
                    lowered.append(before_call - between)
                    calls.append(time.perf_counter() - before_call)
                answer.raise_for_status()
            after = _stage_seconds(client)
            spent = {stage: after[stage] - before.get(stage, 0.0) for stage in after}
            outside = 1.0 - spent["network"] / sum(spent.values())
            run, own, call = (np.median(seconds) * 1e3 for seconds in (runs, lowered, calls))
            of_run = [f"{run:.2f}", f"{own:.2f}", f"{own / run:.2f}", f"{call:.2f}", f"{call / run:.2f}"]
            table.add_row(f"{size:,}", *of_run, f"{outside:.0%}")
    console.print(table)
    console.print("The HTTP call includes the client's own work (httpx, JSON).")


def _bundle(epochs: int) -> Bundle:
    path = HOME / "bundle"
    if not (path / "manifest.json").exists():
        words = ["--recipe", "bench", "--out", str(path), "--run", str(HOME / f"run-{int(time.time())}")]
        subprocess.run([FULCRUM, "train", *words, "--set", f"training.epochs={epochs}"], check=True)
    subprocess.run([FULCRUM, "publish", str(path), "--to", str(HOME / "features")], check=True)
    return load_bundle(path)


def _standard(bundle: Bundle) -> Path:
    """The bundle's network as torch exports it."""
    path, recipe = HOME / "standard.onnx", load_recipe("bench")
    network = fresh_network(recipe, bundle.encoder)
    open_bundle(bundle.path, recipe).put(network, bundle.encoder, recipe.network)
    export_graph(network, path, lowered=False)
    return path


def _size(bundle: Bundle) -> str:
    network = bundle.manifest.network
    return f"{network['model']} of {network['levels']} levels, experts {network['expert']}"


def _inputs(bundle: Bundle, users: np.ndarray, items: np.ndarray, size: int) -> NetworkInputs:
    context = bundle.encoder.sides["context"].defaults
    user = EncodedRows(np.ascontiguousarray(users["ids"][:1]), np.ascontiguousarray(users["numeric"][:1]))
    rows = items[:size]
    item = EncodedRows(np.ascontiguousarray(rows["ids"]), np.ascontiguousarray(rows["numeric"]))
    return NetworkInputs(user.beside(context), item, np.zeros(size, np.int64))


@contextmanager
def _served() -> Iterator[httpx.Client]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ("--bundle", str(HOME / "bundle"), "--features", str(HOME / "features"), "--port", str(port))
    environment = {**os.environ, "FULCRUM_THREADS": "1"}
    service = subprocess.Popen([FULCRUM, "serve", *words], stderr=subprocess.DEVNULL, env=environment)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            while True:
                try:
                    if client.get("/readyz").status_code == 200:
                        break
                except httpx.TransportError:
                    if service.poll() is not None:
                        sys.exit("the service ended; run `fulcrum serve` with the same options to see why")
                time.sleep(0.1)
            yield client
    finally:
        service.terminate()
        service.wait()


def _stage_seconds(client: httpx.Client) -> dict[str, float]:
    """Seconds spent by stage so far."""
    spent = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        if family.name == "fulcrum_rank_stage_seconds":
            spent |= {s.labels["stage"]: s.value for s in family.samples if s.name.endswith("_sum")}
    return spent


if __name__ == "__main__":
    typer.run(main)
