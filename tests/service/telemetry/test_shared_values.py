"""Metrics of several workers in the memory they share: their sum is what one worker would have counted."""

from __future__ import annotations

import pytest
from prometheus_client import values as counting

from service.processes.board import Board
from service.processes.fleet import Fleet
from service.ranking.stopwatch import Stopwatch
from service.telemetry.metrics import Metrics
from service.telemetry.shared_values import value_class
from tests.service.telemetry.test_metrics import Scraped, ranking


@pytest.fixture(autouse=True)
def own_values(monkeypatch):
    monkeypatch.setattr(counting, "ValueClass", counting.ValueClass)


def count(metrics: Metrics, rankings: int) -> None:
    for number in range(rankings):
        metrics.answered("/v1/rank", 200, 0.001 * 4**number)
        metrics.ranked(ranking(), Stopwatch())


def lines(metrics: Metrics, *names: str) -> set[str]:
    scraped = metrics.scrape().decode().splitlines()
    return {line for line in scraped if line.startswith(names) and "_created" not in line}


def test_the_sum_over_workers_is_what_one_would_have_counted():
    names = ("fulcrum_request", "fulcrum_rank", "fulcrum_feature_cache")
    alone = Metrics(Fleet())
    count(alone, 3)
    count(alone, 2)
    board = Board(2)
    workers = [Metrics(Fleet(None, place, board)) for place in range(2)]
    count(workers[0], 3)
    count(workers[1], 2)
    assert lines(workers[0], *names) == lines(workers[1], *names)
    found, expected = lines(workers[0], *names), lines(alone, *names)
    assert {line.split(" ")[0] for line in found} == {line.split(" ")[0] for line in expected}
    assert found == expected


def test_a_successor_goes_on_with_the_counters_and_not_with_the_gauges():
    board = Board(2)
    scraping = Metrics(Fleet(None, 1, board))
    dead = Metrics(Fleet(None, 0, board))
    count(dead, 3)
    inside = dead.inside()
    inside.__enter__()
    assert Scraped(scraping)("fulcrum_rank_inside") == 1
    board.places[0].leave()
    assert Scraped(scraping)("fulcrum_rank_inside") == 0
    count(Metrics(Fleet(None, 0, board)), 2)
    found = Scraped(scraping)
    assert found("fulcrum_rank_inside") == 0
    assert found("fulcrum_requests_total", route="/v1/rank", status="200") == 5
    assert found("fulcrum_rank_candidates_count") == 5


def test_values_without_room_count_for_their_process_and_harm_no_other():
    memory = memoryview(bytearray(400))
    kind = value_class(memory)
    values = [kind("counter", "c", "c_total", ["n"], [str(number)], "Help.") for number in range(20)]
    for value in values:
        value.inc(2.0)
    assert [value.get() for value in values] == [2.0] * 20
    again = value_class(memory)
    assert again("counter", "c", "c_total", ["n"], ["0"], "Help.").get() == 2.0
    assert again("counter", "c", "c_total", ["n"], ["19"], "Help.").get() == 0.0
