"""What is in force of the fusion, and where it comes from: a file, or a store of revisions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

from model.fusion import FusionConfig, Scorer, check_conditions, check_tasks

Reload = Literal["loaded", "rejected"]


class TimedScorer(Scorer, Protocol):
    """A network of a learned formula, whose file and pace are known."""

    content: bytes

    def expected_s(self, candidates: int) -> float:
        """Seconds that it takes for this number of them."""


@dataclass(frozen=True)
class ActiveFusion:
    """The config that scores.

    Attributes:
        config: parsed and checked against the bundle's tasks.
        version: hash of the canonical config.
        source: the file, or the store and its revision.
        loaded_at: UTC, ISO 8601.
        scorers: networks of learned formulas, by checksum.
        revision: its number in a store; None for a file.
        degraded: why another config should score, if so; answers repeat it.
    """

    config: FusionConfig
    version: str
    source: str
    loaded_at: str
    scorers: Mapping[str, TimedScorer] = field(default_factory=dict)
    revision: int | None = None
    degraded: tuple[str, ...] = ()

    @cached_property
    def conditions(self) -> frozenset[str]:
        """What of a request the config's conditions look at."""
        scenes = self.config.scenes.values()
        return frozenset(name for scene in scenes for name in scene.names_of_conditions())


@dataclass(frozen=True)
class RejectedFusion:
    """What is wanted now, if that cannot be used.

    Attributes:
        error: what is wrong, in one line.
        at: UTC, ISO 8601.
        sha256: of the file's bytes (of the first `MAX_BYTES` + 1, if there are more); None where it has none.
    """

    error: str
    at: str
    sha256: str | None


@dataclass(frozen=True)
class FusionState:
    """The config in force, and the newer content that was refused, if any."""

    active: ActiveFusion
    rejected: RejectedFusion | None = None


class Keep(Protocol):
    """Where content lies that outlives this process."""

    def read(self) -> bytes | None:
        """What was written last, if anything."""

    def write(self, content: bytes) -> object:
        """Put this in its place; never fails."""


@dataclass(frozen=True)
class Serving:
    """A bundle as far as a config must fit it.

    Attributes:
        version: of the bundle; None where it is not known.
        tasks: of the bundle.
        features: that a request may say of its user and context; None where that is not known.
    """

    version: str | None
    tasks: Sequence[str]
    features: Collection[str] | None = None


class FusionSource(Protocol):
    """Where the config in force comes from.

    A change is taken in two steps: `look` judges and holds up nobody, `take` puts what it found into force.
    """

    @property
    def state(self) -> FusionState:
        """The present state; take it once for each piece of work."""

    def look(self) -> Any | None:
        """Look once; what has changed, judged but for the bundle, or None."""

    def take(self, found: Any) -> None:
        """Put what was found into force if it can be used and fits the bundle; else keep what was."""

    def check(self, serving: Serving) -> None:
        """Raise FusionError if a bundle could not serve with the config that would be in force with it."""

    def fit(self, serving: Serving) -> None:
        """Judge by another bundle from now on, and take what came with it.

        Raises:
            FusionError: as `check`; nothing has changed.
        """


def check_fit(active: ActiveFusion, serving: Serving) -> None:
    """Raise FusionError if a config names tasks, or looks at features, that a bundle does not have."""
    check_tasks(active.config, serving.tasks, source=active.source)
    if serving.features is not None:
        check_conditions(active.config, serving.features, source=active.source)
