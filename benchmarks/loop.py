"""The loop by hand: serve the demo with events, let its viewers ask, join, train on what was served, judge.

1. The demo's bundle serves N requests of the simulator (seed 1), all candidates logged. Their events are
   joined, and the recipe `served` trains two bundles on them: one anew, one that starts from the demo's.
2. The demo's bundle serves N more (seed 2). On these rows each new bundle is compared with what was served:
   the logged predictions, by AUC and squared error, and the order that the demo's fusion makes of them, by
   NDCG of the realised reward within answers. The new ones see the past as it was before the second part.
3. Each new bundle serves the same visits of seed 2: true reward per request, by common random numbers.

On rows of the second part `vtr` flatters what was served: its order decided who looked.

    python -m benchmarks.loop [--requests 20000] [--home build/loop]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import typer
from rich.console import Console
from rich.table import Table

from model.bundle import Bundle, load_bundle
from model.fusion import load_fusion, score
from tests.support.service_process import serving
from training.datasets.served import world_of
from training.events.join import join_events
from training.metrics.comparison import Difference, compare_task
from training.metrics.ndcg import GroupedNdcg
from training.simulation import World
from training.viewers import Audience, Outcome, Traffic, call
from training.viewers.feedback import known_kinds

FULCRUM = str(Path(sys.executable).with_name("fulcrum"))
FIRST, SECOND = 1, 2
console = Console(width=None if sys.stdout.isatty() else 120)


def served(
    bundle: Bundle, features: Path, world: World, seed: int, requests: int, events: Path | None
) -> Outcome:
    """What comes of the bundle's service and these visits; the events are kept where a folder is given."""
    settings: dict[str, Any] = {"bundle": bundle.path, "features": str(features)}
    if events is not None:
        settings |= {"events": events, "exposure_candidates": 1.0}
    kinds = () if events is None else known_kinds(bundle.manifest.events)
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder) / "log", **settings) as service,
    ):
        outcome = call(Audience(world, seed), Traffic(service.url, requests, kinds=kinds))
    line = outcome.report()
    shown = ("requests", "errors", "seconds", "true_reward", "realised_reward", "latency_ms", "feedback")
    console.print(f"{bundle.path.name}, seed {seed}:", {name: line[name] for name in shown})
    return outcome


def fulcrum(*words: object) -> None:
    """Run a command."""
    subprocess.run([FULCRUM, *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def joined(events: Path, out: Path) -> None:
    """Bring the joined log up to date."""
    began = time.perf_counter()
    summary = join_events(events, out, time.time_ns() // 1_000_000)
    console.print(f"joined in {time.perf_counter() - began:.1f} s:", dict(summary.counts))


def compared(bundle: Bundle, demo: Bundle, out: Path, since_ms: int, folder: Path) -> dict[str, Difference]:
    """A bundle on what was served from a moment on, against the predictions that were served."""
    found = folder / f"{bundle.path.name}.parquet"
    where, group = f"time_ms >= {since_ms}", "exposure_id"
    fulcrum(
        *("evaluate", bundle.path, "--data", out, "--where", where, "--group", group, "--predictions", found)
    )
    logged = ["exposure_id", "item_id", "play_time_ms", "is_click", "is_share", "is_comment"]
    tasks = bundle.task_names
    rows = pl.read_parquet(found).join(
        pl.read_parquet(out / "impressions/**/*.parquet").select(*logged, *(f"p_{task}" for task in tasks)),
        left_on=["exposure_id", "video_id"],
        right_on=["exposure_id", "item_id"],
        validate="1:1",
    )
    users = rows["user_id"].rank("dense").cast(pl.Int64).to_numpy()
    groups = rows["exposure_id"].rank("dense").cast(pl.Int64).to_numpy()
    differences: dict[str, Difference] = {}
    for task in bundle.schema.tasks:
        inside = rows[f"{task.name}_mask"].to_numpy()
        columns = (f"{task.name}_prediction", f"p_{task.name}", f"{task.name}_label")
        ours, theirs, labels = (rows[name].to_numpy()[inside] for name in columns)
        metrics = compare_task(task.type, ours, theirs, labels, groups[inside], users[inside])
        wanted = ("auc", "gauc") if task.type == "binary" else ("mse",)
        differences |= {f"{task.name} {metric}": metrics[metric] for metric in wanted}
    length = rows["video_len_s"].to_numpy()
    play_ms = rows["play_time_ms"].to_numpy().astype(np.float64)
    clicked, shared, commented = (
        rows[name].to_numpy() > 0 for name in ("is_click", "is_share", "is_comment")
    )
    worth = world_of(demo.schema, "demo").reward.realised(
        (play_ms > 0) | clicked, play_ms, np.minimum(play_ms / 1000.0 / length, 1.0), shared, commented
    )
    scene = load_fusion(demo.fusion_path).scenes["default"]
    ndcg = GroupedNdcg(worth, groups, users)
    ours, theirs = (
        ndcg.of(score(scene, {task: rows[name.format(task)].to_numpy() for task in tasks}, length).order)
        for name in ("{}_prediction", "p_{}")
    )
    return differences | {"NDCG of the realised reward": ndcg.compare(ours, theirs)}


def main(
    requests: Annotated[int, typer.Option(min=100)] = 20_000,
    home: Annotated[Path, typer.Option()] = Path("build/loop"),
) -> None:
    """Go once around the loop."""
    if not (home / "demo" / "manifest.json").exists():
        fulcrum("train", "--recipe", "demo", "--out", home / "demo", "--run", home / "run-demo")
    demo = load_bundle(home / "demo")
    fulcrum("publish", demo.path, "--to", home / "features-demo")
    world = World.create(world_of(demo.schema, "demo"))
    name = time.strftime("%Y%m%d-%H%M%S")
    here = home / name
    events, first, both = here / "events", here / "first", here / "both"
    served(demo, home / "features-demo", world, FIRST, requests, events)
    joined(events, first)
    since_ms = time.time_ns() // 1_000_000
    incumbent = served(demo, home / "features-demo", world, SECOND, requests, events)
    joined(events, both)
    table = Table(
        "bundle", "metric", "new", "served", "difference", "95 % interval", title=f"{requests:,} each"
    )
    for kind, more in (("anew", ()), ("from-demo", ("--from", demo.path, "--force"))):
        words = ("--data", first, "--out", here / kind, "--run", here / f"run-{kind}", *more)
        fulcrum("train", "--recipe", "served", *words, "--set", f"data.past_until={since_ms}")
        bundle, features = load_bundle(here / kind), here / f"features-{kind}"
        fulcrum("publish", bundle.path, "--data", first, "--to", features)
        for metric, one in compared(bundle, demo, both, since_ms, here).items():
            low, high = one.interval
            values = (f"{one.value:.4f}", f"{one.other:.4f}", f"{one.difference:+.4f}")
            table.add_row(kind, metric, *values, f"[{low:+.4f}, {high:+.4f}] {one.verdict}")
        outcome = served(bundle, features, world, SECOND, requests, None)
        gain, (low, high) = outcome.tally.gain(incumbent.tally)
        value, other = (tally.mean("expected")[0] for tally in (outcome.tally, incumbent.tally))
        values = (f"{value:.4f}", f"{other:.4f}", f"{gain:+.4f}")
        table.add_row(kind, "true reward a request", *values, f"[{low:+.4f}, {high:+.4f}]")
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
