"""Details of what a tuning found, as JSON: what a page shows beside the verdict.

All but `sensitivity` and `front` are of requests that no search saw. Decides nothing.

Shapes: R requests, N candidates of all of them, K items shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from model.fusion import Scene, duration_factor
from training.events.columns import context_of
from training.metrics.calibration import by_prediction
from training.metrics.ndcg import GroupedNdcg
from training.metrics.reward import values_of
from training.metrics.task_metrics import finite, grouped_auc
from training.progress import Observer, Stage, silent
from training.tuning.diff import Side
from training.tuning.differences import LENGTHS_S
from training.tuning.estimating import LEAST_REQUESTS, difference
from training.tuning.examination import Looks
from training.tuning.objective import ranked, scored
from training.tuning.outcomes import Outcomes
from training.tuning.problem import Problem
from training.tuning.requests import Floats, Ints
from training.tuning.reward_model import fitted
from training.tuning.tuning import Candidate, Tuned, value_of

FACTORS = (0.25, 0.5, 0.71, 0.84, 1.0, 1.19, 1.41, 2.0, 4.0)
"""That a parameter is multiplied by to see what it matters."""
_SAMPLE = 4_000
"""Requests that sensitivities are computed on."""
_MOST_VALUES = 8
"""Of a context feature whose segments are estimated."""
_LOG = "log_smoothing."


def details(found: Tuned, looks: Looks, current: Side, observer: Observer = silent) -> dict[str, Any]:
    """By name: what a page shows; None for numbers that cannot be computed.

    Args:
        found: by tuning.
        looks: how often places are looked at.
        current: the config that it is compared with.
        observer: called with progress.
    """
    observer(Stage("Looking closer at what was chosen"))
    verdict = found.parts.verdict
    report: dict[str, Any] = finite(
        {
            "behaviours": list(_behaviours(found, looks, current)),
            "segments": list(_segments(found, looks, current)),
            "orders": _orders(verdict, current, found.chosen),
            "lengths": list(_lengths(verdict, looks, found.problem.incumbent, found.chosen.found.scene)),
            "calibration": _calibration(verdict),
            "sensitivity": list(sensitivity(found.problem, found.chosen.found.scene)),
            "front": list(_front(found)),
        }
    )
    return report


def sensitivity(problem: Problem, scene: Scene) -> Iterator[dict[str, Any]]:
    """By parameter of a scene: gains over the config in force where it is multiplied, all else the same.

    A network has no parameters to look at.
    """
    if scene.formula == "model":
        return
    some = problem.sampled(_SAMPLE)
    now = float(some.objective.per_request(some.current).mean())
    requests = some.outcomes.requests
    for name, value in scene.parameters().items():
        log = name.startswith(_LOG)
        points = []
        for factor in FACTORS:
            changed = value + np.log(factor) if log else value * factor
            then = some.objective.per_request(scored(scene.with_parameters({name: changed}), requests))
            points.append({"factor": factor, "gain": float(then.mean() / now - 1.0)})
        yield {
            "name": f"smoothing of {name.removeprefix(_LOG)}" if log else name,
            "value": float(np.exp(value)) if log else value,
            "points": points,
        }


def _behaviours(found: Tuned, looks: Looks, current: Side) -> Iterator[dict[str, Any]]:
    """What viewers would do more or less: estimates as of the reward, with a behaviour in its place."""
    if found.logged is None:
        return
    names = dict.fromkeys((*found.parts.verdict.labels, *found.problem.behaviours))
    for name in names:
        search, verdict = (_as_reward(part, name) for part in (found.parts.search, found.parts.verdict))
        if not verdict.reward.any():
            continue
        worth = fitted(search, looks.looks).worth(verdict.requests)
        yield {"name": name, **_estimated(verdict, worth, looks, current, found, found.logged)}


def _as_reward(outcomes: Outcomes, name: str) -> Outcomes:
    """With a behaviour, an expression over labels, as the reward; 0 where it is unknown."""
    lengths = outcomes.requests.video_len_s[outcomes.at]
    return replace(outcomes, reward=np.nan_to_num(values_of(name, outcomes.labels, lengths)))


def _segments(found: Tuned, looks: Looks, current: Side) -> Iterator[dict[str, Any]]:
    """By each context feature of few values, of values with requests enough."""
    verdict = found.parts.verdict
    if found.logged is None:
        return
    said = [context_of(text) for text in verdict.requests.said]
    for name in sorted({name for one in said for name in one}):
        values = pl.Series([str(one.get(name)) for one in said], dtype=pl.String)
        counts = values.value_counts().sort("count", descending=True)
        if not 1 < counts.height <= _MOST_VALUES:
            continue
        for value, count in counts.iter_rows():
            if count < LEAST_REQUESTS:
                continue
            rows = (values == value).to_numpy()
            inside = np.repeat(rows, verdict.requests.sizes)
            part, logged = verdict.kept(rows), found.logged[inside]
            of = _estimated(part, found.worth[inside], looks, current, found, logged)
            yield {"feature": name, "value": value, "requests": int(count), **of}


def _estimated(
    outcomes: Outcomes, worth: Floats, looks: Looks, current: Side, found: Tuned, logged: Floats
) -> dict[str, Any]:
    figure = difference(
        outcomes,
        worth,
        looks.looks,
        found.chosen.config,
        current.config,
        scorers={**(current.scorers or {}), **found.chosen.found.scorers},
        logged=logged,
    ).methods["doubly_robust"]
    return {"difference": figure.difference, "interval": figure.interval}


def _orders(verdict: Outcomes, current: Side, chosen: Candidate) -> dict[str, Any]:
    """How both order what was shown: NDCG of the reward, GAUC of each behaviour that happens or not."""
    requests, at = verdict.requests, verdict.at
    users = requests.user[verdict.of_request]
    orders = {
        "before": ranked(current.config, requests, current.scorers)[at],
        "after": value_of(chosen.found, requests)[at],
    }
    rows: dict[str, Any] = {}
    if not (verdict.reward < 0).any():
        ndcg = GroupedNdcg(verdict.reward, verdict.of_request, users)
        rows["NDCG of the reward"] = {side: ndcg.mean(ndcg.of(order)) for side, order in orders.items()}
    for task, label in verdict.labels.items():
        known = ~np.isnan(label)
        if known.any() and np.isin(label[known], (0.0, 1.0)).all():
            rows[f"GAUC of {task}"] = {
                side: grouped_auc(order[known], label[known], verdict.of_request[known]).auc
                for side, order in orders.items()
            }
    return rows


def _lengths(verdict: Outcomes, looks: Looks, before: Scene, after: Scene) -> Iterator[dict[str, Any]]:
    """By length: the reward of who looks, and f(video_len)^weight of both, in units of their means."""
    seconds = verdict.requests.video_len_s[verdict.at]
    seen = looks.looks[np.minimum(verdict.position, len(looks.looks) - 1)]
    known = ~np.isnan(seconds)
    if not known.any():
        return
    of: Ints = np.searchsorted(LENGTHS_S, seconds[known], side="right")
    factors = [_factor(scene, seconds[known]) for scene in (before, after)]
    total = verdict.reward[known].sum() / seen[known].sum()
    names = [f"below {LENGTHS_S[0]:g} s", *(f"{low:g} to {high:g} s" for low, high in pairwise(LENGTHS_S))]
    for number, name in enumerate([*names, f"{LENGTHS_S[-1]:g} s and more"]):
        inside = of == number
        if inside.any():
            reward = verdict.reward[known][inside].sum() / seen[known][inside].sum()
            yield {
                "length": name,
                "items": int(inside.sum()),
                "reward": float(reward / total) if total else None,
                "before": None if factors[0] is None else float(factors[0][inside].mean()),
                "after": None if factors[1] is None else float(factors[1][inside].mean()),
            }


def _factor(scene: Scene, seconds: Floats) -> Floats | None:
    """f^weight of lengths [n], its mean 1; None without one."""
    length = scene.video_len
    if length.kind == "none" or not length.weight:
        return None
    factor = np.power(duration_factor(length, seconds), length.weight)
    return np.asarray(factor / factor.mean(), np.float64)


def _calibration(verdict: Outcomes) -> dict[str, Any]:
    """By task: bins of the predictions as served, against what came of what was shown."""
    users = verdict.requests.user[verdict.of_request]
    found: dict[str, Any] = {}
    for task, label in verdict.labels.items():
        p = verdict.requests.predictions[task][verdict.at]
        known = ~np.isnan(label) & ~np.isnan(p)
        found[task] = by_prediction("binary", p[known], label[known], users[known])
    return found


def _front(found: Tuned) -> Iterator[Mapping[str, Any]]:
    """Gains in the reward beside gains in the other behaviour, over the config in force."""
    problem = found.problem
    if problem.beside is None or not (rate := problem.rates[problem.beside]):
        return
    now = float(problem.objective.per_request(problem.current).mean())
    for one in found.candidates:
        for tried in one.found.front:
            yield {
                "method": one.found.method,
                "formula": tried.scene.formula,
                "reward": tried.value / now - 1.0,
                "beside": tried.rate / rate - 1.0,
            }
