"""`log_power`: the weighted product of predictions and of f(video_len), in logarithms.

    log_score = sum over tasks of weight * log(clip(p) + smoothing)  +  weight * log(f(video_len))

In log space and float64, since products of small powers underflow. Shapes: N candidates, T tasks that count.
"""

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, field_validator

from model.fusion.bounds import NonNegative, Positive, Weight
from model.fusion.lengths import Floats, duration_factor
from model.fusion.names import Name
from model.fusion.scene import MOST_SEGMENTS, SceneConfig, Segment, Term, Terms, unlike_names

_LARGEST_LOG = 700.0
"""Of a smoothing; noise upon a very small one may draw more, which has no exponential."""


class TaskTerm(Term):
    """How one predicted behaviour p enters: `weight * log(clip(p) + smoothing)`."""

    weight: Weight
    """The exponent of p in the score: its elasticity. 0 leaves the task out."""
    smoothing: NonNegative = 0.0
    """Added to the clipped p; about the task's mean p makes the product behave like a sum."""
    clip: tuple[Positive, Annotated[Positive, Field(le=1)]] = (1e-6, 1.0)
    """Lowest and highest p, 0 < low < high <= 1."""

    def disturbed(self, weight: float | None, log_smoothing: float | None) -> Self:  # noqa: D102 (the class above says it)
        smoothing = self.smoothing if log_smoothing is None else math.exp(min(log_smoothing, _LARGEST_LOG))
        heavy = self.weight if weight is None else weight
        return self.model_copy(update={"weight": heavy, "smoothing": smoothing})

    @field_validator("clip")
    @classmethod
    def _in_order(cls, clip: tuple[float, float]) -> tuple[float, float]:
        if clip[0] >= clip[1]:
            raise ValueError(f"low {clip[0]} is not below high {clip[1]}; expected 0 < low < high <= 1")
        return clip


class LogPower(SceneConfig):
    """The weighted product: weights are elasticities."""

    in_logs: ClassVar[bool] = True

    formula: Literal["log_power"] = "log_power"
    tasks: dict[Name, TaskTerm]
    """Terms by task name. A task left out has weight 0."""
    segments: Annotated[
        tuple[Segment[TaskTerm], ...] | None, Field(max_length=MOST_SEGMENTS), AfterValidator(unlike_names)
    ] = None

    @property
    def smoothings(self) -> dict[str, float]:  # noqa: D102
        return {task: term.smoothing for task, term in self.tasks.items() if term.smoothing and term.weight}

    def terms(  # noqa: D102
        self, p: Mapping[str, Floats], video_len_s: Floats, lists: NDArray[np.int64] | None
    ) -> Terms:
        del lists  # each candidate counts alone
        weight = self.video_len.weight
        length = log_term(weight, duration_factor(self.video_len, video_len_s)) if weight else None
        if not p:
            return Terms({}, length)
        stacked = np.array(list(p.values()), np.float64)  # [T, N]
        low, high, smoothing, weights = np.array(
            [(*self.tasks[task].clip, self.tasks[task].smoothing, self.tasks[task].weight) for task in p]
        ).T.reshape(4, -1, 1)  # [T, 1] each
        np.maximum(stacked, low, out=stacked)
        np.minimum(stacked, high, out=stacked)
        stacked += smoothing
        terms = log_term(weights, stacked)
        return Terms(dict(zip(p, terms, strict=True)), length)


def log_term(weight: float | Floats, factor: Floats) -> Floats:
    """`weight * log(factor)`."""
    terms: Floats = np.log(factor)
    terms *= weight
    terms += 0.0  # no term reads -0.0
    return terms
