"""Snapshot: what one request is answered with, whatever becomes active meanwhile. Knows no HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from model.bundle import Bundle
from service.control.fusion.state import ActiveFusion
from service.features.store import FeatureStore
from service.inference.engine import Engine


@dataclass(frozen=True)
class ActiveBundle:
    """A bundle with what serves it: its network on a provider, its users and items."""

    bundle: Bundle
    engine: Engine
    store: FeatureStore


@dataclass(frozen=True)
class Snapshot:
    """One bundle and one fusion config that fit each other; replaced whole, never changed."""

    active: ActiveBundle
    fusion: ActiveFusion


class Snapshots(Protocol):
    """Whoever decides what is active."""

    def snapshot(self) -> Snapshot:
        """What is active now; taken once a request."""
