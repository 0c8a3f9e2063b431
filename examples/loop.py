"""`make loop`: the loop closed without a hand: explore, join, tune, propose, experiment, activate, again.

Four kinds of processes, which know no more of each other than in earnest:

- the service: `fulcrum serve --control --events`
- the world: `fulcrum simulate`, whose viewers ask the service, watch what it shows, and send feedback
- who decides: `python -m examples.loop decide` and `fulcrum watch`, given the service's address, the
  events and the bundle, and nothing of the world
- who looks on: writes down what each thousand requests was truly worth, and draws it at the end beside what
  the best fusions are worth by the world's truth

Feedback of this world comes at once, so its windows are five seconds here. All is made below build/loop;
`--home` names another folder, such as one in which an earlier run has trained its bundle.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
import yaml
from rich.console import Console

FULCRUM = str(Path(sys.executable).with_name("fulcrum"))
TOKEN = "loop"
"""Of a service that listens on this machine alone."""
LAYER = "fusion"
NOISE = {"share": 1.0, "noise": 0.2}
FORMULAS = "log_power,weighted_sum"
WINDOW_S = 5
PIECE = 1_000
"""Requests between two looks at what they are worth."""
AFTERWARDS = 5
"""Pieces that are served once all is decided."""
PATIENCE_S = 60.0
INCUMBENT, BEST = "bundle's own", ("best product", "best sum")
GUARDED = ("is_share", "is_comment")
PLAN = {"difference": 0.08, "deviation": 0.75, "requests": 8_000, "design_effect": 2.0}
"""What each experiment is planned for: differences of 8 %, as the search forecasts more."""

app = typer.Typer(add_completion=False)
console = Console(width=None if sys.stdout.isatty() else 80)


@dataclass(frozen=True)
class Worth:
    """What a piece of the traffic was truly worth.

    Attributes:
        requests: until its end.
        value, low, high: mean true reward of a request, 95 %.
        revision: active at its end.
        experiment: that ran at its end.
    """

    requests: int
    value: float
    low: float
    high: float
    revision: int
    experiment: str | None


@app.command()
def loop(
    home: Annotated[Path, typer.Option(help="Where everything is made.")] = Path("build/loop"),
    seed: Annotated[int, typer.Option(help="Of the world, its bundle and its viewers.")] = 7,
    reward: Annotated[str, typer.Option(help="Of the world: additive or complementary.")] = "additive",
    rounds: Annotated[int, typer.Option(min=1, help="Times that weights are looked for.")] = 2,
    explored: Annotated[int, typer.Option(min=1_000, help="Requests before each search.")] = 8_000,
    most: Annotated[int, typer.Option(min=1_000, help="Requests at most that an experiment gets.")] = 24_000,
) -> None:
    """Go around the loop, and draw what it was worth."""
    began = time.monotonic()
    home.mkdir(parents=True, exist_ok=True)
    bundle, features = trained(home, seed, reward)
    run = home / time.strftime("run-%Y%m%d-%H%M%S")
    run.mkdir()
    events = run / "events"
    with (
        served(bundle, features, events, run) as url,
        deciding(url, events, bundle, run, rounds, explored) as decider,
    ):
        found = looked_on(url, bundle, decider, rounds * (explored + most), seed)
        configs = without_noise(url, {one.revision for one in found})
    if decider.returncode not in (0, -signal.SIGTERM):
        sys.exit(f"the loop stopped: who decides failed; {run / 'decide.log'} says why")
    report(found, configs, bundle, run)
    console.print(f"Done in {time.monotonic() - began:.0f} s: {run}", highlight=False)


def trained(home: Path, seed: int, reward: str) -> tuple[Path, Path]:
    """The world's bundle and its features, which are made where they are missing."""
    bundle, features, recipe = home / "bundle", home / "features", home / "recipe.yaml"
    if not features.exists():
        recipe.write_text(yaml.safe_dump(recipe_of(seed, reward), sort_keys=False))
        fulcrum("train", "--recipe", str(recipe), "--out", str(bundle), "--run", str(home / "training"))
        fulcrum("publish", str(bundle), "--to", str(features))
    return bundle, features


def recipe_of(seed: int, reward: str) -> dict[str, Any]:
    """The demo's recipe, of this world, with feedback that comes at once."""
    text = (resources.files("training") / "recipes" / "demo.yaml").read_text(encoding="utf-8")
    recipe: dict[str, Any] = yaml.safe_load(text)
    recipe["data"]["options"] = {"seed": seed}
    if reward != "additive":
        recipe["data"]["options"]["reward"] = {"kind": reward}
        recipe["reward"] = "coalesce(vcr, 0) * (1 + 18 * is_share) * (1 + 18 * is_comment)"  # its dials
    recipe["training"]["seed"] = seed
    for kind in recipe["events"]["kinds"]:
        kind["window_s"] = WINDOW_S
    return recipe


def looked_on(
    url: str, bundle: Path, decider: subprocess.Popen[bytes], requests: int, seed: int
) -> list[Worth]:
    """Send viewers, a piece after the other, until who decides has done, and some more; their worth."""
    found: list[Worth] = []
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        left = AFTERWARDS
        while left and len(found) * PIECE < requests:
            left -= decider.poll() is not None
            words = (
                "--url",
                url,
                "--requests",
                str(PIECE),
                "--seed",
                str(seed * 1_000 + len(found)),
                "--json",
            )
            answer = json.loads(asked("simulate", str(bundle), *words))
            low, high = answer["true_reward_interval"]
            active = client.get("/v1/fusion").json()["revision"]
            running = [one["id"] for one in experiments(client) if one["state"] == "running"]
            made = (len(found) + 1) * PIECE
            worth = Worth(made, answer["true_reward"], low, high, active, running[0] if running else None)
            found.append(worth)
            where = f"experiment {worth.experiment}" if worth.experiment else "no experiment"
            console.print(
                f"{made:7,} requests: worth {worth.value:.3f} [{low:.3f}, {high:.3f}], revision "
                f"{active}, {where}",
                highlight=False,
            )
    return found


@app.command()
def decide(url: str, events: Path, bundle: Path, run: Path, rounds: int, explored: int) -> None:
    """Look for better weights in the events, and try them on half the users; `fulcrum watch` judges them."""
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        fulcrum("experiment", "layer", LAYER, "--url", url)
        explore(client, url, run)
        for number in range(1, rounds + 1):
            joined = run / f"joined-{number}"
            wait_for_requests(events, joined, explored * number)
            tuned = run / f"tuned-{number}.yaml"
            where = ("--log", str(joined), "--formula", FORMULAS, "--report", str(run / f"tuning-{number}"))
            fulcrum("tune", str(bundle), "--out", str(tuned), *where)
            if not tuned.exists():
                console.print(f"round {number}: nothing better is sure yet", highlight=False)
                continue  # a longer log may say more
            with_noise(tuned)
            note = f"found in round {number}"
            made = asked("fusion", "propose", str(tuned), "--note", note, "--url", url, "--json")
            try_on_half(client, url, run, number, json.loads(made)["revision"])


def explore(client: httpx.Client, url: str, run: Path) -> None:
    """Add noise to the weights in force."""
    config = client.get("/v1/fusion/revisions/1").json()["config"]
    file = run / "explored.yaml"
    file.write_text(yaml.safe_dump(config))
    with_noise(file)
    made = json.loads(asked("fusion", "propose", str(file), "--note", "explores", "--url", url, "--json"))
    why = ("--why", "a log that explores can be learned from", "--yes")
    fulcrum("fusion", "activate", str(made["revision"]), *why, "--url", url)


def with_noise(file: Path) -> None:
    """Have a config explore."""
    config = yaml.safe_load(file.read_text())
    for scene in config["scenes"].values():
        scene["explore"] = NOISE
    file.write_text(yaml.safe_dump(config, sort_keys=False))


def wait_for_requests(events: Path, joined: Path, requests: int) -> None:
    """Join until the log has this number of requests."""
    while True:
        time.sleep(WINDOW_S)
        if (events / "catalogue.json").exists():
            words = ("join", str(events), "--out", str(joined), "--json")
            if json.loads(asked("events", *words))["counts"].get("exposures", 0) >= requests:
                return


def try_on_half(client: httpx.Client, url: str, run: Path, number: int, revision: int) -> None:
    """An experiment of this revision; until it has ended."""
    name = f"round_{number}"
    file = run / f"{name}.yaml"
    guardrails = [{"metric": metric, "harm": "falls", "margin": 0.02} for metric in GUARDED]
    experiment = {
        "id": name,
        "layer": LAYER,
        "size": "100%",
        "arms": [
            {"name": "control", "share": "50%"},
            {"name": "tuned", "share": "50%", "revision": revision},
        ],
        "terms": {"primary": "reward", "guardrails": guardrails},
        "plan": PLAN,
        "on_better": "activate",
    }
    file.write_text(yaml.safe_dump(experiment, sort_keys=False))
    fulcrum("experiment", "create", str(file), "--url", url)
    fulcrum("experiment", "start", name, "--why", "found by tune", "--yes", "--url", url)
    while next(one for one in experiments(client) if one["id"] == name)["state"] == "running":
        time.sleep(1.0)
    fulcrum("experiment", "status", name, "--url", url)


def without_noise(url: str, revisions: Collection[int]) -> dict[int, Any]:
    """Configs of revisions, as they would rank without exploring."""
    found = {}
    for number in sorted({*revisions, 1} - {1}):
        answer = httpx.get(f"{url}/v1/fusion/revisions/{number}", trust_env=False).raise_for_status()
        found[number] = answer.json()["config"]
        for scene in found[number]["scenes"].values():
            scene.pop("explore", None)
    return found


def experiments(client: httpx.Client) -> list[dict[str, Any]]:
    """All that the service has."""
    found: list[dict[str, Any]] = client.get("/v1/experiments").json()["experiments"]
    return found


@contextmanager
def served(bundle: Path, features: Path, events: Path, run: Path) -> Iterator[str]:
    """The address of a running service."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    parts = {"bundle": bundle, "features": features, "events": events, "control": run / "control.sqlite"}
    words = [word for name, value in {**parts, "port": port}.items() for word in (f"--{name}", str(value))]
    with running("service", run, "serve", *words, FULCRUM_EXPOSURE_CANDIDATES="1"):
        until = time.monotonic() + PATIENCE_S
        while not is_ready(url):
            if time.monotonic() > until:
                sys.exit(f"the loop stopped: the service is not ready; {run / 'service.log'} says why")
            time.sleep(0.1)
        yield url


def is_ready(url: str) -> bool:
    """Whether a service answers that it is."""
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


@contextmanager
def deciding(
    url: str, events: Path, bundle: Path, run: Path, rounds: int, explored: int
) -> Iterator[subprocess.Popen[bytes]]:
    """Meanwhile, those who decide."""
    words = (url, str(events), str(bundle), str(run), str(rounds), str(explored))
    watch = ("--url", url, "--events", str(events), "--work", str(run / "watch"), "--look-every", "5")
    with (
        running("watch", run, "watch", *watch, "--bundle", str(bundle)),
        running("decide", run, *words) as decider,
    ):
        yield decider


@contextmanager
def running(name: str, run: Path, *words: str, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Meanwhile, this process, whose output goes to NAME.log."""
    command = [sys.executable, "-m", "examples.loop", name, *words] if name == "decide" else [FULCRUM, *words]
    every = {**os.environ, "FULCRUM_ADMIN_TOKEN": TOKEN, "FULCRUM_TOKEN": TOKEN, **more}
    with (run / f"{name}.log").open("w") as log:
        process = subprocess.Popen(command, env=every, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def fulcrum(*words: str) -> None:
    """Run a command, and stop where it fails; it has said why."""
    console.print(f"$ fulcrum {' '.join(words)}", highlight=False, soft_wrap=True)
    if subprocess.run([FULCRUM, *words], check=False).returncode:
        sys.exit(f"the loop stopped: fulcrum {words[0]} failed")


def asked(*words: str) -> str:
    """What a command answers."""
    found = subprocess.run([FULCRUM, *words], check=False, capture_output=True)
    if found.returncode:
        sys.exit(f"the loop stopped: fulcrum {words[0]}: {found.stderr.decode().strip()}")
    return found.stdout.decode()


def report(found: Sequence[Worth], configs: Mapping[int, Any], bundle: Path, run: Path) -> None:
    """What came of it, as numbers and as a picture.

    Args:
        found: pieces of the traffic.
        configs: that were active, by revision, without their noise.
        bundle: that served.
        run: where to.
    """
    from examples.loop_picture import draw, marks

    lines = marks(bundle, {f"revision {number}": config for number, config in configs.items()})
    document = {"pieces": [vars(one) for one in found], "worth": lines}
    (run / "worth.json").write_text(json.dumps(document))
    draw(found, lines, run / "worth.svg")
    incumbent, best = lines[INCUMBENT], max(lines[name] for name in BEST)
    console.print("\nWhat a request is truly worth, by the same visits:", highlight=False)
    for name, value in lines.items():
        gain = f"{value / incumbent - 1.0:+7.2%}"
        part = f"{(value - incumbent) / (best - incumbent):5.0%} of what can be gained"
        console.print(f"  {name:14} {value:7.3f}  {gain}  {part}", highlight=False)


if __name__ == "__main__":
    app()
