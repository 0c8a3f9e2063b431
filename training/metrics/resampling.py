"""Resampling: bootstrap intervals that draw users, since rows of one user are not independent.

A bootstrap of few users is too sure of itself. A sample of U users spreads less than their source does, by
sqrt((U - 1) / U), and its percentiles are nearly a normal distribution's where Student's would be right. So
the percentiles are moved away from the statistic's value by both (`widening`): times 1.17 with 12 users, and
1.01 with 200. Where there are classes, U counts the users behind the rarer one. docs/evaluation.md has these
intervals' coverage in simulations.

Knows statistics only as functions of row weights or as sums over rows. Shapes: n rows, U users, R draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Draws = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.bool_] | npt.NDArray[np.integer[Any]]

LEAST_USERS = 10
"""Intervals of metrics rest on so many users or more: resampling fewer looks surer than it is."""

WITHHELD = (float("nan"), float("nan"))
"""The interval of what rests on fewer."""

Ends = tuple[float, float]

ANY: Ends = (-math.inf, math.inf)
POSITIVE: Ends = (0.0, math.inf)
UNIT: Ends = (0.0, 1.0)
"""Values that a statistic can have."""

_REPLICATES = 400
_Z = 1.959964
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


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

    def behind(self, *rows: Rows) -> int:
        """Users behind these sets of rows, masks or positions: of the set that has the fewest."""
        return min(len(np.unique(self.user[some])) for some in rows)

    def interval(
        self, value: float, draws: Callable[[], Draws], *rows: Rows, within: Ends = ANY
    ) -> tuple[float, float]:
        """95 % interval of a statistic, widened for few users; withheld where any set of rows has too few.

        Args:
            value: the statistic.
            draws: the same under each draw, [R]; called where there are users enough.
            rows: sets of rows that it rests on, such as both classes, as masks or positions.
            within: values that it can have.
        """
        users = self.behind(*rows)
        return interval_around(value, draws(), users, within) if users >= LEAST_USERS else WITHHELD

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
    # The usual quantiles of R draws lie too far inside: another draw falls between them in fewer cases.
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2], method="weibull")
    return float(low), float(high)


def widening(count: int) -> float:
    """By how much deviations from their mean are widened of a bootstrap of so many, 2 or more."""
    freedom = count - 1
    student = _STUDENT[freedom - 1] if freedom <= len(_STUDENT) else _student(freedom)
    return math.sqrt(count / freedom) * student / _Z


def _student(freedom: int) -> float:
    """Student's 97.5 % quantile, for ten degrees of freedom and more (Cornish and Fisher's expansion)."""
    z = _Z
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def interval_around(value: float, draws: Draws, users: int, within: Ends = ANY) -> tuple[float, float]:
    """95 % interval of a statistic from its draws: their percentiles, widened around its value for few users.

    Args:
        value: the statistic; without a value it has no interval.
        draws: [R].
        users: that it rests on.
        within: values that it can have.
    """
    if users < 2 or not math.isfinite(value):
        return WITHHELD
    low, high = (value + widening(users) * (end - value) for end in percentiles(draws))
    return max(low, within[0]), min(high, within[1])


def interval(
    statistic: Callable[[Draws], float], users: Ints, *, within: Ends = ANY, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap interval of one statistic, 95 %, of any number of users.

    Args:
        statistic: from row weights [n] to the metric.
        users: user number of each row, [n].
        within: values that it can have.
        seed: of the resampling.
    """
    resamples = Resamples(users, seed=seed)
    value = statistic(np.ones(len(users)))
    return interval_around(value, resamples.draws(statistic), resamples.users, within)
