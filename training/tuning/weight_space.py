"""Weight space: how likely another config would have drawn the weights that were logged.

Exact, and only local: the config's own noise law is compared with the one that logged, draw by draw, and of n
explored requests n exp(-c^2) speak for one that is c standard deviations away. That number gates, since the
sample's own flatters where it is small. Knows neither orders nor rewards. Shapes: R requests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from model.fusion import FusionConfig, Scene
from model.fusion.noise import standard_normals
from training.tuning.outcomes import Outcomes
from training.tuning.replay import groups
from training.tuning.requests import Flags, Floats
from training.tuning.support import shift


@dataclass(frozen=True, eq=False)
class Density:
    """A config's noise law beside the one that logged.

    Attributes:
        explored: requests whose weights were drawn [R].
        weight: density of what they drew under the config's law by that under the log's; 0 elsewhere [R].
        shift: standard deviations between them, the most of any request; infinite where the config has a
            weight that no draw varies.
        speaking: requests that speak for the config: the sum of exp(-c^2) over explored ones.
    """

    explored: Flags
    weight: Floats
    shift: float
    speaking: float


def density(outcomes: Outcomes, config: FusionConfig) -> Density:
    """The density of a config's weights, with the deviations of the law that logged."""
    requests = outcomes.requests
    away, weight = np.full(len(requests), math.inf), np.zeros(len(requests))
    explored = np.zeros(len(requests), np.bool_)
    own = np.zeros(len(requests), np.int64)
    laws: list[Scene] = []
    for rows, scene, _ in groups(config, requests):
        own[rows] = len(laws)
        laws.append(scene)
    for name, logged in outcomes.configs.items():
        of_version = np.flatnonzero(requests.version == name)
        for rows, scene, _ in groups(logged, requests.kept(requests.version == name)):
            if scene.explore is None:
                continue
            some = of_version[rows]
            explored[some] = requests.explored[some]
            for number in np.unique(own[some]):
                of = some[(own[some] == number) & explored[some]]
                by = np.array(list(shift(laws[number].parameters(), scene).values()))
                if laws[number].formula != scene.formula or not np.isfinite(by).all():
                    continue
                away[of] = math.sqrt(float(by @ by))
                z = standard_normals(requests.unit_hash[of], len(by))
                weight[of] = np.exp(z @ by - by @ by / 2.0)
    speaking = float(np.exp(-(away[explored] ** 2)).sum())
    return Density(explored, weight, float(away[explored].max(initial=0.0)), speaking)
