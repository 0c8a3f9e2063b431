"""Resampling: bootstrap intervals that draw users, since rows of one user are not independent.

Knows statistics only as functions of row weights or as sums over rows. Shapes: n rows, U users, R draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Draws = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEAST_USERS = 10
"""Intervals of metrics rest on so many users or more: resampling fewer looks surer than it is."""

WITHHELD = (float("nan"), float("nan"))
"""The interval of what rests on fewer."""

_REPLICATES = 400


class Resamples:
    """Users drawn with replacement, R times; every statistic sees the same draws, so differences are paired.

    Draws are made anew each time they are asked for: memory does not grow with R.

    Args:
        users: user number of each row, [n].
        replicates: R.
        seed: of the draws.

    Attributes:
        user: users numbered from 0, [n].
        users: U.
    """

    def __init__(self, users: Ints, *, replicates: int = _REPLICATES, seed: int = 0) -> None:
        _, self.user = np.unique(users, return_inverse=True)
        self.users = int(self.user.max()) + 1 if len(users) else 0
        self._replicates = replicates if self.users else 0
        self._seed = seed

    def __iter__(self) -> Iterator[Draws]:
        """How often each user is drawn, [U], R times."""
        generator = np.random.default_rng(self._seed)
        for _ in range(self._replicates):
            drawn = np.bincount(generator.integers(0, self.users, self.users), minlength=self.users)
            yield drawn.astype(np.float64)

    def enough(self, *rows: npt.NDArray[np.bool_] | npt.NDArray[np.integer[Any]]) -> bool:
        """Whether each of these sets of rows, as masks or places, is of `LEAST_USERS` users or more."""
        return all(len(np.unique(self.user[some])) >= LEAST_USERS for some in rows)

    def draws(self, statistic: Callable[[Draws], float]) -> Draws:
        """A statistic of row weights [n] under each draw: [R]."""
        return np.array([statistic(drawn[self.user]) for drawn in self], np.float64)

    def sums(self, *values: Floats, bins: Ints | None = None, count: int = 1) -> list[Draws]:
        """Sums of row values [n] under each draw, in each bin: [R, count] for each of them.

        Args:
            values: [n] each.
            bins: bin of each row, below `count`; one for all where None.
            count: number of bins.
        """
        cell = self.user * count + (0 if bins is None else bins)
        size = self.users * count
        by_user = [np.bincount(cell, column, size).reshape(self.users, count) for column in values]
        table = np.concatenate(by_user, axis=1)  # [U, values * count]
        sums = np.array([drawn @ table for drawn in self]).reshape(-1, len(values), count)
        return [sums[:, place] for place in range(len(values))]


def percentiles(draws: Draws, level: float = 0.95) -> tuple[float, float]:
    """The interval that holds the middle `level` of the draws; draws without a value are left out."""
    kept = draws[np.isfinite(draws)]
    if not len(kept):
        return WITHHELD
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def interval(
    statistic: Callable[[Draws], float], users: Ints, *, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap percentile interval of one statistic.

    Args:
        statistic: from row weights [n] to the metric.
        users: user number of each row, [n].
        level: the interval's coverage.
        seed: of the resampling.
    """
    return percentiles(Resamples(users, seed=seed).draws(statistic), level)
