"""Changes of experiments: what may follow what, who is refused, and what the audit has."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest

from model.experiments import Arm, Experiment, ExperimentError, Layer, LookReport, Outcome
from model.fusion import FusionError
from service.control.experiments import changes as module
from service.control.experiments.changes import ExperimentChanges
from service.control.experiments.deciding import Decision, Decisions
from service.control.experiments.looks import MAX_BYTES
from service.control.experiments.refusals import (
    TakenError,
    UnknownExperimentError,
    UnknownLayerError,
)
from service.control.fusion.revisions import UnknownRevisionError, config_of
from service.control.ledger import StaleError
from tests.service.control.fusion.test_revisions import BUNDLE, OTHER, actions, clock, proposed, revisions

__all__ = ["clock", "revisions"]

ARMS = (Arm(name="old", share=5_000), Arm(name="new", share=5_000, patch={"scenes": {"more": None}}))
SHARES = {"scenes": {"default": {"tasks": {"shr": {"weight": 0.7}}}}}


def fine(*_):
    """A check of arms that has nothing against any."""


@pytest.fixture
def changes(revisions):
    changes = ExperimentChanges(revisions)
    for name in ("fusion", "other"):
        changes.create_layer("paul", Layer(name=name, salt=name, holdout=100), "")
    return changes


def draft(name="one", **more):
    given = {"layer": "fusion", "arms": ARMS, "first": 0, "size": 1_000, "ramp": 100, **more}
    return Experiment(id=name, **given)


def created(changes, name="one", first=None, **more):
    return changes.create("paul", draft(name, **more), first, fine)


def started(changes, name="one", **more):
    one = created(changes, name, **more)
    return changes.start("anna", name, one.edition, "go", fine, None)


def patched_arms(patch=SHARES, **more):
    return (Arm(name="old", share=5_000), Arm(name="new", share=5_000, patch=patch, **more))


def decision(one, **more):
    given = {"if_edition": one.edition, "if_active": 1, "arm": "new", "why": "better", **more}
    return Decision("anna", one.id, **given)


def test_an_experiment_goes_from_draft_to_stopped(changes, revisions, clock):
    one = created(changes)
    assert (one.state, one.edition, one.first, one.author, one.created_ms) == (
        "draft",
        1,
        0,
        "paul",
        1_000_000,
    )
    clock.now = 1_001.0
    one = changes.start("anna", "one", 1, "go", fine, None)
    assert (one.state, one.edition, one.since_ms, one.ramped_ms) == ("running", 2, 1_001_000, 1_001_000)
    clock.now = 1_002.0
    one = changes.ramp("anna", "one", 2, 500, "all is well")
    assert (one.ramp, one.ramped_ms, one.since_ms) == (500, 1_002_000, 1_001_000)
    one = changes.pause("watch", "one", 3, "planned days are over", Outcome(verdict="inconclusive"))
    assert (one.state, one.outcome) == (
        "paused",
        Outcome(verdict="inconclusive", why="planned days are over", time_ms=1_002_000, actor="watch"),
    )
    clock.now = 1_003.0
    one = changes.start("anna", "one", 4, "once more", fine, None)
    assert (one.since_ms, one.outcome) == (1_003_000, None)
    one = changes.stop("anna", "one", 5, "enough", Outcome(verdict="worse", arm="new"))
    assert (one.state, one.edition, one.outcome.arm) == ("stopped", 6, "new")
    assert actions(revisions)[3:] == [
        "experiment_created",
        "experiment_started",
        "experiment_ramped",
        "experiment_paused",
        "experiment_started",
        "experiment_stopped",
    ]
    ramped = revisions.store.events(None, 4)[3]
    assert (ramped.before, ramped.after, ramped.actor, ramped.why) == (
        {"id": "one", "edition": 2, "ramp": 100, "ramped_ms": 1_001_000},
        {"id": "one", "edition": 3, "ramp": 500, "ramped_ms": 1_002_000},
        "anna",
        "all is well",
    )


def test_a_comparison_that_starts_later_begins_then(changes):
    one = started(changes, start_ms=2_000_000)
    assert (one.since_ms, one.ramped_ms) == (2_000_000, 2_000_000)


def test_one_who_has_not_seen_the_last_change_is_told_whose_it_was(changes, clock):
    started(changes)
    clock.now = 1_060.0
    changes.ramp("ben", "one", 2, 200, "")
    says = (
        r"experiment one is of edition 3 \(experiment_ramped by ben at 1970-01-01T00:17:40Z\), not 2; look at"
    )
    for change in (
        lambda: changes.ramp("anna", "one", 2, 300, ""),
        lambda: changes.pause("anna", "one", 2, ""),
        lambda: changes.stop("anna", "one", 2, ""),
        lambda: changes.start("anna", "one", 2, "", fine, None),
        lambda: changes.override("anna", "one", 2, "u1", "new", ""),
    ):
        with pytest.raises(StaleError, match=says):
            change()


@pytest.mark.parametrize(
    ("state", "refused"),
    [
        ("draft", ["pause"]),
        ("running", ["start"]),
        ("paused", ["pause"]),
        ("stopped", ["start", "pause", "stop", "ramp", "override", "decide"]),
    ],
)
def test_each_state_has_its_changes(changes, revisions, state, refused):
    one = created(changes)
    if state in ("running", "paused"):
        one = changes.start("anna", "one", 1, "", fine, None)
    if state == "paused":
        one = changes.pause("anna", "one", 2, "")
    if state == "stopped":
        one = changes.stop("anna", "one", 1, "")
    every = {
        "start": lambda: changes.start("anna", "one", one.edition, "", fine, None),
        "pause": lambda: changes.pause("anna", "one", one.edition, ""),
        "stop": lambda: changes.stop("anna", "one", one.edition, ""),
        "ramp": lambda: changes.ramp("anna", "one", one.edition, 200, ""),
        "override": lambda: changes.override("anna", "one", one.edition, "u1", "new", ""),
        "decide": lambda: Decisions(revisions, changes).decide(decision(one)),
    }
    before = revisions.document()
    for verb in refused:
        with pytest.raises(StaleError, match=f"experiment one is {state}; expected it to be"):
            every[verb]()
    assert revisions.document() == before


def test_of_two_at_once_one_wins(changes, revisions):
    started(changes)
    outcomes = []

    def change(ramp):
        try:
            outcomes.append(changes.ramp("anna", "one", 2, ramp, "").ramp)
        except StaleError:
            outcomes.append(None)

    threads = [threading.Thread(target=change, args=(ramp,)) for ramp in range(200, 206)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (won,) = [ramp for ramp in outcomes if ramp]
    assert revisions.document().experiments.one("one").ramp == won
    assert actions(revisions).count("experiment_ramped") == 1


def test_what_does_not_exist_is_named(changes):
    with pytest.raises(UnknownExperimentError, match="no experiment 'two'"):
        changes.pause("anna", "two", 1, "")
    with pytest.raises(UnknownLayerError, match="no layer absent; there is fusion, other, see POST"):
        created(changes, layer="absent")
    arms = (Arm(name="old", share=5_000), Arm(name="new", share=5_000, revision=9))
    with pytest.raises(UnknownRevisionError, match="no revision 9"):
        created(changes, arms=arms)
    created(changes)
    for change in (
        lambda: changes.override("anna", "one", 1, "u1", "newer", ""),
        lambda: changes.stop("anna", "one", 1, "", Outcome(verdict="better", arm="newer")),
    ):
        with pytest.raises(ExperimentError, match="has no arm 'newer'; it has old, new"):
            change()


def test_buckets_are_the_first_that_are_free_or_those_that_are_asked_for(changes):
    assert created(changes, "a", size=1_000).first == 0
    assert created(changes, "b", first=3_000, size=1_000).first == 3_000
    assert created(changes, "c", size=2_000).first == 1_000
    assert created(changes, "d", size=2_000).first == 4_000
    for first, last in ((2_999, 3_998), (9_000, 9_999)):
        with pytest.raises(TakenError, match=f"buckets {first}-{last} are not all free; free are 6000-9899"):
            created(changes, "e", first=first, size=1_000)
    with pytest.raises(
        TakenError, match=r"no 5000 free buckets side by side; free are 6000-9899, held are a "
    ):
        created(changes, "e", size=5_000)
    changes.stop("anna", "a", 1, "")
    assert created(changes, "e", size=500).first == 0


def test_names_and_places_are_taken_once(changes, monkeypatch):
    created(changes)
    with pytest.raises(TakenError, match="an experiment one, which is draft"):
        created(changes, layer="other")
    changes.stop("anna", "one", 1, "")
    with pytest.raises(TakenError, match="an experiment one, which is stopped"):
        created(changes)
    with pytest.raises(TakenError, match="a layer fusion already"):
        changes.create_layer("paul", Layer(name="fusion", salt="new"), "")
    with pytest.raises(TakenError, match="layer other has that salt"):
        changes.create_layer("paul", Layer(name="third", salt="other"), "")
    monkeypatch.setattr(module, "MOST_LAYERS", 2)
    with pytest.raises(TakenError, match="there are 2 layers"):
        changes.create_layer("paul", Layer(name="third", salt="third"), "")
    monkeypatch.setattr("service.control.experiments.refusals.MOST_OPEN", 1)
    created(changes, "two")
    with pytest.raises(TakenError, match="1 experiments are not stopped"):
        created(changes, "three")


@pytest.mark.parametrize("what", [{"revision": 1}, {"bundle": BUNDLE}])
def test_only_one_layer_names_a_revision_or_a_bundle(changes, what):
    naming = (Arm(name="old", share=5_000), Arm(name="new", share=5_000, **what))
    created(changes, "one", arms=naming)
    created(changes, "two", arms=naming)  # of the same layer: no request is in both
    with pytest.raises(TakenError, match=f"arms of one in layer fusion name a {next(iter(what))}, too"):
        created(changes, "three", layer="other", arms=naming)
    created(changes, "three", layer="other")
    for name in ("one", "two"):
        changes.stop("anna", name, 1, "")
    created(changes, "four", layer="other", arms=naming)


def test_arms_are_checked_before_anything_is_written(changes, revisions):
    def check(experiments, new):
        assert new in [one.id for one in experiments.experiments]
        raise FusionError("unknown task 'likes'")

    before = revisions.document()
    with pytest.raises(FusionError, match="likes"):
        changes.create("paul", draft(), None, check)
    assert revisions.document() == before
    created(changes)
    with pytest.raises(FusionError, match="likes"):
        changes.start("anna", "one", 1, "", check, None)
    assert revisions.document().experiments.one("one").state == "draft"


def test_a_ramp_only_grows(changes):
    created(changes)
    for ramp in (99, 1_001):
        with pytest.raises(ExperimentError, match=f"cannot ramp from 100 buckets to {ramp}"):
            changes.ramp("anna", "one", 1, ramp, "")
    with pytest.raises(StaleError, match="is 100 already"):
        changes.ramp("anna", "one", 1, 100, "")


def test_testers_come_and_go(changes, monkeypatch):
    monkeypatch.setattr(module, "MOST_TESTERS", 2)
    created(changes)
    changes.override("anna", "one", 1, "u1", "new", "")
    changes.override("anna", "one", 2, "u2", "old", "")
    with pytest.raises(TakenError, match="has 2 overrides"):
        changes.override("anna", "one", 3, "u3", "old", "")
    assert changes.override("anna", "one", 3, "u1", "old", "").overrides == {"u1": "old", "u2": "old"}
    assert changes.override("anna", "one", 4, "u1", None, "").overrides == {"u2": "old"}
    with pytest.raises(StaleError, match="no override of 'u1'"):
        changes.override("anna", "one", 5, "u1", None, "")


def test_a_start_keeps_to_the_bundle_that_serves(changes, revisions):
    created(changes)
    changes.start("anna", "one", 1, "", fine, BUNDLE)
    document = revisions.document()
    assert (document.active.revision, document.active.bundle, document.before) == (1, BUNDLE, None)
    assert document.experiments.one("one").state == "running"
    assert actions(revisions)[-2:] == ["experiment_started", "bundle_activated"]
    created(changes, "two")
    changes.start("anna", "two", 1, "", fine, OTHER)  # which this worker has not left yet
    assert revisions.document().active.bundle == BUNDLE
    assert [one.state for one in revisions.document().experiments.experiments] == ["running", "running"]


def test_who_keeps_to_a_bundle_is_not_taken_for_who_activated_the_revision(changes, revisions):
    (two,) = proposed(revisions, 2.0)
    revisions.activate("ben", two, 1, "")
    created(changes)
    changes.start("anna", "one", 1, "", fine, BUNDLE)
    with pytest.raises(StaleError, match="revision 2 is active, by ben, not 1"):
        revisions.expect(1)


def test_one_that_is_over_does_not_start(changes):
    created(changes, stop_ms=900_000)
    with pytest.raises(StaleError, match="ended at its stop_ms, 1970-01-01T00:15:00Z"):
        changes.start("anna", "one", 1, "", fine, None)


def test_a_patch_that_is_decided_is_a_revision_and_active_in_one_write(changes, revisions, clock):
    started(changes, "other_one")
    one = started(changes, arms=patched_arms())
    before, seen = revisions.document(), []
    commit = revisions.store.commit
    revisions.store.commit = lambda change: seen.append(change) or commit(change)
    judged = []
    decided = Decisions(revisions, changes).decide(
        decision(one, outcome=Outcome(verdict="better", arm="new")), judged.append
    )
    assert len(seen) == 1
    stopped = decided.experiments.one("one")
    assert (stopped.state, stopped.outcome.verdict, stopped.outcome.actor) == ("stopped", "better", "anna")
    document = revisions.document()
    assert document == decided
    assert revisions.paused(document) == ["other_one"]
    assert (document.active.revision, document.before) == (2, 1)
    assert document.experiments.one("other_one").state == "paused"
    made = revisions.get(2)
    assert (made.author, made.origin, made.parent) == ("anna", "proposed", 1)
    assert judged == [config_of(made)]
    assert config_of(made).scenes["default"].tasks["shr"].weight == 0.7
    events = revisions.store.events(None, document.events - before.events)[::-1]
    assert [(event.actor, event.action) for event in events] == [
        ("anna", "experiment_decided"),
        ("anna", "revision_proposed"),
        ("anna", "revision_activated"),
        ("fulcrum", "experiment_paused"),
    ]
    assert [event.event for event in events] == list(range(before.events + 1, document.events + 1))
    assert (events[0].after["arm"], events[0].after["revision"]) == ("new", 2)
    assert events[2].why == "arm new of experiment one: better"


def test_a_revision_and_a_bundle_that_are_decided_come_together(changes, revisions):
    (two,) = proposed(revisions, 2.0)
    arms = (Arm(name="old", share=5_000), Arm(name="new", share=5_000, revision=two, bundle=OTHER))
    one = started(changes, arms=arms)
    Decisions(revisions, changes).decide(decision(one))
    active = revisions.document().active
    assert (active.revision, active.bundle, active.together) == (2, OTHER, True)
    assert revisions.document().revisions == 2


def test_a_bundle_that_is_decided_leaves_the_revision(changes, revisions):
    arms = (Arm(name="old", share=5_000), Arm(name="new", share=5_000, bundle=OTHER))
    one = started(changes, arms=arms)
    Decisions(revisions, changes).decide(decision(one))
    active = revisions.document().active
    assert (active.revision, active.bundle, active.decided) == (1, OTHER, True)
    assert actions(revisions)[-2:] == ["experiment_decided", "bundle_activated"]
    _, document = revisions.rollback("anna", 1, "")
    assert document.active.revision == 1
    assert document.active.bundle != OTHER, "a rollback undoes the decision"


@pytest.mark.parametrize(
    ("arm", "patch"), [("old", SHARES), ("new", {}), ("new", {"scenes": {"more": None}})]
)
def test_what_is_active_already_is_not_activated_again(changes, revisions, arm, patch):
    started(changes, "other_one")
    one = started(changes, arms=patched_arms(patch))
    trail = revisions.document().trail
    document = Decisions(revisions, changes).decide(decision(one, arm=arm))
    assert document.experiments.one("one").state == "stopped"
    assert (document.trail, revisions.paused(document)) == (trail, [])
    assert revisions.document().experiments.one("other_one").state == "running"
    assert actions(revisions)[-1] == "experiment_decided"


def test_what_cannot_rank_is_not_decided(changes, revisions):
    one = started(changes, arms=patched_arms())
    before = revisions.document()

    def judge(_):
        raise FusionError("unknown task 'shr'")

    decisions = Decisions(revisions, changes)
    with pytest.raises(FusionError, match="shr"):
        decisions.decide(decision(one), judge)
    with pytest.raises(StaleError, match="revision 1 is active, by fulcrum, not 7"):
        decisions.decide(decision(one, if_active=7))
    with pytest.raises(StaleError, match="is of edition 2"):
        decisions.decide(decision(one, if_edition=1))
    judged = decisions.winner(decision(one)).revision
    assert revisions.document() == before
    proposed(revisions, 3.0)
    with pytest.raises(StaleError, match="another revision was proposed meanwhile"):
        decisions.decide(decision(one), judged=judged)


def test_the_oldest_of_many_stopped_ones_go_with_their_looks(changes, revisions, monkeypatch):
    monkeypatch.setattr(module, "MOST_STOPPED", 2)
    for name in ("a", "b", "c", "d"):
        created(changes, name)
        changes.looks.keep(name, look(1))
    for name in ("d", "b", "a", "c"):
        changes.stop("anna", name, 1, "")
    assert [one.id for one in revisions.document().experiments.experiments] == ["a", "c"]
    assert [len(changes.looks.all(name)) for name in ("a", "b", "c", "d")] == [1, 0, 1, 0]
    created(changes, "d")
    assert changes.looks.all("d") == []


def test_what_every_worker_reads_is_bounded(changes, revisions, monkeypatch):
    monkeypatch.setattr(module, "MAX_OPEN_BYTES", 1_500)
    monkeypatch.setattr(module, "MAX_STOPPED_BYTES", 1_500)
    created(changes, "a", note="n" * 700)
    with pytest.raises(TakenError, match="more than 1500 bytes as JSON; stop one"):
        created(changes, "b", note="n" * 700)
    for name in ("a", "b", "c"):
        if name != "a":
            created(changes, name, note="n" * 700)
        changes.stop("anna", name, 1, "")
    assert [one.id for one in revisions.document().experiments.experiments] == ["c"]


def look(time_ms, words=""):
    return LookReport(time_ms=time_ms, days=1.0, mature_until_ms=None, units={"old": 1}, next=words)


def test_looks_of_all_the_time_are_kept_and_the_newest(changes, revisions):
    many = b"\n".join(look(at).model_dump_json().encode() for at in range(850))
    revisions.store.keep_looks("one", b"", many)
    for at in range(850, 853):
        changes.looks.keep("one", look(at))
    kept = changes.looks.all("one")
    times = [one["time_ms"] for one in kept]
    assert [times[0], times[-1], len(times)] == [0, 852, 400]
    assert max(after - before for before, after in pairwise(times)) <= 4
    assert changes.looks.newest(["one", "two"]) == {"one": kept[-1]}


def test_all_looks_are_bounded_together(changes, revisions):
    large = b"\n".join(look(at, "x" * 60_000).model_dump_json().encode() for at in range(80))
    revisions.store.keep_looks("one", b"", large)
    changes.looks.keep("one", look(80, "x" * 60_000))
    kept = changes.looks.all("one")
    assert kept[-1]["time_ms"] == 80
    assert len(revisions.store.looks("one")) <= MAX_BYTES
    assert len(revisions.store.looks("one")) > MAX_BYTES - 2 * 60_200
