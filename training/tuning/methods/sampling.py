"""Searches: scenes of a form that a sampler proposes, and what their orders are worth.

`cma_es` adapts a normal distribution (Hansen 2016, "The CMA evolution strategy: a tutorial") from a Sobol
start, and gives its mean: the best of many trials is the luckiest, too. `grid`, `random`, `tpe` and `nsga2`
are Optuna's samplers; they give the best trial. `nsga2` has two objectives (Deb et al. 2002, "A fast and
elitist multiobjective genetic algorithm"), and a front.

Each tries `trials` scenes on `MOST` requests at most. Shapes: D dials, M trials.
"""

from __future__ import annotations

import numpy as np

from model.errors import FulcrumError
from training.progress import Advanced, Observer, silent
from training.tuning.forms import Form, forms_of
from training.tuning.objective import scored
from training.tuning.prices import prices_of
from training.tuning.problem import Found, Problem
from training.tuning.requests import Floats

MOST = 6000
"""Requests that trials are judged on."""
SOBOL = 64
"""Trials of a Sobol sequence before a distribution is adapted."""
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
    starts = [(form, form.start, _NARROW) for form in search.forms]
    for form in search.forms:
        points = qmc.Sobol(len(form.dials), seed=problem.seed).random(SOBOL // len(search.forms))
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


class _Search:
    """Trials of forms on a sample of the requests."""

    def __init__(self, name: str, problem: Problem, observer: Observer) -> None:
        self.problem = problem.sampled(MOST)
        self.forms = tuple(forms_of(self.problem, prices_of(problem)).values())
        self.left = problem.trials
        self._name, self._observer = name, observer

    def tried(self, form: Form, at: Floats) -> float:
        """What the scene where the form's dials stand there [D] is worth."""
        self.left -= 1
        done = self.problem.trials - self.left
        self._observer(Advanced(f"trying scenes by {self._name}", done, self.problem.trials, "scenes"))
        return self.problem.worth(scored(form.scene(at), self.problem.outcomes.requests))
