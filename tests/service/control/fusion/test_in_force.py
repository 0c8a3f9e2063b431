"""The revision in force: what a worker ranks by, whatever becomes of the store."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
import yaml

from model.fusion import FusionError, parse_fusion
from service.control.fusion.in_force import InForce
from service.control.fusion.revisions import Revisions
from service.control.fusion.state import Serving
from service.control.state.desired import StateError
from service.control.state.opening import open_control

OLD, NEW = ("sha256:" + letter * 64 for letter in "ab")
SERVING = Serving(OLD, ["vtr", "shr"], ["hour"])


class Kept:
    """What outlives a worker."""

    def __init__(self) -> None:
        self.content: bytes | None = None

    def read(self):
        return self.content

    def write(self, content):
        self.content = content


class Away:
    """A store that is away on demand."""

    def __init__(self, store) -> None:
        self.store = store
        self.gone = False

    def __getattr__(self, name):
        if self.gone and name != "name":
            raise StateError("the store is away")
        return getattr(self.store, name)


def config(vtr=1.0, task="vtr"):
    return parse_fusion(str({"schema_version": 1, "scenes": {"default": {"tasks": {task: {"weight": vtr}}}}}))


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.yaml"
    scene = {"tasks": {"vtr": {"weight": 1.0}}}
    path.write_text(yaml.safe_dump({"schema_version": 1, "scenes": {"default": scene}}))
    return path


@pytest.fixture
def store(tmp_path):
    store = Away(open_control(tmp_path / "control.sqlite"))
    yield store
    store.gone = False
    store.close()


@pytest.fixture
def revisions(store):
    return Revisions(store)


@pytest.fixture
def worker(revisions, own):
    """`worker()` starts one."""

    def worker(serving=SERVING, file=None, keep=None):
        return InForce(revisions, own, file, serving, keep=keep)

    return worker


def look(in_force):
    found = in_force.look()
    if found is not None:
        in_force.take(found)
    return in_force.state.active.revision


def test_an_empty_store_is_seeded_by_the_first_and_found_by_the_second(worker):
    first, second = worker(), worker()
    assert first.state.active.revision == second.state.active.revision == 1
    assert first.state.active.config == config()


def test_what_one_activates_all_rank_by_and_nothing_is_read_twice(worker, revisions):
    first, second = worker(), worker()
    revisions.activate("anna", revisions.propose("anna", config(2.0)).revision, 1, "")
    assert look(first) == look(second) == 2
    held = first.state.active
    assert first.look() is None
    revisions.propose("anna", config(3.0))
    assert look(first) == 2
    assert first.state.active is held, "a proposal changes nothing that is in force"


def test_what_does_not_fit_the_bundle_is_refused_and_said_and_fits_the_next_one(worker, revisions):
    in_force = worker()
    revisions.activate("anna", revisions.propose("anna", config(2.0, "likes")).revision, 1, "")
    assert look(in_force) == 1
    assert "unknown task 'likes'" in in_force.state.rejected.error
    in_force.fit(Serving(NEW, ["vtr", "likes"], ["hour"]))
    assert (in_force.state.active.revision, in_force.state.rejected) == (2, None)


def test_a_revision_that_came_with_a_bundle_waits_for_it(worker, revisions):
    in_force = worker()
    number = revisions.propose("anna", config(2.0)).revision
    revisions.activate("anna", number, 1, "", bundle=NEW)
    assert look(in_force) == 1
    assert f"waits for bundle {NEW}" in in_force.state.rejected.error
    with pytest.raises(FusionError, match="unknown task 'vtr'"):
        in_force.check(Serving(NEW, ["likes"]))
    in_force.fit(Serving(NEW, ["vtr"], ["hour"]))
    assert (in_force.state.active.revision, in_force.state.rejected) == (2, None)


def test_a_worker_that_starts_without_the_wanted_bundle_ranks_by_what_was_before(worker, revisions):
    worker()
    number = revisions.propose("anna", config(2.0)).revision
    revisions.activate("anna", number, 1, "", bundle=NEW)
    in_force = worker()
    assert in_force.state.active.revision == 1
    assert "waits for bundle" in in_force.state.rejected.error
    assert worker(replace(SERVING, version=NEW)).state.active.revision == 2


def test_while_the_store_is_away_what_was_in_force_stays(worker, revisions, store):
    keep = Kept()
    in_force = worker(keep=keep)
    revisions.activate("anna", revisions.propose("anna", config(2.0)).revision, 1, "")
    look(in_force)
    store.gone = True
    assert look(in_force) == 2
    assert in_force.problem == "the store is away"
    assert worker(keep=keep).state.active.revision == 2, "a worker that takes another's place"
    alone = worker()
    assert (alone.state.active.revision, alone.state.active.config) == (None, config())
    assert alone.state.active.degraded == ("control_store_unreachable",)
    store.gone = False
    assert (look(alone), alone.state.active.degraded) == (2, ())
    assert (look(in_force), in_force.problem) == (2, None)


def test_a_revision_of_a_newer_program_is_refused_and_the_one_before_serves(worker, revisions, store):
    in_force = worker()
    number = revisions.propose("anna", config(2.0)).revision
    revisions.activate("anna", number, 1, "")
    read = store.store.revision

    def newer(number):
        found = read(number)
        scenes = {"default": {"formula": "of tomorrow"}}
        return (
            found.model_copy(update={"config": {"schema_version": 1, "scenes": scenes}})
            if number == 2
            else found
        )

    store.revision = newer
    assert look(in_force) == 1
    assert "of tomorrow" in in_force.state.rejected.error
    assert worker().state.active.revision == 1


def test_an_empty_store_that_was_away_is_seeded_once_it_is_there(worker, store):
    store.gone = True
    in_force = worker()
    store.gone = False
    assert look(in_force) == 1


def test_a_store_that_is_empty_by_now_changes_nothing(worker, store, monkeypatch):
    keep = Kept()
    in_force = worker(keep=keep)
    monkeypatch.setattr(store, "read", lambda: None, raising=False)
    assert look(in_force) == 1
    assert "empty" in in_force.problem
    later = worker(keep=keep)
    assert (later.state.active.revision, "empty" in later.problem) == (1, True), "in another's place"


def test_a_file_that_is_bad_from_the_start_is_said_and_its_repair_recorded(worker, revisions, own, tmp_path):
    worker()
    file = tmp_path / "fusion.yaml"
    file.write_text("scenes: [")
    in_force = worker(file=file)
    assert look(in_force) == 1
    assert "not valid YAML" in in_force.state.rejected.error
    file.write_bytes(orjson.dumps(config(5.0).model_dump(mode="json", exclude_none=True)))
    for _ in range(3):
        look(in_force)
    assert revisions.get(2).origin == "file"
    assert in_force.state.active.revision == 1, "the bundle's own is active"
