"""A models folder, its desired state and workers on it, in one process."""

from __future__ import annotations

from pathlib import Path

from service.control.active import Control
from service.control.bundles.catalog import Catalog
from service.control.bundles.loading import Loader
from service.control.bundles.rollout import Rollout
from service.control.state.file import FileState
from service.features.embedded import EmbeddedStore
from service.inference.engine import Engine, EngineOptions
from service.processes.board import Board
from service.processes.fleet import Fleet
from tests.support.bundle_variants import write_variant

__all__ = ["Site", "reason", "serves", "settle"]


class Site:
    """A models folder with its state, and workers on it."""

    def __init__(self, root: Path, world) -> None:
        self.models, self.state = root / "models", FileState(root / "state.json")
        self.world, self.features = world, world.features
        self.judged: list[str] = []
        self.open_store = lambda encoder, first: EmbeddedStore(self.features, encoder)
        self.run = root / "run"
        self.models.mkdir()
        self.run.mkdir()
        self._days = 0

    def add(self, name: str, **given) -> str:
        """A bundle newer than those before; its version."""
        self._days += 1
        created = f"2026-03-{self._days:02}T00:00:00Z"
        return write_variant(self.world.bundle, self.models / name, self._days, created, **given)

    def worker(
        self, fusion: Path | None = None, board: Board | None = None, place: int = 0, **given
    ) -> Rollout:
        fleet = Fleet(self.run if board else None, place, board)
        return Rollout(
            Catalog(self.models),
            self.state,
            Loader(
                lambda encoder, first: self.open_store(encoder, first),
                lambda bundle: Engine.load(bundle, EngineOptions()),
                **given,
            ),
            fleet,
            lambda active: Control(active, fusion, fleet),
            self.judged.append,
        )


def serves(rollout: Rollout) -> str:
    return rollout.control.snapshot().active.bundle.version


def settle(rollout: Rollout) -> None:
    for _ in range(3):
        rollout.poll()


def reason(rollout: Rollout, name: str) -> str:
    return {path.name: reason for path, reason in rollout.refusals().items()}[name]
