"""f(video_len): how much a video's length counts. One class per kind, with its settings and its curve.

To add a kind, write its class here and name it in `LengthKind`. `duration_factor` keeps every curve above
FLOOR. Does not know scenes, candidates or where lengths come from.

Shapes: N candidates, K points of a curve.
"""

from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from model.frozen import Frozen
from model.fusion.bounds import NonNegative, Number, Positive, Weight

Floats = NDArray[np.float64]

FLOOR = 1e-3
"""Lowest f, whatever the kind: a candidate may be held back by its length, never struck out."""

_LARGEST = np.finfo(np.float64).max
_SMALLEST = np.finfo(np.float64).tiny


class LengthFactor(Frozen):
    """What all kinds have in common. Each adds its name, `kind: Literal["log"] = "log"`, and its fields."""

    weight: Weight = 1.0
    """The exponent of f in the score. 0 leaves the video length out."""
    missing: Positive = 1.0
    """The value of f for a video whose length is not known."""

    @abstractmethod
    def curve(self, seconds: Floats) -> Floats:
        """f before the floor, of lengths [N] from 0 to infinity -> [N]: elementwise, never NaN or infinite.

        Only overflow passes without a warning, for where a curve has long met its bound.
        """


class NoLength(LengthFactor):
    """f = 1: the length does not matter."""

    kind: Literal["none"] = "none"

    def curve(self, seconds: Floats) -> Floats:  # noqa: D102 (the class says it)
        return np.ones_like(seconds)


class LogLength(LengthFactor):
    """f = log1p(s / scale_s): grows ever slower."""

    kind: Literal["log"] = "log"
    scale_s: Positive
    """Seconds at which f is log(2)."""

    def curve(self, seconds: Floats) -> Floats:  # noqa: D102
        return np.log1p(np.minimum(seconds / self.scale_s, _LARGEST))


class SigmoidLength(LengthFactor):
    """f = 1 / (1 + exp(-(s - mid_s) / width_s)): from 0 to 1 around a length."""

    kind: Literal["sigmoid"] = "sigmoid"
    mid_s: Number
    """Seconds at which f is one half."""
    width_s: Positive
    """Seconds over which f rises from 0.5 to 0.73."""

    def curve(self, seconds: Floats) -> Floats:  # noqa: D102
        return 1.0 / (1.0 + np.exp(-(seconds - self.mid_s) / self.width_s))


class PiecewiseLength(LengthFactor):
    """f is linear between points, flat beyond the ends."""

    kind: Literal["piecewise"] = "piecewise"
    points: Annotated[tuple[tuple[NonNegative, NonNegative], ...], Field(min_length=1)]
    """[seconds, f], seconds strictly increasing."""

    @field_validator("points")
    @classmethod
    def _increasing(cls, points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        _refuse_unordered([s for s, _ in points], "seconds of the points")
        return points

    def curve(self, seconds: Floats) -> Floats:  # noqa: D102
        return linear_between(self.points, seconds)[0]


class TableLength(LengthFactor):
    """f is a step function: values[i] from edges_s[i - 1] on, up to but without edges_s[i]."""

    kind: Literal["table"] = "table"
    edges_s: tuple[NonNegative, ...]
    """Seconds, strictly increasing."""
    values: tuple[NonNegative, ...]
    """f before the first edge, between the edges, and from the last edge on: one more than edges."""

    @field_validator("edges_s")
    @classmethod
    def _increasing(cls, edges_s: tuple[float, ...]) -> tuple[float, ...]:
        _refuse_unordered(edges_s, "edges")
        return edges_s

    @model_validator(mode="after")
    def _one_more_value(self) -> "TableLength":
        if len(self.values) != len(self.edges_s) + 1:
            edges, values = len(self.edges_s), len(self.values)
            raise ValueError(f"{edges} edges_s and {values} values; expected one more value than edges")
        return self

    def curve(self, seconds: Floats) -> Floats:  # noqa: D102
        steps: Floats = np.array(self.values)[np.searchsorted(self.edges_s, seconds, side="right")]
        return steps


class LognormalLength(LengthFactor):
    """f = exp(-ln(s / mode_s)^2 / (2 sigma^2)): one preferred length."""

    kind: Literal["lognormal"] = "lognormal"
    mode_s: Positive
    """Seconds at which f is 1, its highest."""
    sigma: Positive
    """Width in natural-log units: at mode_s * exp(sigma), f is 0.61."""

    def curve(self, seconds: Floats) -> Floats:  # noqa: D102
        # A difference of logs, since s / mode_s may leave the range of floats.
        sigmas: Floats = (np.log(np.maximum(seconds, _SMALLEST)) - np.log(self.mode_s)) / self.sigma
        bell: Floats = np.exp(-0.5 * sigmas * sigmas)
        return bell


LengthKind = Annotated[
    NoLength | LogLength | SigmoidLength | PiecewiseLength | TableLength | LognormalLength,
    Field(discriminator="kind"),
]
"""What a scene's `video_len` may be."""


def duration_factor(video_len: LengthFactor, video_len_s: Floats) -> Floats:
    """f of each length in seconds [N]; NaN stands for an unknown length and gives `missing`. -> [N] float64.

    Lengths below zero count as zero. `missing` has the same floor as f.
    """
    unknown = np.isnan(video_len_s)
    seconds = np.fmax(video_len_s, 0.0)  # [N], 0 where unknown
    with np.errstate(over="ignore"):
        f = video_len.curve(seconds)
    return np.maximum(np.where(unknown, video_len.missing, f), FLOOR)


def linear_between(points: Sequence[tuple[float, float]], at: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Values [N] at places [N], linear between points [K] and flat beyond; and the point to the left of each.

    Not np.interp: its slope overflows between points very close together.
    """
    x, y = np.array(points).T  # [K]
    gap, rise = np.append(np.diff(x), 1.0), np.append(np.diff(y), 0.0)  # [K]
    inside = np.clip(at, x[0], x[-1])  # [N]
    left = np.searchsorted(x, inside, side="right") - 1  # [N], 0 .. K-1
    values: Floats = y[left] + (inside - x[left]) / gap[left] * rise[left]
    return values, left


def _refuse_unordered(values: Sequence[float], what: str) -> None:
    for before, after in pairwise(values):
        if before >= after:
            raise ValueError(f"{what} must increase strictly; {after} follows {before}")
