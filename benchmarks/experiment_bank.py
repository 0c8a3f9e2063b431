"""Sessions of a world's viewers, measured once, and audiences that draw from them: weeks in moments.

The demo's fusion, as it was without smoothing, ranks requests of the synthetic world, and viewers respond.
What a session brought is kept by viewer. A user of an audience is one of these viewers, comes as often as
that one does, and each time one of the viewer's sessions takes place again. So users differ as they do in the
world, and all their days are theirs. Knows no statistics. Shapes: V viewers, S sessions, U users.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.regret import BEFORE
from model.fusion import DEFAULT_SCENE, FusionConfig, version
from tests.support.world_logs import WorldRequests, by_truth
from training.simulation import World, WorldConfig

HOME = Path("build/experiments")
PARTS, REQUESTS, NOISE = 10, 10_000, 0.3
"""Logs that a bank is made of, requests of each, and how wrong predictions are, in log-odds."""
FUSION = FusionConfig(schema_version=1, scenes={DEFAULT_SCENE: BEFORE})
COLUMNS = ("requests", "reward", "shares", "squares")
"""Of a session: its requests, their reward, shares and squared rewards."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Bank:
    """Sessions by viewer.

    Attributes:
        start: the first session of each viewer, and the number of all [V + 1].
        activity: how often a viewer comes, relatively [V].
        sessions: by column [S] each.
    """

    start: NDArray[np.int64]
    activity: Floats
    sessions: dict[str, Floats]

    @classmethod
    def of(cls, seed: int = 7) -> Bank:
        """The bank of a world; kept in build/experiments."""
        path = HOME / f"bank-{seed}-{version(FUSION)[-12:]}.npz"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, allow_pickle=False, **_measured(World.create(WorldConfig(seed=seed))))
        kept = dict(np.load(path))
        return cls(kept["start"], kept["activity"], {name: kept[name] for name in COLUMNS})


def _measured(world: World) -> dict[str, Floats]:
    viewers = replace(world.viewers, activity=np.ones(world.config.users))  # as many sessions of each
    alike = World(world.config, viewers, world.videos)
    parts: dict[str, list[Floats]] = {name: [] for name in ("viewer", *COLUMNS)}
    for part in range(PARTS):
        visits = WorldRequests.of(alike, REQUESTS, by_truth(NOISE, part), part)
        log = visits.log(FUSION, np.random.default_rng([world.config.seed, part]))
        shown = log.outcomes.requests.shown_start
        request = np.repeat(np.arange(REQUESTS), np.diff(shown))
        reward = np.bincount(request, log.outcomes.reward, REQUESTS)
        found = {
            "requests": np.ones(REQUESTS),
            "reward": reward,
            "shares": np.bincount(request, log.did.is_share, REQUESTS),
            "squares": reward**2,
        }
        order = np.argsort(visits.visit)
        viewer = visits.viewer[order]
        session = np.cumsum(np.diff(viewer, prepend=-1) != 0) - 1
        parts["viewer"].append(viewer[np.unique(session, return_index=True)[1]])
        for name, values in found.items():
            parts[name].append(np.bincount(session, values[order]))
    whole = {name: np.concatenate(values) for name, values in parts.items()}
    order = np.argsort(whole["viewer"], kind="stable")
    count = np.bincount(whole["viewer"].astype(np.int64), minlength=world.config.users)
    return {
        "start": np.concatenate([[0], np.cumsum(count)]),
        "activity": world.viewers.activity,
        **{name: whole[name][order] for name in COLUMNS},
    }


class Audience:
    """Users who come back.

    Args:
        bank: whose sessions take place.
        users: U.
        requests_a_day: of all users, in the mean.
        rng: chance.
    """

    def __init__(self, bank: Bank, users: int, requests_a_day: float, rng: np.random.Generator) -> None:
        counts = np.diff(bank.start)
        self._bank, self._rng, self.users = bank, rng, users
        viewer = rng.choice(np.nonzero(counts)[0], users)
        self._first, self._count = bank.start[viewer], counts[viewer]
        length = np.add.reduceat(bank.sessions["requests"], bank.start[:-1][counts > 0]) / counts[counts > 0]
        mean = np.zeros(len(counts))
        mean[counts > 0] = length
        rate = bank.activity[viewer]
        self._rate = rate * (requests_a_day / float(rate @ mean[viewer]))

    def days(self, count: float, *columns: str) -> list[Floats]:
        """The sums of each column over `count` days, per user [U]."""
        user, session = self.sessions(count)
        return [np.bincount(user, self._bank.sessions[name][session], self.users) for name in columns]

    def sessions(self, days: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Sessions of `days` days: the user of each, and the session that it repeats, both [S]."""
        user = np.repeat(np.arange(self.users), self._rng.poisson(self._rate * days))
        chance = self._rng.random(len(user), np.float32)
        return user, self._first[user] + (chance * self._count[user]).astype(np.int64)
