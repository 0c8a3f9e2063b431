"""Predictions and video lengths to one score per candidate, by whichever formula a scene has.

In float64. Each candidate's score depends on its own numbers alone, but for `rank_ensemble`, which looks at
the list. Does not know scenes' names, candidates' ids or where predictions come from.

Shapes: N candidates.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.errors import listed
from model.fusion.conditions import LENGTH
from model.fusion.config import Scene
from model.fusion.errors import FusionError
from model.fusion.formulas.learned import LearnedFormula, Scorer
from model.fusion.formulas.weighted_sum import WeightedSum
from model.fusion.lengths import Floats, duration_factor
from model.fusion.scene import SceneConfig, Terms

_LARGEST = np.finfo(np.float64).max
Lists = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Fused:
    """What ranking needs: order by `order`, report `score`."""

    score: Floats  # [N], the formula's value, at most the largest float64
    log_score: Floats | None  # [N], its logarithm, where the formula sums logarithms

    @property
    def order(self) -> Floats:
        """What the order goes by, the highest first [N]: products of small powers underflow, logs do not."""
        return self.score if self.log_score is None else self.log_score


@dataclass(frozen=True, slots=True, eq=False)
class TaskPart:
    """One task's share of the score, or of its logarithm."""

    p: Floats  # [N], as predicted: before calibration, clip and smoothing
    weight: float  # 0 for a task that the scene leaves out
    term: Floats  # [N]
    calibrated: Floats | None = None  # [N], where the scene calibrates the task
    per_s: float | None = None  # beside the weight, for each second, where there is such a price


@dataclass(frozen=True, slots=True, eq=False)
class LengthPart:
    """The video length's share."""

    f: Floats  # [N]
    weight: float
    term: Floats  # [N]


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Every term. From 0, tasks' terms in order, then video_len's, add up to `fused.order` exactly.

    Where a network scores, terms are differences of its float32 scores: with `base` they add up to
    `fused.order`, exactly unless scores on the way differ by 2^29 times.
    """

    tasks: dict[str, TaskPart]
    video_len: LengthPart
    fused: Fused
    base: Floats | None = None  # [N], a network's score where all p are 0 and the length is unknown


def score(
    scene: Scene,
    predictions: Mapping[str, NDArray[np.floating]],
    video_len_s: Floats,
    *,
    lists: Lists | None = None,
    scorer: Scorer | None = None,
) -> Fused:
    """Fuse predictions {task: p [N]}, probabilities, and lengths [N] in seconds, NaN where unknown.

    Terms are summed in the order of `predictions`. A NaN prediction makes the candidate's score NaN, unless
    its weight is 0.

    Args:
        scene: the formula and its weights, as they hold for the request (`of_request`).
        predictions: by task.
        video_len_s: of the candidates.
        lists: the list that each candidate belongs to [N]; None where there is one.
        scorer: the network of a learned formula.

    Raises:
        FusionError: the scene weighs a task without predictions, or its network failed.
        ValueError: shapes differ.
    """
    lengths = _checked_lengths(scene, predictions, video_len_s)  # [N]
    if isinstance(scene, LearnedFormula):
        inputs = scene.columns(_calibrated(scene, predictions, lengths), lengths)  # [N, K]
        return Fused(np.asarray(_run(scene, scorer)(inputs), np.float64), None)
    terms = scene.terms(_calibrated(scene, predictions, lengths), lengths, lists)
    return _fused(scene, _summands(terms), lengths.shape)


def explain(
    scene: Scene,
    predictions: Mapping[str, NDArray[np.floating]],
    video_len_s: Floats,
    *,
    lists: Lists | None = None,
    scorer: Scorer | None = None,
) -> Explanation:
    """The same numbers as `score`, bit for bit, with the terms that they sum; arguments and errors, too."""
    lengths = _checked_lengths(scene, predictions, video_len_s)  # [N]
    calibrated = _calibrated(scene, predictions, lengths)
    if isinstance(scene, LearnedFormula):
        base, terms, fused = _attributed(scene, _run(scene, scorer), calibrated, lengths)
    else:
        base, terms = None, scene.terms(calibrated, lengths, lists)
        fused = _fused(scene, _summands(terms), lengths.shape)
    nothing = np.zeros(lengths.shape)
    calibrates = scene.calibration or {}
    tasks = {
        task: TaskPart(
            np.asarray(p, np.float64),
            _weight(scene, task) if task in terms.tasks else 0.0,
            # Weight 0 is the factor removed, whatever it is: 0 * NaN would not be.
            terms.tasks.get(task, nothing),
            calibrated[task] if task in calibrates and task in calibrated else None,
            scene.per_second.get(task),
        )
        for task, p in predictions.items()
    }
    f = duration_factor(scene.video_len, lengths)
    term = nothing if terms.video_len is None else terms.video_len
    return Explanation(tasks, LengthPart(f, scene.video_len.weight, term), fused, base)


def _weight(scene: Scene, task: str) -> float:
    """As the config says it: a price, where there is one per second beside."""
    return scene.tasks[task].price if isinstance(scene, WeightedSum) else scene.weights[task]


def _checked_lengths(
    scene: SceneConfig, predictions: Mapping[str, NDArray[np.floating]], video_len_s: Floats
) -> Floats:
    lengths = np.asarray(video_len_s, dtype=np.float64)  # [N]
    for task in scene.weights:
        if task not in predictions:
            raise FusionError(f"no predictions for task '{task}'; there are {listed(list(predictions))}")
    for task, p in predictions.items():
        if p.shape != lengths.shape or p.ndim != 1:
            raise ValueError(
                f"predictions of {task} have shape {p.shape}, video_len_s {lengths.shape}; expected [N]"
            )
    return lengths


def _calibrated(
    scene: SceneConfig, predictions: Mapping[str, NDArray[np.floating]], lengths: Floats
) -> dict[str, Floats]:
    """Predictions [N] of the tasks that count, in the order of `predictions`."""
    weights, maps = scene.weights, scene.calibration or {}
    return {
        task: maps[task].apply(p, lengths) if task in maps else np.asarray(p, np.float64)
        for task, p in predictions.items()
        if weights.get(task, 0.0) != 0.0
    }


def _attributed(
    scene: LearnedFormula, scorer: Scorer, calibrated: Mapping[str, Floats], lengths: Floats
) -> tuple[Floats, Terms, Fused]:
    """A network's score where all p are 0, and what it gains as one input after the other takes its value.

    In the scene's order; what two inputs do together goes to the later one. The last is the score itself.
    """
    full = scene.columns(calibrated, lengths)  # [N, K]
    shown = np.tile(
        np.array([np.nan if name == LENGTH else 0.0 for name in scene.inputs], np.float32), (len(full), 1)
    )
    base = before = np.asarray(scorer(shown), np.float64)  # [N]
    gains: dict[str, Floats] = {}
    for place, name in enumerate(scene.inputs):
        shown[:, place] = full[:, place]
        now = np.asarray(scorer(shown), np.float64)
        gains[name] = now - before
        before = now
    length = gains.pop(LENGTH, None)
    return base, Terms({task: gains[task] for task in calibrated}, length), Fused(before, None)


def _run(scene: LearnedFormula, scorer: Scorer | None) -> Scorer:
    if scorer is None:
        raise FusionError(f"the network {scene.file} of the formula is not at hand")
    return scorer


def _summands(terms: Terms) -> Iterable[Floats]:
    return [*terms.tasks.values(), *([] if terms.video_len is None else [terms.video_len])]


def _fused(scene: SceneConfig, terms: Iterable[Floats], shape: tuple[int, ...]) -> Fused:
    total = np.zeros(shape)  # [N]
    for term in terms:  # one after another: a candidate's sum is the same however many there are
        total += term
    if not scene.in_logs:
        return Fused(total, None)
    with np.errstate(over="ignore"):
        return Fused(np.minimum(np.exp(total), _LARGEST), total)
