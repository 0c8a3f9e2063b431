"""Arrivals by chance, and the queue that nothing could beat. Knows no service.

Shapes: A arrivals.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["ideal_queue", "poisson"]


def poisson(rate: float, seconds: float, seed: int) -> npt.NDArray[np.float64]:
    """Seconds from the start at which requests are due [A]: by chance, `rate` a second on the average.

    Of one seed, arrivals at twice the rate are the same at half the distances.
    """
    generator, offsets = np.random.default_rng(seed), np.zeros(0)
    while not len(offsets) or offsets[-1] < seconds:
        gaps = generator.exponential(size=1024) / rate
        offsets = np.concatenate([offsets, (offsets[-1] if len(offsets) else 0.0) + np.cumsum(gaps)])
    return offsets[offsets < seconds]


def ideal_queue(
    arrivals_s: Sequence[float] | npt.NDArray[np.float64],
    services_s: Sequence[float] | npt.NDArray[np.float64],
    servers: int = 1,
) -> npt.NDArray[np.float64]:
    """Seconds from arrival to end of each request [A], first come, first served, nothing lost in between.

    Args:
        arrivals_s: ascending [A].
        services_s: how long each keeps its server [A].
        servers: how many there are.
    """
    free = [0.0] * servers
    spent = np.empty(len(arrivals_s))
    for number, (arrival, service) in enumerate(zip(arrivals_s, services_s, strict=True)):
        end = max(arrival, heapq.heappop(free)) + service
        heapq.heappush(free, end)
        spent[number] = end - arrival
    return spent
