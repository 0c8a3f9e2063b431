"""Arms in force: whole experiments or none, made ahead, gone with what was active."""

from __future__ import annotations

import gc
import shutil
import time
import weakref

import pytest

from model.errors import FulcrumError
from model.experiments import Experiment, ExperimentError, Experiments, Layer
from model.fusion import FusionError
from service.control.state.desired import UnknownVersionError
from tests.support.running_experiments import change_document

USERS = [f"u{n}" for n in range(60)]
LIFT = {"scenes": {"default": {"tasks": {"vtr": {"weight": 3.0}}}}}
SINK = {"scenes": {"default": {"tasks": {"shr": {"weight": 0.125}}}}}
HALVES = [{"name": "control", "share": 5000}, {"name": "lift", "share": 5000, "patch": LIFT}]


def two(name: str = "new", **arm) -> list[dict]:
    return [{"name": "control", "share": 5000}, {"name": name, "share": 5000, **arm}]


def weights(snapshot, scene="default"):
    return {task: term.weight for task, term in snapshot.fusion.config.scenes[scene].tasks.items()}


def by_label(worker):
    """Snapshots by the labels that come with them."""
    return {tuple(labels): snapshot for snapshot, labels in map(worker.dealt, USERS)}


def experiments(*ones, layers=("l1", "l2")):
    made = [Layer(name=name, salt=name) for name in layers]
    default = {"layer": "l1", "size": 1000, "ramp": 1000}
    drawn = [Experiment(**(default | {"first": 1000 * at} | one)) for at, one in enumerate(ones)]
    return Experiments(layers=tuple(made), experiments=tuple(drawn))


def test_each_arm_gets_its_bundle_and_its_config_and_the_control_what_is_active(worker):
    second = worker.site.add("second")
    worker.experiments({"id": "x", "arms": two(bundle=second, patch=LIFT)})
    worker.settle()
    found = by_label(worker)
    assert set(found) == {("l1/x:control",), ("l1/x:new",)}
    assert found["l1/x:control",].is_like(worker.control.snapshot())
    assert found["l1/x:new",].active.bundle.version == second
    assert weights(found["l1/x:new",]) == weights(worker.control.snapshot()) | {"vtr": 3.0}
    assert found["l1/x:new",].fusion.revision is None
    assert worker.arms.waits("x") is None
    assert list(worker.fleet.own.arm_bundles) == [second]


def test_patches_of_two_layers_both_apply(worker):
    worker.experiments(
        {"id": "x", "arms": HALVES}, {"id": "y", "layer": "l2", "arms": two("sink", patch=SINK)}
    )
    worker.settle()
    found = by_label(worker)
    assert len(found) == 4
    active = weights(worker.control.snapshot())
    for labels, snapshot in found.items():
        changed = {"vtr": 3.0} if "l1/x:lift" in labels else {}
        assert weights(snapshot) == active | changed | ({"shr": 0.125} if "l2/y:sink" in labels else {})


def test_an_arm_of_a_revision_gets_it_under_its_number(worker):
    base = worker.control.snapshot().fusion.config
    weight = base.scenes["default"].tasks["vtr"].model_copy(update={"weight": 4.0})
    scene = base.scenes["default"].model_copy(
        update={"tasks": {**base.scenes["default"].tasks, "vtr": weight}}
    )
    config = base.model_copy(update={"scenes": {**base.scenes, "default": scene}})
    number = worker.revisions.propose("anna", config).revision
    worker.experiments(
        {"id": "x", "arms": two(revision=number)}, {"id": "y", "layer": "l2", "arms": two(patch=SINK)}
    )
    worker.settle()
    found = by_label(worker)
    alone, both = found["l1/x:new", "l2/y:control"], found["l1/x:new", "l2/y:new"]
    assert (alone.fusion.revision, weights(alone)["vtr"]) == (number, 4.0)
    assert (both.fusion.revision, weights(both)["vtr"], weights(both)["shr"]) == (None, 4.0, 0.125)


def test_a_missing_bundle_keeps_the_whole_experiment_out_until_it_is_there(worker):
    version = worker.site.add("late")
    folder = worker.site.models / "late"
    away = folder.rename(worker.site.models.parent / "late")
    worker.experiments(
        {"id": "x", "arms": two(bundle=version)}, {"id": "y", "layer": "l2", "arms": two(patch=SINK)}
    )
    worker.settle()
    assert set(by_label(worker)) == {("l2/y:control",), ("l2/y:new",)}
    assert "put it there" in worker.arms.waits("x")
    assert worker.fleet.own.waiting == {"x": worker.arms.waits("x")}
    away.rename(folder)
    again(worker)
    assert ("l1/x:new", "l2/y:new") in by_label(worker)
    assert (worker.arms.waits("x"), worker.fleet.own.waiting) == (None, {})
    shutil.rmtree(folder)
    again(worker)
    assert set(by_label(worker)) == {("l2/y:control",), ("l2/y:new",)}
    assert worker.arms.memory == {}


@pytest.mark.parametrize(
    ("flaw", "says"), [("corrupt", r"network.onnx is damaged"), ("misfit", "differ from the parity sample")]
)
def test_a_broken_bundle_keeps_the_whole_experiment_out_and_says_why(worker, flaw, says):
    version = worker.site.add("broken", flaw=flaw)
    worker.experiments({"id": "x", "arms": two(bundle=version)})
    worker.settle()
    assert set(by_label(worker)) == {()}
    assert says in worker.arms.waits("x")


def test_a_config_that_does_not_fit_keeps_the_experiment_out(worker):
    version = worker.site.add("renamed", rename=("cmr", "likes"))
    worker.experiments({"id": "x", "arms": two(bundle=version)})
    worker.settle()
    assert set(by_label(worker)) == {()}
    assert "unknown task 'cmr'" in worker.arms.waits("x")


def test_a_pause_takes_all_out_at_the_next_look_and_the_bundle_out_of_memory(worker):
    second = worker.site.add("second")
    worker.experiments({"id": "x", "arms": two(bundle=second)})
    worker.settle()
    loaded = weakref.ref(by_label(worker)["l1/x:new",].active)
    worker.experiments({"id": "x", "arms": two(bundle=second), "state": "paused"})
    worker.arms.follow()
    assert set(by_label(worker)) == {()}
    worker.arms.prepare()
    gc.collect()
    assert loaded() is None
    assert worker.fleet.own.arm_bundles == {}


def test_an_activation_drops_the_arms_with_what_was_active(worker):
    worker.experiments({"id": "x", "arms": HALVES})
    worker.settle()
    arms = worker.control.snapshot().arms
    config = by_label(worker)["l1/x:lift",].fusion.config
    number = worker.revisions.propose("anna", config).revision
    worker.revisions.activate("anna", number, 1, "better")
    worker.control._poll()  # before the arms' own look
    assert (arms is not None, worker.control.snapshot().arms) == (True, None)
    worker.settle()
    assert set(by_label(worker)) == {()}
    assert worker.arms.waits("x") is None  # it is paused


def test_a_worker_that_is_not_where_the_document_is_compares_nothing(worker):
    worker.experiments({"id": "x", "arms": HALVES})
    worker.settle()
    elsewhere = worker.revisions.document().active.model_copy(update={"bundle": "sha256:" + "0" * 64})
    change_document(worker.revisions.store, trail=(elsewhere,))
    worker.settle()
    assert set(by_label(worker)) == {()}
    assert "this worker serves" in worker.arms.waits("x")


def test_testers_of_a_draft_get_their_arm_and_others_nothing(worker):
    worker.experiments({"id": "x", "arms": HALVES, "state": "draft", "overrides": {"u7": "lift"}})
    worker.settle()
    snapshot, labels = worker.dealt("u7")
    assert (labels, weights(snapshot)["vtr"]) == (["l1/x:lift@override"], 3.0)
    assert {labels and labels[0] for _, labels in map(worker.dealt, USERS) if labels} == {
        "l1/x:lift@override"
    }


def test_a_holdout_has_a_label_and_what_is_active(worker):
    arms = [{"name": "control", "share": 1}, {"name": "lift", "share": 9999, "patch": LIFT}]
    worker.experiments({"id": "x", "arms": arms, "size": 5000, "ramp": 5000}, layers=1, holdout=5000)
    worker.settle()
    found = by_label(worker)
    assert set(found) == {("l1/holdout",), ("l1/x:lift",)}
    assert found["l1/holdout",].is_like(worker.control.snapshot())


def test_without_experiments_no_arms_are_looked_up(worker):
    worker.settle()
    assert worker.control.snapshot().arms is None
    worker.experiments({"id": "x", "arms": HALVES, "state": "stopped"})
    worker.settle()
    assert worker.control.snapshot().arms is None


def test_the_threads_follow_within_a_second(worker):
    worker.control.start()
    try:
        for state, labels in (("running", {("l1/x:control",), ("l1/x:lift",)}), ("paused", {()})):
            worker.experiments({"id": "x", "arms": HALVES, "state": state})
            began = time.monotonic()
            while set(by_label(worker)) != labels:
                assert time.monotonic() < began + 10.0
                time.sleep(0.01)
    finally:
        worker.control.stop()


@pytest.mark.parametrize(
    ("ones", "error", "says"),
    [
        (
            [{"arms": two(patch={"scenes": {"default": {"tasks": {"lik": {"weight": 1}}}}})}],
            FusionError,
            "lik",
        ),
        ([{"arms": two(patch={"scenes": {"default": None}})}], FusionError, "no scene named default"),
        ([{"arms": two(bundle="sha256:" + "0" * 64)}], UnknownVersionError, "put it there"),
        ([{"arms": two(revision=9)}], FulcrumError, "there is no revision 9"),
        ([{"arms": HALVES, "when": {"planet": "mars"}}], ExperimentError, "when looks at 'planet'"),
        ([{"arms": HALVES, "scenes": ("nowhere",)}], ExperimentError, "unknown scene 'nowhere'"),
        (
            [{"arms": two(revision=1)}, {"layer": "l2", "arms": two(revision=1)}],
            ExperimentError,
            "arms of two layers name a revision",
        ),
        (
            [
                {
                    "layer": layer,
                    "arms": [
                        {"name": "control", "share": 9996},
                        *(
                            {
                                "name": f"a{n}",
                                "share": 1,
                                "patch": {"scenes": {"default": {"tasks": {"vtr": {"weight": n}}}}},
                            }
                            for n in range(2, 6)
                        ),
                    ],
                }
                for layer in ("l1", "l2", "l3")
            ],
            ExperimentError,
            "125 combinations",
        ),
    ],
)
def test_what_no_worker_could_serve_is_refused_in_words(worker, ones, error, says):
    given = experiments(*({"id": f"x{n}", **one} for n, one in enumerate(ones)), layers=("l1", "l2", "l3"))
    with pytest.raises(error, match=says):
        worker.arms.check(given)


def test_a_check_judges_a_bundle_by_its_manifest_without_loading_it(worker):
    good, renamed = worker.site.add("good"), worker.site.add("renamed", rename=("cmr", "likes"))
    worker.settle()
    worker.arms.check(experiments({"id": "x", "arms": two(bundle=good, patch=LIFT)}))
    given = experiments({"id": "x", "arms": HALVES}, {"id": "y", "arms": two(bundle=renamed)})
    with pytest.raises(FusionError, match="unknown task 'cmr'"):
        worker.arms.check(given)
    worker.arms.check(given, new="x")  # whose arms are sound
    assert worker.arms.memory == {}


def test_a_bundle_that_another_experiment_waits_for_holds_up_nobody_else(worker):
    waiting = {"id": "y", "layer": "l2", "arms": two(bundle="sha256:" + "0" * 64)}
    given = experiments({"id": "x", "arms": two(patch=LIFT)}, waiting)
    worker.arms.check(given, new="x")
    with pytest.raises(UnknownVersionError):
        worker.arms.check(given, new="y")


def again(worker):
    """Let time pass until what is missing is looked for again."""
    for made in worker.arms._made.values():
        if hasattr(made, "again_at"):
            object.__setattr__(made, "again_at", 0.0)
    worker.settle()
