"""Comparison: two models on the same rows, paired by row, users resampled.

Knows predictions and labels; where they come from is not its business. Shapes: n rows of one task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from training.metrics.resampling import Draws, Floats, Ints, Resamples, Rows
from training.metrics.task_metrics import BinaryScorer, GroupedScorer, surprises

Verdict = Literal["better", "worse", "undecided"]


@dataclass(frozen=True)
class Difference:
    """One metric of two models.

    Attributes:
        value, other: of this model and of the other; NaN where it cannot be computed.
        interval: 95 % interval of the difference; NaN where too few users stand behind it.
        higher_is_better: which way the metric points.
    """

    value: float
    other: float
    interval: tuple[float, float]
    higher_is_better: bool

    @property
    def difference(self) -> float:
        """This model's less the other's."""
        return self.value - self.other

    @property
    def verdict(self) -> Verdict:
        """What the interval allows to say of this model: to decide, it lies wholly on one side of 0."""
        low, high = self.interval if self.higher_is_better else (-self.interval[1], -self.interval[0])
        return "better" if low > 0 else "worse" if high < 0 else "undecided"

    def report(self) -> dict[str, Any]:
        """As an evaluation reports it."""
        return {
            "value": self.value,
            "other": self.other,
            "difference": self.difference,
            "interval": self.interval,
            "verdict": self.verdict,
        }


def compare_task(
    kind: str, ours: Floats, theirs: Floats, labels: Floats, groups: Ints, users: Ints
) -> dict[str, Difference]:
    """Metric by metric: `auc`, `gauc` (within groups) and `logloss` of a binary task, `mse` of a regression.

    Args:
        kind: `binary` or `regression`.
        ours, theirs: predictions, [n].
        labels: [n].
        groups: for AUC within groups, [n].
        users: resampled, [n].
    """
    resamples = Resamples(users)
    if kind == "regression":
        mine, their_errors = (_squared(predictions, labels) for predictions in (ours, theirs))
        return {"mse": _loss(mine, their_errors, resamples, np.ones(len(labels), bool))}
    positive = np.asarray(labels) > 0.5
    classes = (positive, ~positive)
    pooled = [BinaryScorer(predictions, labels) for predictions in (ours, theirs)]
    within = [GroupedScorer(predictions, labels, groups) for predictions in (ours, theirs)]
    return {
        "auc": _area(pooled, resamples, *classes),
        # Both have the same groups, and so the same rows in groups of both classes.
        "gauc": _area(within, resamples, *within[0].classes),
        "logloss": _loss(surprises(ours, labels), surprises(theirs, labels), resamples, *classes),
    }


def _area(
    scorers: Sequence[BinaryScorer] | Sequence[GroupedScorer], resamples: Resamples, *rows: Rows
) -> Difference:
    """An AUC of this model and of the other, which rests on these sets of rows."""
    ours, theirs = scorers
    us, them = ours.auc(), theirs.auc()
    interval = resamples.interval(us - them, lambda: ours.draws(resamples) - theirs.draws(resamples), *rows)
    return Difference(us, them, interval, higher_is_better=True)


def compare_losses(ours: Draws, theirs: Draws, users: Ints, *rows: Rows) -> Difference:
    """A mean loss of two models, from each row's.

    Args:
        ours, theirs: losses, [n].
        users: resampled, [n].
        rows: sets of rows that it rests on, such as both classes, as masks or positions.
    """
    return _loss(ours, theirs, Resamples(users), *rows)


def _loss(ours: Draws, theirs: Draws, resamples: Resamples, *rows: Rows) -> Difference:
    """A mean loss of both models from each row's, [n]."""
    us, them = (float(each.mean()) if len(each) else float("nan") for each in (ours, theirs))

    def draws() -> Draws:
        excess, count = resamples.sums(ours - theirs, np.ones(len(ours)))
        return (excess / count)[:, 0]

    return Difference(us, them, resamples.interval(us - them, draws, *rows), higher_is_better=False)


def _squared(predictions: Floats, labels: Floats) -> Draws:
    return (np.asarray(predictions, np.float64) - labels) ** 2
