"""f(video_len): how much a video's length counts, by the kind the scene chose.

Elementwise on arrays and safe at the extremes: never below FLOOR, never infinite, no floating-point warnings.
Does not know the weight of f, the candidates or where lengths come from.

Shapes: N candidates, K points of a curve.
"""

from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from model.fusion.config import (
    LogLength,
    LognormalLength,
    NoLength,
    PiecewiseLength,
    SigmoidLength,
    TableLength,
    VideoLength,
)

Floats = NDArray[np.float64]

FLOOR = 1e-3
"""Lowest f, whatever the kind: a candidate may be held back by its length, never struck out."""

_LARGEST = np.finfo(np.float64).max
_SMALLEST = np.finfo(np.float64).tiny


def duration_factor(video_len: VideoLength, video_len_s: Floats) -> Floats:
    """f of each length in seconds [N]; NaN stands for an unknown length and gives `missing`. -> [N] float64.

    Lengths below zero count as zero. `missing` has the same floor as f.
    """
    unknown = np.isnan(video_len_s)
    seconds = np.fmax(video_len_s, 0.0)  # [N], 0 where unknown
    # Overflow to infinity is where each curve has long met its bound.
    with np.errstate(over="ignore"):
        f = _curve(video_len, seconds)
    return np.maximum(np.where(unknown, video_len.missing, f), FLOOR)


def _curve(video_len: VideoLength, s: Floats) -> Floats:
    match video_len:
        case NoLength():
            return np.ones_like(s)
        case LogLength():
            return np.log1p(np.minimum(s / video_len.scale_s, _LARGEST))
        case SigmoidLength():
            return 1.0 / (1.0 + np.exp(-(s - video_len.mid_s) / video_len.width_s))
        case PiecewiseLength():
            return _interpolated(video_len.points, s)
        case TableLength():
            steps: Floats = np.array(video_len.values)[np.searchsorted(video_len.edges_s, s, side="right")]
            return steps
        case LognormalLength():
            # A difference of logs, since s / mode_s may leave the range of floats.
            sigmas: Floats = (np.log(np.maximum(s, _SMALLEST)) - np.log(video_len.mode_s)) / video_len.sigma
            bell: Floats = np.exp(-0.5 * sigmas * sigmas)
            return bell
    assert_never(video_len)


def _interpolated(points: tuple[tuple[float, float], ...], s: Floats) -> Floats:
    # Not np.interp: its slope overflows between points very close together.
    x, y = np.array(points).T  # [K]
    gap, rise = np.append(np.diff(x), 1.0), np.append(np.diff(y), 0.0)  # [K]
    inside = np.clip(s, x[0], x[-1])  # [N]
    left = np.searchsorted(x, inside, side="right") - 1  # [N], 0 .. K-1
    f: Floats = y[left] + (inside - x[left]) / gap[left] * rise[left]
    return f
