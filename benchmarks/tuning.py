"""Tuning and estimating, judged where the truth is known: rows "tune", "estimate" and "learned fusion".

    python -m benchmarks.tuning estimate | tune | verdict | family | network [--seeds 7,8] [--logs 200]
        [--noise]
    python -m benchmarks.tuning bars [--noise]

A PLE per seed predicts; with --noise, the true probabilities with noise do, which takes no training.

Each log is a line of build/tuning/*.jsonl; what is there is not measured again, so that a run may be stopped
and continued, and seeds run side by side. `bars` prints what stands against its bounds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from benchmarks.best_fusion import TASKS
from benchmarks.regret import FIRST_SEED, REWARDS
from benchmarks.rig import Broken, finish
from benchmarks.tuned_logs import GAINS, families, learned, searched, verdicts
from benchmarks.tuning_bars import (
    Row,
    of_estimates,
    of_families,
    of_forecasts,
    of_learned,
    of_searches,
    of_verdicts,
)
from benchmarks.tuning_worlds import (
    DEFAULT,
    EXPLORE,
    HOME,
    SMOOTHED,
    Population,
    config_of,
    lines,
    measured,
)
from model.fusion import DEFAULT_SCENE, FusionConfig
from training.progress import silent
from training.tuning.diff import Side
from training.tuning.estimating import difference
from training.tuning.examination import looks_of
from training.tuning.methods import METHODS
from training.tuning.outcomes import Outcomes
from training.tuning.reward_model import Balance
from training.tuning.tuning import Plan, problem_of

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
Seeds = Annotated[str, typer.Option(help="Of worlds, such as 7,9 or 7-11.")]
Logs = Annotated[int, typer.Option(min=1, help="Of each seed.")]
Noise = Annotated[bool, typer.Option("--noise", help="The truth with noise predicts.")]
ESTIMATE_REQUESTS = 20_000


@app.command()
def estimate(seeds: Seeds = str(FIRST_SEED), logs: Logs = 5, noise: Noise = False) -> None:
    """Differences of configs from logs of 20,000 requests, beside the truth."""
    for population in _populations(seeds, noise):
        _run(f"estimate-{population.name}", logs, partial(_estimated, population))


@app.command()
def tune(seeds: Seeds = "7-11", logs: Logs = 1, noise: Noise = False) -> None:
    """What all methods find from logs of 40,000 requests."""
    for population in _populations(seeds, noise):
        _run(f"tune-{population.name}", logs, partial(searched, population))


@app.command()
def verdict(
    kinds: Annotated[
        str, typer.Option(help="far, placebo, optimum, or gains that are there to be found.")
    ] = ("far,placebo,optimum,0.005,0.01,0.02,0.05"),
    seeds: Seeds = "7-11",
    logs: Logs = 1,
    noise: Noise = False,
) -> None:
    """The verdict of one search: better, or nothing better."""
    for population in _populations(seeds, noise):
        for kind in kinds.split(","):
            _run(f"verdict-{kind}-{population.name}", logs, partial(verdicts, population, kind=kind))


@app.command()
def family(seeds: Seeds = "7-26", noise: Noise = False) -> None:
    """A sum or a product, in an additive and in a complementary world."""
    for population in _populations(seeds, noise):
        for reward in REWARDS:
            one = replace(population, reward=reward)
            _run(f"family-{one.name}", 1, partial(families, one))


@app.command()
def network(seeds: Seeds = "7-11", noise: Noise = False) -> None:
    """Networks of trees: raises, and their pace."""
    for population in _populations(seeds, noise):
        _run(f"learned-{population.name}", 1, partial(learned, population))


@app.command()
def bars(noise: Noise = False) -> None:
    """What was measured, against its bounds."""
    table = Table(
        "what",
        "found",
        "bound",
        title="Tuning and estimating, predicted by " + ("the truth with noise" if noise else "PLE"),
    )
    broken: Broken = []
    for row in _rows(noise):
        table.add_row(row.what, row.found, row.bound)
        if not row.kept:
            broken.append(f"{row.what}: {row.found}; expected {row.bound}")
    finish(table, broken)


def _rows(noise: bool) -> Iterator[Row]:
    def measured_by(pattern: str) -> list[dict[str, Any]]:
        paths = sorted(HOME.glob(f"{pattern}.jsonl"))
        return [line for path in paths if path.stem.endswith("-noise") == noise for line in lines(path)]

    for pattern, rows in (
        ("tune-*", of_searches),
        ("family-*-additive*", of_families),
        ("family-*-complementary*", of_families),
        ("estimate-*", of_estimates),
        ("learned-*", of_learned),
    ):
        if found := measured_by(pattern):
            yield from rows(found)
    verdicts_found = measured_by("tune-*") + measured_by("family-*")
    for kind in ("far", "placebo", "optimum", *map(str, GAINS)):
        if found := measured_by(f"verdict-{kind}-*"):
            yield of_verdicts(kind, found)
            verdicts_found += found if kind != "placebo" else []
    if verdicts_found:
        yield from of_forecasts(verdicts_found)


def _estimated(population: Population, number: int) -> dict[str, Any]:
    """A log by one of two laws, and targets, one of which was tuned on the same log."""
    law = (DEFAULT, SMOOTHED)[number % 2]
    log = population.log(law, ESTIMATE_REQUESTS, number)
    outcomes = log.outcomes
    how = looks_of(outcomes)
    problem = problem_of(outcomes, how, Side("current", law), Plan(DEFAULT_SCENE, TASKS))
    looks, worth = how.looks, problem.objective.worth
    logged = population.logged(law, log, outcomes, looks)
    balance = Balance(outcomes, looks)
    chance = np.random.default_rng([population.seed, number, 1])
    targets = {
        "near": _away(law, float(chance.uniform(0.2, 1.0)), chance),
        "far": _away(law, float(chance.uniform(1.0, 10.0)), chance),
        "three": _away(law, 3.0, chance),
        "another formula": config_of(population.optimum("weighted_sum")),
    }
    tuned = METHODS["pairwise"](replace(problem, smoothing=False, seed=number), silent)
    targets["tuned"] = tuned.into(law, DEFAULT_SCENE)
    found = []
    for kind, target in targets.items():
        of = difference(outcomes, worth, looks, target, law, logged=logged, balance=balance, seed=number)
        found.append(
            {
                "kind": kind,
                "truth": population.gain(target, law),
                "difference": of.difference,
                "interval": of.interval,
                "refused": of.refused,
                "reason": of.reason,
                "methods": {name: [one.difference, one.interval] for name, one in of.methods.items()},
                "after": of.diagnostics["after"],
                "shift": of.diagnostics["shift"],
            }
        )
    return {"law": number % 2, "targets": found, "plain_half": _plain_half(outcomes), "looks": looks.tolist()}


def _away(config: FusionConfig, sds: float, chance: np.random.Generator) -> FusionConfig:
    """A config at this distance, in standard deviations of exploring, in any direction."""
    scene = config.scenes[DEFAULT_SCENE]
    means = scene.parameters()
    mu, direction = np.array(list(means.values())), chance.standard_normal(len(means))
    moved = mu + EXPLORE.deviations(mu, scene.least()) * direction * sds / np.linalg.norm(direction)
    return config_of(scene.with_parameters(dict(zip(means, moved.tolist(), strict=True))))


def _plain_half(outcomes: Outcomes) -> float:
    """Half the interval of a request's mean reward by that mean, as if requests were independent."""
    reward = outcomes.per_request(outcomes.reward)
    return float(1.96 * reward.std() / len(reward) ** 0.5 / reward.mean())


def _populations(seeds: str, noise: bool) -> Iterator[Population]:
    for part in seeds.split(","):
        first, _, last = part.partition("-")
        for seed in range(int(first), int(last or first) + 1):
            yield Population(seed, network=not noise)


def _run(name: str, logs: int, measure: Any) -> None:
    began = time.perf_counter()
    for line in measured(name, range(logs), measure):
        print(f"{name} {line['number']}: {time.perf_counter() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    app()
