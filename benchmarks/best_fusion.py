"""The best scene of a formula by a search, given what a scene is worth. Knows neither worlds nor requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.fusion import DEFAULT_SCENE, Scene, parse_fusion

TASKS = ("vtr", "vcr", "shr", "cmr")


@dataclass(frozen=True)
class Form:
    """A formula with free parameters.

    Attributes:
        scene: of parameters, given the mean of each task's predictions.
        starts: where searches begin.
        width: standard deviation of the first generation.
    """

    scene: Callable[[Sequence[float], Mapping[str, float]], Scene]
    starts: Sequence[Sequence[float]]
    width: float


def product(x: Sequence[float], means: Mapping[str, float], smoothings: Sequence[float]) -> Scene:
    """Elasticities at the tasks' means and the length's weight; smoothings in units of the means."""
    tasks = {
        task: {"weight": _within(x[k] * (1.0 + s), 100.0), "smoothing": s * means[task]}
        for k, (task, s) in enumerate(zip(TASKS, smoothings, strict=True))
    }
    length = {"kind": "log", "scale_s": 30.0, "weight": _within(x[4], 100.0)}
    return _scene({"formula": "log_power", "tasks": tasks, "video_len": length})


def _smoothed(x: Sequence[float], means: Mapping[str, float]) -> Scene:
    return product(x, means, [float(np.exp(_within(value, 4.6))) for value in x[5:]])


def _sum(x: Sequence[float], means: Mapping[str, float]) -> Scene:
    """Prices in units of 1 / mean, of vcr for each second, too, and the length's weight."""
    tasks = {task: {"price": _within(x[k] / means[task], 1e6)} for k, task in enumerate(TASKS)}
    tasks["vcr"]["price_per_s"] = _within(x[4] / means["vcr"] / 30.0, 1e6)
    length = {"kind": "log", "scale_s": 30.0, "weight": _within(x[5], 100.0)}
    return _scene({"formula": "weighted_sum", "tasks": tasks, "video_len": length})


FORMS = {
    "best product, no smoothing": Form(
        lambda x, means: product(x, means, [0.0] * 4),
        ([1.0, 0.5, 0.1, 0.1, 0.5], [0.0, 0.5, 0.5, 0.5, 0.5]),
        0.4,
    ),
    "best product, smoothing": Form(
        _smoothed,
        ([0.2, 0.3, 0.1, 0.1, 0.3, 0.0, 0.0, 2.0, 2.0], [0.2, 0.5, 0.3, 0.3, 0.3, 2.0, 2.0, 2.0, 2.0]),
        0.4,
    ),
    "best weighted sum": Form(_sum, ([0.0, 0.3, 0.15, 0.1, 0.5, 0.0], [0.2, 0.5, 0.1, 0.1, 0.1, 0.5]), 0.3),
}


def best(
    form: Form,
    value: Callable[[Scene], float],
    means: Mapping[str, float],
    generations: int = 12,
    members: int = 20,
) -> Scene:
    """The scene that a cross-entropy search finds: normal draws, refitted to the best quarter of each.

    The variance is kept from collapsing by a mixture with the one before. Source: Rubinstein 1999, "The
    cross-entropy method for combinatorial and continuous optimization".

    Args:
        form: its formula, and where to begin.
        value: of a scene; more is better.
        means: of each task's predictions.
        generations: from each start.
        members: draws of a generation.

    Returns:
        The mean of the last generation's best, from the best start.
    """
    rng = np.random.default_rng(0)
    found: list[tuple[float, Scene]] = []
    for start in form.starts:
        mean, spread = np.array(start), np.eye(len(start)) * form.width**2
        for _ in range(generations):
            drawn = rng.multivariate_normal(mean, spread, members)
            worth = [value(form.scene(x.tolist(), means)) for x in drawn]
            elite = drawn[np.argsort(worth)[-members // 4 :]]
            spread = 0.5 * spread + 0.5 * (elite - mean).T @ (elite - mean) / len(elite)
            mean = elite.mean(axis=0)
        scene = form.scene(mean.tolist(), means)
        found.append((value(scene), scene))
    return max(found, key=lambda one: one[0])[1]


def _scene(scene: dict[str, Any]) -> Scene:
    return parse_fusion(json.dumps({"schema_version": 1, "scenes": {"default": scene}})).scenes[DEFAULT_SCENE]


def _within(value: float, bound: float) -> float:
    return float(min(max(value, -bound), bound))
