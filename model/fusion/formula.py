"""The formula, exactly once: predictions and video lengths to one score per candidate.

    log_score = sum over tasks of weight * log(clip(p) + smoothing)  +  weight * log(f(video_len))

In log space and float64, since products of small powers underflow. Each candidate's score depends on its own
numbers alone. Does not know scenes' names, ranks, candidates' ids or where predictions come from.

Shapes: N candidates, T tasks that count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.errors import listed
from model.fusion.config import SceneConfig
from model.fusion.errors import FusionError
from model.fusion.lengths import Floats, duration_factor

_LARGEST = np.finfo(np.float64).max


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
    lengths = _checked_lengths(scene, predictions, video_len_s)  # [N]
    weighed = _weighed(scene, predictions)
    length_weight = scene.video_len.weight
    length_terms = [_term(length_weight, duration_factor(scene.video_len, lengths))] if length_weight else []
    return _fused([*_terms(scene, predictions, weighed), *length_terms], lengths.shape)


def explain(
    scene: SceneConfig, predictions: Mapping[str, NDArray[np.floating]], video_len_s: Floats
) -> Explanation:
    """The same numbers as `score`, bit for bit, with the terms that they sum. Raises as `score` does."""
    lengths = _checked_lengths(scene, predictions, video_len_s)  # [N]
    weighed = _weighed(scene, predictions)
    terms = dict(zip(weighed, _terms(scene, predictions, weighed), strict=True))
    tasks = {
        task: TaskPart(
            np.asarray(p, np.float64),
            scene.tasks[task].weight if task in terms else 0.0,
            # Weight 0 is the factor removed, whatever it is: 0 * NaN would not be.
            terms[task] if task in terms else np.zeros(p.shape),
        )
        for task, p in predictions.items()
    }
    f, weight = duration_factor(scene.video_len, lengths), scene.video_len.weight
    video_len = LengthPart(f, weight, _term(weight, f) if weight else np.zeros(f.shape))
    fused = _fused([*(part.term for part in tasks.values()), video_len.term], lengths.shape)
    return Explanation(tasks, video_len, fused)


def _checked_lengths(
    scene: SceneConfig, predictions: Mapping[str, NDArray[np.floating]], video_len_s: Floats
) -> Floats:
    lengths = np.asarray(video_len_s, dtype=np.float64)  # [N]
    for task in scene.tasks:
        if task not in predictions:
            raise FusionError(f"no predictions for task '{task}'; there are {listed(list(predictions))}")
    for task, p in predictions.items():
        if p.shape != lengths.shape or p.ndim != 1:
            raise ValueError(
                f"predictions of {task} have shape {p.shape}, video_len_s {lengths.shape}; expected [N]"
            )
    return lengths


def _weighed(scene: SceneConfig, predictions: Mapping[str, NDArray[np.floating]]) -> list[str]:
    """Tasks that count, in the order of `predictions`."""
    return [task for task in predictions if task in scene.tasks and scene.tasks[task].weight != 0.0]


def _terms(
    scene: SceneConfig, predictions: Mapping[str, NDArray[np.floating]], weighed: list[str]
) -> Sequence[Floats]:
    """A term [N] for each of the weighed tasks, all calculated at once: [T, N]."""
    if not weighed:
        return []
    p = np.array([predictions[task] for task in weighed], np.float64)  # [T, N]
    told = [scene.tasks[task] for task in weighed]
    low, high, smoothing, weight = np.array(
        [(*task.clip, task.smoothing, task.weight) for task in told]
    ).T.reshape(4, -1, 1)  # [T, 1] each
    return list(_term(weight, np.minimum(np.maximum(p, low), high) + smoothing))


def _term(weight: float | Floats, factor: Floats) -> Floats:
    terms: Floats = weight * np.log(factor) + 0.0  # + 0.0: no term reads -0.0
    return terms


def _fused(terms: Sequence[Floats], shape: tuple[int, ...]) -> Fused:
    log_score = np.zeros(shape)  # [N]
    for term in terms:  # one after another: a candidate's sum is the same however many there are
        log_score += term
    with np.errstate(over="ignore"):
        return Fused(log_score, np.minimum(np.exp(log_score), _LARGEST))
