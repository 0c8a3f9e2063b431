"""Events: what it costs to keep what was shown.

    python -m benchmarks.events exposures    a ranking with events on over one with events off, in pairs
    python -m benchmarks.events memory       private memory of a worker, without and with events

Bundle and users are those of `make bench`; all candidates of all answers are kept, the dearest there is.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import typer
from rich.table import Table

from benchmarks.load import Line
from benchmarks.rig import HOME, Broken, console, finish, requests_of, running_service
from tests.support.service_process import ServiceProcess, private_bytes

app = typer.Typer(add_completion=False, help=__doc__, rich_markup_mode=None)

BOUNDS = {50: 1.03, 99: 1.05}
"""By percentile: what a ranking with events may take, of one without."""

RESAMPLES = 2_000
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
    with contextlib.ExitStack() as stack:
        services = {on: stack.enter_context(_service(on)) for on in (False, True)}
        lines = {on: stack.enter_context(Line(service.url)) for on, service in services.items()}
        for on in (False, True):
            _turn(lines[on], body, 100)
        for number in range(pairs):
            for on in (False, True) if number % 2 else (True, False):  # who comes first, changes
                took[on].append(_turn(lines[on], body, requests))
                time.sleep(1.2)  # what is left to write is this turn's, not the next one's
    table = Table("percentile", "off, ms", "on, ms", "on over off", "95 %", title=f"{candidates} candidates")
    broken: Broken = []
    for percentile, bound in BOUNDS.items():
        off, on = (
            np.array([np.percentile(turn, percentile) for turn in took[kind]]) for kind in (False, True)
        )
        low, high = _interval(on / off)
        table.add_row(
            f"p{percentile}",
            *(f"{np.median(ms) * 1e3:.2f}" for ms in (off, on)),
            f"{np.median(on / off):.3f}",
            f"{low:.3f} to {high:.3f}",
        )
        if low > bound:
            broken.append(f"p{percentile} with events is {low:.3f} of that without at least, over {bound}")
    finish(table, broken)


@app.command()
def memory(requests: int = typer.Option(2_000, help="Before the look.")) -> None:
    """Print private memory of one worker that has no other, and of one of two."""
    table = Table("workers", "events", "MiB private, the last one", title="After traffic, then silence")
    body = requests_of(500)
    for workers in (1, 2):
        for on in (False, True):
            with _service(on, workers) as service, Line(service.url) as line:
                _turn(line, body, requests)
                time.sleep(SETTLED_S)
                pid = service.workers()[-1] if workers > 1 else service.process.pid
                table.add_row(str(workers), "on" if on else "off", f"{private_bytes(pid) / 2**20:.1f}")
    console.print(table)


@contextlib.contextmanager
def _service(on: bool, workers: int = 1) -> Iterator[ServiceProcess]:
    with TemporaryDirectory() as folder:
        events = {"events": Path(folder) / "events", "exposure_candidates": 1.0} if on else {}
        with running_service(features=str(HOME / "features"), workers=workers, **events) as service:
            yield service


def _turn(line: Line, body: Callable[[int], bytes], requests: int) -> npt.NDArray[np.float64]:
    """Seconds of requests, one after another."""
    replies = [line.post(body(number)) for number in range(requests)]
    assert {reply.status for reply in replies} == {200}
    return np.array([reply.seconds for reply in replies])


def _interval(ratios: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Of their median, by resampling the pairs."""
    draws = np.random.default_rng(0).choice(ratios, (RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    return float(low), float(high)


if __name__ == "__main__":
    app()
