"""`make bench`: training speed, against peers and a plain loop, interleaved in one run.

Every contender trains the same network (PLE, 2 levels, experts [256, 128], towers [64], 4 tasks) on the same
rows with the same batch and step size, by its own loop and loader, in a process of its own with the same
threads. They take turns of a few steps; what counts is the median of a contender's turns, and its share of
the bfloat16 product that is measured between them. Figures go to build/bench/training.json, the plot to
docs/training.svg.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.contenders import CONTENDERS, TASKS, Peak, Problem
from training.threads import usable_cores

OUT = Path("build/bench/training.json")
PLOT = Path("docs/training.svg")
console = Console(width=None if sys.stdout.isatty() else 130)
app = typer.Typer(add_completion=False)

# Two-sided 95 % points of Student's t, by degrees of freedom.
T95 = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}
QUALITY = (
    "Fulcrum, fp32",
    "Fulcrum, bf16",
    "Fulcrum, bf16, sparse",
    "plain loop, bf16",
    "torch-rechub, fp32",
    "DeepCTR-Torch, fp32",
)
GROWTH = ("Fulcrum, bf16", "Fulcrum, bf16, sparse", "plain loop, bf16", "DeepCTR-Torch, autocast", "GEMM")


class Contending:
    """A contender in its process."""

    def __init__(self, name: str, problem: Problem) -> None:
        self.name, self.problem = name, problem
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.contender_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.parameters = int(self._ask({"name": name, "problem": asdict(problem)})["parameters"])
        self.peak_mb = 0.0

    def __enter__(self) -> Contending:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def train(self, steps: int) -> float:
        """Seconds that so many steps took; of processor time where there is one thread, which others' work
        on the machine lengthens less."""
        one = self.problem.threads == 1
        return float(self._ask({"train": steps})["processor" if one else "seconds"])

    def judge(self) -> dict[str, float]:
        """AUC of the binary tasks, mean squared error of the regression."""
        return {name: value for name, value in self._ask({"judge": True}).items() if name in TASKS}

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended; run benchmarks.contender_process by hand to see why")
        answer: dict[str, Any] = json.loads(line)
        self.peak_mb = float(answer.get("peak_mb", 0.0))
        return answer


@dataclass
class Speed:
    """A contender's turns."""

    parameters: int
    seconds: list[float] = field(default_factory=list)
    """Of a step, by turn."""
    peak_mb: float = 0.0

    @property
    def median(self) -> float:
        """Seconds of a step."""
        return float(np.median(self.seconds))


def measure(problem: Problem, names: Sequence[str], turns: int, steps: int) -> dict[str, Speed]:
    """Seconds a step of each, taking turns."""
    with ExitStack() as stack:
        contending = [stack.enter_context(Contending(name, problem)) for name in names]
        speeds = {each.name: Speed(each.parameters) for each in contending}
        for turn in track(range(turns + 1), f"{problem.values:,} values", console=console, transient=True):
            for each in contending:
                seconds = each.train(steps) / steps
                # The first turn warms caches and allocators up.
                if turn:
                    speeds[each.name].seconds.append(seconds)
        for each in contending:
            speeds[each.name].peak_mb = each.peak_mb
    return speeds


def flops(problem: Problem) -> int:
    """Operations of a step's matrix products: two for multiplying and adding, three times for both passes."""
    streams, experts = len(TASKS) + 1, (len(TASKS) + 1) * problem.experts
    own = 2 * problem.experts
    per_row = len(TASKS) * (128 * 64 + 64)
    for width, gates in ((16 * problem.features, streams), (128, len(TASKS))):
        per_row += experts * (width * 256 + 256 * 128)
        per_row += width * (len(TASKS) * own + (experts if gates == streams else 0))
    return 6 * per_row * problem.batch


def share(problem: Problem, speed: Speed, peak: Speed) -> float:
    """Of the measured peak, the share that a contender's products use over its whole step."""
    return (flops(problem) / speed.median) / (2 * Peak.SIZE**3 / peak.median)


@app.command()
def speed(turns: int = 15, steps: int = 4, threads: int = usable_cores()) -> None:
    """Samples a second, peak memory and share of the cores' peak; with one thread, of processor time."""
    problem = Problem(threads=threads)
    speeds = measure(problem, list(CONTENDERS), turns, steps)
    peak = speeds.pop("GEMM")
    table = Table("", "samples/s", "of ours", "share of GEMM peak", "peak MB", "parameters outside tables")
    table.title = (
        f"{problem.threads} thread(s), batch {problem.batch:,}, {problem.features} features of "
        f"{problem.values:,} values; medians of {turns} turns of {steps} steps; "
        f"bfloat16 GEMM {2 * Peak.SIZE**3 / peak.median / 1e9:.0f} GFLOP/s"
    )
    ours = min(each.median for name, each in speeds.items() if name.startswith("Fulcrum"))
    for name, each in speeds.items():
        table.add_row(
            name,
            f"{problem.batch / each.median:,.0f}",
            f"{ours / each.median:.2f}",
            f"{share(problem, each, peak):.0%}",
            f"{each.peak_mb:,.0f}",
            f"{each.parameters:,}",
        )
    console.print(table)
    keep(
        "speed" if threads == usable_cores() else f"speed with {threads}",
        {name: problem.batch / each.median for name, each in speeds.items()},
    )


@app.command()
def growth(turns: int = 6, steps: int = 3, threads: int = usable_cores()) -> None:
    """Samples a second by rows of the tables, by features and by experts."""
    start = Problem(rows=60_000, judged=1_000, threads=threads)
    table = Table("", *(name for name in GROWTH if name != "GEMM"))
    table.title = "Samples/s, and share of the GEMM peak"
    kept: dict[str, dict[str, float]] = {}
    for label, problem in (
        *(
            (f"{values:,} values a feature", replace(start, values=values))
            for values in (1_000, 10_000, 100_000)
        ),
        *((f"{features} features", replace(start, features=features)) for features in (12, 48)),
        *((f"{experts} x 5 experts a level", replace(start, experts=experts)) for experts in (1, 4)),
    ):
        speeds = measure(problem, GROWTH, turns, steps)
        peak = speeds.pop("GEMM")
        table.add_row(
            label,
            *(
                f"{problem.batch / each.median:,.0f}  {share(problem, each, peak):.0%}"
                for each in speeds.values()
            ),
        )
        kept[label] = {name: problem.batch / each.median for name, each in speeds.items()}
    console.print(table)
    keep("growth", kept)


@app.command()
def quality(
    seeds: int = 3,
    rows: int = 200_000,
    values: int = 500,
    target: float = 0.70,
    threads: int = usable_cores(),
    peers: bool = True,
) -> None:
    """AUC and error after an epoch over seeds, and seconds of training to a given AUC of the first task."""
    problem = Problem(rows=rows, judged=10_000, values=values, threads=threads)
    names = [name for name in QUALITY if peers or name.startswith("Fulcrum")]
    steps = math.ceil(rows / problem.batch)
    every = max(1, steps // 8)
    finals: dict[str, list[list[float]]] = {name: [] for name in names}
    reached: dict[str, list[float]] = {name: [] for name in names}
    curves: dict[str, list[tuple[float, float]]] = {}
    for seed in track(range(seeds), "seeds", console=console, transient=True):
        with ExitStack() as stack:
            contending = [
                stack.enter_context(Contending(name, replace(problem, seed=seed + 1))) for name in names
            ]
            spent = dict.fromkeys(names, 0.0)
            points: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
            for begin in range(0, steps, every):
                for each in contending:
                    spent[each.name] += each.train(min(every, steps - begin))
                    found = each.judge()
                    points[each.name].append((spent[each.name], found[TASKS[0]]))
                    if begin + every >= steps:
                        finals[each.name].append([found[task] for task in TASKS])
            for name, curve in points.items():
                reached[name].append(next((seconds for seconds, value in curve if value >= target), math.nan))
                curves.setdefault(name, curve)
    table = Table(
        "", *(f"{task} {'MSE' if task == TASKS[-1] else 'AUC'}" for task in TASKS), f"seconds to AUC {target}"
    )
    table.title = (
        f"An epoch of {rows:,} rows, {values} values a feature; {seeds} seeds, means with 95 % intervals; "
        "below Fulcrum, fp32 its others as differences from it, seed by seed"
    )
    base = np.array(finals[names[0]])
    for name, found in finals.items():
        paired = name.startswith("Fulcrum") and name != names[0]
        numbers = np.array(found) - base if paired else np.array(found)
        half = (
            T95.get(seeds - 1, 1.96) * numbers.std(axis=0, ddof=1) / math.sqrt(seeds)
            if seeds > 1
            else np.zeros(len(TASKS))
        )
        cells = [
            f"{mean:{'+' if paired else ''}.5f} ± {width:.5f}"
            for mean, width in zip(numbers.mean(axis=0), half, strict=True)
        ]
        table.add_row(name, *cells, f"{np.mean(reached[name]):.1f}")
    console.print(table)
    keep("quality", {"curves": curves, "finals": finals})


@app.command()
def plot() -> None:
    """Draw what was kept: samples a second, and AUC by seconds of training where that was measured."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "fulcrum"
    from matplotlib import pyplot

    kept = json.loads(OUT.read_text())
    panels = 2 if "quality" in kept else 1
    figure, axes = pyplot.subplots(
        1, panels, figsize=(5.5 * panels, 3.8), layout="constrained", squeeze=False
    )
    left, right = axes[0][0], axes[0][-1]
    speeds = dict(sorted(kept["speed"].items(), key=lambda item: item[1]))
    left.barh(
        list(speeds),
        [value / 1000 for value in speeds.values()],
        color=["#c44" if n.startswith("Fulcrum") else "#999" for n in speeds],
    )
    left.set_xlabel("thousand samples a second")
    for name, curve in kept["quality"]["curves"].items() if panels > 1 else ():
        seconds, values = zip(*curve, strict=True)
        right.plot(seconds, values, label=name, linewidth=2 if name.startswith("Fulcrum") else 1)
    if panels > 1:
        right.set_xlabel("seconds of training")
        right.set_ylabel(f"AUC of {TASKS[0]}")
        right.legend(fontsize=7)
    figure.savefig(PLOT, metadata={"Date": None})
    console.print(f"drawn: {PLOT}")


def keep(part: str, figures: Any) -> None:
    """Into the file of figures, beside the other parts."""
    OUT.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(OUT.read_text()) if OUT.exists() else {}
    OUT.write_text(json.dumps({**kept, part: figures}, indent=1))


@app.command(name="all")
def everything() -> None:
    """Speed, quality, growth and the plot."""
    speed()
    quality()
    growth()
    plot()


if __name__ == "__main__":
    app()
