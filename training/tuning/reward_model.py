"""The reward model: what an item is worth to who looks at it, from its predictions and its length.

    reward = looks_k * (b0 + sum b_i x_i + sum b_ij x_i x_j)

x are predictions in units of their means, and two scales of the length. Products are in it since behaviours
may be worth more together. A ridge, small for predictions and what they are worth a second, large for all
other terms: orders that are compared show items that the log seldom did, where a curve that fits what was
shown leads astray. Penalties by the error on held-out users are too small for that; docs/decisions.md has
figures. Sums of squares are kept by fold of users, so that a model without a fold costs one small system of
equations.

Shapes: n items shown, N candidates, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.tuning.outcomes import Outcomes, users_in_folds
from training.tuning.requests import Floats, Ints, Requests

PLAIN, CURVED = 10.0, 30_000.0
"""Penalties of a squared coefficient, of predictions and of their products with seconds, and of the rest;
features have a mean square of 1."""
FOLDS = 5
_MOST = 30.0
"""Times its mean, at most, that a prediction counts."""
_LONGEST_S, _SCALE_S = 600.0, 30.0
_AT_ONCE = 1 << 16
"""Rows whose features are held at once."""


@dataclass(frozen=True, eq=False)
class RewardModel:
    """A fitted model.

    Attributes:
        means: of each task's predictions where it was fitted.
        length_s: what stands for an unknown length.
        weights: of features [F].
    """

    means: Mapping[str, float]
    length_s: float
    weights: Floats

    def worth(self, requests: Requests) -> Floats:
        """Expected rewards of candidates that are looked at for certain [N]."""
        return _worth(self, requests.predictions, requests.video_len_s)


def fitted(outcomes: Outcomes, looks: Floats) -> RewardModel:
    """A model of all outcomes.

    Args:
        outcomes: of some requests.
        looks: how often each place is looked at [S].
    """
    return _Sums.of(outcomes, looks).model(None)


class Balance:
    """What items shown say, through the model, of candidates that the log does not speak for itself.

    What a regression says of exposures is a weighted sum of the rewards it was fitted to (Bruns-Smith et al.
    2023, "Augmented balancing weights as linear regression"); these are its weights. With them, a model's
    error on items shown corrects what it says elsewhere, as far as the error has the form of its features,
    and users that are drawn anew change what it says as a fit to them would.

    Args:
        outcomes: of some requests.
        looks: how often each place is looked at [S].
    """

    def __init__(self, outcomes: Outcomes, looks: Floats) -> None:
        self._requests, self._at = outcomes.requests, outcomes.at
        self._looks = looks[outcomes.position]
        self._sums = _Sums.of(outcomes, looks)

    def weights(self, exposure: Floats) -> Floats:
        """Of items shown, by which they stand for exposures of candidates [N]: [K]."""
        exposed = np.flatnonzero(exposure)
        total = np.zeros(len(self._sums.scale))
        for rows in _blocks(exposed):
            total += exposure[rows] @ self._features(rows)
        along = np.linalg.solve(self._sums.ridge(), total)
        said = np.concatenate([self._features(rows) @ along for rows in _blocks(self._at)])
        return np.asarray(self._looks * said, np.float64)

    def _features(self, rows: Ints) -> Floats:
        p = {task: values[rows] for task, values in self._requests.predictions.items()}
        sums = self._sums
        return _features(p, self._requests.video_len_s[rows], sums.means, sums.length_s) / sums.scale


def cross_fitted(outcomes: Outcomes, looks: Floats) -> Floats:
    """Worth of each candidate [N] by a model of the other users' requests."""
    requests = outcomes.requests
    return _cross_fitted(outcomes, looks, slice(None), np.repeat(np.arange(len(outcomes)), requests.sizes))


def cross_fitted_of_shown(outcomes: Outcomes, looks: Floats) -> Floats:
    """The same of the items shown alone [K]."""
    return _cross_fitted(outcomes, looks, outcomes.at, outcomes.of_request)


def _cross_fitted(outcomes: Outcomes, looks: Floats, rows: slice | Ints, of_request: Ints) -> Floats:
    sums = _Sums.of(outcomes, looks)
    p = {task: values[rows] for task, values in outcomes.requests.predictions.items()}
    lengths = outcomes.requests.video_len_s[rows]
    fold, worth = sums.fold[of_request], np.empty(len(lengths))
    for left_out in range(FOLDS):
        inside = np.flatnonzero(fold == left_out)
        part = {task: values[inside] for task, values in p.items()}
        worth[inside] = _worth(sums.model(left_out), part, lengths[inside])
    return worth


@dataclass(frozen=True, eq=False)
class _Sums:
    """What least squares need, by fold of users; features are scaled to a mean square of 1.

    Attributes:
        means, length_s: as a model has them.
        scale: of features [F].
        squares: X'X [FOLDS, F, F].
        products: X'r [FOLDS, F].
        fold: of each request [R].
    """

    means: Mapping[str, float]
    length_s: float
    scale: Floats
    squares: Floats
    products: Floats
    fold: Ints

    @classmethod
    def of(cls, outcomes: Outcomes, looks: Floats) -> _Sums:
        requests = outcomes.requests
        p = {task: values[outcomes.at] for task, values in requests.predictions.items()}
        lengths = requests.video_len_s[outcomes.at]
        means = {task: max(float(values.mean()), 1e-9) for task, values in p.items()}
        known = lengths[~np.isnan(lengths)]
        length_s = float(known.mean()) if len(known) else _SCALE_S
        x = _features(p, lengths, means, length_s)
        scale = np.sqrt(np.maximum((x**2).mean(axis=0), 1e-12))
        x *= looks[outcomes.position][:, None] / scale
        fold = users_in_folds(requests.user, FOLDS)
        parts = [fold[outcomes.of_request] == one for one in range(FOLDS)]
        return cls(
            means,
            length_s,
            scale,
            np.array([x[rows].T @ x[rows] for rows in parts]),
            np.array([x[rows].T @ outcomes.reward[rows] for rows in parts]),
            fold,
        )

    def model(self, left_out: int | None) -> RewardModel:
        """The model without a fold."""
        products = self.products[self._kept(left_out)].sum(axis=0)
        weights = np.linalg.solve(self.ridge(left_out), products) / self.scale
        return RewardModel(self.means, self.length_s, np.asarray(weights, np.float64))

    def ridge(self, left_out: int | None = None) -> Floats:
        """What the model without a fold divides by [F, F]."""
        squares = self.squares[self._kept(left_out)].sum(axis=0)
        return np.asarray(squares + np.diag(_penalties(len(self.means))), np.float64)

    def _kept(self, left_out: int | None) -> list[int]:
        return [fold for fold in range(FOLDS) if fold != left_out]


def _worth(model: RewardModel, p: Mapping[str, npt.NDArray[np.floating]], video_len_s: Floats) -> Floats:
    worth = np.empty(len(video_len_s))
    for start in range(0, len(worth), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        of = {task: values[part] for task, values in p.items()}
        worth[part] = _features(of, video_len_s[part], model.means, model.length_s) @ model.weights
    return worth


def _blocks(rows: Ints) -> list[Ints]:
    return np.array_split(rows, len(rows) // _AT_ONCE + 1)


def _penalties(tasks: int) -> Floats:
    """Of the features of `_features` [F]."""
    plain = tasks + 2
    pairs = [(one, other) for one in range(plain) for other in range(one, plain)]
    worth_a_second = [PLAIN if one < tasks and other == plain - 1 else CURVED for one, other in pairs]
    return np.array([PLAIN] * (1 + tasks) + [CURVED] * 2 + worth_a_second)


def _features(
    p: Mapping[str, npt.NDArray[np.floating]],
    video_len_s: Floats,
    means: Mapping[str, float],
    length_s: float,
) -> Floats:
    """1, predictions and lengths, and all their products of two: [n, F]."""
    seconds = np.where(np.isnan(video_len_s), length_s, video_len_s)
    plain = [np.minimum(p[task] / mean, _MOST).astype(np.float64) for task, mean in means.items()]
    plain += [np.log1p(seconds / _SCALE_S), np.minimum(seconds, _LONGEST_S) / _SCALE_S]
    pairs = [one * other for place, one in enumerate(plain) for other in plain[place:]]
    return np.stack([np.ones(len(seconds)), *plain, *pairs], axis=1)
