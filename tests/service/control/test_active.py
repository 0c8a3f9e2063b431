"""What is active: one snapshot of a bundle and a fusion config that fit each other."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest
import yaml

from model.fusion import FusionError
from service.control.active import Control
from service.control.fusion.networks import Networks
from service.control.fusion.state import Serving
from service.control.snapshot import ActiveBundle
from service.processes.fleet import Fleet
from tests.support.learned_networks import learned_config


class Store:
    """Published rows that a refresh may find."""

    def __init__(self) -> None:
        self.generation: str | None = None
        self.next: str | None = None

    def seek(self) -> bool:
        self.generation = self.next or self.generation
        return self.generation is not None


def write(path, **weights):
    scene = {"tasks": {task: {"weight": weight} for task, weight in weights.items()}}
    path.write_text(yaml.safe_dump({"schema_version": 1, "scenes": {"default": scene}}))
    return path


@pytest.fixture
def bundle(tmp_path):
    """`bundle(version, tasks...)`, with a fusion config of its own."""

    def bundle(version="sha256:a", *tasks):
        names = list(tasks) or ["vtr", "shr"]
        own = write(tmp_path / f"{version}.yaml", **dict.fromkeys(names, 1.0))
        made = SimpleNamespace(version=version, task_names=names, request_features=[], fusion_path=own)
        return ActiveBundle(made, SimpleNamespace(), Store())

    return bundle


def weights(control):
    tasks = control.snapshot().fusion.config.scenes["default"].tasks
    return {name: term.weight for name, term in tasks.items()}


def eventually(holds):
    deadline = time.monotonic() + 10.0
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_without_a_fusion_file_each_bundle_brings_its_own(bundle):
    control = Control(bundle("sha256:a", "vtr", "shr"), None, Fleet())
    control.swap(bundle("sha256:b", "cmr"))
    assert weights(control) == {"cmr": 1.0}
    control.check(Serving(None, ["anything"]))


def test_the_file_goes_on_after_a_swap(tmp_path, bundle):
    control = Control(bundle(), write(tmp_path / "fusion.yaml", vtr=3.0), Fleet())
    control.swap(bundle("sha256:b", "vtr", "cmr"))
    assert control.snapshot().active.bundle.version == "sha256:b"
    assert weights(control) == {"vtr": 3.0}


def test_a_bundle_that_the_file_does_not_fit_changes_nothing(tmp_path, bundle):
    control = Control(bundle(), write(tmp_path / "fusion.yaml", vtr=3.0), Fleet())
    before = control.snapshot()
    with pytest.raises(FusionError, match="vtr"):
        control.check(Serving(None, ["cmr"]))
    with pytest.raises(FusionError, match="vtr"):
        control.swap(bundle("sha256:b", "cmr"))
    assert control.snapshot() is before


def test_a_snapshot_that_was_taken_does_not_change_with_the_next(bundle):
    control = Control(bundle(), None, Fleet())
    taken = control.snapshot()
    control.swap(bundle("sha256:b"))
    assert taken.active.bundle.version == "sha256:a"
    assert control.snapshot().active.bundle.version == "sha256:b"


def test_the_fleet_is_told_of_what_is_active_and_what_was_before(tmp_path, bundle):
    fleet, first = Fleet(), bundle()
    control = Control(first, write(tmp_path / "fusion.yaml", vtr=3.0), fleet)
    assert (fleet.own.bundle, fleet.own.previous) == ("sha256:a", None)
    assert fleet.own.fusion == control.fusion.active.version
    control.swap(bundle("sha256:b"))
    assert (fleet.own.bundle, fleet.own.previous) == ("sha256:b", "sha256:a")


def test_watching_takes_good_edits_refuses_bad_ones_and_finds_new_features(tmp_path, bundle):
    file, reloads = write(tmp_path / "fusion.yaml", vtr=3.0), []
    fleet, active = Fleet(), bundle()
    control = Control(active, file, fleet, reloads.append)
    control.start()
    try:
        write(file, vtr=4.0)
        eventually(lambda: weights(control) == {"vtr": 4.0})
        write(file, cmr=1.0)
        eventually(lambda: fleet.own.fusion_rejected is not None)
        assert "cmr" in fleet.own.fusion_rejected
        assert weights(control) == {"vtr": 4.0}
        active.store.next = "20260101T000000-abc"
        eventually(lambda: fleet.own.generation == "20260101T000000-abc")
    finally:
        control.stop()
    assert reloads == ["loaded", "rejected"]


def test_what_is_reported_is_what_requests_are_scored_with(tmp_path, bundle):
    file, reported = write(tmp_path / "fusion.yaml", vtr=3.0), []

    def on_reload(outcome):  # in the midst of taking it
        reported.append((control.fusion.active.version, control.snapshot().fusion.version))

    control = Control(bundle(), file, Fleet(), on_reload)
    control.start()
    try:
        write(file, vtr=4.0)
        eventually(lambda: weights(control) == {"vtr": 4.0})
    finally:
        control.stop()
    ((said, scoring),) = reported
    assert said == scoring


def test_networks_of_a_bundles_own_config_lie_in_the_bundles_folder(bundle, monkeypatch):
    folders = []
    monkeypatch.setattr(
        Networks, "of", lambda networks, config, folder, kept=False: folders.append(folder) or {}
    )
    first, second = bundle(), bundle("sha256:b")
    Control(first, None, Fleet()).swap(second)
    assert folders == [first.bundle.fusion_path.parent, second.bundle.fusion_path.parent]


def test_a_network_that_is_tried_holds_up_neither_a_swap_nor_new_features(tmp_path, bundle, monkeypatch):
    tried, goes_on = threading.Event(), threading.Event()

    def of(networks, config, folder, kept=False):
        if "learned" in config.scenes:
            tried.set()
            goes_on.wait(10.0)
        return {}

    monkeypatch.setattr(Networks, "of", of)
    file, active = write(tmp_path / "fusion.yaml", vtr=3.0), bundle()
    control = Control(active, file, Fleet())
    control.start()
    try:
        file.write_text(yaml.safe_dump(learned_config(b"")))
        assert tried.wait(10.0)
        active.store.next = "20260101T000000-abc"
        eventually(lambda: active.store.generation == "20260101T000000-abc")
        control.swap(bundle("sha256:b", "vtr"))
        assert weights(control) == {"vtr": 3.0}
        goes_on.set()
        # What was found meanwhile is judged by the bundle that serves now, which has no `vcr`.
        eventually(lambda: control.fusion.rejected is not None)
        assert "vcr" in control.fusion.rejected.error or "shr" in control.fusion.rejected.error
        assert control.snapshot().active.bundle.version == "sha256:b"
    finally:
        goes_on.set()
        control.stop()


def test_a_watch_that_fails_once_goes_on(tmp_path, bundle, monkeypatch):
    file, active = write(tmp_path / "fusion.yaml", vtr=3.0), bundle()
    control = Control(active, file, Fleet())
    failed = []

    def seek():
        failed.append(1)
        raise OSError("no space left on device")

    monkeypatch.setattr(active.store, "seek", seek)
    control.start()
    try:
        eventually(lambda: failed)
        monkeypatch.undo()
        write(file, vtr=5.0)
        eventually(lambda: weights(control) == {"vtr": 5.0})
    finally:
        control.stop()


def test_one_that_was_never_started_can_be_stopped(bundle):
    Control(bundle(), None, Fleet()).stop()


def test_a_swap_that_cannot_be_committed_changes_nothing(bundle, tmp_path):
    file = write(tmp_path / "fusion.yaml", vtr=3.0)
    control = Control(bundle("sha256:a", "vtr", "shr"), file, Fleet())
    before = control.snapshot()
    committed = []
    with pytest.raises(FusionError, match="vtr"):
        control.swap(bundle("sha256:b", "shr"), lambda: committed.append("b"))
    assert committed == []
    with pytest.raises(ZeroDivisionError):
        control.swap(bundle("sha256:c", "vtr"), lambda: 1 / 0)
    assert control.snapshot() is before
    control.swap(bundle("sha256:d", "vtr"), lambda: committed.append(control.snapshot()))
    assert committed == [before]
    assert control.snapshot().active.bundle.version == "sha256:d"
