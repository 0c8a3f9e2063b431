import pytest

from model.experiments import Arm, Experiment, Experiments, Layer
from service.control.fusion.revisions import Revisions
from service.control.fusion.schedules import Schedules
from service.control.state.control import Schedule
from tests.service.control.fusion.test_revisions import clock, proposed, revisions  # noqa: F401


@pytest.fixture
def running(revisions: Revisions) -> Revisions:  # noqa: F811
    arms = (Arm(name="old", share=5_000), Arm(name="new", share=5_000, patch={}))
    one, two = (
        Experiment(id=name, layer="l", arms=arms, first=first, size=10, ramp=10, state=state)
        for name, first, state in (("one", 0, "running"), ("two", 10, "draft"))
    )
    experiments = Experiments(layers=(Layer(name="l", salt="s"),), experiments=(one, two))

    def make(document):
        changed = document.model_copy(update={"experiments": experiments})
        return revisions.recorded(changed, "anna", "experiment_started", None, {"id": "one"}, "")

    revisions.change(make)
    return revisions


def states(document):
    return [(one.id, one.state, one.edition) for one in document.experiments.experiments]


def test_what_becomes_active_pauses_what_runs_and_says_so(running, clock):  # noqa: F811
    (two,) = proposed(running, 2.0)
    assert states(running.document())[0] == ("one", "running", 1)
    _, document = running.activate("anna", two, 1, "")
    assert states(document) == [("one", "paused", 2), ("two", "draft", 1)]
    paused, activated = running.store.events(None, 2)
    assert (activated.action, paused.action, paused.after) == (
        "revision_activated",
        "experiment_paused",
        {"id": "one"},
    )
    assert running.paused(document) == ["one"]
    assert paused.why == f"event {activated.event} changed what is active"


def test_a_schedule_that_fires_pauses_what_runs(running, clock):  # noqa: F811
    (two,) = proposed(running, 2.0)
    schedules = Schedules(running)
    schedules.schedule(Schedule(revision=two, at_ms=1_060_000, if_active=1, actor="anna", why=""))
    clock.now = 1_061.0
    assert states(schedules.due(lambda _: None))[0] == ("one", "paused", 2)


def test_an_older_document_without_experiments_is_read(revisions):  # noqa: F811
    document = revisions.document()
    older = document.model_dump(exclude={"experiments"})
    assert type(document).model_validate(older).experiments == Experiments()
