"""Trials in a rollout: they hold up nobody, come before a worker reads, and condemn content alone."""

from __future__ import annotations

import copy
import dataclasses
import threading
import time

import pytest
import yaml

from model.errors import FulcrumError
from service.control.bundles.loading import UnfitError
from service.control.state.desired import Desired
from service.inference.engine import Engine
from tests.support.rollout_site import reason, serves, settle


def test_a_trial_without_an_end_holds_up_no_rollback(site):
    begun, release = threading.Event(), threading.Event()

    def trial(model):
        if model.path.name == "loop":
            begun.set()
            assert release.wait(60)
            raise FulcrumError("took more than 30 s")

    first = site.add("one")
    second = site.add("two")
    rollout = site.worker(try_elsewhere=trial)
    assert serves(rollout) == second
    site.add("loop")
    polling = threading.Thread(target=settle, args=(rollout,))
    polling.start()
    try:
        assert begun.wait(60)
        rollout.activate(first)  # would wait for ever behind the trial
        assert serves(rollout) == first
    finally:
        release.set()
        polling.join()
    assert serves(rollout) == first
    assert "took more than" in reason(rollout, "loop")


def test_what_may_pass_is_tried_again_and_a_verdict_on_the_content_is_remembered(site, monkeypatch):
    monkeypatch.setattr("service.control.bundles.refusals._PAUSE_S", 0.01)
    problems = {"busy": FulcrumError("ended by SIGKILL"), "bad": UnfitError("misses its sample")}
    tried = []

    def trial(model):
        tried.append(model.path.name)
        if model.path.name in problems:
            raise problems[model.path.name]

    site.add("good")
    rollout = site.worker(try_elsewhere=trial)
    site.add("bad")
    busy = site.add("busy")
    for _ in range(4):
        settle(rollout)
        time.sleep(0.02)
    assert (reason(rollout, "bad"), reason(rollout, "busy")) == ("misses its sample", "ended by SIGKILL")
    assert tried.count("bad") == 1
    assert tried.count("busy") > 1
    pause = rollout._refusals._by_path[site.models / "busy"].pause_s
    assert pause == 0.01 * 2 ** (tried.count("busy") - 1)  # twice as long each time
    del problems["busy"]
    rollout.activate(busy)  # at once, whatever the pause
    assert serves(rollout) == busy
    settle(rollout)
    assert "busy" not in {path.name for path in rollout.refusals()}


def test_a_failure_of_a_worker_after_a_trial_that_passed_is_tried_again(site, monkeypatch):
    monkeypatch.setattr("service.control.bundles.refusals._PAUSE_S", 0.0)
    site.add("one")
    rollout = site.worker()
    second = site.add("two")
    with monkeypatch.context() as patched:

        def full(*_):
            raise OSError(24, "Too many open files")

        patched.setattr("service.control.bundles.rollout.load_bundle", full)
        settle(rollout)
        assert "Too many open files" in reason(rollout, "two")
    settle(rollout)
    assert (serves(rollout), rollout.refusals()) == (second, {})


def test_no_file_but_the_manifest_is_read_before_the_trial_passed(site, monkeypatch):
    def unfit(model):
        raise UnfitError(f"bundle {model.path}: inflates")

    good = site.add("good")
    rollout = site.worker()
    site.add("bad")
    monkeypatch.setattr(rollout, "_loader", dataclasses.replace(rollout._loader, try_elsewhere=unfit))
    monkeypatch.setattr("service.control.bundles.rollout.load_bundle", lambda _: pytest.fail("it was read"))
    settle(rollout)
    assert (serves(rollout), reason(rollout, "bad")) == (good, f"bundle {site.models / 'bad'}: inflates")


def test_an_activation_that_a_new_fusion_config_forbids_leaves_the_state(
    site, tmp_path, fusion_config, monkeypatch
):
    file = tmp_path / "fusion.yaml"
    without = copy.deepcopy(fusion_config)
    del without["scenes"]["default"]["tasks"]["cmr"]
    file.write_text(yaml.safe_dump(without))
    renamed = site.add("renamed", rename=("cmr", "fav"))
    good = site.add("good")
    rollout = site.worker(fusion=file)
    load = Engine.load

    def while_loading(*given):
        file.write_text(yaml.safe_dump(fusion_config))  # of which the bundle lacks a task
        for _ in range(3):
            rollout.control._poll()
        return load(*given)

    monkeypatch.setattr(Engine, "load", while_loading)
    with pytest.raises(FulcrumError, match="unknown task 'cmr'"):
        rollout.activate(renamed)
    assert (serves(rollout), site.state.read(), rollout.desired) == (good, Desired(), None)
