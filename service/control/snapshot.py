"""Snapshot: what one request is answered with, whatever becomes active meanwhile. Knows no HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from model.bundle import Bundle
from model.experiments import Assigner, Experiments, Unit
from service.control.fusion.state import ActiveFusion, Serving
from service.features.store import FeatureStore
from service.inference.engine import Engine


@dataclass(frozen=True)
class ActiveBundle:
    """A bundle with what serves it: its network on a provider, its users and items."""

    bundle: Bundle
    engine: Engine
    store: FeatureStore

    @property
    def serving(self) -> Serving:
        """The bundle as far as a fusion config must fit it."""
        return Serving(self.bundle.version, self.bundle.task_names, self.bundle.request_features)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One bundle and one fusion config that fit each other; replaced whole, never changed.

    Attributes:
        active: the bundle.
        fusion: the config.
        arms: what requests in an experiment get in place of these; None where there are none.
    """

    active: ActiveBundle
    fusion: ActiveFusion
    arms: Dealt | None = None

    def is_like(self, other: Snapshot) -> bool:
        """Whether it has the same bundle and config, arms apart."""
        return self.active is other.active and self.fusion is other.fusion


class Dealt:
    """The experiments in force, with a snapshot for each combination of their arms. Only looks up.

    Args:
        experiments: all of whose arms can be served.
        parts: by experiment and arm: the number of what it names, 0 where it names nothing.
        snapshots: by the numbers of a request's arms, in the order of layers, without zeros; what is not
            here is the snapshot that holds this.
    """

    def __init__(
        self,
        experiments: Experiments,
        parts: Mapping[tuple[str, str], int],
        snapshots: Mapping[tuple[int, ...], Snapshot],
    ) -> None:
        self.experiments = experiments
        self._assigner = Assigner(experiments)
        self._parts = parts
        self._snapshots = snapshots

    def to(
        self, units: Mapping[Unit, str | None], scene: str, said: Mapping[str, Any], time_ms: int
    ) -> tuple[Snapshot | None, list[str]]:
        """What a request gets, None for what is active; and the labels of its arms. See `Assigner.of`."""
        found = self._assigner.of(units, scene, said, time_ms)
        numbers = [self._parts[one.experiment, one.arm.name] for one in found if one.experiment and one.arm]
        key = tuple(number for number in numbers if number)
        return self._snapshots.get(key), [one.label for one in found]


class Snapshots(Protocol):
    """Whoever decides what is active."""

    def snapshot(self) -> Snapshot:
        """What is active now; taken once a request."""
