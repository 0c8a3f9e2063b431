"""Calibration: predictions against what happened, in bins of the prediction and of the video's length.

Knows bins and means, neither tasks nor files. Shapes: n rows, K bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from training.metrics.resampling import (
    ANY,
    LEAST_USERS,
    POSITIVE,
    WITHHELD,
    Draws,
    Ends,
    Floats,
    Ints,
    Resamples,
    interval_around,
)

LENGTHS_S = (7.0, 15.0, 30.0, 60.0, 120.0)
"""Edges of the buckets of video length, in seconds: the same for every data set, so that they compare."""

Bin = dict[str, Any]


def by_prediction(
    kind: str, predictions: Floats, labels: Floats, users: Ints, *, bins: int = 10
) -> list[Bin]:
    """Bins of equally many rows in the order of the prediction; rows of one prediction share a bin.

    Args:
        kind: `binary` or `regression`, whose mean squared error is told too.
        predictions: [n].
        labels: [n].
        users: resampled for the intervals, [n].
        bins: how many; fewer where predictions repeat.

    Returns:
        For each bin that has rows: `low` and `high` (of its predictions), `rows`, `mean_prediction`,
        `mean_label`, `bias` (their difference) and `bias_interval`; of a regression `mse` and
        `mse_interval`. Intervals are withheld where a bin has few users, or few of either class.
    """
    if not len(predictions):
        return []
    edges = np.unique(np.quantile(predictions, np.arange(1, bins) / bins, method="lower"))
    bin_of_row = np.searchsorted(edges, predictions, side="left")
    found = _binned(kind, predictions, labels, users, bin_of_row, len(edges) + 1)
    for number, entry in found.items():
        inside = predictions[bin_of_row == number]
        found[number] = {"low": float(inside.min()), "high": float(inside.max())} | entry
    return list(found.values())


def by_length(
    kind: str,
    predictions: Floats,
    labels: Floats,
    seconds: npt.NDArray[np.float64],
    users: Ints,
    *,
    edges_s: Sequence[float] = LENGTHS_S,
) -> list[Bin]:
    """Bins of the video's length, as `by_prediction` gives them, with `from_s` and `to_s`.

    A bin holds its lower edge and not its upper one. Rows of unknown length come last, both edges None;
    nothing is returned where no length is known.
    """
    known = np.isfinite(seconds)
    if not known.any():
        return []
    count = len(edges_s) + 2
    bin_of_row = np.where(known, np.searchsorted(edges_s, seconds, side="right"), count - 1)
    lower: list[float | None] = [0.0, *edges_s, None]
    upper: list[float | None] = [*edges_s, None, None]
    found = _binned(kind, predictions, labels, users, bin_of_row, count)
    return [{"from_s": lower[number], "to_s": upper[number]} | entry for number, entry in found.items()]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error: the bins' absolute bias, averaged over rows. NaN without rows.

    Chance alone keeps it above 0, the more so the fewer rows a bin has: compare it between models on the
    same rows, and read a bin's interval before believing its bias.
    """
    rows = sum(entry["rows"] for entry in bins)
    return sum(entry["rows"] * abs(entry["bias"]) for entry in bins) / rows if rows else float("nan")


def _binned(
    kind: str, predictions: Floats, labels: Floats, users: Ints, bin_of_row: Ints, count: int
) -> dict[int, Bin]:
    p, y = np.asarray(predictions, np.float64), np.asarray(labels, np.float64)
    squared = (p - y) ** 2
    ones = np.ones(len(p))
    rows, predicted, observed, error = (
        np.bincount(bin_of_row, column, count) for column in (ones, p, y, squared)
    )
    resamples = Resamples(users)
    drawn_rows, drawn_bias, drawn_error = resamples.sums(ones, p - y, squared, bins=bin_of_row, count=count)
    with np.errstate(invalid="ignore"):
        biases, mean_errors = drawn_bias / drawn_rows, drawn_error / drawn_rows  # [R, K]
    # A bin without any positive has the same bias in every draw, which is no certainty.
    classes = (y > 0.5, y <= 0.5) if kind == "binary" else (np.ones(len(y), bool),)
    behind = np.min([_users(bin_of_row, resamples.user, marked, count) for marked in classes], axis=0)
    found: dict[int, Bin] = {}
    for number in np.flatnonzero(rows).tolist():
        users_behind = int(behind[number])
        bias = float((predicted[number] - observed[number]) / rows[number])
        entry: Bin = {
            "rows": int(rows[number]),
            "mean_prediction": float(predicted[number] / rows[number]),
            "mean_label": float(observed[number] / rows[number]),
            "bias": bias,
            "bias_interval": _interval(bias, biases[:, number], users_behind, ANY),
        }
        if kind == "regression":
            entry["mse"] = float(error[number] / rows[number])
            entry["mse_interval"] = _interval(entry["mse"], mean_errors[:, number], users_behind, POSITIVE)
        found[number] = entry
    return found


def _interval(value: float, draws: Draws, users: int, within: Ends) -> tuple[float, float]:
    return interval_around(value, draws, users, within) if users >= LEAST_USERS else WITHHELD


def _users(bin_of_row: Ints, user: Ints, marked: npt.NDArray[np.bool_], count: int) -> Ints:
    """How many users have marked rows in each bin, [K]."""
    pairs = np.unique(user[marked] * count + bin_of_row[marked])
    return np.bincount(pairs % count, minlength=count)
