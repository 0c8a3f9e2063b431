"""Problems whose best order is known: what viewers do is drawn from the predictions themselves."""

from __future__ import annotations

import numpy as np

from model.fusion import LogPower, TaskTerm
from training.tuning.objective import Objective, scored
from training.tuning.outcomes import Outcomes
from training.tuning.problem import Problem
from training.tuning.requests import Requests

LOOKS = 0.9 ** np.arange(5)
POOL = 20


def made_requests(random, count):
    """Of tasks vtr, about .5, and shr, about .01, with lengths of 5 to 100 s; five of 20 were shown."""
    candidates = count * POOL
    shown = np.argsort(random.uniform(size=(count, POOL)), axis=1)[:, : len(LOOKS)]
    return Requests(
        ids=np.array([f"r{row}" for row in range(count)], np.object_),
        user=random.integers(0, max(count // 4, 1), count),
        time_ms=np.zeros(count, np.int64),
        scene=np.full(count, "default", np.object_),
        said=np.full(count, "{}", np.object_),
        unit_hash=random.integers(0, 2**63, count).astype(np.uint64),
        fixed=np.zeros(count, np.bool_),
        start=np.arange(count + 1) * POOL,
        item=np.tile(np.arange(POOL), count),
        video_len_s=np.where(
            random.uniform(size=candidates) < 0.02, np.nan, 5.0 * 20.0 ** random.uniform(size=candidates)
        ),
        predictions={
            "vtr": random.beta(3, 3, candidates).astype(np.float32),
            "shr": (0.01 * random.gamma(1.0, 1.0, candidates)).clip(0, 1).astype(np.float32),
        },
        version=np.full(count, "v", np.object_),
        explored=np.zeros(count, np.bool_),
        weights={},
        shown=shown.ravel(),
        shown_start=np.arange(count + 1) * len(LOOKS),
    )


def made_problem(truth, count=2000, seed=0, incumbent=None, **more):
    """Viewers who do what is predicted, and bring the mean reward `truth(p, seconds)` where they look.

    The objective knows that truth, so that what a method loses is its own loss.
    """
    random = np.random.default_rng(seed)
    requests = made_requests(random, count)
    at = (requests.start[:-1, None] + requests.shown.reshape(count, -1)).ravel()
    position = np.tile(np.arange(len(LOOKS)), count)
    p = {task: values.astype(np.float64) for task, values in requests.predictions.items()}
    worth = truth(p, np.where(np.isnan(requests.video_len_s), 20.0, requests.video_len_s))
    looked = random.uniform(size=len(at)) < LOOKS[position]
    done = {task: random.uniform(size=len(at)) < values[at] for task, values in p.items()}
    acts = {task: values.astype(np.float64) for task, values in done.items()}
    length = np.where(np.isnan(requests.video_len_s), 20.0, requests.video_len_s)[at]
    outcomes = Outcomes(
        requests=requests,
        at=at,
        position=position,
        reward=looked * truth(acts, length),
        labels={},
        seen=None,
        configs={},
        source="drawn",
    )
    incumbent = incumbent or LogPower(tasks={"vtr": TaskTerm(weight=1.0), "shr": TaskTerm(weight=1.0)})
    return Problem(
        outcomes=outcomes,
        objective=Objective(requests, worth, LOOKS),
        incumbent=incumbent,
        current=scored(incumbent, requests),
        tasks=("vtr", "shr"),
        **more,
    )


def gain_share(problem, value):
    """Which part of what there is to gain over the current order was gained."""
    current = problem.objective.per_request(problem.current).mean()
    best = problem.objective.per_request(problem.objective.worth).mean()
    return (value - current) / (best - current)


def additive_problem(count=8000, **more):
    """Watching is worth .03 a second, a share 40: a sum orders best."""
    return made_problem(lambda p, seconds: 0.03 * seconds * p["vtr"] + 40.0 * p["shr"], count, **more)
