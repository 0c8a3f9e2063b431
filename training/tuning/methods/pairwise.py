"""Pairwise: which of two items of one answer brought more, by a logistic regression.

    P(i brought more than j) = sigmoid(u_i - u_j)
    u = sum over tasks of weight * log(clip(p) + smoothing) + weight * log(f(video_len)) + b of its place

u without the place is the log-score of `log_power`, linear in its weights, so that for given smoothings the
fit is convex. A pair counts by how much more one brought: the weights then approach those by which exp(u) is
the expected reward, not merely the more frequent success (Burges et al. 2005, "Learning to rank using
gradient descent", whose pairs count alike). Places take what position does to rewards. Smoothings are of a
grid, of all tasks at first, then task by task; the objective says which.

Shapes: K items shown, F features, M pairs.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from model.fusion import LogPower, duration_factor
from model.fusion.lengths import LengthKind, LogLength, NoLength
from training.progress import Advanced, Observer, silent
from training.tuning.forms import known_lengths, product
from training.tuning.objective import scored
from training.tuning.problem import Found, Problem
from training.tuning.requests import Floats, Ints

NAME = "pairwise"
GRID = (0.3, 1.0, 3.0, 10.0, 30.0)
"""Smoothings that are tried, in units of the task's mean."""
MOST_PAIRS = 200_000
"""Drawn in proportion to what they count."""
MOST = 3000
"""Requests by which smoothings are chosen."""
_RIDGE = 1e-4
"""Of a squared coefficient, beside a mean loss per pair."""
_STEPS, _ENOUGH = 20, 1e-6


def pairwise(problem: Problem, observer: Observer = silent) -> Found:
    """The `log_power` by which what brought more comes first."""
    pairs, judged = _Pairs(problem), problem.sampled(MOST)
    total, done = (len(GRID) + len(problem.tasks) * (len(GRID) - 1)) if problem.smoothing else 1, 0

    def tried(smoothings: Mapping[str, float]) -> tuple[float, LogPower]:
        nonlocal done
        done += 1
        observer(Advanced("trying smoothings", done, total, "fits"))
        scene = pairs.fitted(smoothings)
        return judged.worth(scored(scene, judged.outcomes.requests)), scene

    if not problem.smoothing:
        old = problem.incumbent.tasks if isinstance(problem.incumbent, LogPower) else {}
        return problem.found(
            NAME, tried({task: old[task].smoothing if task in old else 0.0 for task in problem.tasks})[1]
        )
    multiples = {size: {task: size * mean for task, mean in problem.means.items()} for size in GRID}
    values = {size: tried(smoothings) for size, smoothings in multiples.items()}
    best = max(values, key=lambda size: values[size][0])
    chosen, (value, scene) = multiples[best], values[best]
    for task in problem.tasks:
        for size in GRID:
            if size == best:
                continue
            other = chosen | {task: size * problem.means[task]}
            if (found := tried(other))[0] > value:
                chosen, (value, scene) = other, found
    ends = tuple(
        f"the smoothing of {task} stands at the {end} end of what is tried"
        for task, size in chosen.items()
        for end, at in (("low", GRID[0]), ("high", GRID[-1]))
        if size == at * problem.means[task]
    )
    return problem.found(NAME, scene, ends)


class _Pairs:
    """Pairs of one answer, the one that brought more first, drawn by how much more.

    Args:
        problem: whose answers.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        outcomes = problem.outcomes
        better, worse = _unlike(outcomes.requests.shown_start, outcomes.reward)
        gap = outcomes.reward[better] - outcomes.reward[worse]
        if len(gap) > MOST_PAIRS:
            random = np.random.default_rng(problem.seed)
            drawn = random.choice(len(gap), MOST_PAIRS, p=gap / gap.sum())
            better, worse, gap = better[drawn], worse[drawn], np.ones(MOST_PAIRS)
        self._better, self._worse, self._counts = better, worse, gap / max(float(gap.sum()), 1e-12)
        self._length = _length(problem)
        self._seconds = outcomes.requests.video_len_s[outcomes.at]
        self._places = np.eye(outcomes.slots)[outcomes.position][:, 1:]  # [K, S - 1]

    def fitted(self, smoothings: Mapping[str, float]) -> LogPower:
        """The scene with these smoothings, by task, whose weights explain the pairs best."""
        problem = self._problem
        terms = self._terms(smoothings)  # [K, T + 1]
        spread = np.maximum(np.nanstd(terms, axis=0), 1e-9)
        u = np.nan_to_num(np.column_stack([terms / spread, self._places]))
        weights = _logistic(u[self._better] - u[self._worse], self._counts)[: len(spread)] / spread
        of_tasks = dict(zip(problem.tasks, weights[:-1].tolist(), strict=True))
        length = self._length.model_copy(update={"weight": float(weights[-1])})
        return product(problem, of_tasks, smoothings, length)

    def _terms(self, smoothings: Mapping[str, float]) -> Floats:
        problem, at = self._problem, self._problem.outcomes.at
        clips = {
            task: term.clip
            for task, term in (
                problem.incumbent.tasks if isinstance(problem.incumbent, LogPower) else {}
            ).items()
        }
        logs = [
            np.log(np.clip(p[at], *clips.get(task, (1e-6, 1.0))) + smoothings[task])
            for task, p in problem.predictions.items()
        ]
        return np.stack([*logs, np.log(duration_factor(self._length, self._seconds))], axis=1)


def _length(problem: Problem) -> LengthKind:
    """The incumbent's f(video_len); of none, one that grows by the logarithm from a typical length on."""
    old = problem.incumbent.video_len
    seconds = known_lengths(problem)
    if not isinstance(old, NoLength) or not problem.smoothing or not len(seconds):
        return old
    return LogLength(scale_s=float(f"{np.median(seconds):.3g}"), missing=float(np.log(2.0)))


def _unlike(start: Ints, reward: Floats) -> tuple[Ints, Ints]:
    """Rows of items of one answer that brought unlike rewards, the greater first: [M] each."""
    sizes = np.diff(start)
    better, worse = [], []
    for one in range(int(sizes.max(initial=0))):
        for other in range(one):
            first = start[:-1][sizes > one]
            gap = reward[first + one] - reward[first + other]
            better.append(np.where(gap > 0, first + one, first + other)[gap != 0])
            worse.append(np.where(gap > 0, first + other, first + one)[gap != 0])
    none = np.zeros(0, np.int64)
    return np.concatenate([none, *better]), np.concatenate([none, *worse])


def _logistic(x: Floats, counts: Floats) -> Floats:
    """Coefficients [F] that make log(1 + exp(-x b)) of pairs [M, F] least, by Newton's method."""
    b = np.zeros(x.shape[1])
    for _ in range(_STEPS):
        p = 1.0 / (1.0 + np.exp(np.minimum(x @ b, 500.0)))  # that the order is wrong
        gradient = _RIDGE * b - x.T @ (counts * p)
        curvature = (x * (counts * p * (1.0 - p))[:, None]).T @ x + _RIDGE * np.eye(len(b))
        step = np.linalg.solve(curvature, gradient)
        b -= step
        if np.abs(step).max() < _ENOUGH:
            break
    return b
