"""A controller that is killed: before or after any call to the service, before or after any file it writes.

An arm ramps by plan, and then does harm. Events and their join are made once; a controller sees them hour by
hour. Whoever is killed is followed by another one at once.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson

from model.events.folder import hour_start_ms
from tests.support.experiment_service import HOUR_MS, Clock, ExperimentService
from tests.support.experiment_site import START_MS, TERMS, Site
from training.events.join import Summary, join_events
from training.experiments.watching import answers, webhooks
from training.experiments.watching.controller import Controller, Joined
from training.experiments.watching.measures import Measures
from training.experiments.watching.webhooks import Webhooks

HOURS, HARM_AT = 7, 4
RAMP, RAMPS = 1_000, ({"to": 3_000, "hours": 0.8}, {"to": 10_000, "hours": 1.7})
PLANNED = [
    ("start", None, 0),
    ("ramp", 3_000, 1),
    ("ramp", 10_000, 3),
    ("stop", "worse", 5),
]
"""What is done, and after which hour."""


class KilledError(BaseException):
    """As SIGKILL: nothing catches it."""


class Killer:
    """Counts moments, and kills at some of them.

    Args:
        at: numbers of moments.
    """

    def __init__(self, at: set[int]) -> None:
        self.at, self.moments = at, 0

    def __call__(self, *_: Any) -> None:
        self.moments += 1
        if self.moments in self.at:
            raise KilledError

    def around(self, write: Callable[..., None]) -> Callable[..., None]:
        """A write that is killed before or after."""

        def written(*args: Any, **more: Any) -> None:
            self()
            write(*args, **more)
            self()

        return written


class Prepared(Joined):
    """A joined log of which the hours that are over are there."""

    def __init__(self, whole: Path, out: Path) -> None:
        super().__init__(whole, out)
        self._whole = whole

    def update(self, now_ms: int, observer: Any = None) -> Summary:
        for file in self._whole.rglob("*.*"):
            target = self.out / file.relative_to(self._whole)
            if file.suffix == ".parquet":
                day = file.parent.name.removeprefix("day=")
                hour = day if "T" in day else f"{day}T{file.stem}"
                if "T" not in hour or not hour[:4].isdigit() or hour_start_ms(hour) + HOUR_MS > now_ms:
                    continue
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                os.link(file, target)
        return Summary(now_ms)


def prepared(path: Path, users: int = 40) -> Path:
    """The joined log: from `HARM_AT` on, nobody who is treated shares."""
    site = Site(path)
    site.service.start()
    for hour in range(HOURS):
        if hour == HARM_AT:
            site.shares, users = {"treated": 0.0}, 8 * users
        start = START_MS + hour * HOUR_MS
        names = [f"u{hour}-{number}" for number in range(users)]
        site.traffic.serve(names, start, start + HOUR_MS)
    join_events(path / "events", path / "whole", START_MS + HOURS * HOUR_MS)
    return path / "whole"


def killed(whole: Path, path: Path, killer: Killer) -> tuple[list[tuple[str, Any, int]], list[Any], int]:
    """What was done with an experiment, what was posted, and how often somebody was killed."""
    clock, posted, kills = Clock(START_MS), [], 0
    service = ExperimentService(clock)
    service.create(terms=TERMS, ramp=RAMP, ramps=RAMPS)

    def take(content: bytes) -> None:
        posted.append(orjson.loads(content))

    def watcher() -> tuple[Controller, Webhooks]:
        hooks = Webhooks(path / "webhooks.json", take, lambda line: None, between_s=0.0)
        measures = Measures(None, "is_click + is_share")
        return Controller(
            service, Prepared(whole, path / "joined"), measures, path, now_ms=clock, webhooks=hooks
        ), hooks

    controller, hooks = watcher()
    controller.look()
    service.start()
    service.before = killer
    with (
        patch.object(answers, "replace_file", killer.around(answers.replace_file)),
        patch.object(webhooks, "replace_file", killer.around(webhooks.replace_file)),
    ):
        for _ in range(HOURS):
            clock.now_ms += HOUR_MS
            while True:
                try:
                    controller.look()
                    hooks.wait(10.0)
                    break
                except KilledError:
                    kills += 1
                    hooks.wait(
                        10.0
                    )  # its thread dies with a process; here it would write beside the next one's
                    hooks.close()
                    controller, hooks = watcher()
    hooks.close()
    done = [
        (
            what,
            body.get("ramp") or (body.get("outcome") or {}).get("verdict"),
            (time_ms - START_MS) // HOUR_MS,
        )
        for time_ms, _, what, body in service.history
    ]
    return done, posted, kills


def random_killer(seed: int, moments: int) -> Killer:
    """Of one to five moments."""
    chance = random.Random(seed)
    return Killer({chance.randrange(1, moments) for _ in range(chance.randint(1, 5))})
