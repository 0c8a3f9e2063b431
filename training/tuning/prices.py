"""Prices: what behaviours are worth, by least squares of the reward of what was shown.

    reward = looks of the place * (c + sum over tasks of (price + price_per_s * s) * p)

No order enters, and none is compared. Shapes: K items shown, F features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.tuning.problem import Problem
from training.tuning.requests import Floats

LONGEST_S = 600.0
"""Seconds that count, at most."""
_RIDGE = 1e-4
"""Of each squared coefficient of a feature of standard deviation 1, beside a mean squared error."""


@dataclass(frozen=True)
class Prices:
    """What behaviours are worth, by task.

    Attributes:
        price: of one.
        per_s: of one, for each second of the video.
        missing_s: seconds that count where the length is not known.
    """

    price: dict[str, float]
    per_s: dict[str, float]
    missing_s: float


def prices_of(problem: Problem) -> Prices:
    """By least squares, with a small ridge."""
    outcomes = problem.outcomes
    length = outcomes.requests.video_len_s[outcomes.at]
    missing_s = _typical_s(outcomes.requests.video_len_s)
    seconds = np.where(np.isnan(length), missing_s, np.clip(length, 0.0, LONGEST_S))
    p = [each[outcomes.at] for each in problem.predictions.values()]
    features = np.stack([*p, *(each * seconds for each in p)], axis=1)  # [K, F]
    known = ~np.isnan(features).any(axis=1)
    looks = problem.looks[np.minimum(outcomes.position, len(problem.looks) - 1)]
    found = _ridge(features[known], outcomes.reward[known], looks[known])
    count = len(p)
    return Prices(
        dict(zip(problem.tasks, _digits(found[:count]), strict=True)),
        dict(zip(problem.tasks, _digits(found[count:]), strict=True)),
        missing_s,
    )


def _ridge(features: Floats, reward: Floats, looks: Floats) -> Floats:
    """Coefficients [F] of features [K, F] that looks [K] scale, beside a constant that has no ridge."""
    mean, spread = features.mean(axis=0), features.std(axis=0)
    scale = np.where(spread > 0.0, spread, 1.0)
    x = looks[:, None] * np.column_stack([(features - mean) / scale, np.ones(len(features))])
    penalty = np.full(x.shape[1], _RIDGE * len(x))
    penalty[-1] = 0.0
    found = np.linalg.solve(x.T @ x + np.diag(penalty), x.T @ reward)
    return np.asarray(found[:-1] / scale, np.float64)


def _typical_s(length: Floats) -> float:
    known = length[~np.isnan(length)]
    return float(f"{np.median(np.clip(known, 0.0, LONGEST_S)):.3g}") if len(known) else 0.0


def _digits(values: Floats) -> list[float]:
    return [float(f"{value:.6g}") for value in values]
