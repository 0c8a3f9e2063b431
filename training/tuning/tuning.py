"""Tuning: from what was served and what came of it to a fusion config, with a forecast, or "nothing better".

Read `tune` first. Every method searches the one part of the requests; what is found there is compared there,
by what the reward model says of it; what is chosen is judged once, on the other part. Knows no files but
those in which it remembers what was found.

Shapes: R requests, N candidates of all of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from model.errors import FulcrumError
from model.fusion import FusionConfig, score
from training.metrics.resampling import Resamples
from training.metrics.reward import values_of
from training.progress import Note, Observer, Stage, silent
from training.tuning.diff import Side
from training.tuning.estimating import MODEL_ERROR, Estimate, Figure, difference
from training.tuning.examination import Looks
from training.tuning.exposure import Exposure
from training.tuning.found_folder import FoundFolder
from training.tuning.methods import AUTO, FORMULAS, METHODS
from training.tuning.objective import Objective, Slates, ranked
from training.tuning.outcomes import Outcomes
from training.tuning.parts import Parts
from training.tuning.problem import Found, Problem
from training.tuning.requests import Floats, Requests
from training.tuning.reward_model import cross_fitted, fitted

_MODEL_MARGIN = 0.005
"""By how much more than a formula of terms a network has to gain: it is harder to read, and to serve."""
_MUCH = 0.05
"""Of the exposure, what the reward model says alone, above which it is said."""
Ends = tuple[float, float]


@dataclass(frozen=True)
class Plan:
    """What is looked for, and how.

    Attributes:
        scene: of the config.
        tasks: that may be weighed.
        formulas: that count; all where None.
        methods: that are tried; `AUTO`, and `nsga2` for a front, where None, and then one that cannot run
            is left out.
        keep: by expression over tasks and `video_len_s`, by how much its mean may change at least.
        beside: such an expression that a front has beside the reward.
        trials: orders that each search tries.
        seed: of all randomness.
    """

    scene: str
    tasks: tuple[str, ...]
    formulas: tuple[str, ...] | None = None
    methods: tuple[str, ...] | None = None
    keep: Mapping[str, float] = field(default_factory=dict)
    beside: str | None = None
    trials: int = 280
    seed: int = 0

    def runs(self) -> list[tuple[str, str]]:
        """Methods with the formulas that each looks for, in the order in which they are tried.

        Raises:
            FulcrumError: none is left.
        """
        known = {formula for formulas in FORMULAS.values() for formula in formulas}
        for what, given, there in (
            ("--method", self.methods, set(METHODS)),
            ("--formula", self.formulas, known),
        ):
            strange = sorted(set(given or ()) - there)
            if strange:
                raise FulcrumError(f"{what} {strange[0]}: expected {', '.join(sorted(there))}")
        chosen = self.methods or (*AUTO, *(() if self.beside is None else ("nsga2",)))
        found = [
            (method, formula)
            for method in METHODS
            for formula in FORMULAS[method]
            if method in chosen and (self.formulas is None or formula in self.formulas)
        ]
        if not found:
            raise FulcrumError(
                f"--method {', '.join(chosen)}: finds "
                f"{', '.join(dict.fromkeys(f for m in chosen for f in FORMULAS[m]))}, and --formula asks for "
                f"{', '.join(self.formulas or ())}"
            )
        return found


@dataclass(frozen=True, eq=False)
class Candidate:
    """What one method found for one formula.

    Attributes:
        found: by it.
        config: with it as the scene.
        gain: over the config in force, a fraction, by the reward model, where it was found.
        interval: of it, over users; of what was found where it was found, so that it is optimistic.
        missed: rates that it does not keep, with what they lack.
        seconds: that it took.
    """

    found: Found
    config: FusionConfig
    gain: float
    interval: Ends | None
    missed: Mapping[str, float]
    seconds: float


@dataclass(frozen=True, eq=False)
class Tuned:
    """What came of it.

    Attributes:
        verdict: whether the chosen config is better by more than chance.
        reasons: why nothing is, in sentences without a capital; of a better one none.
        chosen: the best of the candidates.
        candidates: all, the best first.
        failed: why methods found nothing, by method.
        estimate: of the chosen one against the config in force, on requests that no search saw.
        doubts: about its forecast and about itself.
        problem: that was searched.
        parts: of the requests.
        worth: of the candidates of the part that judges [N].
        logged: how much the law that logged showed each of them [N]; None where nothing was served.
    """

    verdict: Literal["better", "nothing_better"]
    reasons: tuple[str, ...]
    chosen: Candidate
    candidates: Sequence[Candidate]
    failed: Mapping[str, str]
    estimate: Estimate
    doubts: tuple[str, ...]
    problem: Problem
    parts: Parts
    worth: Floats
    logged: Floats | None

    @property
    def forecast(self) -> Figure:
        """Of the chosen config: a fraction of the mean reward of the one in force."""
        return self.estimate.methods["doubly_robust"]


def tune(
    parts: Parts,
    looks: Looks,
    current: Side,
    plan: Plan,
    folder: FoundFolder | None = None,
    observer: Observer = silent,
    logged: Floats | None = None,
) -> Tuned:
    """Look for a better fusion, and judge it once.

    Args:
        parts: of the outcomes. Where no config is known to have ranked them, they are groups that nothing was
            served to: then rewards count as they are, of all candidates.
        looks: how often places are looked at.
        current: the config in force.
        plan: what is looked for.
        folder: remembers what methods found.
        observer: called with progress.
        logged: `Exposure.logged` of the part that judges, where it is known already [N].

    Raises:
        FulcrumError: no method found anything, or what is asked for does not fit.
    """
    problem = problem_of(parts.search, looks, current, plan, observer)
    candidates, failed = _candidates(problem, current, plan, folder, observer)
    chosen = candidates[0]
    observer(Stage(f"Judging {chosen.found.scene.formula} of {chosen.found.method}, once: {parts.how}"))
    if parts.verdict.configs and logged is None:
        logged = Exposure(parts.verdict, looks.looks).logged(seed=plan.seed, observer=observer)
    estimate, worth = _judged(parts, looks, current, chosen, plan.seed, logged)
    reasons = list(_reasons(parts.verdict, looks, current, chosen, plan, estimate))
    return Tuned(
        verdict="nothing_better" if reasons else "better",
        reasons=tuple(reasons),
        chosen=chosen,
        candidates=candidates,
        failed=failed,
        estimate=estimate,
        doubts=(*_doubts(estimate, parts.verdict), *chosen.found.doubts),
        problem=problem,
        parts=parts,
        worth=worth,
        logged=logged,
    )


def problem_of(
    outcomes: Outcomes, looks: Looks, current: Side, plan: Plan, observer: Observer = silent
) -> Problem:
    """What methods are given: outcomes with what each candidate is worth to who looks at it."""
    served = bool(outcomes.configs)
    if served:
        observer(Stage("Fitting what items are worth, each user's by the others'"))
    worth = cross_fitted(outcomes, looks.looks) if served else realised(outcomes)
    return Problem(
        outcomes=outcomes,
        objective=Objective(outcomes.requests, worth, looks.looks),
        incumbent=current.config.scene(plan.scene)[0],
        current=ranked(current.config, outcomes.requests, current.scorers),
        tasks=plan.tasks,
        seed=plan.seed,
        trials=plan.trials,
        behaviours=_behaviours(outcomes.requests, plan),
        keep=plan.keep,
        beside=plan.beside,
    )


def realised(outcomes: Outcomes) -> Floats:
    """The reward of each candidate that was shown, 0 of others [N]."""
    worth = np.zeros(len(outcomes.requests.item))
    worth[outcomes.at] = outcomes.reward
    return worth


def value_of(found: Found, requests: Requests) -> Floats:
    """What a found scene orders candidates by [N]."""
    scene = found.scene
    lists = Slates(requests).of_request if scene.looks_at_the_list else None
    scorer = next(iter(found.scorers.values()), None)
    given = score(scene, requests.predictions, requests.video_len_s, lists=lists, scorer=scorer)
    return np.asarray(given.order, np.float64)


def _behaviours(requests: Requests, plan: Plan) -> dict[str, Floats]:
    """How much candidates bring of what constraints and the front name [N]."""
    p = {task: each.astype(np.float64) for task, each in requests.predictions.items()}
    names = {*plan.keep, *([] if plan.beside is None else [plan.beside])}
    return {name: values_of(name, p, requests.video_len_s) for name in sorted(names)}


def _candidates(
    problem: Problem, current: Side, plan: Plan, folder: FoundFolder | None, observer: Observer
) -> tuple[list[Candidate], dict[str, str]]:
    """What all methods find, the best first."""
    candidates: list[Candidate] = []
    failed: dict[str, str] = {}
    now = problem.objective.per_request(problem.current)
    if not now.mean() > 0.0:
        raise FulcrumError(
            f"{problem.outcomes.source}: the mean reward of what ranks now is {now.mean():g}; expected one "
            "above 0, of which gains are fractions"
        )
    resamples = Resamples(problem.outcomes.requests.user, seed=plan.seed)
    for method, formula in plan.runs():
        observer(Stage(f"{method}: looking for the best {formula}"))
        began = time.perf_counter()
        found = folder.read(method, formula) if folder is not None else None
        try:
            found = found or METHODS[method](replace(problem, formula=formula), observer)
        except FulcrumError as error:
            if plan.methods is not None:
                raise
            failed[method] = str(error)
            observer(Note(f"left out: {error}"))
            continue
        seconds = time.perf_counter() - began
        if folder is not None:
            folder.write(method, formula, found)
        value = value_of(found, problem.outcomes.requests)
        then = problem.objective.per_request(value)
        candidates.append(
            Candidate(
                found,
                found.into(current.config, plan.scene),
                float(then.mean() / now.mean() - 1.0),
                _interval(then, now, resamples),
                problem.missed(value),
                seconds,
            )
        )
        observer(Note(f"{candidates[-1].gain:+.2%} where it was found, {seconds:.0f} s"))
    if not candidates:
        raise FulcrumError(f"no method found anything: {'; '.join(failed.values())}")
    candidates.sort(key=_standing, reverse=True)
    return candidates, failed


def _standing(one: Candidate) -> tuple[bool, float]:
    """What keeps its rates comes first, then what gains more."""
    return not one.missed, one.gain - (_MODEL_MARGIN if one.found.formula == "model" else 0.0)


def _interval(after: Floats, before: Floats, resamples: Resamples) -> Ends | None:
    """Of the ratio of means of requests [R], less 1."""
    value = float(after.mean() / before.mean() - 1.0)

    def draws() -> Floats:
        one, other = resamples.sums(after, before)
        return np.asarray((one / other)[:, 0] - 1.0, np.float64)

    found = resamples.interval(value, draws, np.ones(len(after), np.bool_))
    return found if np.isfinite(found).all() else None


def _judged(
    parts: Parts, looks: Looks, current: Side, chosen: Candidate, seed: int, logged: Floats | None
) -> tuple[Estimate, Floats]:
    """The estimate of the chosen config, and the worth of candidates [N] that it goes by."""
    verdict, scorers = parts.verdict, {**(current.scorers or {}), **chosen.found.scorers}
    if verdict.configs:
        worth = fitted(parts.search, looks.looks).worth(verdict.requests)
        estimate = difference(
            verdict,
            worth,
            looks.looks,
            chosen.config,
            current.config,
            scorers=scorers,
            logged=logged,
            seed=seed,
        )
        return estimate, worth
    worth = realised(verdict)
    objective = Objective(verdict.requests, worth, looks.looks)
    before, after = (
        objective.per_request(ranked(config, verdict.requests, scorers))
        for config in (current.config, chosen.config)
    )
    resamples = Resamples(verdict.requests.user, seed=seed)
    figure = Figure(float(after.mean() / before.mean() - 1.0), _interval(after, before, resamples))
    size = {"requests": len(verdict), "users": resamples.users}
    return Estimate(figure.difference, figure.interval, False, None, {"doubly_robust": figure}, size), worth


def _reasons(
    verdict: Outcomes, looks: Looks, current: Side, chosen: Candidate, plan: Plan, estimate: Estimate
) -> Iterator[str]:
    """Why the chosen config is not better; none where it is."""
    figure = estimate.methods["doubly_robust"]
    if figure.difference is None or figure.interval is None:
        yield "its forecast has no interval: too few users judge, or the mean reward is not above 0"
    elif not figure.interval[0] > 0.0:
        yield "the interval of its forecast holds 0 or less: chance would do"
    if plan.keep:
        requests = verdict.requests
        value = ranked(current.config, requests, current.scorers)
        there = Problem(
            verdict,
            Objective(requests, np.zeros(len(requests.item)), looks.looks),
            chosen.found.scene,
            value,
            plan.tasks,
            behaviours=_behaviours(requests, plan),
            keep=plan.keep,
        )
        for name, short in there.missed(value_of(chosen.found, requests)).items():
            yield (
                f"{name} would change by {plan.keep[name] - short:+.2%}; --keep asks for "
                f"{plan.keep[name]:+.2%} or more"
            )


def _doubts(estimate: Estimate, verdict: Outcomes) -> Iterator[str]:
    if not verdict.configs:
        yield (
            "rows that were shown are ordered again: what was never shown is not among them, and who showed "
            "them is not known; an experiment decides"
        )
    if estimate.refused and estimate.reason is not None:
        yield (
            f"the log alone cannot say: {estimate.reason}; where it is silent, the forecast is the reward "
            "model's, and an experiment decides"
        )
    if "after" in estimate.diagnostics and (alone := estimate.diagnostics["after"]["by_model"]) > _MUCH:
        yield (
            f"{alone:.0%} of what it shows, the log showed hardly ever: the reward model speaks there alone, "
            f"and the interval allows for its error there, {MODEL_ERROR:.0%} (one standard deviation)"
        )
    drift = (estimate.diagnostics.get("drift") or {}).get("interval")
    if drift is not None and not drift[0] <= 0.0 <= drift[1]:
        yield (
            "the gain changes with the days: on the last third of them it differs by "
            f"{drift[0]:+.2%} to {drift[1]:+.2%}"
        )
