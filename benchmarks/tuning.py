"""Tuning and estimating, judged where the truth is known: rows "tune", "estimate" and "learned fusion".

    python -m benchmarks.tuning estimate [--seeds 7,8] [--logs 200]
    python -m benchmarks.tuning bars

Each log is a line of build/tuning/*.jsonl; what is there is not measured again, so that a run may be stopped
and continued, and seeds run side by side. `bars` prints what stands against its bounds.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from benchmarks.regret import FIRST_SEED
from benchmarks.rig import Broken, finish
from benchmarks.tuning_bars import of_estimates
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
from training.tuning.estimating import difference
from training.tuning.examination import looks_of
from training.tuning.exposure import Exposure
from training.tuning.outcomes import Outcomes
from training.tuning.reward_model import cross_fitted

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
Seeds = Annotated[str, typer.Option(help="Of worlds, with commas between.")]
Logs = Annotated[int, typer.Option(min=1, help="Of each seed.")]
ESTIMATE_REQUESTS = 20_000
BARS = {"estimate-*.jsonl": of_estimates}


@app.command()
def estimate(seeds: Seeds = str(FIRST_SEED), logs: Logs = 5) -> None:
    """Differences of configs from logs of 20,000 requests, beside the truth."""
    for population in _populations(seeds):
        _run(f"estimate-{population.seed}", logs, partial(_estimated, population))


@app.command()
def bars() -> None:
    """What was measured, against its bounds."""
    table = Table("what", "found", "bound", title="Tuning and estimating, with PLE's predictions")
    broken: Broken = []
    for pattern, rows in BARS.items():
        found = [line for path in sorted(HOME.glob(pattern)) for line in lines(path)]
        for row in rows(found) if found else ():
            table.add_row(row.what, row.found, row.bound)
            if not row.kept:
                broken.append(f"{row.what}: {row.found}; expected {row.bound}")
    finish(table, broken)


def _estimated(population: Population, number: int) -> dict[str, Any]:
    """A log by one of two laws, and five targets."""
    law = (DEFAULT, SMOOTHED)[number % 2]
    outcomes = population.log(law, ESTIMATE_REQUESTS, number).outcomes
    looks = looks_of(outcomes).looks
    worth = cross_fitted(outcomes, looks)
    logged = Exposure(outcomes, looks).logged(seed=number)
    chance = np.random.default_rng([population.seed, number, 1])
    targets = {
        "near": _away(law, float(chance.uniform(0.2, 1.0)), chance),
        "far": _away(law, float(chance.uniform(1.0, 10.0)), chance),
        "three": _away(law, 3.0, chance),
        "another formula": config_of(population.optimum("weighted_sum")),
    }
    found = []
    for kind, target in targets.items():
        of = difference(outcomes, worth, looks, target, law, logged=logged, seed=number)
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
    """A config so many standard deviations of exploring away, in any direction."""
    scene = config.scenes[DEFAULT_SCENE]
    means = scene.parameters()
    mu, direction = np.array(list(means.values())), chance.standard_normal(len(means))
    moved = mu + EXPLORE.deviations(mu, scene.least()) * direction * sds / np.linalg.norm(direction)
    return config_of(scene.with_parameters(dict(zip(means, moved.tolist(), strict=True))))


def _plain_half(outcomes: Outcomes) -> float:
    """Half the interval of a request's mean reward by that mean, as if requests were independent."""
    reward = outcomes.per_request(outcomes.reward)
    return float(1.96 * reward.std() / len(reward) ** 0.5 / reward.mean())


def _populations(seeds: str) -> list[Population]:
    return [Population(int(seed)) for seed in seeds.split(",")]


def _run(name: str, logs: int, measure: Any) -> None:
    began = time.perf_counter()
    for line in measured(name, range(logs), measure):
        print(f"{name} {line['number']}: {time.perf_counter() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    app()
