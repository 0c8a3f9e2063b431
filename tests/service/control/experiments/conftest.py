"""A worker with a control store and bundles beside the active one, whose arms tests follow step by step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from service.control.active import Control
from service.control.bundles.beside import BundlesBeside
from service.control.bundles.catalog import Catalog
from service.control.bundles.loading import Loader
from service.control.fusion.revisions import Revisions
from service.control.state.opening import open_control
from service.features.embedded import EmbeddedStore
from service.inference.engine import Engine, EngineOptions
from service.processes.fleet import Fleet
from tests.support.rollout_site import Site
from tests.support.running_experiments import set_experiments


class Worker:
    """One worker, and what a colleague may change in the store that it follows."""

    def __init__(self, site: Site, revisions: Revisions) -> None:
        self.site, self.revisions, self.fleet = site, revisions, Fleet()
        self.first = site.add("first")
        self.catalog = Catalog(site.models)
        loader = Loader(
            lambda encoder, first: EmbeddedStore(site.features, encoder),
            lambda bundle: Engine.load(bundle, EngineOptions()),
        )
        active = loader.load(site.models / "first")
        beside = BundlesBeside(self.catalog, loader, self.fleet)
        self.control = Control(active, None, self.fleet, None, revisions, beside)
        self.arms = self.control.arms
        assert self.arms is not None

    def experiments(self, *experiments: dict[str, Any], layers: int = 2, **layer: Any) -> None:
        """Have these and no others, running unless they say otherwise, of as many layers."""
        given = [{"name": f"l{n}", **layer} for n in range(1, layers + 1)]
        set_experiments(self.revisions.store, *({"layer": "l1", **one} for one in experiments), layers=given)

    def settle(self) -> None:
        """Do what the threads do by themselves."""
        for _ in range(2):
            self.catalog.scan()
        self.control.converge()
        self.arms.prepare()

    def dealt(self, unit: str, scene: str = "default") -> tuple[Any, list[str]]:
        """What a user's request gets, and its labels."""
        snapshot = self.control.snapshot()
        if snapshot.arms is None:
            return snapshot, []
        found, labels = snapshot.arms.to({"user": unit, "request": unit}, scene, {}, 1)
        return found or snapshot, labels


@pytest.fixture
def site(tmp_path, world) -> Site:
    return Site(tmp_path, world)


@pytest.fixture
def worker(site, tmp_path) -> Iterator[Worker]:
    store = open_control(tmp_path / "control.sqlite")
    yield Worker(site, Revisions(store))
    store.close()
