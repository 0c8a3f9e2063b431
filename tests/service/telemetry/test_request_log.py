"""The request log: one line for what went badly, and no flood."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from service.ranking.ranker import Ranking
from service.ranking.stopwatch import Stopwatch
from service.telemetry.request_log import RequestLog


def ranking(degraded: list[str] | None = None, scored: int = 2) -> Ranking:
    return Ranking(
        b"{}",
        "e-1",
        candidates=2,
        scored=scored,
        best_score=0.5,
        degraded=degraded or [],
        default_features=0,
        cache_hits=0,
        cache_misses=0,
    )


def test_a_good_ranking_is_not_worth_a_line():
    with capture_logs() as lines:
        RequestLog(1000.0).ranked(ranking(), Stopwatch())
    assert lines == []


def test_a_degraded_ranking_is_told_once_with_its_reasons_and_stages():
    watch = Stopwatch()
    watch.lap("network")
    with capture_logs() as lines:
        RequestLog(1e-9).ranked(ranking(degraded=["deadline"]), watch)
    assert [(line["event"], line["degraded"], list(line["stages_ms"])) for line in lines] == [
        ("ranking_degraded", ["deadline"], ["network"])
    ]


def test_a_slow_ranking_is_told():
    with capture_logs() as lines:
        RequestLog(1e-9).ranked(ranking(), Stopwatch())
    assert [line["event"] for line in lines] == ["ranking_slow"]


def test_a_flood_is_cut_and_counted(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("service.telemetry.request_log.time.monotonic", lambda: clock[0])
    told = RequestLog(1000.0)
    with capture_logs() as lines:
        for _ in range(500):
            told.failed(503, ValueError("too much to do"))
        clock[0] += 1.0
        told.failed(503, ValueError("too much to do"))
    assert len(lines) == 21
    assert lines[-1]["left_out_before"] == 480


@pytest.mark.parametrize(("scene", "lines"), [("default", 0), ("nowhere", 1)])
def test_lines_carry_the_request_id(serve, capfd, scene, lines):
    from service.telemetry.logs import configure_logs

    with serve() as served:
        writer = configure_logs("json")
        served.http.post(
            "/v1/rank",
            json={"user_id": "u1", "candidate_ids": ["v1"], "scene": scene},
            headers={"x-request-id": "r-9"},
        )
    writer.flush()
    assert capfd.readouterr().err.count('"request_id": "r-9"') == lines
