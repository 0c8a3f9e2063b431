"""Revisions: what may be changed, by whom, and what stands in the history."""

from __future__ import annotations

import threading

import pytest

from model.fusion import FusionError, parse_fusion, version
from model.fusion.changes import changes
from service.control.fusion.networks import TrialError
from service.control.fusion.revisions import Revisions, UnknownRevisionError, config_of
from service.control.fusion.schedules import Schedules
from service.control.ledger import StaleError
from service.control.state.control import Schedule
from service.control.state.desired import StateError
from service.control.state.opening import open_control

BUNDLE = "sha256:" + "b" * 64
OTHER = "sha256:" + "c" * 64


class Clock:
    """Unix time that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def config(vtr=1.0, **scenes):
    text = {"default": {"tasks": {"vtr": {"weight": vtr}, "shr": {"weight": 0.5}}}, **scenes}
    return parse_fusion(str({"schema_version": 1, "scenes": text}))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def revisions(tmp_path, clock):
    store = open_control(tmp_path / "control.sqlite")
    revisions = Revisions(store, clock)
    revisions.seed(config(), "bundle", "fusion.yaml", {})
    yield revisions
    store.close()


def proposed(revisions, *weights):
    return [revisions.propose("anna", config(weight)).revision for weight in weights]


def actions(revisions):
    return [event.action for event in reversed(revisions.store.events(None, 500))]


def test_an_empty_store_takes_what_is_in_force_once(revisions):
    assert revisions.seed(config(9.0), "file", "other.yaml", {}).active.revision == 1
    first = revisions.get(1)
    assert (first.origin, first.parent, first.version) == ("bundle", None, version(config()))
    assert actions(revisions) == ["store_seeded"]


def test_a_proposal_says_what_changes_and_moves_nothing(revisions):
    made = revisions.propose("anna", config(2.0), note="more views", evidence={"replay": 1})
    assert (made.revision, made.parent, made.author, made.note) == (2, 1, "anna", "more views")
    assert made.summary == ("default: vtr.weight 1 -> 2",)
    assert revisions.get(2) == made
    assert config_of(made) == config(2.0)
    assert revisions.document().active.revision == 1


def test_a_proposal_that_changes_nothing_is_refused(revisions):
    with pytest.raises(StaleError, match="revision 1 has the same config"):
        revisions.propose("anna", config())
    with pytest.raises(UnknownRevisionError, match="no revision 7; the newest is 1"):
        revisions.propose("anna", config(2.0), parent=7)


def test_an_activation_holds_only_for_who_knows_what_is_active(revisions):
    two, three = proposed(revisions, 2.0, 3.0)
    before, document = revisions.activate("anna", two, 1, "more views")
    assert (before, document.active.revision) == (1, two)
    with pytest.raises(StaleError, match=f"revision {two} is active, by anna, not 1"):
        revisions.activate("ben", three, 1, "mine")
    with pytest.raises(StaleError, match="is active already"):
        revisions.activate("ben", two, two, "again")
    with pytest.raises(UnknownRevisionError):
        revisions.activate("ben", 9, two, "what")
    last = revisions.store.events(None, 1)[0]
    assert (last.actor, last.action, last.before, last.after, last.why) == (
        "anna",
        "revision_activated",
        {"revision": 1},
        {"revision": two},
        "more views",
    )


def test_what_does_not_fit_is_not_written(revisions):
    def refuse(activation):
        raise FusionError("no such task")

    (two,) = proposed(revisions, 2.0)
    for change in (
        lambda: revisions.activate("anna", two, 1, "", None, refuse),
        lambda: Schedules(revisions).schedule(
            Schedule(revision=two, at_ms=2_000_000, if_active=1, actor="anna", why=""), refuse
        ),
    ):
        with pytest.raises(FusionError, match="no such task"):
            change()
    assert actions(revisions) == ["store_seeded", "revision_proposed"]


def test_rolling_back_twice_goes_two_back_and_never_to_and_fro(revisions):
    two, three = proposed(revisions, 2.0, 3.0)
    revisions.activate("anna", two, 1, "")
    revisions.activate("anna", three, two, "")
    assert revisions.rollback("ben", three, "three in the morning")[1].active.revision == two
    assert revisions.rollback("ben", two, "worse")[1].active.revision == 1
    with pytest.raises(StaleError, match="no revision was active before 1"):
        revisions.rollback("ben", 1, "further")
    with pytest.raises(StaleError, match="revision 1 is active, by ben, not 3"):
        revisions.rollback("anna", three, "")


def test_a_bundle_that_came_with_a_revision_goes_back_with_it(revisions):
    two, three = proposed(revisions, 2.0, 3.0)
    revisions.want_bundle("anna", BUNDLE)
    revisions.activate("anna", two, 1, "", bundle=OTHER)
    assert revisions.document().active.together
    foretold = revisions.document().back
    active = revisions.rollback("anna", two, "")[1].active
    assert active == foretold
    assert (active.revision, active.bundle) == (1, BUNDLE)
    assert revisions.document().back is None
    revisions.activate("anna", three, 1, "")
    revisions.want_bundle("anna", OTHER)
    foretold = revisions.document().back
    active = revisions.rollback("anna", three, "")[1].active
    assert active == foretold
    assert (active.revision, active.bundle) == (1, OTHER), "a bundle that was activated apart stays"


def test_what_is_scheduled_comes_into_force_once_however_clocks_go(revisions, clock):
    two, three = proposed(revisions, 2.0, 3.0)
    schedule = Schedule(revision=two, at_ms=1_060_000, if_active=1, actor="anna", why="at night")
    Schedules(revisions).schedule(schedule)
    assert Schedules(revisions).due(lambda _: None).active.revision == 1
    clock.now = 1_060.0
    document = Schedules(revisions).due(lambda _: None)
    assert (document.active.revision, document.schedule) == (two, None)
    revisions.activate("ben", three, two, "")
    clock.now = 900.0  # set back
    assert Schedules(revisions).due(lambda _: None).active.revision == three
    clock.now = 2_000.0
    assert Schedules(revisions).due(lambda _: None).active.revision == three
    assert actions(revisions).count("revision_activated") == 2
    assert revisions.store.events(None, 2)[1].actor == "anna"


@pytest.mark.parametrize("change", ["activate", "rollback", "bundle", "file"])
def test_whatever_changes_what_is_active_drops_what_was_scheduled_and_says_so(revisions, clock, change):
    two, three = proposed(revisions, 2.0, 3.0)
    revisions.record_file(config(5.0), "fusion.yaml", {})
    revisions.activate("anna", 4, 1, "")  # the file's
    Schedules(revisions).schedule(Schedule(revision=two, at_ms=1_060_000, if_active=4, actor="anna", why=""))
    made = {
        "activate": lambda: revisions.activate("ben", three, 4, "")[1],
        "rollback": lambda: revisions.rollback("ben", 4, "")[1],
        "bundle": lambda: revisions.want_bundle("ben", BUNDLE),
        "file": lambda: revisions.record_file(config(6.0), "fusion.yaml", {}),
    }[change]()
    assert made.schedule is None
    last = revisions.store.events(None, 1)[0]
    assert (last.action, last.before["revision"], last.event) == ("schedule_dropped", two, made.events)
    assert last.why == f"event {made.events - 1} changed what is active"
    clock.now = 1_061.0
    assert Schedules(revisions).due(lambda _: None).active == made.active


def test_what_does_not_fit_when_its_time_comes_is_dropped_and_said(revisions, clock):
    def refuse(activation):
        raise FusionError("no such task")

    (two,) = proposed(revisions, 2.0)
    Schedules(revisions).schedule(Schedule(revision=two, at_ms=1_060_000, if_active=1, actor="anna", why=""))
    clock.now = 1_061.0
    document = Schedules(revisions).due(refuse)
    assert (document.active.revision, document.schedule) == (1, None)
    last = revisions.store.events(None, 1)[0]
    assert (last.action, last.why) == ("schedule_dropped", "no such task")


def test_a_trial_that_may_pass_drops_nothing(revisions, clock):
    def fail(activation):
        raise TrialError("no memory")

    (two,) = proposed(revisions, 2.0)
    Schedules(revisions).schedule(Schedule(revision=two, at_ms=1_060_000, if_active=1, actor="anna", why=""))
    clock.now = 1_061.0
    with pytest.raises(StateError, match="no memory"):
        Schedules(revisions).due(fail)
    assert Schedules(revisions).due(lambda _: None).active.revision == two


def test_a_schedule_can_be_taken_back_and_must_lie_ahead(revisions, clock):
    (two,) = proposed(revisions, 2.0)
    with pytest.raises(StaleError, match="is active already"):
        Schedules(revisions).schedule(
            Schedule(revision=1, at_ms=1_060_000, if_active=1, actor="anna", why="")
        )
    with pytest.raises(StaleError, match="not in the future"):
        Schedules(revisions).schedule(
            Schedule(revision=two, at_ms=999_000, if_active=1, actor="anna", why="")
        )
    with pytest.raises(StaleError, match="nothing is scheduled"):
        Schedules(revisions).cancel("anna", "")
    Schedules(revisions).schedule(Schedule(revision=two, at_ms=1_060_000, if_active=1, actor="anna", why=""))
    with pytest.raises(StaleError, match=f"revision {two} is scheduled, by anna, not 9"):
        Schedules(revisions).cancel("ben", "not tonight", 9)
    assert Schedules(revisions).cancel("ben", "not tonight", two).schedule is None
    clock.now = 2_000.0
    assert Schedules(revisions).due(lambda _: None).active.revision == 1


def test_an_edit_of_the_file_is_active_only_while_the_active_one_came_from_it(revisions, tmp_path):
    document = revisions.record_file(config(2.0), "fusion.yaml", {})
    assert document.active.revision == 1, "the bundle's own is active"
    revisions.activate("anna", 2, 1, "")
    assert revisions.get(2).origin == "file"
    document = revisions.record_file(config(3.0), "fusion.yaml", {})
    assert document.active.revision == 3
    same = revisions.record_file(config(3.0), "fusion.yaml", {})
    assert same == document, "another worker saw it, too"
    assert revisions.store.events(None, 1)[0].after == {
        "revision": 3,
        "version": version(config(3.0)),
        "active": True,
    }


def test_of_many_who_propose_and_activate_at_once_none_is_lost_and_one_is_active(revisions):
    acknowledged: list[int] = []

    def work(number: int) -> None:
        for step in range(5):
            made = revisions.propose(f"p{number}", config(10.0 * number + step), parent=1)
            while True:
                active = revisions.document().active.revision
                try:
                    revisions.activate(f"p{number}", made.revision, active, "")
                except StaleError:
                    continue
                acknowledged.append(made.revision)
                break

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    activated = [
        event.after["revision"]
        for event in revisions.store.events(None, 500)
        if event.action == "revision_activated"
    ]
    assert sorted(activated) == sorted(acknowledged)
    assert revisions.document().active.revision == activated[0]
    assert [one.revision for one in revisions.store.revisions(None, 500)] == list(range(21, 0, -1))


def test_changes_are_named_as_one_writes_them():
    before = config(1.0, feed={"tasks": {"vtr": {"weight": 1.0}}})
    after = config(2.0, night={"formula": "weighted_sum", "tasks": {"vtr": {"price": 1.0}}})
    assert changes(before, after) == [
        "feed: removed",
        "default: vtr.weight 1 -> 2",
        "night: new, weighted_sum",
    ]
    assert changes(after, after) == []
