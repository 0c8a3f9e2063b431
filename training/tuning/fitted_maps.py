"""Maps of predictions to what was observed, fitted: Platt's and isotonic. Plain NumPy.

Labels are 0 or 1, or shares in between. Both maps rise. Shapes: n rows, K points.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from model.fusion.calibration import CalibrationMap, Isotonic, Platt

Floats = npt.NDArray[np.float64]
Kind = Literal["platt", "isotonic"]

MOST_POINTS = 50
"""Of an isotonic map."""
_EDGE = 1e-12
_LEAST_SLOPE = 0.01
_FLAT = 1e-3
_ROUNDING = 1e-9
_STEPS = 100


def fit(kind: Kind, p: Floats, labels: Floats) -> CalibrationMap:
    """The map from predictions [n] to labels [n], of one row or more."""
    targets = smoothed(labels)
    return fit_platt(p, targets) if kind == "platt" else fit_isotonic(p, targets)


def smoothed(labels: Floats) -> Floats:
    """Labels [n] moved off 0 and 1, so that no map is certain (Platt 1999, section 2.2)."""
    ones = float(labels.sum())
    high, low = (ones + 1.0) / (ones + 2.0), 1.0 / (len(labels) - ones + 2.0)
    return labels * high + (1.0 - labels) * low


def fit_platt(p: Floats, targets: Floats) -> Platt:
    """sigmoid(a + b logit p) of least cross-entropy, b above 0.

    Newton's method with halved steps (Lin, Lin and Weng 2007, "A note on Platt's probabilistic outputs").
    """
    inside = np.clip(p, _EDGE, 1.0 - _EDGE)
    x = np.log(inside) - np.log1p(-inside)
    a, b = _newton(x, targets, 0.0, 1.0, slope=True)
    if b < _LEAST_SLOPE:  # what is observed does not rise with the prediction
        a, b = _newton(x, targets, 0.0, _LEAST_SLOPE, slope=False)
    return Platt(a=_rounded(a), b=_rounded(b))


def _newton(x: Floats, targets: Floats, a: float, b: float, *, slope: bool) -> tuple[float, float]:
    loss = _loss(x, targets, a, b)
    for _ in range(_STEPS):
        q = _sigmoid(a + b * x)
        error, spread = q - targets, q * (1.0 - q)
        gradient = np.array([error.sum(), (error * x).sum() if slope else 0.0])
        cross = (spread * x).sum() if slope else 0.0
        square = (spread * x * x).sum() if slope else 1.0
        curvature = np.array([[spread.sum(), cross], [cross, square]]) + 1e-9 * np.eye(2)
        if np.abs(gradient).max() < 1e-9 * len(x):
            break
        step, size = np.linalg.solve(curvature, gradient), 1.0
        while size > 1e-10:
            there = _loss(x, targets, a - size * step[0], b - size * step[1])
            if there < loss:
                break
            size /= 2.0
        else:
            break
        a, b, loss = a - size * float(step[0]), b - size * float(step[1]), there
    return a, b


def _loss(x: Floats, targets: Floats, a: float, b: float) -> float:
    z = a + b * x
    return float((np.logaddexp(0.0, z) - targets * z).sum())


def _sigmoid(z: Floats) -> Floats:
    positive: Floats = 0.5 * (1.0 + np.tanh(0.5 * z))
    return positive


def fit_isotonic(p: Floats, targets: Floats) -> Isotonic:
    """Rising means of bins, linear between their centres.

    That is centered isotonic regression (Oron and Flournoy 2017), which has no flat parts.

    Bins have about as many rows and predicted events each; those that fall are pooled. Before the first
    centre and after the last stands a line through the origin, or one all but flat where bins were pooled, so
    that predictions that differ stay different.
    """
    order = np.argsort(p, kind="stable")
    p, targets = p[order], targets[order]
    share = np.arange(1, len(p) + 1) / len(p)
    events = np.cumsum(p) / max(float(p.sum()), 1e-300)
    numbers = np.minimum((share + events) / 2.0 * (MOST_POINTS - 2), MOST_POINTS - 2.5).astype(np.int64)
    first = np.searchsorted(p, p, side="left")  # rows of one prediction share a bin
    starts = np.unique(first[np.searchsorted(numbers, np.unique(numbers), side="left")])
    rows = np.diff(np.append(starts, len(p))).astype(np.float64)
    pools = pooled(rows, np.add.reduceat(p, starts), np.add.reduceat(targets, starts))
    centres = [(x / count, min(y / count, 1.0)) for count, x, y in pools]
    low, high = centres[0], centres[-1]
    ends = [(0.0, 0.0)]
    if pools[0][0] > rows[0]:  # bins that did not rise: all but flat
        ends.append((float(p[0]), low[1] * (1.0 - _FLAT)))
    rest = []
    if pools[-1][0] > rows[-1]:
        rest.append((float(p[-1]), _nearly(high[1])))
    rest.append((1.0, max(high[1] / max(high), _nearly(_nearly(high[1])))))
    return Isotonic(points=_rising([*ends, *centres, *rest]))


def _nearly(value: float) -> float:
    """A little more."""
    return value + _FLAT * min(value, 1.0 - value)


def _rising(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Those that rise in both numbers from the one before."""
    kept: list[tuple[float, float]] = []
    for x, y in points:
        point = (_rounded(x), _rounded(y))
        if not kept or (point[0] > kept[-1][0] and point[1] > kept[-1][1]):
            kept.append(point)
        elif kept == [(0.0, 0.0)]:  # predictions of 0 have been seen, and what came of them
            kept = [(0.0, point[1])]
    return tuple(kept)


def pooled(rows: Floats, p: Floats, targets: Floats) -> Sequence[tuple[float, float, float]]:
    """Neighbouring bins pooled until their mean targets rise strictly (pool adjacent violators).

    Args:
        rows: of bins [K].
        p, targets: sums over their rows [K].

    Returns:
        rows, sum of p and sum of targets of each pool.
    """
    pools: list[tuple[float, float, float]] = []
    for bin_ in zip(rows.tolist(), p.tolist(), targets.tolist(), strict=True):
        pool: tuple[float, float, float] = bin_
        while pools and pools[-1][2] * pool[0] >= pool[2] * pools[-1][0] * (1.0 - _ROUNDING):
            before = pools.pop()
            pool = (before[0] + pool[0], before[1] + pool[1], before[2] + pool[2])
        pools.append(pool)
    return pools


def _rounded(value: float) -> float:
    """To six digits, since a config is read by people."""
    return float(f"{value:.6g}")
