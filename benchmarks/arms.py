"""Arms: what an experiment of two bundles costs a service.

    python -m benchmarks.arms rankings    a ranking with such an experiment over one without, in pairs
    python -m benchmarks.arms memory      private memory of a worker, with one bundle and with two
    python -m benchmarks.arms pause       seconds from a pause to the last answer of an arm, two workers

Bundle and users are those of `make bench`; the other arm's bundle has other weights of the same sizes.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt
import orjson
import typer
from rich.table import Table

from benchmarks.load import Callers, Line
from benchmarks.rig import HOME, console, finish, make_bundle, requests_of
from benchmarks.turns import add_percentiles, order, turn
from service.control.state.opening import open_control
from tests.support.bundle_variants import write_variant
from tests.support.running_experiments import halves, set_experiments
from tests.support.service_process import ServiceProcess, private_bytes, serving, wait_until

app = typer.Typer(add_completion=False, help=__doc__, rich_markup_mode=None)

SETTLED_S = 12.0
"""Seconds without a request after which free memory has gone back to the system."""
_LAYERS = [{"name": "l"}]


@app.callback()
def _commands() -> None:
    """Commands by name."""


@app.command()
def rankings(
    pairs: int = typer.Option(20, help="Turns of both services."),
    requests: int = typer.Option(300, help="Of a turn."),
    candidates: int = typer.Option(500, help="Of a request."),
) -> None:
    """Print how long rankings take with an experiment and without, and the ratio with its 95 % interval."""
    body = requests_of(candidates)
    took: dict[bool, list[npt.NDArray[np.float64]]] = {False: [], True: []}
    with contextlib.ExitStack() as stack:
        services = {on: stack.enter_context(Site(on)).service for on in (False, True)}
        lines = {on: stack.enter_context(Line(service.url)) for on, service in services.items()}
        for on in (False, True):
            turn(lines[on], body, 100)
        for number in range(pairs):
            for on in order(number):
                took[on].append(turn(lines[on], body, requests))
    table = Table("percentile", "off, ms", "on, ms", "on over off", "95 %", title=f"{candidates} candidates")
    add_percentiles(table, took, (50, 99))
    finish(table, [])


@app.command()
def memory(requests: int = typer.Option(2_000, help="Before the look.")) -> None:
    """Print private memory of one worker that has no other, and of one of two."""
    table = Table(
        "workers", "bundles", "MiB private, the last one", "MiB by /v1/models", title="After traffic"
    )
    body = requests_of(500)
    for workers in (1, 2):
        for on in (False, True):
            with Site(on, workers) as site:
                supply = [body(number) for number in range(requests)]
                asyncio.run(Callers(site.service.url).one_after_another(8, supply))  # all workers have work
                time.sleep(SETTLED_S)
                pid = site.service.workers()[-1] if workers > 1 else site.service.process.pid
                models = httpx.get(f"{site.service.url}/v1/models").json()["models"]
                said = max(model["arm_bytes"] for model in models)
                figures = (f"{private_bytes(pid) / 2**20:.1f}", f"{said / 2**20:.1f}" if on else "")
                table.add_row(str(workers), "2" if on else "1", *figures)
    console.print(table)


@app.command()
def pause(times: int = typer.Option(20, help="Pauses.")) -> None:
    """Print how long answers of arms still come once somebody pauses, the write included."""
    seconds = []
    with Site(True, workers=2) as site:
        for _ in range(times):
            site.run("running")
            site.wait_for_arms()
            asked = ThreadPoolExecutor(1).submit(site.last_label, 2.0)
            time.sleep(0.5)
            paused = time.monotonic()
            site.run("paused")
            seconds.append(asked.result() - paused)
    low, middle, high = np.percentile(seconds, [0, 50, 100])
    console.print(f"seconds after a pause, {times} times: median {middle:.2f}, {low:.2f} to {high:.2f}")


class Site:
    """A service of two bundles, with an experiment on them or without.

    Args:
        on: whether there is an experiment.
        workers: of the service.
    """

    def __init__(self, on: bool, workers: int = 1) -> None:
        self._on, self._workers = on, workers
        self._stack = contextlib.ExitStack()
        self.service: ServiceProcess

    def __enter__(self) -> Site:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        models, bundle = folder / "models", make_bundle()
        shutil.copytree(bundle, models / "active")
        self._other = write_variant(bundle, models / "other", 1, "2020-01-01T00:00:00Z")
        settings = {
            "models": models,
            "features": str(HOME / "features"),
            "control": folder / "control.sqlite",
            "workers": self._workers,
        }
        self.service = self._stack.enter_context(serving(folder / "log", **settings))
        self._store = open_control(folder / "control.sqlite")
        self._stack.callback(self._store.close)
        if self._on:
            self.run("running")
            self.wait_for_arms()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, state: str) -> None:
        """Have the experiment in this state."""
        one = {"id": "canary", "arms": halves(bundle=self._other), "state": state}
        set_experiments(self._store, one, layers=_LAYERS)

    def wait_for_arms(self) -> None:
        """Until all workers hold both bundles and answer by arm."""

        def ready() -> bool:
            report = httpx.get(f"{self.service.url}/readyz").json()
            return report["arm_bundles"] == {self._other: self._workers} and not report["waiting"]

        wait_until(ready)
        wait_until(lambda: all(self.labels() for _ in range(10 * self._workers)))

    def last_label(self, seconds: float) -> float:
        """When, of `time.monotonic`, an answer with a label came last, asking for so long."""
        end, last = time.monotonic() + seconds, 0.0
        while time.monotonic() < end:
            if self.labels():
                last = time.monotonic()
        return last

    def labels(self) -> list[str]:
        """Of an answer of whichever worker takes a new connection."""
        answer = httpx.post(f"{self.service.url}/v1/rank", content=_BODY, headers=_JSON).json()
        found: list[str] = answer["fusion"]["experiments"]
        return found


_BODY = orjson.dumps({"user_id": "1", "candidate_ids": ["1", "2"]})
_JSON = {"content-type": "application/json"}


if __name__ == "__main__":
    app()
