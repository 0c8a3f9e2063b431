"""Fault suite, what changes while serving: fusion edits and bundle swaps under load, several workers.

    python -m benchmarks.faults_control                             about a quarter of an hour
    python -m benchmarks.faults_control --edits 200 --swaps 20      two minutes

Callers ask without a pause and check each answer: its predictions are those of the bundle that it names, its
scores those of the config that it names, to the last bit. Every tenth edit is bad; at every tenth swap a bad
bundle comes, is refused and goes. Exits 1 if an answer failed or was nobody's, a worker died, or a worker's
private memory grew by more than 5 % after the tenth swap (medians of ten samples, before a swap each).
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import typer
import yaml
from rich.console import Console
from rich.progress import track
from rich.table import Table

from model.fusion import FusionConfig, explain, parse_fusion, version
from tests.support.bundle_variants import write_variant
from tests.support.service_process import ServiceProcess, private_bytes, serving, wait_until

HOME = Path("build/faults")
FULCRUM = str(Path(sys.executable).with_name("fulcrum"))
TOKEN = "only for this run"
VERSIONS = 4
GROWTH = 0.05
console = Console(width=None if sys.stdout.isatty() else 120)


class Callers:
    """Ask without a pause, and check what they get.

    Attributes:
        seconds: of each answered request.
        failures: what was wrong, and how often.
        seen: answers by bundle and config.
        named: revisions that answers named, with the versions of their configs.
    """

    def __init__(self, url: str, body: dict[str, Any], number: int) -> None:
        self.seconds: list[float] = []
        self.failures: Counter[str] = Counter()
        self.seen: Counter[tuple[str, str]] = Counter()
        self.named: set[tuple[int | None, str]] = set()
        self.predictions: dict[str, dict[str, dict[str, float]]] = {}
        self.configs: dict[str, FusionConfig] = {}
        self._url, self._body = url, body
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(number)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, once each has its last answer."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30) as http:
            while not self._stop.is_set():
                began = time.perf_counter()
                try:
                    answer = http.post("/v1/rank", json=self._body)
                except httpx.TransportError as error:
                    self.failures[repr(error)] += 1
                    continue
                self.seconds.append(time.perf_counter() - began)
                if answer.status_code != httpx.codes.OK:
                    self.failures[f"status {answer.status_code}"] += 1
                    continue
                wrong = self._wrong(answer.json())
                if wrong:
                    self.failures[wrong] += 1

    def _wrong(self, answer: dict[str, Any]) -> str | None:
        """What is wrong with an answer, if anything is."""
        bundle, fusion = answer["model"]["version"], answer["fusion"]["version"]
        self.seen[bundle, fusion] += 1
        self.named.add((answer["fusion"]["revision"], fusion))
        if answer["degraded"]:
            return f"degraded: {answer['degraded']}"
        if bundle not in self.predictions or fusion not in self.configs:
            return "made by a bundle or a config that never was"
        items = answer["items"]
        if {item["id"]: item["predictions"] for item in items} != self.predictions[bundle]:
            return "predictions of another bundle"
        scene, _ = self.configs[fusion].scene("default")
        p = {
            task: np.array([item["predictions"][task] for item in items]) for task in items[0]["predictions"]
        }
        lengths = [item["terms"]["video_len"]["video_len"] for item in items]
        known = np.array([np.nan if length is None else length for length in lengths], np.float64)
        if explain(scene, p, known).fused.score.tolist() != [item["score"] for item in items]:
            return "scores of another config"
        return None


def main(
    edits: Annotated[int, typer.Option(help="Edits of the fusion file.")] = 2000,
    swaps: Annotated[int, typer.Option(help="Bundle swaps, spread over the edits.")] = 100,
    workers: Annotated[int, typer.Option(help="Workers.")] = 4,
    callers: Annotated[int, typer.Option(help="Callers that ask without a pause.")] = 3,
    bundle: Annotated[
        Path | None, typer.Option(help="A bundle; one of the demo recipe is trained where absent.")
    ] = None,
    features: Annotated[Path | None, typer.Option(help="The feature store of that bundle.")] = None,
) -> None:
    """Measure what edits and swaps under load do to answers and to memory."""
    if bundle is None or features is None:
        bundle, features = trained()
    run = HOME / "control"
    shutil.rmtree(run, ignore_errors=True)
    names = [write_variant(bundle, run / "models" / f"v{n}", n, f"2026-01-0{n + 1}") for n in range(VERSIONS)]
    fusion = run / "fusion.yaml"
    fusion.write_text(_text(0))
    given = {"models": run / "models", "features": features, "fusion": fusion, "workers": workers}
    with (
        serving(run / "log", {"FULCRUM_ADMIN_TOKEN": TOKEN}, **given) as service,
        httpx.Client(base_url=service.url, timeout=60) as http,
    ):
        body = bundle_example(bundle)
        asked = Callers(service.url, body, callers)
        for name in names:
            _activate(http, name)
            wait_until(lambda name=name: _all_run(http, "bundles", name, workers), 60)
            answer = http.post("/v1/rank", json=body).json()
            asked.predictions[name] = {item["id"]: item["predictions"] for item in answer["items"]}
        asked.configs[version(parse_fusion(_text(0)))] = parse_fusion(_text(0))
        asked.start()
        memory, swap_s, edit_s = _change(service, http, asked, run, names, edits, swaps, workers, bundle)
        asked.stop()
        died = len(service.events("worker_died"))
    _tell(asked, memory, swap_s, edit_s, workers, died)


def _change(
    service: ServiceProcess,
    http: httpx.Client,
    asked: Callers,
    run: Path,
    names: list[str],
    edits: int,
    swaps: int,
    workers: int,
    bundle: Path,
) -> tuple[dict[int, list[int]], list[float], list[float]]:
    """Edit and swap.

    Returns:
        Private bytes of each worker before each swap, seconds until each swap and each edit was everywhere.
    """
    every = max(1, edits // swaps)
    memory: dict[int, list[int]] = {pid: [] for pid in service.workers()}
    swap_s, edit_s = [], []
    for edit in track(range(1, edits + 1), "edits and swaps", console=console, transient=True):
        began = time.perf_counter()
        text = _text(edit)
        if edit % 10 == 0:
            (run / "fusion.yaml").write_text(text.replace("weight", "wait"))
            time.sleep(0.25)
        else:
            config = parse_fusion(text)
            name = version(config)
            asked.configs[name] = config
            _write(run / "fusion.yaml", text, by_rename=bool(edit % 2))
            wait_until(lambda name=name: _all_run(http, "fusions", name, workers), 30)
            edit_s.append(time.perf_counter() - began)
        if edit % every == 0 and len(swap_s) < swaps:
            time.sleep(0.3)  # for what the swap before left behind
            for pid in memory:
                memory[pid].append(private_bytes(pid))
            began = time.perf_counter()
            name = names[len(swap_s) % len(names)]
            _activate(http, name)
            wait_until(lambda name=name: _all_run(http, "bundles", name, workers), 30)
            swap_s.append(time.perf_counter() - began)
            if len(swap_s) % 10 == 0:
                _refuse(http, bundle, run / "models", len(swap_s))
    return memory, swap_s, edit_s


def _refuse(http: httpx.Client, bundle: Path, models: Path, seed: int) -> None:
    """A bad bundle appears, is refused, and goes."""
    flaw = next(itertools.islice(itertools.cycle(("corrupt", "nan", "foreign")), seed // 10, None))
    name = write_variant(bundle, models / "bad", 100 + seed, flaw=flaw)
    wait_until(lambda: name in http.get("/v1/models").text, 10)
    answer = http.post(f"/v1/models/{name}/activate", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == httpx.codes.CONFLICT, answer.text
    shutil.rmtree(models / "bad")


def _tell(
    asked: Callers,
    memory: dict[int, list[int]],
    swap_s: list[float],
    edit_s: list[float],
    workers: int,
    died: int,
) -> None:
    table = Table(
        "what", "figure", title=f"{len(edit_s)} good edits and {len(swap_s)} swaps, {workers} workers"
    )
    milliseconds = np.array(asked.seconds) * 1e3
    median, high, longest = (
        f"{value:.1f}" for value in (*np.percentile(milliseconds, (50, 99)), milliseconds.max())
    )
    table.add_row("answers", f"{len(milliseconds):,}")
    table.add_row("failed, or not made by what they name", f"{sum(asked.failures.values()):,}")
    table.add_row("pairs of bundle and config seen", f"{len(asked.seen):,}")
    table.add_row("workers that died", str(died))
    table.add_row("answer, ms: median, 99 %, longest", f"{median}, {high}, {longest}")
    for what, seconds in (("edit", edit_s), ("swap", swap_s)):
        if seconds:
            median, longest = f"{np.median(seconds):.2f}", f"{max(seconds):.2f}"
            table.add_row(f"{what} until all workers run it, s: median, longest", f"{median}, {longest}")
    growth = []
    for place, series in enumerate(memory.values()):
        if len(series) > 20:
            tenth, last = float(np.median(series[9:19])), float(np.median(series[-10:]))
            growth.append(last / tenth - 1.0)
            figures = ", ".join(f"{value / 2**20:.1f}" for value in (tenth, last, max(series[10:])))
            table.add_row(
                f"worker {place}: private MiB after the tenth swap, at the end, most",
                f"{figures} ({growth[-1]:+.1%})",
            )
    console.print(table)
    for failure, times in asked.failures.most_common(5):
        console.print(f"{times} x {failure}", markup=False)
    if asked.failures or died or any(grown > GROWTH for grown in growth):
        raise typer.Exit(1)


def _activate(http: httpx.Client, name: str) -> None:
    answer = http.post(f"/v1/models/{name}/activate", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == httpx.codes.OK, answer.text


def _all_run(http: httpx.Client, what: str, name: str, workers: int) -> bool:
    return bool(http.get("/readyz").json()[what] == {name: workers})


def _write(file: Path, text: str, by_rename: bool) -> None:
    if by_rename:
        fresh = file.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(file)
    else:
        file.write_text(text)


def _text(edit: int) -> str:
    tasks = {"vtr": {"weight": 1.0 + edit / 100}, "vcr": {"weight": 0.5}}
    scene = {"tasks": tasks, "video_len": {"kind": "log", "scale_s": 30.0}}
    return str(yaml.safe_dump({"schema_version": 1, "scenes": {"default": scene}}))


def bundle_example(bundle: Path) -> dict[str, Any]:
    """The bundle's example request, to be explained, with all items in the answer."""
    from model.bundle import load_bundle

    example = dict(load_bundle(bundle).manifest.example)
    return {**example, "explain": True, "top_k": 1000, "fields": ["predictions"]}


def trained() -> tuple[Path, Path]:
    """A bundle and its store, made once."""
    bundle, features = HOME / "bundle", HOME / "features"
    if not (bundle / "manifest.json").exists():
        words = ["--recipe", "demo", "--out", str(bundle), "--set", "training.epochs=1"]
        subprocess.run([FULCRUM, "train", *words, "--run", str(HOME / f"run-{os.getpid()}")], check=True)
    subprocess.run([FULCRUM, "publish", str(bundle), "--to", str(features)], check=True)
    return bundle, features


if __name__ == "__main__":
    typer.run(main)
