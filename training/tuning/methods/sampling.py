"""Searches: scenes of a form that a sampler proposes, and what their orders are worth.

`cma_es` adapts a normal distribution (Hansen 2016, "The CMA evolution strategy: a tutorial") and gives its
mean: the best of many trials is the luckiest, too. `grid` turns one dial after the other. `random`, `tpe` and
`nsga2` are Optuna's samplers; the last has two objectives (Deb et al. 2002, "A fast and elitist
multiobjective genetic algorithm: NSGA-II"). All of them try first what least squares point to, and
the incumbent.

Each tries `trials` scenes on `MOST` requests at most. Shapes: D dials.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from model.errors import FulcrumError
from training.progress import Advanced, Observer, silent
from training.tuning.forms import Form, forms_of
from training.tuning.objective import scored
from training.tuning.prices import prices_of
from training.tuning.problem import Found, Problem, Tried
from training.tuning.requests import Floats

MOST = 3000
"""Requests that trials are judged on."""
SOBOL = 64
"""Trials of a Sobol sequence before a distribution is adapted."""
LEVELS = 8
"""Values of a dial that `grid` tries."""
MOST_OF_FRONT = 20
_GENERATION = 28
"""Trials of a generation of `nsga2`."""
_KIND = "kind of f(video_len)"
_WIDE, _NARROW = 0.15, 0.05
"""Standard deviation of the first generation about a Sobol point, and about where least squares point, in
units of a dial's range."""


def cma_es(problem: Problem, observer: Observer = silent) -> Found:
    """The mean of the distribution that CMA-ES ends with.

    Raises:
        FulcrumError: the package `cmaes` is not installed.
    """
    try:
        import cmaes
        from scipy.stats import qmc
    except ImportError:
        raise FulcrumError("method cma_es: cmaes is not installed; pip install 'fulcrum[tuning]'") from None

    search = _Search("cma_es", problem, observer)
    starts = [(*start, _NARROW) for start in search.starts]
    count = max(min(SOBOL, search.left // 2) // len(search.forms), 1)
    for form in search.forms.values():
        points = qmc.Sobol(len(form.dials), seed=problem.seed).random_base2(int(math.log2(count)))
        starts += [(form, point, _WIDE) for point in points]
    form, mean, spread = max(starts, key=lambda one: search.tried(one[0], one[1]))
    optimizer = cmaes.CMA(
        mean=mean, sigma=spread, bounds=np.tile([0.0, 1.0], (len(mean), 1)), seed=problem.seed
    )
    while search.left >= optimizer.population_size and not optimizer.should_stop():
        drawn = [optimizer.ask() for _ in range(optimizer.population_size)]
        optimizer.tell([(x, -search.tried(form, x)) for x in drawn])
    ended = np.asarray(optimizer.mean, np.float64)
    mean = max((mean, ended), key=lambda x: problem.worth(scored(form.scene(x), problem.outcomes.requests)))
    return problem.found("cma_es", form.scene(mean), form.at_ends(mean))


def grid(problem: Problem, observer: Observer = silent) -> Found:
    """The best of `LEVELS` values of each dial in turn, again and again while trials are left."""
    search = _Search("grid", problem, observer)
    form, x = max(search.starts, key=lambda one: search.tried(*one))
    value, before = search.best.value, None
    while search.left > 0 and value != before:
        before = value
        for dial in range(len(x)):
            for level in (np.arange(LEVELS) + 0.5) / LEVELS:
                other = np.where(np.arange(len(x)) == dial, level, x)
                if search.left > 0 and (found := search.tried(form, other)) > value:
                    value, x = found, other
    return search.found()


def random(problem: Problem, observer: Observer = silent) -> Found:
    """The best of uniform draws."""
    return _by_optuna("random", problem, observer).found()


def tpe(problem: Problem, observer: Observer = silent) -> Found:
    """The best that a tree of Parzen estimators proposes (Bergstra et al. 2011)."""
    return _by_optuna("tpe", problem, observer).found()


def nsga2(problem: Problem, observer: Observer = silent) -> Found:
    """The front of the reward and the behaviour beside it, and the best by the reward.

    Raises:
        FulcrumError: the problem names no such behaviour.
    """
    if problem.beside is None:
        raise FulcrumError("method nsga2: no behaviour beside the reward; expected the name of one")
    search = _by_optuna("nsga2", problem, observer)
    trials, front = _undominated(search.trials), []
    for place in np.unique(np.linspace(0, len(trials) - 1, MOST_OF_FRONT).astype(np.int64)).tolist():
        scene = trials[place].form.scene(trials[place].at)
        order = scored(scene, problem.outcomes.requests)
        value = float(problem.objective.per_request(order).mean())
        front.append(Tried(scene, value, problem.rates_of(order)[problem.beside]))
    kept = tuple(_undominated(front))
    return replace(search.found(), front=kept)


@dataclass(frozen=True, eq=False)
class _Trial:
    """Dials of a form [D], and the value and rate of the scene where they stand there."""

    form: Form
    at: Floats
    value: float
    rate: float


_Point = TypeVar("_Point", _Trial, Tried)


class _Search:
    """Trials of forms on a sample of the requests.

    Attributes:
        forms: by kind of f(video_len).
        left: trials that may yet be made.
        trials: that were made.
    """

    def __init__(self, name: str, problem: Problem, observer: Observer) -> None:
        self.problem = problem.sampled(MOST)
        self.forms = forms_of(self.problem, prices_of(problem))
        self.left = problem.trials
        self.trials: list[_Trial] = []
        self._name, self._whole, self._observer = name, problem, observer

    @property
    def starts(self) -> list[tuple[Form, Floats]]:
        """Where least squares point, and the incumbent, of each form."""
        return [(form, start) for form in self.forms.values() for start in form.starts]

    @property
    def best(self) -> _Trial:
        """The trial of the highest value."""
        return max(self.trials, key=lambda trial: trial.value)

    def tried(self, form: Form, at: Floats) -> float:
        """What the scene where the form's dials stand there [D] is worth."""
        self.left -= 1
        done = self.problem.trials - self.left
        self._observer(Advanced(f"trying scenes by {self._name}", done, self.problem.trials, "scenes"))
        order = scored(form.scene(at), self.problem.outcomes.requests)
        beside, value = self.problem.beside, self.problem.worth(order)
        rate = 0.0 if beside is None else self.problem.rates_of(order)[beside]
        self.trials.append(_Trial(form, at, value, rate))
        return value

    def found(self) -> Found:
        """The best trial."""
        form, at = self.best.form, self.best.at
        return self._whole.found(self._name, form.scene(at), form.at_ends(at))


def _by_optuna(name: str, problem: Problem, observer: Observer) -> _Search:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed=problem.seed)
    if name == "tpe":
        sampler = optuna.samplers.TPESampler(seed=problem.seed, n_startup_trials=SOBOL // 2)
    elif name == "nsga2":
        sampler = optuna.samplers.NSGAIISampler(seed=problem.seed, population_size=_GENERATION)
    search = _Search(name, problem, observer)
    two = name == "nsga2"
    study = optuna.create_study(directions=["maximize"] * (1 + two), sampler=sampler)
    for kind, form in search.forms.items():
        for start in form.starts:
            placed = zip(form.dials, start.tolist(), strict=True)
            study.enqueue_trial({_KIND: kind, **{dial.name: place for dial, place in placed}})
    names = dict.fromkeys(dial.name for form in search.forms.values() for dial in form.dials)
    while search.left > 0:
        trial = study.ask()
        form = search.forms[trial.suggest_categorical(_KIND, list(search.forms))]
        at = {name: trial.suggest_float(name, 0.0, 1.0) for name in names}  # of all kinds: one space
        search.tried(form, np.array([at[dial.name] for dial in form.dials]))
        last = search.trials[-1]
        study.tell(trial, [last.value, last.rate] if two else last.value)
    return search


def _undominated(points: list[_Point]) -> list[_Point]:
    """Those that none beats in value and rate, the highest value first."""
    kept: list[_Point] = []
    for point in sorted(points, key=lambda one: (one.value, one.rate), reverse=True):
        if not kept or point.rate > kept[-1].rate:
            kept.append(point)
    return kept
