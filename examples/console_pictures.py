"""`python -m examples.console_pictures`: the pictures of docs/console.md, of the demo's bundle.

After `make demo`, whose bundle and features it serves. It sends rankings, lets one actor propose and activate
revisions, opens the console in Chromium, and writes docs/console-*.png.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page, sync_playwright

from examples.demo import BUNDLE, CONFIG, STORE, command
from model.client import control, experiments
from training.simulation import WorldConfig, simulate

DOCS = Path("docs")
TOKEN = "only-for-these-pictures"
REQUESTS, CANDIDATES = 300, 120
WIDTH = 1600
_COLOURS = 200
"""Of a picture: it is small, and text stays sharp."""


def main() -> None:
    """Serve, change, look."""
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as url:
        fill(url, REQUESTS, CANDIDATES)
        change(url)
        with looking(url) as page:
            take(page, url)


@contextmanager
def looking(url: str) -> Iterator[Page]:
    """A page of a console for the service at `url`."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("no Chromium here: install it (apt-get install chromium)")
    with started("console", "--url", url, "--port", "0") as console, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 900}, reduced_motion="reduce")
        page.goto(console.split()[-1])
        yield page
        browser.close()


@contextmanager
def served(folder: Path, workers: int = 2) -> Iterator[str]:
    """A service with control and a tokens file; its address."""
    if not BUNDLE.is_dir():
        sys.exit(f"no {BUNDLE} yet: run `make demo` first")
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    tokens = folder / "tokens.yaml"
    tokens.write_text(f"actors: [{{name: anna, scopes: [read, propose, activate], sha256: {digest}}}]\n")
    parts = {"bundle": BUNDLE, "features": STORE, "fusion": CONFIG, "port": 0, "workers": workers}
    parts |= {"control": folder / "control.sqlite", "tokens": tokens, "events": folder / "events"}
    words = [word for name, value in parts.items() for word in (f"--{name}", str(value))]
    with started("serve", *words) as greeting:
        url = greeting.split()[-1]
        with httpx.Client(trust_env=False) as client:
            while client.get(f"{url}/readyz").status_code != httpx.codes.OK:
                time.sleep(0.1)
        yield url


@contextmanager
def started(*words: str) -> Iterator[str]:
    """A command of the command line as a process; the line that it greets with."""
    process = subprocess.Popen(command(*words), stdout=subprocess.PIPE, text=True, env=os.environ)
    assert process.stdout is not None
    try:
        yield process.stdout.readline()
    finally:
        process.terminate()
        process.wait()


def fill(url: str, requests: int, candidates: int, pause_s: float = 0.0) -> None:
    """Rankings of the demo's viewers, with a pause after each."""
    world = simulate(WorldConfig())
    users = world.log["user_id"].unique().sort().head(requests).to_list()
    videos = world.items["video_id"].sample(fraction=1.0, shuffle=True, seed=3).to_list()
    with httpx.Client(base_url=url, trust_env=False) as client:
        for number, user in enumerate(users):
            start = 7 * number % (len(videos) - candidates)
            shown = videos[start : start + candidates]
            body = {"user_id": user, "candidate_ids": shown, "context": {"tab": "feed", "hour": number % 24}}
            client.post("/v1/rank", json=body).raise_for_status()
            time.sleep(pause_s)


def change(url: str) -> None:
    """Two revisions, activated one after the other."""
    with control.Control(url, TOKEN) as caller:
        for weight, note in ((0.5, "Shares count too much"), (0.35, "A little less of them")):
            config = caller.send(control.fusion())["config"]
            config["scenes"]["default"]["tasks"]["shr"]["weight"] = weight
            made = caller.send(control.propose(config, note=note))
            caller.send(control.activate(made["revision"], if_active=made["parent"], why=note))


def compare(url: str) -> None:
    """Two experiments of one layer; looks at one, whose numbers are made up: nobody waits for days here."""
    layer, half = "ranking", {"share": 5000}
    less = {"scenes": {"default": {"tasks": {"shr": {"weight": 0.2}}}}}
    arms = [{"name": "control", **half}, {"name": "fewer_shares", **half, "patch": less}]
    terms = {"primary": "reward", "days": 7, "planned_error": 0.01}
    terms["guardrails"] = [{"metric": "slow", "harm": "rises"}]
    ramps = [{"to": 1000, "hours": 24}, {"to": 2000, "hours": 48, "units": 5000}]
    body = {"id": "shares", "layer": layer, "arms": arms, "size": 2000, "ramp": 1000, "ramps": ramps}
    with control.Control(url, TOKEN) as caller:
        caller.send(experiments.create_layer(layer, holdout=500))
        draft = [{"name": "control", **half}, {"name": "older", **half, "revision": 1}]
        caller.send(
            experiments.create({"id": "the_first_weights", "layer": layer, "arms": draft, "size": 1500})
        )
        made = caller.send(experiments.create({**body, "terms": terms, "note": "Do shares count too much?"}))
        one = caller.send(experiments.start("shares", if_edition=made["edition"], why="a week of it"))
        for look in range(1, 25):
            caller.send(experiments.look("shares", _look(one["since_ms"], 2.0 * look)))


def _look(since_ms: int, hours: float) -> dict[str, Any]:
    difference, half = 0.012 + 0.02 / hours, 0.17 / hours**0.5
    ends = {"low": difference - half, "high": difference + half}
    reward = {"value": 1.31 * (1 + difference), "difference": difference, **ends}
    return {
        "time_ms": since_ms + int(3_600_000 * hours),
        "days": hours / 24,
        "mature_until_ms": since_ms + int(3_600_000 * (hours - 1)),
        "units": {"control": int(211 * hours), "fewer_shares": int(208 * hours)},
        "metrics": {"reward": {"control": {"value": 1.31}, "fewer_shares": reward}},
        "guardrails": {"slow": {"fewer_shares": {"ratio": 1.02, "e_value": 0.41}}},
        "verdicts": {"fewer_shares": {"verdict": None, "why": "reward +1.24% [-1.21%, +3.70%]"}},
        "next": "Ramps to 2,000 buckets 48 h after the last ramp, once each arm has had 5,000 units.",
    }


def take(page: Page, url: str) -> None:
    """Sign in, and go through the parts."""
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("Token").fill(TOKEN)
    page.keyboard.press("Enter")
    page.get_by_text("anna: activate").wait_for()
    page.get_by_label("vtr weight, as a number").fill("0.45")
    page.get_by_text("was 0.2").wait_for()
    page.get_by_text("new in the top").first.wait_for()
    page.wait_for_timeout(1500)
    write(page, "play")
    page.get_by_role("tab", name="Propose").click()
    page.get_by_label("Note").fill("More of what is watched through")
    page.get_by_role("button", name="Propose revision").click()
    page.get_by_role("button", name="Activate 4").click()
    page.get_by_role("dialog").get_by_text("recent requests").first.wait_for()
    page.get_by_role("dialog").get_by_label("Why").fill("Tried on Friday")
    write(page, "activate")
    page.get_by_role("dialog").get_by_role("button", name="Activate 4").click()
    page.get_by_role("dialog").wait_for(state="hidden")
    page.get_by_role("tab", name="History").click()
    page.get_by_role("button", name="Roll back from 4 to 3").wait_for()
    page.wait_for_timeout(6000)  # what was said goes away
    write(page, "history", height=420)
    compare(url)
    page.get_by_role("tab", name="Experiments").click()
    page.locator("svg.looks .band").first.wait_for()
    page.set_viewport_size({"width": WIDTH, "height": 1130})
    page.wait_for_timeout(500)
    write(page, "experiments")
    page.get_by_role("tab", name="State").click()
    page.emulate_media(color_scheme="dark")
    page.get_by_text("ready").first.wait_for()
    page.wait_for_timeout(500)
    write(page, "state", height=760)


def write(page: Page, name: str, height: int | None = None) -> None:
    """One picture, in few colours."""
    from PIL import Image

    path = DOCS / f"console-{name}.png"
    clip: Any = None if height is None else {"x": 0, "y": 0, "width": WIDTH, "height": height}
    page.screenshot(path=path, clip=clip)
    Image.open(path).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
