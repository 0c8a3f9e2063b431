"""Sessions: who comes, when, how often they ask and from which tab. Knows nothing of what they are shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.simulation.behaviour import TABS
from training.simulation.population import IntArray
from training.simulation.world import World

_DAY_MS, _HOUR_MS = 86_400_000, 3_600_000
_HOUR_SHARE = np.array(
    [3, 2, 1, 1, 1, 1, 2, 4, 5, 4, 4, 5, 7, 6, 4, 4, 4, 5, 7, 9, 10, 10, 8, 5], dtype=np.float64
)
_TAB_SHARE = np.array([0.7, 0.2, 0.1])


@dataclass(frozen=True, eq=False)
class Sessions:
    """Sessions in order of their start. S sessions."""

    user: IntArray  # [S]
    day: IntArray  # [S]
    hour: IntArray  # [S]
    tab: IntArray  # [S]
    start_ms: IntArray  # [S]
    requests: IntArray  # [S] at least 1


def draw_sessions(world: World, requests: int, rng: np.random.Generator) -> Sessions:
    """Sessions of `requests` requests in all: active viewers come more often, patient ones stay longer."""
    viewers, days = world.viewers, world.config.days
    user = rng.choice(world.config.users, size=requests, p=viewers.activity / viewers.activity.sum())
    more = rng.geometric(np.clip((1.0 - viewers.patience[user]) * 20.0, 0.25, 0.8))
    count = int(np.searchsorted(np.cumsum(more), requests)) + 1  # of these, only the first that are needed
    length = more[:count].copy()
    length[-1] -= length.sum() - requests
    day = rng.integers(0, days, count)
    hour = rng.choice(24, size=count, p=_HOUR_SHARE / _HOUR_SHARE.sum())
    tab = rng.choice(len(TABS), size=count, p=_TAB_SHARE)
    start_ms = world.config.start_ms + day * _DAY_MS + hour * _HOUR_MS + rng.integers(0, _HOUR_MS, count)
    order = np.argsort(start_ms, kind="stable")
    return Sessions(
        user=user[:count][order],
        day=day[order],
        hour=hour[order],
        tab=tab[order],
        start_ms=start_ms[order],
        requests=length[order],
    )
