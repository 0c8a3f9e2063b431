"""The formula, exactly once: predictions and video lengths to one score per candidate.

    log_score = sum over tasks of weight * log(clip(p) + smoothing)  +  weight * log(f(video_len))

In log space and float64, since products of small powers underflow. Each candidate's score depends on its own
numbers alone. Does not know scenes' names, ranks, candidates' ids or where predictions come from.

Shapes: N candidates.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.fusion.config import SceneConfig, TaskTerm, VideoLength
from model.fusion.duration import Floats, duration_factor
from model.fusion.errors import FusionError, listed

_LARGEST = np.finfo(np.float64).max
_LEFT_OUT = TaskTerm(weight=0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Fused:
    """What ranking needs: order by `log_score`, report `score`."""

    log_score: Floats  # [N]
    score: Floats  # [N], exp(log_score), at most the largest float64


@dataclass(frozen=True, slots=True, eq=False)
class TaskPart:
    """One task's share of the log-score."""

    p: Floats  # [N], as predicted: before clip and smoothing
    weight: float  # 0 for a task that the scene leaves out
    term: Floats  # [N]


@dataclass(frozen=True, slots=True, eq=False)
class LengthPart:
    """The video length's share of the log-score."""

    f: Floats  # [N]
    weight: float
    term: Floats  # [N]


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Every term. From 0, tasks' terms in order, then video_len's, add up to `fused.log_score` exactly."""

    tasks: dict[str, TaskPart]
    video_len: LengthPart
    fused: Fused


def score(scene: SceneConfig, predictions: Mapping[str, NDArray[np.floating]], video_len_s: Floats) -> Fused:
    """Fuse predictions {task: p [N]}, probabilities, and lengths [N] in seconds, NaN where unknown.

    Terms are summed in the order of `predictions`. A NaN prediction makes the candidate's score NaN, unless
    its weight is 0. Raises FusionError if the scene weighs a task without predictions, ValueError if shapes
    differ.
    """
    return explain(scene, predictions, video_len_s).fused


def explain(
    scene: SceneConfig, predictions: Mapping[str, NDArray[np.floating]], video_len_s: Floats
) -> Explanation:
    """The same numbers as `score`, bit for bit, with the terms that they sum. Raises as `score` does."""
    lengths = np.asarray(video_len_s, dtype=np.float64)  # [N]
    given = {task: np.asarray(p, dtype=np.float64) for task, p in predictions.items()}  # {task: [N]}
    for task in scene.tasks:
        if task not in given:
            raise FusionError(f"no predictions for task '{task}'; there are {listed(list(given))}")
    for task, p in given.items():
        if p.shape != lengths.shape or p.ndim != 1:
            raise ValueError(
                f"predictions of {task} have shape {p.shape}, video_len_s {lengths.shape}; expected [N]"
            )

    tasks = {task: _task_part(scene.tasks.get(task, _LEFT_OUT), p) for task, p in given.items()}
    video_len = _length_part(scene.video_len, lengths)
    log_score = np.zeros(lengths.shape)  # [N]
    for term in (*(part.term for part in tasks.values()), video_len.term):
        log_score += term
    with np.errstate(over="ignore"):
        fused = Fused(log_score, np.minimum(np.exp(log_score), _LARGEST))
    return Explanation(tasks, video_len, fused)


def _task_part(task: TaskTerm, p: Floats) -> TaskPart:
    return TaskPart(p, task.weight, _term(task.weight, np.clip(p, *task.clip) + task.smoothing))


def _length_part(video_len: VideoLength, lengths: Floats) -> LengthPart:
    f = duration_factor(video_len, lengths)
    return LengthPart(f, video_len.weight, _term(video_len.weight, f))


def _term(weight: float, factor: Floats) -> Floats:
    # Weight 0 is the factor removed, whatever it is: 0 * NaN would not be.
    if weight == 0.0:
        return np.zeros(factor.shape)
    return weight * np.log(factor) + 0.0  # + 0.0: no term reads -0.0
