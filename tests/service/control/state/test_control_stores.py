"""What each control store promises, in SQLite and in Redis alike."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import pytest

from model.experiments import Arm, Experiment, Layer
from model.fusion import fusion_of
from model.redis_url import RedisUrl
from service.control.experiments.changes import ExperimentChanges
from service.control.experiments.deciding import Decision, Decisions
from service.control.fusion.revisions import Revisions
from service.control.state.control import Change, Schedule
from service.control.state.opening import open_control
from tests.support.control_changes import assert_whole, change_of, proposal, propose

pytestmark = pytest.mark.slow  # one of the two starts a Redis, and some tests fork


@pytest.fixture(params=["sqlite", "redis"])
def place(request, tmp_path):
    """Where an empty store is to be."""
    if request.param == "sqlite":
        return tmp_path / "control.sqlite"
    return RedisUrl(request.getfixturevalue("durable_redis").url)


@pytest.fixture
def store(place):
    store = open_control(place)
    yield store
    store.close()


def test_an_empty_store_holds_nothing(store):
    assert store.read() is None
    assert store.revision(1) is None
    assert store.network("ab") is None
    assert (store.revisions(None, 50), store.events(7, 50)) == ([], [])


def test_what_is_committed_is_read_elsewhere_as_it_was(store, place):
    change = proposal(None, networks={"ab" * 32: bytes(range(256)) * 9, "cd" * 32: b""})
    evidence = {"difference": 0.1 + 0.2, "interval": [1e-300, None], "log": "ünï"}
    change = Change(
        None,
        change.document.model_copy(
            update={"schedule": Schedule(revision=1, at_ms=9, if_active=1, actor="anna", why="für morgen")}
        ),
        change.revision.model_copy(update={"evidence": evidence}),
        change.networks,
        change.events,
    )
    assert store.commit(change)
    other = open_control(place)
    assert other.read() == change.document
    assert other.revision(1) == change.revision
    assert other.events(None, 9) == list(change.events)[::-1]
    assert {name: other.network(name) for name in change.networks} == change.networks
    other.close()


def test_a_change_of_another_document_is_refused_and_leaves_nothing(store):
    first = proposal(None)
    assert store.commit(first)
    second = proposal(first.document)
    assert store.commit(second)
    for stale in (first, proposal(None), proposal(first.document, networks={"ab": b"x"})):
        assert not store.commit(stale)
    assert assert_whole(store) == [first.document.change, second.document.change]
    assert store.network("ab") is None


def test_a_change_may_be_of_the_document_alone(store):
    document = proposal(None).document
    assert store.commit(Change(None, document))
    assert store.read() == document
    assert not store.commit(Change(None, document.model_copy(update={"change": "another"})))


def test_a_decision_is_one_change_elsewhere_too(store, place):
    revisions = Revisions(store)
    scenes = {"default": {"tasks": {"vtr": {"weight": 1.0}}}}
    revisions.seed(fusion_of({"schema_version": 1, "scenes": scenes}), "bundle", "fusion.yaml", {})
    changes = ExperimentChanges(revisions)
    changes.create_layer("paul", Layer(name="fusion", salt="s"), "")
    patch = {"scenes": {"default": {"tasks": {"vtr": {"weight": 2.0}}}}}
    arms = (Arm(name="old", share=5_000), Arm(name="new", share=5_000, patch=patch))
    draft = Experiment(id="one", layer="fusion", arms=arms, first=0, size=10, ramp=10)
    changes.create("paul", draft, None, lambda *_: None)
    decided = Decision("anna", "one", if_edition=1, if_active=1, arm="new", why="better")
    Decisions(revisions, changes).decide(decided)
    other = open_control(place)
    document = other.read()
    assert (document, document.active.revision) == (store.read(), 2)
    assert document.experiments.one("one").state == "stopped"
    assert other.revision(2).summary == ("default: vtr.weight 1 -> 2",)
    assert [event.event for event in other.events(None, 50)] == list(range(document.events, 0, -1))
    other.close()


def test_history_is_read_by_pages_and_by_number(store):
    for _ in range(5):
        propose(store)
    assert [one.revision for one in store.revisions(None, 2)] == [5, 4]
    assert [one.revision for one in store.revisions(4, 2)] == [3, 2]
    assert [one.revision for one in store.revisions(2, 2)] == [1]
    assert [one.event for one in store.events(8, 3)] == [7, 6, 5]
    assert len(store.events(1 << 70, 1000)) == 10
    assert store.revision(3).note == store.revisions(4, 1)[0].note
    for nothing in (
        store.revisions(1, 9),
        store.revisions(-1 << 70, 9),
        store.revisions(None, 0),
        store.events(0, 9),
    ):
        assert nothing == []
    assert [store.revision(number) for number in (0, -1, 6, 1 << 70, -1 << 70)] == [None] * 5


def test_looks_are_kept_apart_from_the_document(store, place):
    propose(store)
    document = store.read()
    assert (store.looks("one"), store.newest_looks(["one"])) == (b"", {})
    large = bytes(range(256)) * 4096  # a MiB
    store.keep_looks("one", b"first", b"[first]")
    store.keep_looks("one", b"second", large)
    store.keep_looks("two", b"", b"")
    other = open_control(place)
    assert other.looks("one") == large
    assert other.newest_looks(["one", "two", "three"]) == {"one": b"second"}
    assert other.newest_looks([]) == {}
    assert store.read() is document  # as it was, and not read again
    propose(other)
    assert store.read() == other.read() != document
    assert len(assert_whole(store)) == 2
    other.close()


def test_another_process_sees_a_change_at_once(store, place):
    other = open_control(place)
    for writer, reader in [(store, other), (other, store)] * 3:
        name = propose(writer)
        assert change_of(reader) == name
    other.close()


def test_threads_that_propose_at_once_make_one_history(store):
    taken = []

    def work(number):
        taken.extend(propose(store, f"thread {number}") for _ in range(6))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    history = assert_whole(store)
    assert len(history) == 24
    assert sorted(history) == sorted(taken)


def forked(work):
    """A process that does this work with a pipe to tell of it."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work(lambda text: os.write(into, f"{text}\n".encode()))
            os._exit(0)
        finally:
            os._exit(1)
    os.close(into)
    return child, out


def told(out):
    """All that it tells until its end."""
    with os.fdopen(out) as file:
        return file.read().split()


def test_processes_that_propose_at_once_make_one_history(store):
    propose(store)  # and so, before the fork, has connections open

    def work(tell):
        for _ in range(6):
            tell(propose(store))

    children = [forked(work) for _ in range(4)]
    taken = [name for _, out in children for name in told(out)]
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child, _ in children] == [0] * 4
    history = assert_whole(store)
    assert len(history) == 25
    assert sorted(history[1:]) == sorted(taken)


@pytest.mark.parametrize("moments", [4, pytest.param(200, marks=pytest.mark.long)])
def test_a_process_that_is_killed_while_it_writes_loses_nothing_acknowledged(store, moments):
    draw = random.Random(5)

    def work(tell):
        while True:
            tell(propose(store))

    known = 0
    for _ in range(moments):
        child, out = forked(work)
        first = os.read(out, 33).decode().strip()
        time.sleep(draw.uniform(0.0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        acknowledged, history = [first, *told(out)], assert_whole(store)
        assert history[known : known + len(acknowledged)] == acknowledged
        assert len(history) - known - len(acknowledged) in (0, 1)  # one may have been made and not told of
        known = len(history)
