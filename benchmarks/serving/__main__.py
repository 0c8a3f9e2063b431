"""`make bench`: a ranking call against the bare network and against other servers, in one run.

Everybody serves the same network and the same rows and gives the same answers, which is checked first; has
one worker with one inference thread on one core, while requests come from the other; and has the machine to
itself in its turn, since the others are frozen meanwhile. Ratios are over the bare run of the standard
float32 export on the same core. Figures go to build/bench/serving.json, the plot to build/bench/serving.svg.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.load import Line
from benchmarks.rig import HOME
from benchmarks.serving.answers import difference, overlap
from benchmarks.serving.breakdown import measure_stages
from benchmarks.serving.contenders import CONTENDERS, Served, prepare, serve
from benchmarks.serving.flops import flops_of
from benchmarks.serving.material import Material, Ranked
from benchmarks.serving.measuring import (
    Bare,
    Cores,
    OpenLoop,
    measure_calls,
    measure_open_loop,
    measure_saturation,
)
from benchmarks.serving.plot import draw
from benchmarks.serving.report import goals, losses, put_into, sheets
from model.bundle.session import NetworkSession

console = Console(width=None if sys.stdout.isatty() else 180)


@dataclass(frozen=True)
class Plan:
    """How long everything is measured.

    Attributes:
        calls: turns and calls a turn of one caller, by number of candidates.
        limit: turns and seconds a turn of callers who never pause, by number of candidates.
        loop: turns and seconds a turn of arrivals by chance.
        stages: turns and calls a turn, by number of candidates.
    """

    calls: dict[int, tuple[int, int]]
    limit: dict[int, tuple[int, float]]
    loop: tuple[int, float]
    stages: dict[int, tuple[int, int]]

    @property
    def steps(self) -> int:
        """Turns in all."""
        return (
            sum(turns for turns, _ in self.calls.values())
            + sum(turns for turns, _ in self.limit.values())
            + self.loop[0]
            + sum(turns for turns, _ in self.stages.values())
        )


FULL = Plan(
    calls={50: (12, 20), 200: (12, 15), 500: (12, 15), 1_000: (8, 10), 5_000: (8, 2)},
    limit={50: (3, 3.0), 500: (3, 4.0), 5_000: (2, 5.0)},
    loop=(5, 8.0),
    stages={50: (6, 15), 500: (8, 15)},
)
QUICK = Plan(
    calls={50: (4, 10), 200: (4, 8), 500: (5, 8), 1_000: (3, 4), 5_000: (2, 1)},
    limit={50: (1, 1.5), 500: (1, 3.0), 5_000: (1, 4.0)},
    loop=(3, 3.0),
    stages={500: (3, 10)},
)
OPEN_CANDIDATES = 500


def main(
    quick: Annotated[
        bool, typer.Option("--quick", help="Four minutes: figures to look at, not to keep.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option(help=f"These contenders alone, of: {', '.join(CONTENDERS)}.")
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            help="A bundle of recipe `bench` in place of build/bench/bundle; gets variants it lacks."
        ),
    ] = None,
    stages: Annotated[bool, typer.Option(help="Stages of our calls, with a Redis, too.")] = True,
    json_file: Annotated[Path, typer.Option("--json", help="Where figures go.")] = HOME / "serving.json",
    plot: Annotated[Path, typer.Option(help="Where the plot goes.")] = HOME / "serving.svg",
    into: Annotated[
        Path | None, typer.Option(help="Documentation whose figures are replaced, between its two comments.")
    ] = None,
    show: Annotated[Path | None, typer.Option(help="Measure nothing: show these figures.")] = None,
) -> None:
    """Measure what a ranking call costs, over the bare network and against other servers."""
    # Whoever ends the benchmark ends what it started, and froze, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    if show is not None:
        result = json.loads(show.read_text())
    else:
        result = _measure(QUICK if quick else FULL, only or list(CONTENDERS), bundle, stages)
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(result, indent=1))
    for sheet in sheets(result):
        console.print(sheet.rich())
    for goal in goals(result):
        console.print(str(goal), markup=False, highlight=False)
    console.print("Where we do not win:", *losses(result), sep="\n  ", markup=False)
    if into is not None:
        into.write_text(put_into(into.read_text(), result))
    draw(result, plot)


def _measure(plan: Plan, names: list[str], bundle: Path | None, stages: bool) -> dict[str, Any]:
    if unknown := [name for name in names if name not in CONTENDERS]:
        sys.exit(f"--only {unknown[0]}: expected one of {', '.join(CONTENDERS)}")
    cores = Cores.of_machine()
    load_before = os.getloadavg()[0]
    columns = (TextColumn("{task.description:<44}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress, ExitStack() as stack:
        bar = progress.add_task("bundle and standard export", total=plan.steps + 2 * len(names) + 2)

        def now(what: str) -> None:
            progress.update(bar, description=what)

        def advance() -> None:
            progress.advance(bar)

        for name in names:
            now(f"{name}: its environment")
            prepare(name)
            advance()
        now("bundle and standard export")
        os.sched_setaffinity(0, {cores.load})
        material = Material(bundle)
        advance()
        now("peak of float32 GEMM")
        gemm = _gemm(cores)
        advance()
        contenders: dict[str, dict[str, Any]] = {}
        served: list[Served] = []
        for name in list(names):
            now(f"{name}: its variant of the network")
            if reason := material.add_variant(CONTENDERS[name].variant):
                progress.console.print(f"{name} is left out: {reason}")
                names.remove(name)
                continue
            now(f"{name}: start-up and answers")
            each = stack.enter_context(serve(name, CONTENDERS[name], material, cores.service))
            contenders[name] = _start(each, material)
            served.append(each)
            advance()
        standard = Bare("bare: standard", NetworkSession(material.standard, threads=1), cores)
        lowered = Bare("bare: lowered", NetworkSession(material.bundle.network_path, threads=1), cores)
        now("one caller")
        times = measure_calls(served, [standard, lowered], material, plan.calls, advance)
        now("callers who never pause")
        rates = measure_saturation(served, material, plan.limit, advance)
        now("arrivals by chance")
        capacity = {name: float(np.median(rates[name][OPEN_CANDIDATES])) for name in names}
        alone = {name: times[name][OPEN_CANDIDATES] for name in names}
        loops = measure_open_loop(served, material, OPEN_CANDIDATES, plan.loop, capacity, alone, advance)
        for each in served:
            contenders[each.name] |= {
                "private_mb": each.tree.private_bytes() / 2**20,
                "processes": len(each.tree.members()),
                "calls": _summary(times[each.name]),
                "saturation": {
                    str(size): {"rps": float(np.median(turns)), "turns": turns}
                    for size, turns in rates[each.name].items()
                },
                "open": _open_loop(loops[each.name]),
            }
        stack.pop_all().close()
        now("stages")
        found = measure_stages(material, standard, cores, plan.stages, advance) if stages else {}
        graphs = {"standard": material.standard, "lowered": material.bundle.network_path}
        return {
            "made": {"quick": plan is QUICK, **_circumstances(cores, material, load_before)},
            "gemm_gflops": gemm,
            "flops": {
                name: {str(size): flops_of(path, material.inputs(size, 0).arrays()) for size in plan.calls}
                for name, path in graphs.items()
            },
            "bare": {"standard": _summary(times[standard.name]), "lowered": _summary(times[lowered.name])},
            "saturation_sizes": [str(size) for size in plan.limit],
            "open_candidates": OPEN_CANDIDATES,
            "contenders": contenders,
            "stages": found,
        }


def _start(served: Served, material: Material) -> dict[str, Any]:
    """Check the answers of a contender that has just started, and freeze it."""
    agreement = []
    with served.turn(), Line(served.url) as line:
        for size in (50, 500, 5_000):
            bodies = material.bodies(size)
            for number in (0, 7, 13):
                reply = line.post(bodies[number])
                if reply.status != 200:
                    sys.exit(
                        f"{served.name} answered {reply.status}: {reply.body[:300].decode(errors='replace')}"
                    )
                found, right = Ranked.of(reply.answer), material.right_answer(size, number)
                agreement.append(overlap(found, right))
                if served.contender.exact and (differs := difference(found, right)):
                    sys.exit(f"{served.name} does not rank as the others do, {size} candidates: {differs}")
    return {
        "what": served.contender.what,
        "ours": served.contender.peer is None,
        "exact": served.contender.exact,
        "overlap": float(np.mean(agreement)),
        "startup_s": served.startup_s,
    }


def _gemm(cores: Cores) -> dict[str, float]:
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.serving.peak"],
        env={**os.environ, **one},
        preexec_fn=lambda: os.sched_setaffinity(0, {cores.service}),
        stdout=subprocess.PIPE,
        check=True,
    )
    return dict(json.loads(run.stdout))


def _summary(times: dict[int, list[float]]) -> dict[str, dict[str, float]]:
    return {str(size): {"n": len(seconds), **_percentiles(seconds, "")} for size, seconds in times.items()}


def _open_loop(loop: OpenLoop) -> dict[str, float]:
    """Medians over turns, since what disturbs one turn makes a queue and with it a tail."""
    turns = [
        {**_percentiles(found, ""), **_percentiles(ideal, "ideal_")}
        for found, ideal in zip(loop.seconds, loop.ideal, strict=True)
    ]
    return {
        "candidates": OPEN_CANDIDATES,
        "rate": loop.rate,
        "n": sum(len(found) for found in loop.seconds),
        "failed": loop.failed,
        "p99_over_ideal": float(np.median([turn["p99_ms"] / turn["ideal_p99_ms"] for turn in turns])),
        **{name: float(np.median([turn[name] for turn in turns])) for name in turns[0]},
    }


def _percentiles(seconds: list[float], prefix: str) -> dict[str, float]:
    p50, p99, p999 = np.percentile(seconds, (50, 99, 99.9)) * 1e3
    return {f"{prefix}p50_ms": float(p50), f"{prefix}p99_ms": float(p99), f"{prefix}p999_ms": float(p999)}


def _circumstances(cores: Cores, material: Material, load_before: float) -> dict[str, Any]:
    models = [
        line.partition(": ")[2]
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": models[0] if models else platform.machine(),
        "cores": {"service": cores.service, "load": cores.load},
        "load_average_before": load_before,
        "bundle": material.bundle.version,
        "onnxruntime": onnxruntime.__version__,
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    typer.run(main)
