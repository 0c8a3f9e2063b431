"""An experiment's site: a service, its traffic, and who watches both, all by one clock."""

from __future__ import annotations

import random
from pathlib import Path

from model.experiments import Guardrail, Terms
from tests.support.experiment_service import HOUR_MS, Clock, ExperimentService
from tests.support.experiment_traffic import Traffic
from training.experiments.watching.controller import Controller, Joined
from training.experiments.watching.measures import Measures

START_MS = 1_767_225_600_000
TERMS = Terms(
    primary="reward",
    guardrails=(Guardrail(metric="is_share"), Guardrail(metric="failed", harm="rises")),
    days=2,
    planned_error=0.03,
)
REWARD = Measures(None, "is_click + is_share")
SHARES = {"control": 0.5, "treated": 0.5}


class Site:
    """A service, its traffic, and who watches both, hour by hour."""

    def __init__(self, path: Path, shares=None, unit="user", late_ms=1_000, seed=0, **fields) -> None:
        self.path, self.clock = path, Clock(START_MS)
        self.service = ExperimentService(self.clock)
        self.service.create(**{"terms": TERMS, **fields})
        self.shares = shares or SHARES
        self.traffic = Traffic(path / "events", self.service, self.did, late_ms=late_ms, seed=seed)
        self.chance = random.Random(seed)
        self.controller = self.watcher()

    def did(self, user, arm, chance):
        shared = chance.random() < self.shares.get(arm, 0.5)
        return [("v1", {"is_click": chance.random() < 0.8, "is_share": shared}), ("v2", {})]

    def watcher(self, work="work", measures=REWARD, **more):
        joined = Joined(self.path / "events", self.path / work / "joined")
        return Controller(self.service, joined, measures, self.path / work, now_ms=self.clock, **more)

    def hours(self, count, users=100, serve=True):
        """Hours go by, each looked at."""
        rounds = []
        for _ in range(count):
            start = self.clock.now_ms
            self.clock.now_ms += HOUR_MS
            if serve:
                names = [f"u{self.chance.randrange(100_000)}" for _ in range(users)]
                self.traffic.serve(names, start, self.clock.now_ms)
            else:
                self.traffic.deliver(self.clock.now_ms)
            rounds.append(self.controller.look())
        return rounds

    @property
    def done(self):
        return [
            (what, body.get("ramp") or (body.get("outcome") or {}).get("verdict"))
            for *_, what, body in self.service.history
        ]
