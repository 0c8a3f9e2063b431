"""Streaming: memory and rate of training on a log from disk, against the same training in memory.

Makes a log of random rows with planted labels under build/, in chunks, trains a small network on it with
`training.stream`, and looks at the process from outside: anonymous memory over time, by what it was doing.
Then a part of the log that fits: streamed and in memory in turns, rate against rate, quality against quality.

    python -m benchmarks.streaming [--rows 20000000] [--compared 2000000] [--rounds 2]
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import orjson
import polars as pl
import typer
import yaml
from rich.console import Console
from rich.table import Table

from model.bundle import read_manifest

HOME = Path("build/streaming")
FULCRUM = str(Path(sys.executable).with_name("fulcrum"))
CHUNK = 1_000_000
USERS, ITEMS, VALUES, FEATURES = 50_000, 20_000, 1_000, 8
MIB = 1 << 20
TICKS = os.sysconf("SC_CLK_TCK")

console = Console(width=None if sys.stdout.isatty() else 120)

_SIDES = (("user", "u"), ("item", "i"))
RECIPE = {
    "name": "streaming",
    "data": {
        "log": "log-*.parquet",
        "tables": [
            {"name": "users", "files": "users.parquet", "key": "user_id"},
            {"name": "items", "files": "items.parquet", "key": "item_id"},
        ],
        "user": "user_id",
        "item": "item_id",
        "time": "time",
        "split": {"last": 0.02},
    },
    "features": [
        {"name": "user_id", "side": "user", "kind": "id", "min_count": 2, "width": 8},
        {"name": "item_id", "side": "item", "kind": "id", "min_count": 2, "width": 8},
        {"name": "tab", "side": "context", "kind": "categorical", "width": 4},
        {"name": "age", "side": "user", "kind": "numeric"},
        {"name": "length_s", "side": "item", "kind": "numeric", "transform": "quantile"},
        *(
            {"name": f"{prefix}{place}", "side": side, "kind": "categorical", "width": 4}
            for side, prefix in _SIDES
            for place in range(FEATURES)
        ),
    ],
    "tasks": [
        {"name": "vtr", "type": "binary", "label": "long_view"},
        {"name": "vcr", "type": "regression", "label": "completion"},
    ],
    "network": {
        "model": "ple",
        "levels": 1,
        "experts": {"shared": 1, "task": 1},
        "expert": [32],
        "tower": [16],
    },
    "training": {
        "epochs": 1,
        "batch": 8192,
        "learning_rate": 3.0e-3,
        "seed": 7,
        "threads": 1,
        "monitor": {"metric": "vtr.auc", "mode": "max"},
    },
}


@dataclass
class Watched:
    """A training as seen from outside.

    Attributes:
        samples: seconds since its start, anonymous resident bytes, and CPU seconds spent.
        marks: seconds at which it began to do something.
        rows: training rows, passed once.
        seconds: of training, judging included.
    """

    samples: list[tuple[float, int, float]] = field(default_factory=list)
    marks: dict[str, float] = field(default_factory=dict)
    rows: int = 0
    seconds: float = 0.0

    @property
    def training(self) -> list[tuple[float, int, float]]:
        """The samples of the training itself."""
        start, stop = self.marks["training"], self.marks["exporting"]
        return [sample for sample in self.samples if start <= sample[0] < stop]

    @property
    def rate(self) -> float:
        """Training rows a CPU second: unlike rows a second, the same on a machine that others use."""
        return self.rows / (self.training[-1][2] - self.training[0][2])

    @property
    def peak(self) -> int:
        """Anonymous bytes at most."""
        return max(anon for _, anon, _ in self.samples)


def main(
    rows: Annotated[int, typer.Option(help="Rows of the log that is streamed; 0 for none.")] = 20_000_000,
    compared: Annotated[
        int, typer.Option(help="Rows of the part that is also trained in memory.")
    ] = 2_000_000,
    rounds: Annotated[int, typer.Option(help="Turns of the comparison; 0 for none.")] = 2,
) -> None:
    """Measure, and print the tables of docs/performance.md."""
    whole, part = make_log(rows) if rows else None, make_log(compared)
    turns: dict[str, list[Watched]] = {"streamed": [], "in memory": []}
    for _ in range(rounds):
        for name, stream in (("streamed", "true"), ("in memory", "false")):
            turns[name].append(train(part, name.replace(" ", "-"), stream))
    large = train(whole, "large", "true") if whole is not None else None
    memory = Table(
        "rows",
        "how",
        "peak anonymous MiB",
        "while training: first, median, last MiB",
        "rows a CPU second",
        "rows a second",
    )
    for name, runs in turns.items():
        if runs:
            memory.add_row(f"{compared:,}", name, *_figures(runs))
    if large is not None:
        memory.add_row(f"{rows:,}", "streamed", *_figures([large]))
    console.print(memory)
    if large is not None:
        console.print(_over_time(large))
    if rounds:
        best = {name: max(run.rate for run in runs) for name, runs in turns.items()}
        ratio = best["streamed"] / best["in memory"]
        console.print(f"rate of {compared:,} rows, streamed over in memory: {ratio:.3f}")
        if large is not None:
            ratio = large.rate / best["in memory"]
            console.print(f"rate of {rows:,} rows streamed over {compared:,} in memory: {ratio:.3f}")
        console.print(_quality(part))


def make_log(rows: int) -> Path:
    """A folder with so many rows of the log, made where it is not there yet."""
    folder = HOME / f"log-{rows}"
    if (folder / "users.parquet").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    random = np.random.default_rng(11)
    weights = random.normal(size=(2, FEATURES, VALUES)) / np.sqrt(2 * FEATURES)
    users, items = (random.integers(0, VALUES, (count, FEATURES)) for count in (USERS, ITEMS))
    scores = [
        weights[side][np.arange(FEATURES), table].sum(axis=1) for side, table in enumerate((users, items))
    ]
    for number, start in enumerate(range(0, rows, CHUNK)):
        count = min(CHUNK, rows - start)
        user, item = random.integers(0, USERS, count), random.zipf(1.3, count) % ITEMS
        tab = random.integers(0, 5, count)
        score = 1.5 * (scores[0][user] + scores[1][item]) + 0.2 * (tab - 2)
        pl.DataFrame(
            {
                "user_id": user,
                "item_id": item,
                "time": start + np.arange(count),
                "tab": tab,
                "long_view": random.random(count) < 1 / (1 + np.exp(-score)),
                "completion": (1 / (1 + np.exp(-score)) + random.normal(0, 0.15, count)).clip(0, 1),
            }
        ).write_parquet(folder / f"log-{number:04}.parquet")
    for table, prefix, key, extra in (
        (items, "i", "item_id", {"length_s": np.exp(random.normal(3.2, 0.7, ITEMS)).round(1)}),
        (users, "u", "user_id", {"age": random.integers(12, 80, USERS)}),
    ):
        columns = {f"{prefix}{place}": table[:, place] for place in range(FEATURES)}
        name = f"{key.partition('_')[0]}s.parquet"
        pl.DataFrame({key: np.arange(len(table)), **columns, **extra}).write_parquet(folder / name)
    return folder


def train(folder: Path, name: str, stream: str) -> Watched:
    """Train on a folder in a process of its own, and watch it."""
    recipe, bundle, run = HOME / "recipe.yaml", HOME / f"bundle-{name}", HOME / f"run-{name}"
    recipe.write_text(yaml.safe_dump(RECIPE, sort_keys=False))
    shutil.rmtree(run, ignore_errors=True)
    words = ["--recipe", recipe, "--data", folder, "--out", bundle, "--run", run]
    began = time.monotonic()
    process = subprocess.Popen(
        [FULCRUM, "train", *map(str, words), "--set", f"training.stream={stream}"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    watched = Watched(marks={"reading": 0.0})
    said: list[str] = []

    def listen() -> None:
        for line in process.stderr or ():
            said.append(line)
            if line.startswith("Training"):
                watched.marks["training"] = time.monotonic() - began
            elif line.startswith("Exporting"):
                watched.marks["exporting"] = time.monotonic() - began

    listener = threading.Thread(target=listen)
    listener.start()
    while process.poll() is None:
        if (resident := _resident(process.pid)) is not None:
            watched.samples.append((time.monotonic() - began, *resident))
        time.sleep(0.2)
    listener.join()
    if process.returncode:
        raise SystemExit("".join(said))
    manifest = read_manifest(bundle)
    watched.rows, watched.seconds = manifest.data["train_rows"], manifest.training["seconds"]
    console.print(f"{name}: {time.monotonic() - began:.0f} s, {watched.rate:,.0f} rows/CPU s", style="dim")
    return watched


def _resident(pid: int) -> tuple[int, float] | None:
    """Anonymous resident bytes, and CPU seconds spent."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        spent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    found = re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)
    return (int(found[1]) * 1024, sum(map(int, spent[11:13])) / TICKS) if found is not None else None


def _figures(runs: list[Watched]) -> Iterator[str]:
    peak = max(run.peak for run in runs)
    steady = [anon for _, anon, _ in runs[-1].training]
    tenth = max(1, len(steady) // 10)
    first, middle, last = (
        np.median(part) / MIB for part in (steady[tenth : 2 * tenth] or steady, steady, steady[-tenth:])
    )
    yield f"{peak / MIB:,.0f}"
    yield f"{first:,.0f}, {middle:,.0f}, {last:,.0f}"
    yield ", ".join(f"{run.rate:,.0f}" for run in runs)
    yield ", ".join(f"{run.rows / run.seconds:,.0f}" for run in runs)


def _over_time(run: Watched) -> Table:
    """Anonymous memory in twenty stretches of equal length."""
    table = Table("from s", "doing", "anonymous MiB, most", "")
    end = run.samples[-1][0]
    for number in range(20):
        low, high = end * number / 20, end * (number + 1) / 20
        most = max((anon for at, anon, _ in run.samples if low <= at < high), default=0) / MIB
        doing = max((at, mark) for mark, at in run.marks.items() if at <= high)[1]
        table.add_row(f"{low:,.0f}", doing, f"{most:,.0f}", "█" * round(most / 50))
    return table


def _quality(folder: Path) -> Table:
    """The streamed bundle against the one from memory, on the same held-out rows."""
    words = [HOME / "bundle-streamed", "--data", folder, "--against", HOME / "bundle-in-memory", "--json"]
    done = subprocess.run([FULCRUM, "evaluate", *map(str, words)], capture_output=True, check=True)
    table = Table("task", "metric", "streamed", "in memory", "difference, paired [95 %]")
    for task, metrics in orjson.loads(done.stdout)["against"]["tasks"].items():
        for metric, found in metrics.items():
            if metric in ("auc", "mse"):
                low, high = found["interval"]
                table.add_row(
                    task,
                    metric,
                    f"{found['value']:.4f}",
                    f"{found['other']:.4f}",
                    f"{found['difference']:+.5f} [{low:+.5f}, {high:+.5f}]",
                )
    return table


if __name__ == "__main__":
    typer.run(main)
