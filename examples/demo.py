"""`make demo`: train, export, publish, serve, rank, change a weight; then explore, log, and find the weights.

Drives the command line and the HTTP interface as a user would; everything it makes is below build/demo.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import yaml
from rich.console import Console
from rich.table import Table

from model.fusion import load_fusion, version
from model.terminal import print_table
from training.simulation import SyntheticData, WorldConfig, simulate
from training.viewers import Audience, Traffic, call

HOME = Path("build/demo")
CONFIG = Path("deploy/fusion/fusion.yaml")
BUNDLE, STORE, FUSION = HOME / "bundle", HOME / "features", HOME / "fusion.yaml"
EVENTS, JOINED = HOME / "events", HOME / "joined"
TUNED, PAGE = HOME / "tuned.yaml", HOME / "tuning"
CANDIDATES, SHOWN = 60, 8
EXPLORED, JUDGED = 8_000, 2_000
"""Requests that the search learns from, and those by whose truth both fusions are judged."""
NOISE = {"share": 1.0, "noise": 0.2}
OLD, NEW = "vtr: {weight: 0.2}", "vtr: {weight: 2.0}"
PATIENCE_S = 30.0

console = Console(width=None if sys.stdout.isatty() else 80)


def main() -> None:
    """The whole way once."""
    started = time.monotonic()
    HOME.mkdir(parents=True, exist_ok=True)
    shutil.copy(CONFIG, FUSION)
    if OLD not in FUSION.read_text():
        sys.exit(f"the demo stopped: it changes {OLD}, which {CONFIG} has no longer; git restores the file")
    step(1, "Train PLE on a synthetic short-video world and export it")
    fulcrum("train", "--recipe", "demo", "--out", str(BUNDLE), "--run", str(fresh(HOME / "run")))
    step(2, "Publish users and videos into a feature store")
    fulcrum("publish", str(BUNDLE), "--to", str(STORE))
    step(3, "Serve the bundle over HTTP")
    world = simulate(WorldConfig())
    request = a_request(world)
    with served() as (url, client):
        step(4, f"Rank {CANDIDATES} candidate videos for user {request['user_id']}")
        before = rank(client, request)
        show(before, world)
        step(5, f"Change one weight in {FUSION}, while the service runs: {OLD}  ->  {NEW}")
        change_weight(client)
        after = rank(client, request)
        show(after, world)
        step(6, "What moved")
        show_moves(before, after, world, request)
        step(
            7,
            f"Explore: noise on the weights of the bundle's own fusion, for {EXPLORED:,} requests",
        )
        own = yaml.safe_load((BUNDLE / "fusion.yaml").read_text())
        own["scenes"]["default"]["explore"] = NOISE
        put_into_force(client, own)
        fulcrum("simulate", str(BUNDLE), "--url", url, "--requests", str(EXPLORED))
        step(8, "Check the log of events, and join what was shown with what came of it")
        fulcrum("events", "check", str(EVENTS))
        fulcrum("events", "join", str(EVENTS), "--out", str(JOINED))
        show_positions()
        step(9, "Find better weights in that log, and judge them on users that the search has not seen")
        where = ("--log", str(JOINED), "--open", "--report", str(PAGE))
        fulcrum("tune", str(BUNDLE), "--out", str(TUNED), *where)
        if TUNED.exists():
            step(10, f"Put them into force, and ask the world what {JUDGED:,} other requests are truly worth")
            show_truth(client, url, world, own, yaml.safe_load(TUNED.read_text()))
    console.print(
        f"\nDone in {time.monotonic() - started:.0f} s. {PAGE}/index.html has the pictures; "
        "[bold]make serve[/] serves this bundle again."
    )


def step(number: int, title: str) -> None:
    """A heading."""
    console.print(f"\n[bold cyan]{number}. {title}[/]", highlight=False)


def fresh(folder: Path) -> Path:
    """The folder, emptied of an earlier demo."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def command(*words: str) -> list[str]:
    """A `fulcrum` command, printed as one would type it."""
    console.print(f"[dim]$ fulcrum {' '.join(words)}[/]", highlight=False, soft_wrap=True)
    return [str(Path(sys.executable).with_name("fulcrum")), *words]


def fulcrum(*words: str) -> None:
    """Run a command and stop the demo where it fails; it has said why."""
    if subprocess.run(command(*words), check=False).returncode:
        sys.exit(f"the demo stopped: fulcrum {words[0]} failed")


@contextmanager
def served() -> Iterator[tuple[str, httpx.Client]]:
    """A running service's address and a client for it; the service ends with the demo."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    parts = {"bundle": BUNDLE, "features": STORE, "fusion": FUSION, "events": fresh(EVENTS), "port": port}
    where = [word for name, value in parts.items() for word in (f"--{name}", str(value))]
    every = {**os.environ, "FULCRUM_EXPOSURE_CANDIDATES": "1"}  # request's candidates are logged
    fresh(JOINED)
    log = (HOME / "service.log").open("w")
    service = subprocess.Popen(command("serve", *where), env=every, stderr=log, stdout=log)
    try:
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            wait_until("the service is ready", lambda: is_ready(client, service))
            yield url, client
    finally:
        service.terminate()
        service.wait()
        log.close()


def is_ready(client: httpx.Client, service: subprocess.Popen[bytes]) -> bool:
    """Whether /readyz says so; a service that ended ends the demo."""
    if service.poll() is not None:
        sys.exit(f"the demo stopped: the service ended; {HOME / 'service.log'} says why")
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def wait_until(what: str, holds: Any) -> float:
    """Seconds until it holds."""
    started = time.monotonic()
    while not holds():
        if time.monotonic() - started > PATIENCE_S:
            sys.exit(f"the demo stopped: waited {PATIENCE_S:.0f} s until {what}")
        time.sleep(0.05)
    return time.monotonic() - started


def a_request(world: SyntheticData) -> dict[str, Any]:
    """An active user of the last day, and candidates spread over all videos."""
    last_day = world.log.filter(world.log["day"] == world.log["day"].max())
    user = last_day["user_id"].mode().sort()[0]
    videos = world.items["video_id"].gather_every(world.items.height // CANDIDATES).head(CANDIDATES)
    return {
        "user_id": user,
        "context": {"tab": "feed", "hour": 20},
        "candidate_ids": videos.to_list(),
        "top_k": CANDIDATES,
        "explain": True,
    }


def rank(client: httpx.Client, request: dict[str, Any]) -> dict[str, Any]:
    """The service's answer."""
    answer = client.post("/v1/rank", json=request)
    if answer.status_code != 200:
        sys.exit(f"the demo stopped: {answer.text}")
    ranked: dict[str, Any] = answer.json()
    return ranked


def show(ranked: dict[str, Any], world: SyntheticData) -> None:
    """The best few: each prediction with the term it gives, which sum to the log-score."""
    tasks = list(ranked["items"][0]["predictions"])
    headers = ["", "id", "video", *(f"{task} (term)" for task in tasks), "f(length)", "sum"]
    names, rows = titles(world), []
    for item in ranked["items"][:SHOWN]:
        *terms, length = item["terms"].values()
        cells = [f"{term['p']:.3f} ({term['term']:+.2f})" for term in terms]
        cells += [f"{length['f']:.2f} ({length['term']:+.2f})", f"{item['log_score']:.2f}"]
        rows.append([str(item["rank"]), item["id"], names[item["id"]], *cells])
    print_table(console, headers, rows, keys=3)
    model, fusion = ranked["model"], ranked["fusion"]
    console.print(
        f"[dim]{len(ranked['items'])} ranked in {ranked['took_ms']:.1f} ms by {model['name']} "
        f"{model['version'][:15]} with fusion {fusion['version'][:15]}[/]",
        highlight=False,
    )


def titles(world: SyntheticData) -> dict[str, str]:
    """What the videos are called."""
    return dict(zip(world.items["video_id"], world.items["title"], strict=True))


def change_weight(client: httpx.Client) -> None:
    """Edit the file and wait until the service says that the edit is in force."""
    text = FUSION.read_text()
    if OLD not in text:
        sys.exit(
            f"the demo stopped: deploy/fusion/fusion.yaml was edited and has no {OLD!r} to change; restore it"
        )
    seconds = edit(client, text.replace(OLD, NEW))
    console.print(f"In force after {seconds:.2f} s, without a restart and without retraining.")


def put_into_force(client: httpx.Client, config: dict[str, Any], *, exploring: bool = True) -> None:
    """Write a config into the file that the service watches, with or without its noise."""
    scenes = config["scenes"]
    if not exploring:
        scenes = {name: {k: v for k, v in one.items() if k != "explore"} for name, one in scenes.items()}
    edit(client, yaml.safe_dump({**config, "scenes": scenes}, sort_keys=False))


def edit(client: httpx.Client, text: str) -> float:
    """Seconds until the service scores by this text."""
    FUSION.write_text(text)
    wanted = version(load_fusion(FUSION))
    return wait_until("the edit is in force", lambda: client.get("/v1/fusion").json()["version"] == wanted)


def show_moves(
    before: dict[str, Any], after: dict[str, Any], world: SyntheticData, request: dict[str, Any]
) -> None:
    """Videos that entered or left the best few, and what the world's truth says of both rankings."""
    rank_before, rank_after = (
        {item["id"]: item["rank"] for item in ranked["items"]} for ranked in (before, after)
    )
    table = Table("id", "video", "rank before", "rank after", "moved")
    for video in [item["id"] for item in after["items"][:SHOWN]]:
        moved = rank_before[video] - rank_after[video]
        arrow = f"[green]up {moved}[/]" if moved > 0 else f"[red]down {-moved}[/]" if moved else "stayed"
        table.add_row(video, titles(world)[video], str(rank_before[video]), str(rank_after[video]), arrow)
    console.print(table)
    for name, ranked in (("before", before), ("after", after)):
        best = [item["id"] for item in ranked["items"][:SHOWN]]
        truth = world.world.truth(request["user_id"], best, hour=request["context"]["hour"])
        console.print(
            f"The world's truth about the best {SHOWN} {name}: "
            f"watched on average {truth.watch_s.mean():.1f} s, shared with probability {truth.shr.mean():.3f}"
        )


def show_positions() -> None:
    """What viewers did with what stood where."""
    rows = (
        pl.scan_parquet(JOINED / "impressions/**/*.parquet")
        .filter(pl.col("play_time_ms").is_not_null())
        .group_by("position")
        .agg(
            pl.len().alias("shown"),
            (pl.col("play_time_ms") > 0).mean().alias("played"),
            (pl.col("play_time_ms").mean() / 1000.0).alias("seconds"),
            *(pl.col(kind).mean() for kind in ("is_click", "is_like", "is_share", "is_comment")),
        )
        .sort("position")
        .head(SHOWN)
        .collect()
    )
    headers = ["position", "shown", "played", "s a video", "clicked", "liked", "shared", "commented"]
    cells = [
        [str(position), f"{shown:,}", f"{played:.0%}", f"{seconds:.1f}", *(f"{rate:.1%}" for rate in rates)]
        for position, shown, played, seconds, *rates in rows.iter_rows()
    ]
    print_table(console, headers, cells, keys=1)


def show_truth(
    client: httpx.Client, url: str, world: SyntheticData, before: dict[str, Any], after: dict[str, Any]
) -> None:
    """The same visits under both fusions: what the orders are truly worth, viewer by viewer."""
    tallies = []
    for config in (before, after):
        put_into_force(client, config, exploring=False)
        tallies.append(call(Audience(world.world, seed=2), Traffic(url, JUDGED)).tally)
    old, new = (tally.mean("expected")[0] for tally in tallies)
    gain, (low, high) = tallies[1].gain(tallies[0])
    console.print(
        f"true expected reward a request: {old:.2f} before, {new:.2f} after: "
        f"{gain / old:+.1%} [{low / old:+.1%}, {high / old:+.1%}]",
        highlight=False,
    )


if __name__ == "__main__":
    main()
