"""Events: what it costs to keep what was shown.

    python -m benchmarks.events exposures    a ranking with events on over one with events off, in pairs
    python -m benchmarks.events memory       private memory of a worker, without and with events
    python -m benchmarks.events away         the same ratio while folder or broker is away, what is lost,
                                             and whether it heals

Bundle and users are those of `make bench`; all candidates of all answers are kept, the dearest there is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import numpy as np
import numpy.typing as npt
import typer
from prometheus_client.parser import text_string_to_metric_families
from rich.table import Table

from benchmarks.load import Callers, Line
from benchmarks.rig import HOME, Broken, console, finish, requests_of, running_service
from benchmarks.turns import add_percentiles, interval, order, turn
from tests.support.service_process import ServiceProcess, private_bytes

app = typer.Typer(add_completion=False, help=__doc__, rich_markup_mode=None)

BOUNDS = {50: 1.03, 99: 1.05}
"""By percentile: what a ranking with events may take, of one without."""

SETTLED_S = 12.0
"""Seconds without a request after which free memory has gone back to the system."""


@app.callback()
def _commands() -> None:
    """Commands by name."""


@app.command()
def exposures(
    pairs: int = typer.Option(20, help="Turns of both services."),
    requests: int = typer.Option(300, help="Of a turn."),
    candidates: int = typer.Option(500, help="Of a request."),
) -> None:
    """Print how long rankings take with events on and off, and the ratio with its 95 % interval."""
    body = requests_of(candidates)
    took: dict[bool, list[npt.NDArray[np.float64]]] = {False: [], True: []}
    cpu_s: dict[bool, list[float]] = {False: [], True: []}
    with contextlib.ExitStack() as stack:
        services = {on: stack.enter_context(_service(on)) for on in (False, True)}
        lines = {on: stack.enter_context(Line(service.url)) for on, service in services.items()}
        for on in (False, True):
            turn(lines[on], body, 100)
        for number in range(pairs):
            for on in order(number):
                before = _cpu_s(services[on].process.pid)
                took[on].append(turn(lines[on], body, requests))
                time.sleep(1.2)  # what is left to write is this turn's, not the next one's
                cpu_s[on].append((_cpu_s(services[on].process.pid) - before) / requests)
    table = Table("percentile", "off, ms", "on, ms", "on over off", "95 %", title=f"{candidates} candidates")
    broken: Broken = []
    for percentile, low in add_percentiles(table, took, BOUNDS).items():
        if low > (bound := BOUNDS[percentile]):
            broken.append(f"p{percentile} with events is {low:.3f} of that without at least, over {bound}")
    off, on = np.array(cpu_s[False]), np.array(cpu_s[True])
    figures = (np.median(off) * 1e3, np.median(on) * 1e3, np.median(on / off))
    table.add_row(
        "CPU", *(f"{figure:.2f}" for figure in figures), "{:.3f} to {:.3f}".format(*interval(on / off))
    )
    finish(table, broken)


@app.command()
def memory(requests: int = typer.Option(2_000, help="Before the look.")) -> None:
    """Print private memory of one worker that has no other, and of one of two."""
    table = Table("workers", "events", "MiB private, the last one", title="After traffic, then silence")
    body = requests_of(500)
    for workers in (1, 2):
        for on in (False, True):
            with _service(on, workers) as service:
                supply = [body(number) for number in range(requests)]
                asyncio.run(
                    Callers(service.url).one_after_another(8, supply)
                )  # so that all workers have work
                time.sleep(SETTLED_S)
                pid = service.workers()[-1] if workers > 1 else service.process.pid
                table.add_row(str(workers), "on" if on else "off", f"{private_bytes(pid) / 2**20:.1f}")
    console.print(table)


@app.command()
def away(
    minutes: float = typer.Option(10.0, help="For which the sink is away."),
    requests: int = typer.Option(100, help="Of a turn."),
    broker: str = typer.Option(
        "", help="HOST:PORT:PID of a Kafka broker to be stopped, in place of a folder."
    ),
) -> None:
    """Print the same ratio while nothing can be written, and what became of the records."""
    with contextlib.ExitStack() as stack:
        sink = _Sink(Path(stack.enter_context(TemporaryDirectory())), broker)
        services = {on: stack.enter_context(_service(on, sink=sink.url)) for on in (False, True)}
        lines = {on: stack.enter_context(Line(service.url)) for on, service in services.items()}
        body, took, rates = requests_of(200), {False: [], True: []}, []  # type: ignore[var-annotated]
        for on in (False, True):
            turn(lines[on], body, requests)
        sink.leave()
        stack.callback(sink.come_back)
        end, answered = time.monotonic() + minutes * 60, requests
        while time.monotonic() < end:
            for on in order(len(rates)):
                took[on].append(turn(lines[on], body, requests))
            answered += requests
            rates.append(private_bytes(services[True].process.pid) / 2**20)
        said = httpx.get(f"{services[True].url}/readyz").json()["events"]
        sink.come_back()
        for _ in range(60):
            time.sleep(0.5)
            turn(lines[True], body, 1)
            answered += 1
            if httpx.get(f"{services[True].url}/readyz").json()["events"] == "written":
                break
        time.sleep(5.0)
        state = httpx.get(f"{services[True].url}/readyz").json()["events"]
        metrics = httpx.get(f"{services[True].url}/metrics").text
    written, lost = (_sum(metrics, f"fulcrum_exposures_{name}_total") for name in ("written", "dropped"))
    table = Table(
        "percentile", "off, ms", "away, ms", "away over off", "95 %", title=f"{len(rates)} pairs of turns"
    )
    add_percentiles(table, took, BOUNDS)
    console.print(
        f"away: /readyz said {said!r}; back: {state!r}; private MiB {rates[0]:.1f} to {rates[-1]:.1f}"
    )
    console.print(f"answered {answered:,}, written {written:,.0f}, counted as lost {lost:,.0f}")
    broken: Broken = []
    if state != "written":
        broken.append(f"the sink did not heal: {state}")
    if written + lost != answered:
        broken.append(f"{answered - written - lost:,.0f} records are neither written nor counted as lost")
    finish(table, broken)


class _Sink:
    """A folder, or a broker's process, that goes away and comes back."""

    def __init__(self, home: Path, broker: str) -> None:
        self._folder = home / "events"
        host, port, pid = broker.split(":") if broker else ("", "", "0")
        self._pid = int(pid)
        self.url = f"kafka://{host}:{port}/away?enable.idempotence=false" if broker else str(self._folder)

    def leave(self) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGSTOP)
        else:
            self._folder.rename(self._folder.with_name("elsewhere"))
            self._folder.write_text("in the way")

    def come_back(self) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGCONT)
        elif self._folder.is_file():
            self._folder.unlink()
            self._folder.with_name("elsewhere").rename(self._folder)


def _sum(metrics: str, name: str) -> float:
    """Over all labels."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == name
    )


@contextlib.contextmanager
def _service(on: bool, workers: int = 1, sink: str | None = None) -> Iterator[ServiceProcess]:
    with TemporaryDirectory() as folder:
        events = {"events": sink or Path(folder) / "events", "exposure_candidates": 1.0} if on else {}
        with running_service(features=str(HOME / "features"), workers=workers, **events) as service:
            yield service


def _cpu_s(pid: int) -> float:
    """Of all threads of a process, so far."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


if __name__ == "__main__":
    app()
