"""Decisions as a worker makes them: judged by what it serves, written once, in force here at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from model.experiments import Experiment, ExperimentError, Layer
from model.fusion import FusionError
from service.control.active import Control
from service.control.bundles.beside import BundlesBeside
from service.control.bundles.catalog import Catalog
from service.control.bundles.loading import Loader
from service.control.bundles.rollout import Rollout
from service.control.bundles.wanted import WantedBundle
from service.control.changing import Operator
from service.control.experiments.deciding import Decision
from service.control.fusion.revisions import Revisions
from service.control.ledger import StaleError
from service.control.state.desired import UnknownVersionError
from service.control.state.opening import open_control
from service.features.embedded import EmbeddedStore
from service.inference.engine import Engine, EngineOptions
from service.processes.fleet import Fleet
from tests.service.control.experiments.test_arms import LIFT, two


class Worker:
    """A worker that serves what its store wants, and whoever asks it for changes."""

    def __init__(self, site, revisions: Revisions) -> None:
        fleet, self.revisions = Fleet(), revisions
        loader = Loader(
            lambda encoder, first: EmbeddedStore(site.features, encoder),
            lambda bundle: Engine.load(bundle, EngineOptions()),
        )
        catalog = Catalog(site.models)
        self.rollout = Rollout(
            catalog,
            WantedBundle(revisions.store),
            loader,
            fleet,
            lambda active: Control(
                active, None, fleet, None, revisions, BundlesBeside(catalog, loader, fleet)
            ),
            lambda _: None,
        )
        self.operator = Operator(revisions, self.rollout.control, self.rollout)
        self.operator.experiments.create_layer("paul", Layer(name="l", salt="l"), "")

    @property
    def serves(self) -> tuple[str, int | None]:
        snapshot = self.rollout.control.snapshot()
        return snapshot.active.bundle.version, snapshot.fusion.revision

    def started(self, **arm) -> Experiment:
        draft = Experiment(id="x", layer="l", arms=two(**arm), first=0, size=10, ramp=10)
        self.operator.create("paul", draft, None)
        return self.operator.begin("anna", "x", 1, "go")

    def decide(self, one: Experiment, **more) -> None:
        given = {"if_edition": one.edition, "if_active": 1, "arm": "new", "why": "better", **more}
        self.operator.decide(Decision("anna", one.id, **given))
        self.operator.converge()


@pytest.fixture
def versions(site) -> list[str]:
    return [site.add("old"), site.add("new")]


@pytest.fixture
def worker(site, tmp_path, versions) -> Iterator[Worker]:
    store = open_control(tmp_path / "control.sqlite")
    worker = Worker(site, Revisions(store))
    worker.operator.activate_bundle("admin", versions[0])
    yield worker
    store.close()


def test_a_bundle_and_a_patch_that_are_decided_are_in_force_together(worker, versions):
    old, new = versions
    one = worker.started(bundle=new, patch=LIFT)
    assert worker.serves == (old, 1)
    worker.decide(one)
    assert worker.serves == (new, 2)
    document = worker.revisions.document()
    assert (document.active.bundle, document.active.together, document.back.bundle) == (new, True, old)
    assert document.experiments.one("x").state == "stopped"
    worker.operator.rollback("anna", 2, "bad")
    worker.rollout.poll()
    assert worker.serves == (old, 1)


def test_a_canary_that_is_decided_leaves_the_fusion_and_is_rolled_back_as_one(worker, versions):
    old = worker.serves
    worker.decide(worker.started(bundle=versions[1]))
    assert worker.serves == (versions[1], 1)
    assert worker.revisions.document().revisions == 1
    worker.operator.rollback("anna", 1, "bad")
    worker.rollout.poll()
    assert worker.serves == old


def test_what_is_stale_loads_no_bundle_and_changes_nothing(worker, versions, monkeypatch):
    one = worker.started(bundle=versions[1], patch=LIFT)
    monkeypatch.setattr(worker.rollout, "activate", None)  # it would be called in vain
    before = worker.revisions.document()
    for more in ({"if_edition": 1}, {"if_active": 7}):
        with pytest.raises(StaleError):
            worker.decide(one, **more)
    with pytest.raises(ExperimentError, match="no arm 'newer'"):
        worker.decide(one, arm="newer")
    assert (worker.revisions.document(), worker.serves) == (before, (versions[0], 1))


def test_arms_that_no_request_could_get_are_not_written(worker):
    patch = {"scenes": {"default": {"tasks": {"likes": {"weight": 1.0}}}}}
    for arm, error in (
        ({"bundle": "sha256:" + "0" * 64}, UnknownVersionError),
        ({"patch": patch}, FusionError),
    ):
        with pytest.raises(error):
            worker.started(**arm)
    assert worker.revisions.document().experiments.experiments == ()


def test_a_start_keeps_to_the_bundle_that_serves_while_a_newer_one_comes(site, tmp_path):
    first = site.add("old")
    store = open_control(tmp_path / "control.sqlite")
    worker = Worker(site, Revisions(store))
    assert worker.revisions.document().active.bundle is None
    worker.started(patch=LIFT)
    site.add("new")
    for _ in range(3):
        worker.rollout.poll()
    assert worker.serves == (first, 1)
    assert worker.revisions.document().active.bundle == first
    store.close()
