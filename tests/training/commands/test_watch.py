"""What `fulcrum watch --once` prints and how it exits; the service is in this process."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import orjson
import pytest
from typer.main import get_command

import fulcrum
from tests.support.experiment_service import HOUR_MS
from tests.support.experiment_site import START_MS, TERMS, Site


@pytest.fixture(scope="module")
def app():
    return get_command(fulcrum.app)


@pytest.fixture
def site(tmp_path):
    """An experiment that has run for an hour."""
    site = Site(tmp_path)
    site.service.start()
    site.traffic.serve([f"u{number}" for number in range(20)], START_MS, START_MS + HOUR_MS)
    site.clock.now_ms += HOUR_MS
    return site


@pytest.fixture
def watch(site, app, monkeypatch, capsys):
    """Look once, with these options: exit status, stdout, stderr."""
    monkeypatch.setattr(fulcrum, "app", app)
    monkeypatch.setattr("model.client.control.Control.send", lambda self, call: site.service.send(call))
    monkeypatch.setattr("time.time_ns", lambda: site.clock.now_ms * 1_000_000)

    def call(*words, events=None):
        events = events or site.path / "events"
        monkeypatch.setattr(
            sys, "argv", ["fulcrum", "watch", "--once", "--events", str(events), *map(str, words)]
        )
        with pytest.raises(SystemExit) as stopped:
            fulcrum.main()
        out, err = capsys.readouterr()
        return SimpleNamespace(status=stopped.value.code or 0, out=out, err=err)

    return call


def test_a_look_without_problems_exits_with_0(watch, site):
    done = watch("--reward", "is_click", "--json")
    assert done.status == 0
    assert orjson.loads(done.out)["problems"] == []
    assert len(site.service.looks["test"]) == 1


def test_a_metric_that_fails_exits_with_1_and_the_look_is_published(watch, site):
    done = watch()
    assert done.status == 1
    assert "metric 'reward' cannot be evaluated" in done.err
    assert set(site.service.looks["test"][0]["metrics"]) == {"is_share"}


def test_events_that_are_not_there_exit_with_1_and_what_runs_is_named(watch, site, tmp_path):
    done = watch("--reward", "is_click", events=tmp_path / "wrong")
    assert (done.status, site.service.looks) == (1, {})
    assert "events cannot be read" in done.err
    assert "test runs, and there is no look: its events cannot be read" in done.err
    assert "no experiment runs" not in done.err


def test_what_runs_without_terms_is_named(watch, site):
    site.service.document = site.service.document.with_(site.service.one().changed(terms=None))
    done = watch()
    assert done.status == 0
    assert "test runs, and there is no look: it has no terms" in done.err
    site.service.document = site.service.document.with_(
        site.service.one().changed(state="paused", terms=TERMS.model_dump())
    )
    assert "no experiment runs (test paused)" in watch().err
