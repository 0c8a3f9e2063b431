"""NDCG: how much of the reward that the best order of each group would collect an order does collect.

Knows rewards, groups and orders; not where scores come from. Shapes: n rows, G groups that are judged.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from training.metrics.comparison import Difference
from training.metrics.resampling import ANY, UNIT, WITHHELD, Draws, Ends, Floats, Ints, Resamples


class GroupedNdcg:
    """Groups of rows with known rewards, for judging any number of orders of them.

    A group counts that has two rows or more and any reward. The gain is the reward itself, the discount
    1 / log2(1 + rank), cut after rank k. Tied scores collect what their orders would on average. A group with
    a NaN among its scores has no order, and no NDCG: it is NaN, and so is the mean.

    Args:
        rewards: 0 or more, [n].
        groups: group number of each row, [n].
        users: user number of each row, [n].
        k: ranks that count.

    Attributes:
        groups: G.
        rows: rows in these groups.
        coverage: their share of all rows.
    """

    def __init__(self, rewards: Floats, groups: Ints, users: Ints, *, k: int = 10) -> None:
        rewards = np.asarray(rewards, np.float64)
        _, number, size = np.unique(groups, return_inverse=True, return_counts=True)
        worth = np.bincount(number, rewards, len(size)) > 0
        self._kept = np.flatnonzero((worth & (size > 1))[number])
        kept, self._group = np.unique(number[self._kept], return_inverse=True)
        self._reward = rewards[self._kept]
        self.groups, self.rows = len(kept), len(self._kept)
        self.coverage = self.rows / len(rewards) if len(rewards) else 0.0
        sizes = size[kept]
        self._start = np.cumsum(sizes) - sizes
        longest = int(sizes.max()) if len(sizes) else 0
        discounts = np.where(np.arange(longest) < k, 1.0 / np.log2(np.arange(longest) + 2.0), 0.0)
        self._discounts = np.r_[0.0, np.cumsum(discounts)]  # of the first ranks, by their number
        self._ideal = self._collected(self._reward)
        self._resamples = Resamples(users[self._kept])
        self._user = self._users()

    def of(self, scores: Floats) -> Draws:
        """NDCG of the order by `scores` [n], the highest first, in each group: [G]."""
        return self._collected(np.asarray(scores, np.float64)[self._kept]) / self._ideal

    def of_chance(self) -> float:
        """The mean NDCG of a random order: what any other is to be read against."""
        return self.mean(self._collected(np.zeros(self.rows)) / self._ideal)

    def mean(self, values: Draws) -> float:
        """Over groups, each counting once; NaN without any."""
        return float(values.mean()) if len(values) else float("nan")

    def interval(self, values: Draws, within: Ends = UNIT) -> tuple[float, float]:
        """Of the mean of values that lie `within`; withheld where users are few or a group has several."""
        user = self._user
        if user is None:
            return WITHHELD

        def draws() -> Draws:
            columns = (values, np.ones(self.groups))
            table = np.stack([np.bincount(user, column, self._resamples.users) for column in columns], 1)
            sums = np.array([drawn @ table for drawn in self._resamples])
            ratio: Draws = sums[:, 0] / sums[:, 1]
            return ratio

        return self._resamples.interval(self.mean(values), draws, np.ones(self.rows, bool), within=within)

    def compare(self, values: Draws, others: Draws) -> Difference:
        """Two orders of the same groups."""
        interval = self.interval(values - others, ANY)
        return Difference(self.mean(values), self.mean(others), interval, higher_is_better=True)

    def _users(self) -> npt.NDArray[np.intp] | None:
        """The user of each group, [G], or None where a group has several."""
        if not self.groups:
            return None
        user = self._resamples.user[np.argsort(self._group, kind="stable")]
        first = np.minimum.reduceat(user, self._start)
        return first if (first == np.maximum.reduceat(user, self._start)).all() else None

    def _collected(self, scores: Floats) -> Draws:
        """Discounted reward of each group in the order of the scores, [G]."""
        if not self.groups:
            return np.zeros(0)
        order = np.lexsort((-scores, self._group))
        score, group, reward = scores[order], self._group[order], self._reward[order]
        runs = np.flatnonzero(np.r_[True, (group[1:] != group[:-1]) | (score[1:] != score[:-1])])
        ends = np.r_[runs[1:], len(group)]
        before = self._start[group[runs]]
        weight = self._discounts[ends - before] - self._discounts[runs - before]
        gain = np.where(np.isnan(score[runs]), np.nan, np.add.reduceat(reward, runs) / (ends - runs))
        return np.add.reduceat(gain * weight, np.searchsorted(runs, self._start))
