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

from benchmarks.contender_process import scores
from benchmarks.contenders import COMPILED, CONTENDERS, TASKS, Peak, Problem, make_rows
from model.cores import available_cores

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
    "DeepCTR-Torch, autocast",
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
def speed(turns: int = 15, steps: int = 4, threads: int = available_cores()) -> None:
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
        "speed" if threads == available_cores() else f"speed with {threads}",
        {name: problem.batch / each.median for name, each in speeds.items()},
    )


@app.command()
def growth(turns: int = 6, steps: int = 3, threads: int = available_cores()) -> None:
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
def compiled(turns: int = 8, steps: int = 3, threads: int = available_cores()) -> None:
    """Samples a second with torch.compile, which needs a C++ compiler and minutes before the first turn."""
    plain = [name.removesuffix(", compiled") for name in COMPILED]
    names = [name for pair in zip(plain, COMPILED, strict=True) for name in pair]
    problem = Problem(threads=threads)
    speeds = measure(problem, names, turns, steps)
    table = Table("", "ms a step", "samples/s", "peak MB")
    table.title = f"{threads} thread(s); medians of {turns} turns of {steps} steps"
    for name, each in speeds.items():
        milliseconds = f"{each.median * 1000:.0f}"
        table.add_row(name, milliseconds, f"{problem.batch / each.median:,.0f}", f"{each.peak_mb:,.0f}")
    console.print(table)
    keep(f"compiled with {threads}", {name: problem.batch / each.median for name, each in speeds.items()})


@dataclass
class Learning:
    """A contender over seeds."""

    finals: list[list[float]] = field(default_factory=list)
    """By seed: AUC of the binary tasks, error of the regression."""
    curves: list[list[tuple[float, int, float]]] = field(default_factory=list)
    """By seed: seconds of training, steps and mean AUC of the binary tasks, judgement by judgement."""

    def reached(self, target: float, what: int) -> float:
        """Mean seconds (0) or steps (1) until the mean AUC was met, judgements joined by straight lines; NaN
        where a seed did not meet it."""
        found = []
        for curve in self.curves:
            before = (0.0, 0, 0.5)
            for point in curve:
                if point[2] >= target:
                    share = (target - before[2]) / (point[2] - before[2])
                    found.append(before[what] + share * (point[what] - before[what]))
                    break
                before = point
            else:
                return math.nan
        return float(np.mean(found))


@app.command()
def quality(
    seeds: int = 3,
    first: int = 1,
    rows: int = 76_800,
    batch: int = 512,
    rate: float = 3e-3,
    values: int = 20,
    target: float = 0.85,
    threads: int = available_cores(),
    peers: bool = True,
) -> None:
    """AUC and error after an epoch over seeds, and training until the binary tasks' mean AUC is `target`."""
    problem = Problem(rows=rows, judged=5_000, values=values, batch=batch, rate=rate, threads=threads)
    names = [name for name in QUALITY if peers or name.startswith("Fulcrum")]
    steps = math.ceil(rows / batch)
    every = max(1, steps // 10)
    learning = {name: Learning() for name in names}
    for seed in track(range(first, first + seeds), "seeds", console=console, transient=True):
        with ExitStack() as stack:
            contending = [
                stack.enter_context(Contending(name, replace(problem, seed=seed))) for name in names
            ]
            spent = dict.fromkeys(names, 0.0)
            curves: dict[str, list[tuple[float, int, float]]] = {name: [] for name in names}
            for begin in range(0, steps, every):
                done = min(begin + every, steps)
                for each in contending:
                    spent[each.name] += each.train(done - begin)
                    found = [each.judge()[task] for task in TASKS]
                    curves[each.name].append((spent[each.name], done, float(np.mean(found[:-1]))))
                    if done == steps:
                        learning[each.name].finals.append(found)
            for name, curve in curves.items():
                learning[name].curves.append(curve)
        # Seed by seed: a run that is cut short has taught something.
        keep("quality", {name: asdict(each) for name, each in learning.items()})
    console.print(quality_table(problem, learning, target))


def quality_table(problem: Problem, learning: dict[str, Learning], target: float) -> Table:
    """Means over seeds with intervals; Fulcrum's other precisions as differences from its first, paired."""
    headings = [f"{task} {'MSE' if task == TASKS[-1] else 'AUC'}" for task in TASKS]
    table = Table("", *headings, f"seconds to AUC {target}", "steps", "seconds of all")
    base = np.array(next(iter(learning.values())).finals)
    seeds = len(base)
    table.title = (
        f"{problem.rows:,} rows in batches of {problem.batch}, {problem.values} values a feature, "
        f"step size {problem.rate}, {problem.threads} thread(s); {seeds} seeds, means with 95 % intervals, "
        "Fulcrum's others as differences from the first, seed by seed; seconds and steps of training until "
        f"the binary tasks' mean AUC is {target}"
    )
    _, judged = make_rows(problem)
    ceiling = scores(judged.planted, judged.labels)
    table.add_row("what was planted", *(f"{ceiling[task]:.4f}" for task in TASKS))
    for place, (name, each) in enumerate(learning.items()):
        paired = place > 0 and name.startswith("Fulcrum")
        numbers = np.array(each.finals) - base if paired else np.array(each.finals)
        spread = numbers.std(axis=0, ddof=1) / math.sqrt(seeds) if seeds > 1 else np.zeros(len(TASKS))
        cells = [
            f"{mean:{'+' if paired else ''}.4f} ± {T95.get(seeds - 1, 1.96) * width:.4f}"
            for mean, width in zip(numbers.mean(axis=0), spread, strict=True)
        ]
        cells += [f"{each.reached(target, 0):.1f}", f"{each.reached(target, 1):.0f}"]
        table.add_row(name, *cells, f"{np.mean([curve[-1][0] for curve in each.curves]):.1f}")
    return table


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
    for name, learning in kept["quality"].items() if panels > 1 else ():
        seconds, _, values = zip(*learning["curves"][0], strict=True)
        right.plot(seconds, values, label=name, linewidth=2 if name.startswith("Fulcrum") else 1)
    if panels > 1:
        right.set_xlabel("seconds of training")
        right.set_ylabel("mean AUC of the binary tasks")
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
