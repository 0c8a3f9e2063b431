"""Fault suite, revisions of the fusion: changed under load, and while processes are killed.

    python -m benchmarks.faults_revisions changes       2,000 changes under load, some 10 minutes
    python -m benchmarks.faults_revisions kills         200 kills, SQLite, some 10 minutes
    python -m benchmarks.faults_revisions kills --redis the same with Redis, which is killed, too

Callers ask without a pause and check each answer: its scores are those of the config that it names, and its
revision has this config and was active. While processes are killed, callers may go without an answer, but
what was acknowledged to those who propose, activate and roll back must stand in the history, which must be
whole: replayed, its events lead to what is active. Exits 1 if something of this does not hold.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import typer
from rich.console import Console
from rich.progress import track

from benchmarks.faults_control import HOME, TOKEN, Callers, bundle_example, trained
from model.fusion import FusionConfig, parse_fusion, version
from model.redis_url import RedisUrl
from service.control.audit import AuditEvent
from service.control.state.control import ControlStore
from service.control.state.opening import open_control
from tests.support.redis_server import RedisServer, free_port, redis_binaries
from tests.support.service_process import wait_until

app = typer.Typer(add_completion=False, help=__doc__)
console = Console(width=None if sys.stdout.isatty() else 120)
BEARER = {"authorization": f"Bearer {TOKEN}"}


class Site:
    """A service of several workers on one port, started again whenever it is killed.

    Attributes:
        url: of it.
        kills: by what was killed.
    """

    def __init__(self, run: Path, workers: int, redis: RedisServer | None) -> None:
        bundle, features = trained()
        self.body = bundle_example(bundle)
        self.workers = workers
        self.redis = redis
        self.kills: Counter[str] = Counter()
        self.control = str(run / "control.sqlite") if redis is None else redis.url
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._command = [
            str(Path(sys.executable).with_name("fulcrum")), "serve", "--bundle", str(bundle),
            "--features", str(features), "--control", self.control, "--workers", str(workers),
            "--port", str(port),
        ]  # fmt: skip
        self._log = (run / "log").open("a")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Serve, from when all workers answer."""
        env = {**os.environ, "FULCRUM_ADMIN_TOKEN": TOKEN, "FULCRUM_THREADS": "1"}
        self._process = subprocess.Popen(
            self._command, env=env, stdout=subprocess.DEVNULL, stderr=self._log, start_new_session=True
        )
        wait_until(lambda: self.ready()["workers"]["ready"] == self.workers)

    def ready(self) -> dict[str, Any]:
        """What one worker says of all."""
        found: dict[str, Any] = httpx.get(f"{self.url}/readyz", timeout=10).json()
        return found

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(60)
        self._log.close()

    def kill(self, draw: random.Random) -> None:
        """Kill a process, and wait until all are there again."""
        assert self._process is not None
        victims = ["worker"] * 7 + ["supervisor"] + (["redis"] * 2 if self.redis else [])
        victim = draw.choice(victims)
        self.kills[victim] += 1
        if victim == "redis":
            assert self.redis is not None
            self.redis.stop()
            time.sleep(draw.uniform(0.0, 1.0))
            self.redis.start()
        elif victim == "supervisor":
            self._process.kill()
            self._process.wait()
            self.start()
        else:
            tasks = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
            os.kill(int(draw.choice(tasks.read_text().split())), signal.SIGKILL)
        wait_until(lambda: self.ready()["workers"]["ready"] == self.workers)


class Operators:
    """Propose, activate and roll back at once, and remember what was acknowledged.

    Attributes:
        acknowledged: reasons of the changes that the service said were made.
        answers: by status.
    """

    def __init__(self, site: Site, asked: Callers, number: int) -> None:
        self.acknowledged: set[str] = set()
        self.answers: Counter[str] = Counter()
        self._site, self._asked = site, asked
        self._names = itertools.count(1)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(n,), daemon=True) for n in range(number)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, once each has its last answer."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, number: int) -> None:
        draw = random.Random(number)
        with httpx.Client(base_url=self._site.url, timeout=30, headers=BEARER) as http:
            while not self._stop.is_set():
                try:
                    self._step(http, draw)
                except httpx.TransportError as error:
                    self.answers[type(error).__name__] += 1
                    time.sleep(0.05)

    def _step(self, http: httpx.Client, draw: random.Random) -> None:
        name = f"change {next(self._names)}"
        listed = http.get("/v1/fusion/revisions", params={"limit": 5})
        if listed.status_code != httpx.codes.OK:
            self.answers[str(listed.status_code)] += 1
            return
        active = listed.json()["active"]
        if draw.random() < 0.25:
            answer = http.post("/v1/fusion/rollback", json={"if_active": active, "why": name})
        else:
            config = numbered(draw.randrange(1 << 40))
            self._asked.configs[version(config)] = config
            made = http.post("/v1/fusion/revisions", json={"config": document(config), "note": name})
            self.answers[f"proposed {made.status_code}"] += 1
            if made.status_code != httpx.codes.CREATED:
                return
            self.acknowledged.add(name)
            name += " activated"
            path = f"/v1/fusion/revisions/{made.json()['revision']}/activate"
            answer = http.post(path, json={"if_active": active, "why": name})
        self.answers[str(answer.status_code)] += 1
        if answer.status_code == httpx.codes.OK:
            self.acknowledged.add(name)


def numbered(number: int) -> FusionConfig:
    """One of many configs."""
    return parse_fusion(str(document_of(1.0 + number / (1 << 40), 0.5 + number % 7)))


def document_of(vtr: float, vcr: float) -> dict[str, Any]:
    """A config as it is written."""
    tasks = {"vtr": {"weight": vtr}, "vcr": {"weight": vcr}}
    return {"schema_version": 1, "scenes": {"default": {"tasks": tasks}}}


def document(config: FusionConfig) -> dict[str, Any]:
    """A config as it is sent."""
    return config.model_dump(mode="json", exclude_none=True)


@app.command()
def changes(
    count: Annotated[int, typer.Option(help="Activations and rollbacks.")] = 2000,
    workers: Annotated[int, typer.Option(help="Workers.")] = 4,
    callers: Annotated[int, typer.Option(help="Callers that ask without a pause.")] = 3,
    redis: Annotated[bool, typer.Option("--redis", help="Revisions in Redis in place of SQLite.")] = False,
) -> None:
    """How long all workers take to follow a change, and whether a request fails meanwhile."""
    with prepared(workers, redis) as site:
        asked, seconds, acknowledged_s = callers_of(site, callers), [], []
        asked.start()
        with httpx.Client(base_url=site.url, timeout=60, headers=BEARER) as http:
            active = http.get("/v1/fusion/revisions").json()["active"]
            for change in track(range(count), "changes", console=console, transient=True):
                body = {"if_active": active, "why": f"change {change}"}
                if change % 4 == 3:
                    path = "/v1/fusion/rollback"
                else:
                    config = numbered(change)
                    asked.configs[version(config)] = config
                    made = http.post("/v1/fusion/revisions", json={"config": document(config)})
                    path = f"/v1/fusion/revisions/{made.json()['revision']}/activate"
                began = time.perf_counter()
                answer = http.post(path, json=body)
                assert answer.status_code == httpx.codes.OK, answer.text
                acknowledged_s.append(time.perf_counter() - began)
                active = answer.json()["active"]
                wanted = {str(active): workers}
                wait_until(lambda wanted=wanted: http.get("/readyz").json()["revisions"] == wanted)
                seconds.append(time.perf_counter() - began)
        asked.stop()
        wrong = history_of(site, asked, set())
    say(f"{count} changes, {workers} workers, {'Redis' if redis else 'SQLite'}, {callers} callers")
    say(f"answers {len(asked.seconds):,}, failed or not by what they name {sum(asked.failures.values())}")
    for what, found in (("acknowledged", acknowledged_s), ("all workers", seconds)):
        median, high = np.percentile(found, (50, 99))
        say(f"{what}, s: median {median:.3f}, 99 % {high:.3f}, longest {max(found):.3f}")
    finish(wrong, asked.failures)


@app.command()
def kills(
    moments: Annotated[int, typer.Option(help="Kills.")] = 200,
    workers: Annotated[int, typer.Option(help="Workers.")] = 4,
    seed: Annotated[int, typer.Option(help="Of who is killed, and when.")] = 7,
    redis: Annotated[bool, typer.Option("--redis", help="Revisions in Redis, which is killed, too.")] = False,
) -> None:
    """Whether something acknowledged is lost, or an answer made by two, when processes are killed."""
    draw = random.Random(seed)
    with prepared(workers, redis) as site:
        asked = callers_of(site, 2)
        operators = Operators(site, asked, 3)
        asked.start()
        operators.start()
        for _ in track(range(moments), "kills", console=console, transient=True):
            time.sleep(draw.uniform(0.0, 0.6))
            site.kill(draw)
        operators.stop()
        asked.stop()
        wrong = history_of(site, asked, operators.acknowledged)
    say(f"killed {dict(site.kills)}; answers to operators {dict(sorted(operators.answers.items()))}")
    say(f"acknowledged changes {len(operators.acknowledged):,}, rankings {len(asked.seconds):,}")
    unanswered = ("ReadError", "ConnectError", "RemoteProtocolError", "ReadTimeout")
    bad = Counter({k: n for k, n in asked.failures.items() if not k.startswith(unanswered)})
    say(f"rankings without an answer {sum(asked.failures.values()) - sum(bad.values()):,}")
    finish(wrong, bad)


class prepared:  # noqa: N801 - used as a function
    """A site that serves, and is stopped at the end."""

    def __init__(self, workers: int, redis: bool) -> None:
        run = HOME / "revisions"
        shutil.rmtree(run, ignore_errors=True)
        (run / "redis").mkdir(parents=True)
        keeping = ("--appendonly", "yes", "--appendfsync", "always", "--dir", str(run / "redis"))
        self._redis = RedisServer(redis_binaries()[0], *keeping) if redis else None
        self._run, self._workers = run, workers

    def __enter__(self) -> Site:
        if self._redis is not None:
            self._redis.start()
        self._site = Site(self._run, self._workers, self._redis)
        self._site.start()
        return self._site

    def __exit__(self, *_: object) -> None:
        self._site.stop()
        if self._redis is not None:
            self._redis.stop()


def callers_of(site: Site, number: int) -> Callers:
    """Callers who know what the site serves now."""
    asked = Callers(site.url, site.body, number)
    with httpx.Client(base_url=site.url, timeout=60) as http:
        answer = http.post("/v1/rank", json=site.body).json()
        config = parse_fusion(str(http.get("/v1/fusion").json()["config"]))
    asked.predictions[answer["model"]["version"]] = {
        item["id"]: item["predictions"] for item in answer["items"]
    }
    asked.configs[version(config)] = config
    return asked


def history_of(site: Site, asked: Callers, acknowledged: set[str]) -> list[str]:
    """What is wrong with the history, in words."""
    store = open_control(Path(site.control) if site.redis is None else RedisUrl(site.control))
    wrong: list[str] = []
    try:
        document = store.read()
        assert document is not None
        events, revisions = everything(store)
        if [one.event for one in events] != list(range(1, document.events + 1)):
            wrong.append("events have a gap")
        if sorted(revisions) != list(range(1, document.revisions + 1)):
            wrong.append("revisions have a gap")
        reasons = [event.why for event in events]
        if lost := acknowledged - set(reasons):
            wrong.append(f"acknowledged and lost: {sorted(lost)[:5]}")
        if twice := [why for why, times in Counter(reasons).items() if times > 1 and why in acknowledged]:
            wrong.append(f"made twice: {twice[:5]}")
        active = [1]
        for event in events:
            found = (event.after or {}).get("revision")
            if event.action in ("revision_activated", "revision_rolled_back"):
                if (event.before or {}).get("revision") != active[-1]:
                    wrong.append(f"event {event.event} replaced {event.before}, but {active[-1]} was active")
                active.append(int(found or 0))
        if document.active.revision != active[-1]:
            wrong.append(f"{document.active.revision} is active, events lead to {active[-1]}")
        for number, name in asked.named:
            if number not in set(active) or revisions.get(number or 0) != name:
                wrong.append(f"an answer names revision {number} with {name}, which never was")
        wait_until(lambda: site.ready()["revisions"] == {str(document.active.revision): site.workers})
    finally:
        store.close()
    return wrong


def everything(store: ControlStore) -> tuple[list[AuditEvent], dict[int, str]]:
    """All events, oldest first, and the versions of all revisions by number."""
    events: list[AuditEvent] = []
    while page := store.events(events[-1].event if events else None, 500):
        events += page
    revisions: dict[int, str] = {}
    while found := store.revisions(min(revisions) if revisions else None, 500):
        revisions |= {one.revision: one.version for one in found}
    return events[::-1], revisions


def say(line: str) -> None:
    """Print a line of the result."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def finish(wrong: list[str], failures: Counter[str]) -> None:
    """Print what is wrong, and leave."""
    for line in [*wrong[:10], *(f"{times} x {failure}" for failure, times in failures.most_common(5))]:
        say(line)
    say("the history is whole" if not wrong else f"{len(wrong)} things are wrong")
    if wrong or failures:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
