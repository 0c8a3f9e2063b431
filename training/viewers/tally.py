"""Tally: rewards of requests by user, and their means with intervals that resample users.

Rewards are summed as whole numbers, so that a sum does not depend on which request ended first. Its memory
grows with users alone. Shapes: U users.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from training.metrics.resampling import Draws, interval

_UNITS = 1 << 30
"""In which a reward of 1 is counted: 8 billion of them fit a user."""

Estimate = tuple[float, tuple[float, float]]
"""A value and its 95 % interval; NaN where there is none."""


class Tally:
    """Sums by user.

    Args:
        users: U.
    """

    def __init__(self, users: int) -> None:
        self.requests = np.zeros(users, np.int64)
        self._sums = {name: np.zeros(users, np.int64) for name in ("expected", "realised")}

    def add(self, user: int, expected: float, realised: float) -> None:
        """Count one answered request."""
        self.requests[user] += 1
        self._sums["expected"][user] += round(expected * _UNITS)
        self._sums["realised"][user] += round(realised * _UNITS)

    def mean(self, name: str) -> Estimate:
        """Mean per request of `expected` or `realised` reward."""
        return self._estimate(lambda weights: self._mean(name, weights), self.requests > 0)

    def gain(self, other: Tally, name: str = "expected") -> Estimate:
        """Mean reward per request less the other's, user by user: of the same visits to another service."""

        def difference(weights: Draws) -> float:
            return self._mean(name, weights) - other._mean(name, weights)

        return self._estimate(difference, (self.requests > 0) | (other.requests > 0))

    def _mean(self, name: str, weights: Draws) -> float:
        requests = float(weights @ self.requests)
        return float(weights @ self._sums[name]) / _UNITS / requests if requests else math.nan

    def _estimate(self, statistic: Callable[[Draws], float], among: np.ndarray) -> Estimate:
        users = np.flatnonzero(among)

        def of_some(weights: Draws) -> float:
            spread = np.zeros(len(self.requests))
            spread[users] = weights
            return statistic(spread)

        value = of_some(np.ones(len(users)))
        return value, interval(of_some, users)
