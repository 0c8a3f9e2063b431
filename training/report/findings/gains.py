"""Gains: one network's metric less another's, with intervals that count both seeds and test rows.

A gain depends on chance twice: on the trainings' seeds, and on which users the validation split happens to
hold. So the bootstrap has two levels. Each draw takes pairs of runs with replacement (the same seed of both
networks is a pair) and users with all their rows; all pairs see the same draw of users, so what they have in
common cancels.

A bootstrap of few seeds is too sure of itself, as a sample's spread is smaller than its source's, the more so
the smaller it is. Seeds' deviations from their mean are therefore widened by sqrt(S / (S - 1)) and by
Student's quantile over the normal one, and so are those of users. With one seed, the interval counts users
alone.

Knows predictions and labels; networks are names. Shapes: n rows of one task, S seeds, R draws.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from training.metrics.resampling import (
    LEAST_USERS,
    WITHHELD,
    Draws,
    Floats,
    Ints,
    Resamples,
    percentiles,
    widening,
)
from training.metrics.task_metrics import BinaryScorer

_DRAWS = 1000
_SEED = 2
_KEPT_BYTES = 1 << 29


@dataclass(frozen=True)
class Score:
    """One run's metric on one task.

    Attributes:
        value: on the validation rows.
        draws: under each draw of users, [R].
    """

    value: float
    draws: Draws


class TaskRows:
    """The validation rows of one task, which runs are scored on.

    Args:
        kind: `binary`, scored by AUC, or `regression`, by mean squared error.
        labels: [n].
        users: resampled, [n].
        draws: R.

    Attributes:
        behind: users behind the rows; of a binary task, behind those of the rarer class.
    """

    def __init__(self, kind: str, labels: Floats, users: Ints, *, draws: int = _DRAWS) -> None:
        self.kind = kind
        self.metric = "auc" if kind == "binary" else "mse"
        self.labels = np.asarray(labels, np.float64)
        self.users = users
        self._resamples = _Kept(users, replicates=draws, seed=_SEED)
        positive = self.labels > 0.5
        sides = (positive, ~positive) if kind == "binary" else (np.ones(len(labels), bool),)
        self.behind = self._resamples.behind(*sides)

    @property
    def enough(self) -> bool:
        """Whether enough users stand behind the rows for an interval."""
        return self.behind >= LEAST_USERS

    @property
    def sign(self) -> int:
        """What makes more of the metric better."""
        return 1 if self.kind == "binary" else -1

    def score(self, predictions: Floats) -> Score:
        """Of predictions [n]."""
        if self.kind == "binary":
            scorer = BinaryScorer(predictions, self.labels)
            return Score(scorer.auc(), scorer.draws(self._resamples))
        errors = (np.asarray(predictions, np.float64) - self.labels) ** 2
        total, rows = self._resamples.sums(errors, np.ones(len(errors)))
        return Score(float(errors.mean()), (total / rows)[:, 0])


class _Kept(Resamples):
    """Draws that are made once: many runs are scored on the same."""

    def __init__(self, users: Ints, *, replicates: int, seed: int) -> None:
        super().__init__(users, replicates=replicates, seed=seed)
        narrow = replicates * self.users <= _KEPT_BYTES
        # No user is drawn 256 times where each is expected once.
        self._drawn = [drawn.astype(np.uint8) for drawn in super().__iter__()] if narrow else None

    def __iter__(self) -> Iterator[Draws]:
        if self._drawn is None:
            return super().__iter__()
        return (np.asarray(drawn, np.float64) for drawn in self._drawn)


@dataclass(frozen=True)
class Gain:
    """How much better one network is than another on a task.

    Attributes:
        metric: `auc` or `mse`.
        value: mean over seeds of the difference, signed so that more is better.
        interval: 95 %; NaN where too few users stand behind it.
        seeds: pairs of runs behind it.
        by_seed: the difference of each.
    """

    metric: str
    value: float
    interval: tuple[float, float]
    seeds: int
    by_seed: tuple[float, ...]

    @property
    def verdict(self) -> Literal["better", "worse", "undecided"]:
        """What the interval allows to say: to decide, it lies wholly on one side of 0."""
        low, high = self.interval
        return "better" if low > 0 else "worse" if high < 0 else "undecided"

    def report(self) -> dict[str, Any]:
        """As `report.json` has it."""
        return {
            "metric": self.metric,
            "gain": self.value,
            "interval": list(self.interval),
            "verdict": self.verdict,
            "seeds": self.seeds,
            "by_seed": list(self.by_seed),
        }


def gain(rows: TaskRows, ours: Sequence[Score], theirs: Sequence[Score]) -> Gain:
    """The gain of one network over another, of scores paired by seed.

    Args:
        rows: the task's rows, whose metric and users it is.
        ours, theirs: S scores each, the same seed at the same place.
    """
    seeds = len(ours)
    by_seed = rows.sign * np.array([a.value - b.value for a, b in zip(ours, theirs, strict=True)])
    value = float(by_seed.mean()) if seeds else math.nan
    interval = WITHHELD
    if rows.enough and math.isfinite(value):
        drawn = rows.sign * np.stack([a.draws - b.draws for a, b in zip(ours, theirs, strict=True)], axis=1)
        interval = percentiles(two_levels(drawn, value, rows.behind))
    return Gain(rows.metric, value, interval, seeds, tuple(by_seed.tolist()))


def two_levels(drawn: Draws, value: float, users: int) -> Draws:
    """Differences under draws of users, of each seed, to draws of both: [R, S] -> [R].

    Args:
        drawn: [R, S].
        value: the mean difference over seeds, around which users' deviations are widened.
        users: behind it, 2 or more.
    """
    draws, seeds = drawn.shape
    mean: Draws = drawn.mean(axis=1)
    of_users: Draws = value + widening(users) * (mean - value)
    if seeds == 1:
        return of_users
    generator = np.random.default_rng(_SEED)
    taken: npt.NDArray[np.int64] = generator.integers(0, seeds, (draws, seeds))
    resampled = np.take_along_axis(drawn, taken, axis=1).mean(axis=1)
    widened: Draws = of_users + widening(seeds) * (resampled - mean)
    return widened
