"""The fleet: each worker's report, read by all."""

from __future__ import annotations

import shutil
import time

from service.processes.board import Board
from service.processes.fleet import Fleet, Headcount


def test_a_single_worker_is_the_fleet_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fleet = Fleet()
    fleet.report(ready=True)
    fleet.beat()
    with fleet.turn("swap"):
        pass
    assert [report.ready for report in fleet.workers()] == [True]
    assert fleet.headcount() == Headcount(workers=1, replaced=0)
    assert not any(tmp_path.iterdir())


def test_every_worker_sees_the_reports_of_all_by_place():
    board = Board(2)
    second, first = Fleet(None, 1, board), Fleet(None, 0, board)
    first.report(ready=True, bundle="sha256:a", refused={"models/x": "is damaged"})
    second.report(fusion_rejected="unknown task")
    for fleet in (first, second):
        assert [
            (report.worker, report.ready, report.bundle, report.fusion_rejected, report.refused)
            for report in fleet.workers()
        ] == [
            (0, True, "sha256:a", None, {"models/x": "is damaged"}),
            (1, False, None, "unknown task", {}),
        ]


def test_a_replacement_starts_from_an_empty_report():
    board = Board(1)
    Fleet(None, 0, board).report(ready=True, bundle="sha256:a")
    (report,) = Fleet(None, 0, board).workers()
    assert (report.ready, report.bundle) == (False, None)


def test_a_worker_that_left_is_none_of_the_workers():
    board = Board(2)
    fleet, other = Fleet(None, 0, board), Fleet(None, 1, board)
    other.report(ready=True)
    board.places[1].leave()
    assert [report.worker for report in fleet.workers()] == [0]


def test_a_report_with_more_refusals_than_it_has_room_for_names_some():
    board = Board(2)
    fleet, other = Fleet(None, 0, board), Fleet(None, 1, board)
    other.report(ready=True, refused={f"models/{number}": "x" * 1_000 for number in range(1_000)})
    found = fleet.workers()[1]
    assert found.ready
    assert found.refused["models/0"] == "x" * 500
    assert len(other.own.refused) == 1_000


def test_a_heartbeat_tells_when_it_came():
    board = Board(2)
    fleet, before = Fleet(None, 1, board), time.monotonic()
    assert board.places[1].beaten_at == 0.0
    fleet.beat()
    assert before <= board.places[1].beaten_at <= time.monotonic()
    assert board.places[0].beaten_at == 0.0


def test_the_headcount_is_what_the_supervisor_wrote_last():
    board = Board(4)
    fleet = Fleet(None, 0, board)
    assert fleet.headcount() == Headcount(workers=4, replaced=0)
    board.replaced += 2
    assert fleet.headcount() == Headcount(workers=4, replaced=2)


def test_a_turn_is_for_one_at_a_time_and_without_a_run_directory_for_all(tmp_path):
    run, board = tmp_path / "run", Board(2)
    run.mkdir()
    one, other = Fleet(run, 0, board), Fleet(run, 1, board)
    with one.turn("swap"), other.turn("another"):
        assert sorted(path.name for path in run.iterdir()) == ["another.lock", "swap.lock"]
    shutil.rmtree(run)
    with one.turn("swap"), other.turn("swap"):
        pass
