"""Worlds to judge tuning in: a population of requests with PLE's predictions and its truth, and logs of it.

A log draws viewers from the population, each with all their requests, so that an estimate from it meets
the variance between users that a bootstrap over users knows; the truth is the population's. What a law may
have shown is drawn once for the population (`Population.logged`), in place of once for each log. Populations
stay in build/tuning. Shapes: R requests, N candidates of all of them, S places.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.best_fusion import FORMS, TASKS, Form, best
from benchmarks.regret import BEFORE, FILE, REWARDS, trained
from model.fusion import DEFAULT_SCENE, Explore, FusionConfig, Scene, load_fusion, version
from tests.support.world_logs import (
    WorldLog,
    WorldRequests,
    by_bundle,
    by_truth,
    drawn_order,
    runs,
)
from training.simulation import World, WorldConfig
from training.tuning.exposure import DRAWS, Exposure
from training.tuning.objective import scored
from training.tuning.outcomes import Outcomes
from training.tuning.requests import Floats

HOME = Path("build/tuning")
REQUESTS = 10_000
"""Of a population."""
NOISE = 0.5
"""Of log-odds of the true probabilities, where they stand for a network's predictions."""
SEARCH_REQUESTS = 3_000
"""Of an audience of their own, for the best that a form can reach."""
EXPLORE = Explore(share=1.0, noise=0.2)
POPULATION, SEARCHED = 1, 2
"""Seeds of the audiences."""
FORM_OF: dict[str, Form] = {
    "weights": FORMS["best product, no smoothing"],
    "smoothing": FORMS["best product, smoothing"],
    "weighted_sum": FORMS["best weighted sum"],
}
"""By what is searched for: the form whose optimum the truth knows."""


def config_of(scene: Scene, explore: Explore | None = EXPLORE) -> FusionConfig:
    """A config of this scene alone."""
    return FusionConfig(
        schema_version=1, scenes={DEFAULT_SCENE: scene.model_copy(update={"explore": explore})}
    )


DEFAULT = config_of(BEFORE)
"""The demo's weights without smoothing: what a first service ranks by."""
SMOOTHED = config_of(load_fusion(FILE).scenes[DEFAULT_SCENE])
"""The demo's file."""


@dataclass(frozen=True)
class Population:
    """Requests of one world.

    Attributes:
        seed: of the world, its bundle and its training.
        reward: `additive` or `complementary`.
        network: whether a PLE predicts; else the truth with noise does.
    """

    seed: int
    reward: str = "additive"
    network: bool = True

    @property
    def name(self) -> str:
        """Of files."""
        return f"{self.seed}-{self.reward}" + ("" if self.network else "-noise")

    @cached_property
    def visits(self) -> WorldRequests:
        """All requests."""
        return self._visits(POPULATION, REQUESTS)

    @cached_property
    def oracle(self) -> float:
        """What the order by the truth is worth."""
        return float(self.visits.true_values(self.visits.worth).mean())

    def gain(self, config: FusionConfig, against: FusionConfig) -> float:
        """True value over another config's, less 1; neither explores."""
        return self.visits.true_value(config) / self.visits.true_value(against) - 1.0

    def log(self, config: FusionConfig, requests: int, number: int) -> WorldLog:
        """The log of this number."""
        rng = np.random.default_rng([self.seed, number])
        return self.visits.resampled(requests, rng).log(config, rng)

    def logged(self, config: FusionConfig, log: WorldLog, part: Outcomes, looks: Floats) -> Floats:
        """As `Exposure.logged` of a part of a log by this config gives it, which explores all requests [N].

        All but what was shown is drawn for the population, so that it is the same in all logs.
        """
        requests, population = part.requests, self.visits.requests
        number = np.array([int(name[1:]) for name in requests.ids], np.int64)
        rows = runs(population.start[log.visits.drawn[number]], requests.sizes)
        return np.asarray((self._places(config)[rows] @ looks + Exposure(part, looks).shown) / DRAWS)

    def _places(self, config: FusionConfig) -> np.ndarray:
        """How often each candidate of the population stands in each place, in all draws but one [N, S]."""
        path = HOME / f"drawn-{self.name}-{version(config)[-12:]}.npy"
        if not path.exists():
            visits, chance = self.visits, np.random.default_rng(self.seed)
            slots = visits.world.config.slots
            found = np.zeros((len(visits.requests.item), slots), np.uint8)
            for _ in range(DRAWS - 1):
                unit_hash = chance.integers(0, 2**64 - 1, len(visits), np.uint64)
                value = drawn_order(config, replace(visits.requests, unit_hash=unit_hash))[0]
                found[visits.slates.first(value, slots), np.arange(slots)] += 1
            np.save(path, found)
        return np.asarray(np.load(path, mmap_mode="r"))

    def optimum(self, form: str) -> Scene:
        """The best scene of a form, by the truth of requests of their own; searched for once."""
        path = HOME / f"best-{self.name}-{form}.json"
        if not path.exists():
            visits = self._visits(SEARCHED, SEARCH_REQUESTS)
            means = {task: float(p.mean()) for task, p in visits.requests.predictions.items()}

            def value(scene: Scene) -> float:
                return float(visits.true_values(scored(scene, visits.requests)).mean())

            path.write_text(config_of(best(FORM_OF[form], value, means), None).model_dump_json())
        return load_fusion(path).scenes[DEFAULT_SCENE]

    def _visits(self, audience: int, count: int) -> WorldRequests:
        base = World.create(WorldConfig(seed=self.seed))
        world = World(WorldConfig(seed=self.seed, reward=REWARDS[self.reward]), base.viewers, base.videos)
        if not self.network:
            return WorldRequests.of(world, count, by_truth(NOISE, self.seed), audience)
        bundle = trained(self.seed)
        file = HOME / f"predicted-{bundle.version[-12:]}-{audience}-{count}.npz"
        file.parent.mkdir(parents=True, exist_ok=True)

        def kept(*of: Any) -> dict[str, np.ndarray]:
            if not file.exists():
                np.savez(file, allow_pickle=False, **by_bundle(bundle)(*of))
            return dict(np.load(file))

        return WorldRequests.of(world, count, kept, audience)


def with_gain(population: Population, gain: float) -> FusionConfig:
    """A product over which the best one gains so much: between that and one of the first task alone.

    Found by bisection on the straight line between their weights; smoothings are the best one's.
    """
    best = population.optimum("smoothing")
    top = best.parameters()
    far = {name: top[name] if "." in name else float(name == TASKS[0]) for name in top}

    def between(part: float) -> FusionConfig:
        return config_of(best.with_parameters({n: top[n] + part * (far[n] - top[n]) for n in top}))

    low, high = 0.0, 1.0
    for _ in range(12):
        middle = (low + high) / 2.0
        if population.gain(config_of(best), between(middle)) > gain:
            high = middle
        else:
            low = middle
    return between((low + high) / 2.0)


def lines(path: Path) -> list[dict[str, Any]]:
    """What was measured so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def measured(
    name: str, numbers: Sequence[int], measure: Callable[[int], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Measure those numbers that are not yet in a file, a line each."""
    path = HOME / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    done = {line["number"]: line for line in lines(path)}
    for number in numbers:
        if number not in done:
            done[number] = {"number": number, **measure(number)}
            with path.open("a") as file:
                file.write(json.dumps(done[number]) + "\n")
        yield done[number]
