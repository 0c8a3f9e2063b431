"""Metrics: how well predictions meet labels, each under its task's mask, with intervals clustered by user.

Plain NumPy; knows nothing about networks, files or the log. Shapes: n rows of one task's sample space.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["BinaryScorer", "GroupedAuc", "auc", "grouped_auc", "interval", "logloss", "task_metrics"]

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]

_REPLICATES = 400
_EPSILON = 1e-7


class BinaryScorer:
    """AUC of one set of scores under many weightings of its rows: sorted once, O(n) a weighting."""

    def __init__(self, scores: Floats, labels: Floats) -> None:
        self._order = np.argsort(scores, kind="stable")
        ordered = np.asarray(scores)[self._order]
        self._positive = np.asarray(labels)[self._order] > 0.5
        starts = (
            np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ordered) else np.zeros(0, int)
        )
        self._starts = starts

    def auc(self, weights: Floats | None = None) -> float:
        """Area under the ROC curve; tied scores count half. NaN where one class has no weight."""
        if not len(self._order):
            return float("nan")
        weight = (
            np.ones(len(self._order)) if weights is None else np.asarray(weights, np.float64)[self._order]
        )
        positive = np.add.reduceat(np.where(self._positive, weight, 0.0), self._starts)
        negative = np.add.reduceat(np.where(self._positive, 0.0, weight), self._starts)
        below = np.cumsum(negative) - negative
        pairs = positive.sum() * negative.sum()
        return float((positive * (below + negative / 2.0)).sum() / pairs) if pairs > 0 else float("nan")


def auc(scores: Floats, labels: Floats) -> float:
    """Area under the ROC curve: [n], [n] -> one number, NaN without both classes."""
    return BinaryScorer(scores, labels).auc()


@dataclass(frozen=True)
class GroupedAuc:
    """AUC within groups, averaged with the groups' rows as weights.

    Attributes:
        auc: the average over groups that have both classes; NaN where none has.
        groups: how many have both classes.
        coverage: their share of all rows.
    """

    auc: float
    groups: int
    coverage: float


def grouped_auc(scores: Floats, labels: Floats, groups: Ints) -> GroupedAuc:
    """AUC of the pairs that share a group (Zhu et al., 2017, "Optimized Cost per Click", call it GAUC).

    Args:
        scores: [n].
        labels: 0 or 1, [n].
        groups: group number of each row, [n].
    """
    if not len(scores):
        return GroupedAuc(float("nan"), 0, 0.0)
    order = np.lexsort((scores, groups))
    score, positive, group = np.asarray(scores)[order], np.asarray(labels)[order] > 0.5, groups[order]
    new_group = np.r_[True, group[1:] != group[:-1]]
    starts = np.flatnonzero(new_group)
    rows = np.diff(np.r_[starts, len(group)])
    positives = np.add.reduceat(positive, starts)
    negatives = rows - positives
    # Mid-ranks inside each group give the Mann-Whitney statistic of all groups at once.
    tie_starts = np.flatnonzero(new_group | np.r_[True, score[1:] != score[:-1]])
    tie_rows = np.diff(np.r_[tie_starts, len(group)])
    of_group = np.cumsum(new_group) - 1
    middle = tie_starts + (tie_rows - 1) / 2.0 - starts[of_group[tie_starts]]
    rank_sum = np.add.reduceat(np.where(positive, np.repeat(middle, tie_rows) + 1.0, 0.0), starts)
    both = (positives > 0) & (negatives > 0)
    if not both.any():
        return GroupedAuc(float("nan"), 0, 0.0)
    p, n = positives[both], negatives[both]
    areas = (rank_sum[both] - p * (p + 1) / 2.0) / (p * n)
    return GroupedAuc(
        float(np.average(areas, weights=rows[both])), int(both.sum()), float(rows[both].sum() / len(group))
    )


def logloss(probabilities: Floats, labels: Floats) -> float:
    """Mean cross-entropy in nats."""
    p = np.clip(np.asarray(probabilities, np.float64), _EPSILON, 1.0 - _EPSILON)
    return float(-np.mean(np.where(labels > 0.5, np.log(p), np.log1p(-p)))) if len(p) else float("nan")


def interval(
    statistic: Callable[[Floats], float], users: Ints, *, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap percentile interval that resamples users, since rows of one user are not independent.

    Args:
        statistic: from row weights [n] to the metric.
        users: user number of each row, [n].
        level: the interval's coverage.
        seed: of the resampling.
    """
    _, number = np.unique(users, return_inverse=True)
    count = int(number.max()) + 1 if len(number) else 0
    generator = np.random.default_rng(seed)
    draws = []
    for _ in range(_REPLICATES if count else 0):
        drawn = np.bincount(generator.integers(0, count, count), minlength=count)
        draws.append(statistic(drawn[number].astype(np.float64)))
    kept = [draw for draw in draws if np.isfinite(draw)]
    if not kept:
        return float("nan"), float("nan")
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


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
    mean_label = float(np.mean(labels)) if len(labels) else float("nan")
    mean_prediction = float(np.mean(predictions, dtype=np.float64)) if len(labels) else float("nan")
    shared = {
        "rows": len(labels),
        "calibration": mean_prediction / mean_label if mean_label > 0 else float("nan"),
        "mean_label": mean_label,
        "mean_prediction": mean_prediction,
    }
    if kind == "regression":
        errors = (np.asarray(predictions, np.float64) - labels) ** 2
        metrics: dict[str, Any] = {"mse": float(errors.mean()) if len(errors) else float("nan")}
        metrics["variance"] = float(np.var(labels)) if len(labels) else float("nan")
        if users is not None:
            metrics["mse_interval"] = interval(lambda w: float((errors * w).sum() / w.sum()), users)
        return metrics | shared
    scorer = BinaryScorer(predictions, labels)
    within = grouped_auc(predictions, labels, groups)
    metrics = {
        "auc": scorer.auc(),
        "gauc": within.auc,
        "gauc_groups": within.groups,
        "gauc_coverage": within.coverage,
        "logloss": logloss(predictions, labels),
        "positives": int((labels > 0.5).sum()),
    }
    if users is not None:
        metrics["auc_interval"] = interval(scorer.auc, users)
    return metrics | shared
