"""The noise law: weights of an explored request, drawn so that their density is known exactly.

A weight mu becomes mu + s * max(|mu|, .2) * z with z ~ N(0, 1), the logarithm of a smoothing likewise; a
price, whose unit is somebody's own, becomes mu + s * |mu| * z. Which
requests are explored, and their z, depend on 64 bits alone, `unit_hash`: who has the hash of a record draws
the same again. z comes from SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
generators") and Box and Muller's transform.

Shapes: R requests, K weights.
"""

import math
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from model.frozen import Frozen
from model.fusion.bounds import Number

Floats = NDArray[np.float64]
Hashes = NDArray[np.uint64]

LEAST = 0.2
"""A weight nearer to 0 is disturbed as if it were this large."""

Unit = Literal["request", "session", "user_week"]
_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_WEEK_MS, _MONDAY_MS = 604_800_000, 345_600_000
"""A week, and the first Monday after 1 January 1970 in UTC."""


class Explore(Frozen):
    """Which requests of a scene get disturbed weights, and how much."""

    share: Annotated[Number, Field(gt=0, le=1)]
    """Of units."""
    noise: Annotated[Number, Field(gt=0, le=1)]
    """s: standard deviation of a weight, relative to it."""
    unit: Unit = "request"
    """Whose requests have the same weights."""

    def takes(self, unit_hash: int) -> bool:
        """Whether this unit is explored."""
        return bool(self.take(np.array([unit_hash], np.uint64))[0])

    def take(self, unit_hash: Hashes) -> NDArray[np.bool_]:
        """Whether units are explored: of hashes [R] -> [R]."""
        return _uniform(unit_hash, 0) < self.share

    def deviations(self, mu: Floats, least: float | Floats = LEAST) -> Floats:
        """Standard deviations of weights [K] -> [K]; `least` is the size of a weight that counts at least."""
        return self.noise * np.maximum(np.abs(mu), least)

    def draw(self, mu: Floats, unit_hash: Hashes, least: float | Floats = LEAST) -> Floats:
        """Weights of explored units: of means [K] and hashes [R] -> [R, K]."""
        return mu + self.deviations(mu, least) * standard_normals(unit_hash, len(mu))

    def z_of(self, mu: Floats, weights: Floats, least: float | Floats = LEAST) -> Floats:
        """Weights [R, K] in standard deviations from their means [K]."""
        return np.asarray((weights - mu) / self.deviations(mu, least), np.float64)


def week_of(time_ms: int) -> int:
    """The week, from Monday 0 h UTC on, counted from 1970."""
    return (time_ms - _MONDAY_MS) // _WEEK_MS + 1


def standard_normals(unit_hash: Hashes, count: int) -> Floats:
    """z of units [R], the same for the same hash: [R, count]."""
    pairs = range((count + 1) // 2)
    columns: list[Floats] = []
    for pair in pairs:
        radius = np.sqrt(-2.0 * np.log1p(-_uniform(unit_hash, 1 + 2 * pair)))
        angle = 2.0 * math.pi * _uniform(unit_hash, 2 + 2 * pair)
        columns += [radius * np.cos(angle), radius * np.sin(angle)]
    return np.stack(columns[:count], axis=1) if count else np.zeros((len(unit_hash), 0))


def _uniform(unit_hash: Hashes, place: int) -> Floats:
    """The number at a place of each unit's stream, in [0, 1): [R]."""
    x = unit_hash + np.uint64((_GOLDEN * (place + 1)) % 2**64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(_FIRST)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(_SECOND)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53
