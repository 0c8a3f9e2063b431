"""Stopwatch: a request's stages, one after the other."""

from __future__ import annotations

from service.ranking.stopwatch import Stopwatch


def test_stages_follow_each_other_and_one_that_comes_twice_adds_up(monkeypatch):
    now = iter([10.0, 11.0, 13.0, 17.0, 25.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(now))
    watch = Stopwatch(arrived_at=9.0)
    for stage in ("features", "network", "features"):
        watch.lap(stage)
    assert watch.laps == [("features", 10.0, 11.0), ("network", 11.0, 13.0), ("features", 13.0, 17.0)]
    assert watch.stages == {"features": 5.0, "network": 2.0}
    assert watch.elapsed == 16.0  # since arrival, not since it was first looked at


def test_a_request_arrives_with_its_watch_where_nobody_saw_it_before(monkeypatch):
    now = iter([10.0, 12.5])
    monkeypatch.setattr("time.perf_counter", lambda: next(now))
    watch = Stopwatch()
    assert (watch.arrived_at, watch.elapsed) == (10.0, 2.5)
