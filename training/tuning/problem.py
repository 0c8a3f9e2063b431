"""What a method of tuning is given, and what it gives back. Knows no method.

Shapes: R requests, N candidates of all of them, S places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from model.fusion import FusionConfig, LearnedFormula, LogPower, Scene, Scorer
from model.fusion.calibration import TaskCalibration
from model.learned_fusion import LearnedNetwork
from training.tuning.objective import Objective, scored
from training.tuning.outcomes import Outcomes
from training.tuning.requests import Flags, Floats

FALLBACK = "fallback"
"""The scene beside a learned one, which ranks where its network fails."""
_MARGIN = 0.002
"""By how much more than asked a search keeps a rate, so that the rest of the requests keeps it, too."""
_DEAR = 10.0
"""What a search takes off, in units of the current value, for a rate that falls short by all of itself."""


@dataclass(frozen=True, eq=False)
class Problem:
    """Requests with what came of them, and what orders of them are worth.

    Attributes:
        outcomes: R requests.
        objective: of the same requests.
        incumbent: the scene in force.
        current: what the config in force orders candidates by [N].
        tasks: that may be weighed, in the order of the bundle.
        formula: that is looked for, where a method finds several.
        smoothing: whether smoothings and f(video_len) are searched, too; else they are the incumbent's.
        seed: of all randomness.
        trials: orders that a search tries.
        behaviours: by name, how much of it a candidate brings where it is looked at [N]; the predictions of
            `tasks` where none is given.
        keep: by behaviour, by how much its rate may change at least; -.01 is a loss of 1 %.
        beside: the behaviour that a front has beside the reward.
    """

    outcomes: Outcomes
    objective: Objective
    incumbent: Scene
    current: Floats
    tasks: tuple[str, ...]
    formula: str = "log_power"
    smoothing: bool = True
    seed: int = 0
    trials: int = 280
    behaviours: Mapping[str, Floats] = field(default_factory=dict)
    keep: Mapping[str, float] = field(default_factory=dict)
    beside: str | None = None

    @property
    def looks(self) -> Floats:
        """How often each place is looked at [S]."""
        return self.objective.looks

    @cached_property
    def calibration(self) -> dict[str, TaskCalibration] | None:
        """The incumbent's, as far as it asks nothing of a request but lengths."""
        maps = self.incumbent.calibration or {}
        plain = {task: each for task, each in maps.items() if each == each.of_request({})}
        return plain or None

    @cached_property
    def predictions(self) -> dict[str, Floats]:
        """Calibrated predictions of `tasks`, each [N]."""
        requests, maps = self.outcomes.requests, self.calibration or {}
        return {
            task: maps[task].apply(requests.predictions[task], requests.video_len_s)
            if task in maps
            else requests.predictions[task].astype(np.float64)
            for task in self.tasks
        }

    @cached_property
    def means(self) -> dict[str, float]:
        """Mean calibrated predictions by task, above 0."""
        return {task: max(float(np.nanmean(p)), 1e-6) for task, p in self.predictions.items()}

    @cached_property
    def rates(self) -> dict[str, float]:
        """By behaviour that a constraint or the front names: the current config's mean per request."""
        return self.rates_of(self.current)

    def rates_of(self, value: Floats) -> dict[str, float]:
        """The same of the order by `value` [N]."""
        names = {*self.keep, *([] if self.beside is None else [self.beside])}
        if not names:
            return {}
        first = self.objective.slates.first(value, len(self.looks))
        amounts = self.behaviours or self.predictions
        return {
            name: float((np.append(np.nan_to_num(amounts[name]), 0.0)[first] @ self.looks).mean())
            for name in sorted(names)
        }

    def missed(self, value: Floats, margin: float = 0.0) -> dict[str, float]:
        """By behaviour whose rate the order by `value` [N] does not keep: by how much it falls short."""
        if not self.keep:
            return {}
        rates = self.rates_of(value)
        short = {
            name: least + margin - (rates[name] / self.rates[name] - 1.0) if self.rates[name] else 0.0
            for name, least in self.keep.items()
        }
        return {name: amount for name, amount in short.items() if amount > 0.0}

    def worth(self, value: Floats) -> float:
        """What a search makes as large as it can: the order's mean worth, less what its rates fall short."""
        found = float(self.objective.per_request(value).mean())
        short = sum(self.missed(value, _MARGIN).values())
        return found - _DEAR * short * self.current_value if short else found

    @cached_property
    def current_value(self) -> float:
        """What the current order is worth in the mean, as a size."""
        return abs(float(self.objective.per_request(self.current).mean()))

    def kept(self, rows: Flags) -> Problem:
        """The problem of the requests [R] that are true."""
        if rows.all():
            return self
        candidates = np.repeat(rows, self.outcomes.requests.sizes)
        outcomes = self.outcomes.kept(rows)
        return replace(
            self,
            outcomes=outcomes,
            objective=Objective(outcomes.requests, self.objective.worth[candidates], self.looks),
            current=self.current[candidates],
            behaviours={name: each[candidates] for name, each in self.behaviours.items()},
        )

    def sampled(self, most: int) -> Problem:
        """The problem of as many requests at most, drawn by the seed."""
        count = len(self.outcomes)
        rows = np.zeros(count, np.bool_)
        rows[np.random.default_rng(self.seed).permutation(count)[:most]] = True
        return self.kept(rows)

    def found(self, method: str, scene: Scene, doubts: tuple[str, ...] = ()) -> Found:
        """A scene without a network, with its value and the doubts that any method has."""
        value = scored(scene, self.outcomes.requests)
        return Found(
            method=method,
            scene=scene,
            value=float(self.objective.per_request(value).mean()),
            doubts=doubts + self.common_doubts(value),
        )

    def common_doubts(self, value: Floats) -> tuple[str, ...]:
        """What is to be said of the order by `value` [N], whatever found it."""
        found = [
            f"{name} changes by {100 * (self.keep[name] - short):+.1f} %; --keep asks for "
            f"{100 * self.keep[name]:+.1f} % or more"
            for name, short in self.missed(value).items()
        ]
        if self.incumbent.segmented:
            found.append("one law for all requests: the segments of the config in force are left out")
        if self.calibration != self.incumbent.calibration:
            found.append("a calibration that depends on the request's context is left out")
        return tuple(found)


@dataclass(frozen=True)
class Tried:
    """A scene of a front.

    Attributes:
        scene: this.
        value: what its order is worth in the mean.
        rate: of the behaviour beside it, in the mean per request.
    """

    scene: Scene
    value: float
    rate: float


@dataclass(frozen=True, eq=False)
class Found:
    """What a method found.

    Attributes:
        method: its name.
        scene: the best.
        value: what its order is worth in the mean of the problem's requests, where it was found.
        doubts: sentences without a capital and a full stop.
        network: of a learned formula, an ONNX file.
        fallback: of a learned formula, the scene that ranks where the network fails.
        front: where the reward is one of two objectives: scenes that none beats in both, the highest value
            first.
    """

    method: str
    scene: Scene
    value: float
    doubts: tuple[str, ...] = ()
    network: bytes | None = None
    fallback: LogPower | None = None
    front: tuple[Tried, ...] = ()

    @property
    def formula(self) -> str:
        """Of the scene."""
        return self.scene.formula

    @property
    def scorers(self) -> dict[str, Scorer]:
        """What `ranked` needs: the network by its checksum."""
        if self.network is None or not isinstance(self.scene, LearnedFormula):
            return {}
        return {self.scene.sha256: LearnedNetwork(self.network, len(self.scene.inputs))}

    def into(self, config: FusionConfig, scene: str) -> FusionConfig:
        """The config with this as a scene; what it explored, it explores still, where the formula can."""
        new, explore = self.scene, config.scene(scene)[0].explore
        if explore is not None and not isinstance(new, LearnedFormula):
            new = new.model_copy(update={"explore": explore})
        scenes: dict[str, Scene] = {**config.scenes, scene: new}
        if isinstance(new, LearnedFormula) and self.fallback is not None:
            scenes[new.fallback] = self.fallback
        return config.model_copy(update={"scenes": scenes})
