"""Which experiments run and how long ago anybody looked, as metrics say it."""

from __future__ import annotations

from types import SimpleNamespace

import orjson
import pytest

from model.experiments import Experiment, Experiments, Layer
from service.control.experiments.watched import Watched
from service.control.state.desired import StateError

ARMS = [{"name": "control", "share": 5_000}, {"name": "more", "share": 5_000, "revision": 2}]
TERMS = {"primary": "reward", "days": 7, "planned_error": 0.01}


def experiment(name, first, state="running", **more):
    given = {"since_ms": 1_000_000, "terms": TERMS, **more}
    return Experiment(
        id=name, layer="fusion", arms=ARMS, first=first, size=500, ramp=200, state=state, **given
    )


class Store:
    """A control store, as far as it is read."""

    def __init__(self, *experiments, looks=()):
        known = Experiments(layers=(Layer(name="fusion", salt="s"),), experiments=experiments)
        self.document = SimpleNamespace(experiments=known)
        self.looks_ms = dict(looks)
        self.away = False

    def read(self):
        if self.away:
            raise StateError("away")
        return self.document

    def newest_looks(self, experiments):
        return {
            name: orjson.dumps({"time_ms": self.looks_ms[name]})
            for name in experiments
            if name in self.looks_ms
        }


@pytest.fixture
def clock():
    """Unix time in seconds, which tests set."""
    return SimpleNamespace(now=2_000.0)


def watched(store, clock):
    found = Watched(store, lambda: clock.now)
    found.read()
    return found


def test_the_age_is_that_of_the_last_look_or_of_the_comparison_that_nobody_looked_at(clock):
    store = Store(
        experiment("looked", 0), experiment("new", 500), looks={"looked": 1_700_000, "old": 1, "new": 1}
    )
    found = watched(store, clock)
    assert found.ages() == {"fusion/looked": 300.0, "fusion/new": 1_000.0}
    clock.now = 2_100.0
    assert found.ages()["fusion/looked"] == 400.0


def test_only_what_runs_and_is_judged_must_be_looked_at(clock):
    store = Store(
        experiment("paused", 0, "paused"),
        experiment("untold", 500, terms=None),
        experiment("later", 1_000, start_ms=9_000_000),
        experiment("over", 1_500, stop_ms=1_500_000),
        experiment("draft", 2_000, "draft"),
        experiment("stopped", 2_500, "stopped"),
    )
    found = watched(store, clock)
    assert found.ages() == {}
    live = {"paused": 0, "untold": 200, "later": 0, "over": 0}
    assert found.live() == {f"fusion/{name}": buckets for name, buckets in live.items()}


def test_while_the_store_is_away_what_was_read_grows_older(clock):
    store = Store(experiment("one", 0), looks={"one": 1_900_000})
    found = watched(store, clock)
    store.away = True
    with pytest.raises(StateError):
        found.read()
    clock.now = 3_000.0
    assert found.ages() == {"fusion/one": 1_100.0}
    assert found.live() == {"fusion/one": 200}


def test_an_empty_store_has_nothing_to_watch(clock):
    store = Store()
    store.document = None
    assert watched(store, clock).ages() == {}
