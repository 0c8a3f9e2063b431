"""Metrics: how well predictions meet labels, each under its task's mask, with intervals clustered by user.

Plain NumPy; knows nothing about networks, files or the log. Shapes: n rows of one task's sample space.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.metrics.resampling import POSITIVE, UNIT, Resamples, Rows

Floats = npt.NDArray[np.floating[Any]]
Draws = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_EPSILON = 1e-7


class BinaryScorer:
    """AUC of one set of scores under many weightings of its rows: sorted once, O(n) a weighting."""

    def __init__(self, scores: Floats, labels: Floats) -> None:
        self._pairs = GroupedScorer(scores, labels, np.zeros(len(scores), np.int64))

    def auc(self, weights: Floats | None = None) -> float:
        """Area under the ROC curve; ties count half. NaN where a class has no weight or a score is NaN."""
        return self._pairs.auc(weights)

    def draws(self, resamples: Resamples) -> Draws:
        """AUC under each draw of users, [R]."""
        return self._pairs.draws(resamples)


def auc(scores: Floats, labels: Floats) -> float:
    """Area under the ROC curve: [n], [n] -> one number, NaN without both classes or where a score is NaN."""
    return BinaryScorer(scores, labels).auc()


@dataclass(frozen=True)
class GroupedAuc:
    """AUC within groups, averaged with the groups' rows as weights.

    Attributes:
        auc: the average over groups that have both classes; NaN where none has, or a score is NaN.
        groups: how many have both classes.
        coverage: their share of all rows.
    """

    auc: float
    groups: int
    coverage: float


class GroupedScorer:
    """AUC within groups of one set of scores under many weightings of its rows.

    Holds only groups of both classes, in the order of group and score: a positive is worth the negatives
    of its group below it, and half of those beside it. A score that is NaN has no position in any order, so
    with one among the scores the metric is NaN, whatever the weights.

    Args:
        scores: [n].
        labels: 0 or 1, [n].
        groups: group number of each row, [n].
    """

    def __init__(self, scores: Floats, labels: Floats, groups: Ints) -> None:
        self._rows = len(scores)
        self._ordered = not np.isnan(scores).any()
        _, number, rows = np.unique(groups, return_inverse=True, return_counts=True)
        is_positive = np.asarray(labels) > 0.5
        positives = np.bincount(number[is_positive], minlength=len(rows))
        both = (positives > 0) & (positives < rows)
        kept = np.flatnonzero(both[number])
        order = kept[np.lexsort((np.asarray(scores)[kept], number[kept]))]
        score, group, is_positive = np.asarray(scores)[order], number[order], is_positive[order]
        change = (group[1:] != group[:-1]) | (score[1:] != score[:-1])
        ties = np.flatnonzero(np.r_[True, change])
        lengths = np.diff(np.r_[ties, len(order)])
        negatives_before = np.r_[0, np.cumsum(~is_positive)]
        self._below = negatives_before[np.repeat(ties, lengths)[is_positive]]
        self._up_to = negatives_before[np.repeat(ties + lengths, lengths)[is_positive]]
        self._positives, self._negatives = order[is_positive], order[~is_positive]
        self._positives_before = np.r_[0, np.cumsum(positives[both])]
        self._negatives_before = np.r_[0, np.cumsum((rows - positives)[both])]

    def auc(self, weights: Floats | None = None) -> float:
        """The average over groups under row weights [n]; NaN where none has both classes, or a score is."""
        weight = np.ones(self._rows) if weights is None else np.asarray(weights, np.float64)
        return self._average(weight[self._positives], weight[self._negatives])

    def found(self) -> GroupedAuc:
        """The metric over all rows, each once."""
        covered = len(self._positives) + len(self._negatives)
        coverage = covered / self._rows if self._rows else 0.0
        return GroupedAuc(self.auc(), len(self._positives_before) - 1, coverage)

    def interval(self, resamples: Resamples) -> tuple[float, float]:
        """95 % interval of the metric; withheld where too few users have groups of both classes."""
        return resamples.interval(self.auc(), lambda: self.draws(resamples), *self.classes, within=UNIT)

    @property
    def classes(self) -> tuple[Ints, Ints]:
        """Positions of the positives and of the negatives in groups of both: what the metric rests on."""
        return self._positives, self._negatives

    def draws(self, resamples: Resamples) -> Draws:
        """The metric under each draw of users, [R]."""
        positive, negative = resamples.user[self._positives], resamples.user[self._negatives]
        return np.array([self._average(drawn[positive], drawn[negative]) for drawn in resamples], np.float64)

    def _average(self, positive: Draws, negative: Draws) -> float:
        """From the weights of the positives and of the negatives, in this order."""
        if not (len(positive) and self._ordered):
            return float("nan")
        groups = self._positives_before[:-1]
        below = np.concatenate(([0.0], np.cumsum(negative)))
        wins = np.add.reduceat(positive * (below[self._below] + below[self._up_to]), groups) / 2.0
        starts, ends = below[self._negatives_before[:-1]], below[self._negatives_before[1:]]
        positives, negatives = np.add.reduceat(positive, groups), ends - starts
        wins -= positives * starts
        both = (positives > 0) & (negatives > 0)
        if not both.any():
            return float("nan")
        wins, positives, negatives = wins[both], positives[both], negatives[both]
        return float(np.average(wins / (positives * negatives), weights=positives + negatives))


def grouped_auc(scores: Floats, labels: Floats, groups: Ints) -> GroupedAuc:
    """AUC of the pairs that share a group (Zhu et al., 2017, "Optimized Cost per Click", call it GAUC).

    Args:
        scores: [n].
        labels: 0 or 1, [n].
        groups: group number of each row, [n].
    """
    return GroupedScorer(scores, labels, groups).found()


def surprises(probabilities: Floats, labels: Floats) -> Draws:
    """Cross-entropy of each row in nats, [n]."""
    p = np.clip(np.asarray(probabilities, np.float64), _EPSILON, 1.0 - _EPSILON)
    return -np.where(np.asarray(labels) > 0.5, np.log(p), np.log1p(-p))


def logloss(probabilities: Floats, labels: Floats) -> float:
    """Mean cross-entropy in nats."""
    return _mean(surprises(probabilities, labels))


def task_metrics(
    kind: str, predictions: Floats, labels: Floats, groups: Ints, users: Ints | None = None
) -> dict[str, Any]:
    """All metrics of one task over its sample space.

    Args:
        kind: `binary` or `regression`.
        predictions: [n].
        labels: [n].
        groups: for AUC within groups, [n].
        users: resampled for the intervals, [n]; no intervals where None.
    """
    mean_label, mean_prediction = _mean(labels), _mean(predictions)
    shared = {
        "rows": len(labels),
        "calibration": mean_prediction / mean_label if mean_label > 0 else float("nan"),
        "mean_label": mean_label,
        "mean_prediction": mean_prediction,
    }
    resamples = Resamples(users) if users is not None else None
    if kind == "regression":
        errors = (np.asarray(predictions, np.float64) - labels) ** 2
        metrics: dict[str, Any] = {"mse": _mean(errors)}
        metrics["variance"] = float(np.var(labels)) if len(labels) else float("nan")
        if resamples is not None:
            everyone = np.ones(len(labels), bool)
            metrics["mse_interval"] = _of_ratio(metrics["mse"], errors, everyone, resamples, everyone)
            rests_on = (everyone, np.asarray(labels) != 0)  # nothing can be over an observed 0
            metrics["calibration_interval"] = _of_ratio(
                shared["calibration"], predictions, labels, resamples, *rests_on
            )
        return metrics | shared
    positive = np.asarray(labels) > 0.5
    scorer, within = BinaryScorer(predictions, labels), GroupedScorer(predictions, labels, groups)
    losses, grouped = surprises(predictions, labels), within.found()
    metrics = {
        "auc": scorer.auc(),
        "gauc": grouped.auc,
        "gauc_groups": grouped.groups,
        "gauc_coverage": grouped.coverage,
        "logloss": _mean(losses),
        "positives": int(positive.sum()),
    }
    if resamples is not None:
        classes, rows = (positive, ~positive), np.ones(len(labels))
        metrics["auc_interval"] = resamples.interval(
            metrics["auc"], lambda: scorer.draws(resamples), *classes, within=UNIT
        )
        metrics["gauc_interval"] = within.interval(resamples)
        metrics["logloss_interval"] = _of_ratio(metrics["logloss"], losses, rows, resamples, *classes)
        metrics["calibration_interval"] = _of_ratio(
            shared["calibration"], predictions, labels, resamples, *classes
        )
    return metrics | shared


def _of_ratio(
    value: float, above: Floats, below: Floats, resamples: Resamples, *rows: Rows
) -> tuple[float, float]:
    """Interval of a ratio of sums over rows, [n] each, such as a mean loss or predicted over observed."""

    def draws() -> Draws:
        sums = resamples.sums(above, below)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio: Draws = (sums[0] / sums[1])[:, 0]
        return ratio

    return resamples.interval(value, draws, *rows, within=POSITIVE)


def _mean(values: Floats) -> float:
    return float(np.mean(values, dtype=np.float64)) if len(values) else float("nan")


def finite(metrics: Any) -> Any:
    """The same, with None for numbers that JSON has no word for."""
    if isinstance(metrics, Mapping):
        return {key: finite(value) for key, value in metrics.items()}
    if isinstance(metrics, list | tuple):
        return [finite(value) for value in metrics]
    return None if isinstance(metrics, float) and not math.isfinite(metrics) else metrics
