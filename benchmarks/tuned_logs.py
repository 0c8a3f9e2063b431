"""What the tuner makes of a log, beside the truth: what it finds, what it forecasts, and when it is wrong."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.best_fusion import TASKS
from benchmarks.tuning_worlds import DEFAULT, FORM_OF, HOME, Population, config_of, with_gain
from model.fusion import DEFAULT_SCENE, FusionConfig, load_fusion
from model.learned_fusion import LearnedNetwork
from tests.support.world_logs import WorldLog
from training.progress import silent
from training.tuning.diff import Side
from training.tuning.examination import looks_of
from training.tuning.methods import METHODS
from training.tuning.objective import Objective
from training.tuning.outcomes import Outcomes
from training.tuning.parts import parted
from training.tuning.problem import Found
from training.tuning.tuning import Plan, Tuned, problem_of, tune, value_of

TUNE_REQUESTS = 40_000
RAISES = 100_000
GAINS = (0.005, 0.01, 0.02, 0.05)
"""True gains that are there to be found."""
Line = dict[str, Any]


def searched(population: Population, number: int) -> Line:
    """All methods on a log by the demo's default weights, and `log_power` with weights alone."""
    log = population.log(DEFAULT, TUNE_REQUESTS, number)
    tuned = _tuned(population, log, DEFAULT, Plan(DEFAULT_SCENE, TASKS, seed=number))
    weights = METHODS["cma_es"](replace(tuned.problem, formula="log_power", smoothing=False), silent)
    found = [*(one.found for one in tuned.candidates), replace(weights, method="cma_es, weights alone")]
    return {
        **_verdict(population, tuned, DEFAULT),
        "found": [
            {
                "method": one.method,
                "formula": one.formula,
                "value": one.value,
                "gain": _gain(population, one, DEFAULT),
                "doubts": one.doubts,
            }
            for one in found
        ],
        "regret_of_default": 1.0 - population.visits.true_value(DEFAULT) / population.oracle,
        "best": {name: population.gain(config_of(population.optimum(name)), DEFAULT) for name in FORM_OF},
        "seconds": {f"{one.found.method} {one.found.formula}": one.seconds for one in tuned.candidates},
        "failed": tuned.failed,
    }


def families(population: Population, number: int) -> Line:
    """A product against a sum, in the world of this reward."""
    log = population.log(DEFAULT, TUNE_REQUESTS, number)
    plan = Plan(DEFAULT_SCENE, TASKS, formulas=("log_power", "weighted_sum"), seed=number)
    tuned = _tuned(population, log, DEFAULT, plan)
    right = {"additive": "weighted_sum", "complementary": "log_power"}[population.reward]
    return {**_verdict(population, tuned, DEFAULT), "right": tuned.chosen.found.formula == right}


def verdicts(population: Population, number: int, kind: str) -> Line:
    """One verdict: `far`, `placebo`, `optimum`, or a true gain that is there to be found, such as `0.01`.

    `far`: from the demo's old weights, by least squares, which need no search. Else products alone are
    searched, in a placebo from the old weights on, from the best product, or from one that it gains so much
    over.
    """
    law = DEFAULT
    if kind == "optimum":
        law = best_product(population)
    elif kind not in ("placebo", "far"):
        law = with_gain(population, float(kind))
    log = population.log(law, TUNE_REQUESTS, number)
    if kind == "placebo":
        chance = np.random.default_rng([population.seed, number, 2])
        log = replace(log, outcomes=shuffled(log.outcomes, chance))
    plan = Plan(DEFAULT_SCENE, TASKS, formulas=("log_power",), methods=("cma_es",), seed=number)
    if kind == "far":
        plan = replace(plan, formulas=None, methods=("least_squares",))
    return _verdict(population, _tuned(population, log, law, plan), law)


def learned(population: Population, number: int) -> Line:
    """Trees of one log: what no raise may lower, and how long 500 candidates take."""
    log = population.log(DEFAULT, TUNE_REQUESTS, number)
    plan = Plan(DEFAULT_SCENE, TASKS, formulas=("model",), methods=("trees",), seed=number)
    outcomes, found = log.outcomes, _tuned(population, log, DEFAULT, plan).chosen.found
    assert found.network is not None
    network = LearnedNetwork(found.network, len(TASKS) + 1)
    requests, chance = outcomes.requests, np.random.default_rng(number)
    rows = chance.integers(0, len(requests.item), RAISES)
    columns = [*requests.predictions.values(), requests.video_len_s]
    inputs = np.stack([one[rows] for one in columns], axis=1).astype(np.float32)
    raised, which = inputs.copy(), chance.integers(0, len(TASKS), RAISES)
    at = (np.arange(RAISES), which)
    raised[at] += ((1.0 - raised[at]) * chance.random(RAISES)).astype(np.float32)
    before, after = network(inputs), network(raised)
    took = []
    for _ in range(200):
        began = time.perf_counter()
        network(inputs[:500])
        took.append(time.perf_counter() - began)
    return {
        "lowered": int((after < before).sum()),
        "raises": RAISES,
        "ms_of_500": 1000.0 * float(np.median(took)),
        "gain": _gain(population, found, DEFAULT),
    }


def best_product(population: Population) -> FusionConfig:
    """What the search of products ends with where it knows the truth of the population; kept in a file.

    `Population.optimum` has fewer parameters, and other requests.
    """
    path = HOME / f"best-{population.name}-searched.json"
    if not path.exists():
        visits, start = population.visits, config_of(population.optimum("smoothing"))
        outcomes = visits.log(start, np.random.default_rng(population.seed)).outcomes
        looks = looks_of(outcomes)
        problem = problem_of(outcomes, looks, Side("current", start), Plan(DEFAULT_SCENE, TASKS))
        objective = Objective(outcomes.requests, visits.worth, looks.looks)
        found = METHODS["cma_es"](replace(problem, objective=objective, trials=4 * problem.trials), silent)
        path.write_text(config_of(found.scene).model_dump_json())
    return load_fusion(path)


def shuffled(outcomes: Outcomes, chance: np.random.Generator) -> Outcomes:
    """What came of items, dealt out anew among those in the same place: no order is worth more."""
    dealt = np.arange(len(outcomes.at))
    for place in range(outcomes.slots):
        rows = np.flatnonzero(outcomes.position == place)
        dealt[rows] = chance.permutation(rows)
    labels = {task: label[dealt] for task, label in outcomes.labels.items()}
    return replace(outcomes, reward=outcomes.reward[dealt], labels=labels)


def _tuned(population: Population, log: WorldLog, law: FusionConfig, plan: Plan) -> Tuned:
    parts = parted(log.outcomes, plan.seed)
    looks = looks_of(parts.search)
    logged = population.logged(law, log, parts.verdict, looks.looks)
    return tune(parts, looks, Side("current", law), plan, logged=logged)


def _verdict(population: Population, tuned: Tuned, law: FusionConfig) -> Line:
    chosen, figure = tuned.chosen, tuned.forecast
    return {
        "verdict": tuned.verdict,
        "method": chosen.found.method,
        "formula": chosen.found.formula,
        "forecast": figure.difference,
        "interval": figure.interval,
        "refused": tuned.estimate.refused,
        "by_model": tuned.estimate.diagnostics["after"]["by_model"],
        "truth": _gain(population, chosen.found, law),
    }


def _gain(population: Population, found: Found, law: FusionConfig) -> float:
    visits = population.visits
    value = visits.true_values(value_of(found, visits.requests))
    return float(value.mean()) / visits.true_value(law) - 1.0
