"""Assignment: which arm of which experiment a request has, in each layer; from its units' hashes alone.

Nothing is remembered, so every worker says the same, also after a restart. Knows no store, no clock and no
service. Shapes: U units.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.events.exposures import unit_hash
from model.experiments.config import BUCKETS, HOLDOUT, Arm, Experiment, Experiments, Layer, Unit
from model.fusion.conditions import holds

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Assigned:
    """What a request has in one layer.

    Attributes:
        layer: its name.
        experiment: its id; None for the layer's holdout.
        arm: None for the layer's holdout.
        forced: whether an override says so: statistics do not count it.
    """

    layer: str
    experiment: str | None
    arm: Arm | None
    forced: bool = False

    @property
    def label(self) -> str:
        """As answers and exposures say it: `layer/experiment:arm`, `layer/holdout`."""
        if self.experiment is None or self.arm is None:
            return f"{self.layer}/{HOLDOUT}"
        return f"{self.layer}/{self.experiment}:{self.arm.name}{'@override' if self.forced else ''}"


class Assigner:
    """Assigns requests.

    Args:
        experiments: all there are.
    """

    def __init__(self, experiments: Experiments) -> None:
        self._layers = [_Held(experiments, layer) for layer in experiments.layers]

    def of(
        self, units: Mapping[Unit, str | None], scene: str, said: Mapping[str, Any], time_ms: int
    ) -> list[Assigned]:
        """What a request has: at most one arm a layer; layers in which it has none are left out.

        Args:
            units: by kind, whose request it is; a layer whose unit is missing takes none.
            scene: that it asks for.
            said: of its context, what conditions look at.
            time_ms: of the request, Unix time.
        """
        found = []
        for held in self._layers:
            unit = units.get(held.layer.unit)
            one = None if unit is None else held.assigned(unit, scene, said, time_ms)
            if one is not None:
                found.append(one)
        return found


class _Held:
    """A layer's experiments, in the order of their buckets."""

    def __init__(self, experiments: Experiments, layer: Layer) -> None:
        held = experiments.held(layer.name)
        self.layer = layer
        self._holdout = Assigned(layer.name, None, None)
        self._first_held_out = BUCKETS - layer.holdout
        self._dealt = [_Dealt(layer, one) for one in held]
        self._firsts = [one.first for one in held]
        self._tests = [dealt for dealt in self._dealt if dealt.forced]

    def assigned(self, unit: str, scene: str, said: Mapping[str, Any], time_ms: int) -> Assigned | None:
        for dealt in self._tests:
            if unit in dealt.forced:
                return dealt.forced[unit]
        bucket = bucket_of(self.layer, unit)
        if bucket >= self._first_held_out:
            return self._holdout
        place = bisect_right(self._firsts, bucket) - 1
        if place < 0:
            return None
        dealt = self._dealt[place]
        return dealt.of(unit) if dealt.takes(bucket, scene, said, time_ms) else None


class _Dealt:
    """An experiment with what is assigned in it."""

    def __init__(self, layer: Layer, experiment: Experiment) -> None:
        self._experiment, self._salt = experiment, layer.salt
        self._name, self._ends = _name(layer, experiment), _ends(experiment)
        self._end = experiment.first + experiment.ramp
        self._by_arm = [Assigned(layer.name, experiment.id, arm) for arm in experiment.arms]
        by_name = {arm.name: arm for arm in experiment.arms}
        tested = experiment.overrides.items() if experiment.state != "paused" else ()
        self.forced = {
            unit: Assigned(layer.name, experiment.id, by_name[arm], forced=True) for unit, arm in tested
        }

    def takes(self, bucket: int, scene: str, said: Mapping[str, Any], time_ms: int) -> bool:
        """Whether a request takes part whose unit is in a bucket that the experiment holds, or in none."""
        one = self._experiment
        if bucket >= self._end or not one.live_at(time_ms):
            return False
        return (one.scenes is None or scene in one.scenes) and (one.when is None or holds(one.when, said))

    def of(self, unit: str) -> Assigned:
        """What a unit of the experiment has."""
        part = unit_hash(self._salt, self._name, unit) % BUCKETS
        return self._by_arm[bisect_right(self._ends, part)]


def bucket_of(layer: Layer, unit: str) -> int:
    """Of a layer, 0 to 9,999."""
    return unit_hash(layer.salt, layer.name, unit) % BUCKETS


def arms_of(layer: Layer, experiment: Experiment, units: Sequence[str]) -> Ints:
    """Places of units' arms among the experiment's, whoever asks and when; -1 for units outside: [U]."""
    buckets = _parts(layer.salt, layer.name, units)
    inside = (buckets >= experiment.first) & (buckets < experiment.first + experiment.ramp)
    parts = _parts(layer.salt, _name(layer, experiment), units)
    return np.where(inside, np.searchsorted(_ends(experiment), parts, side="right"), -1)


def _name(layer: Layer, experiment: Experiment) -> str:
    return f"{layer.name}/{experiment.id}"


def _ends(experiment: Experiment) -> list[int]:
    """Of the arms' parts of 10,000."""
    return list(accumulate(arm.share for arm in experiment.arms))


def _parts(salt: str, name: str, units: Sequence[str]) -> Ints:
    hashes = np.fromiter((unit_hash(salt, name, unit) for unit in units), np.uint64, len(units))
    return (hashes % np.uint64(BUCKETS)).astype(np.int64)
