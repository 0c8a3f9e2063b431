"""The fleet: each worker's report, read by all."""

from __future__ import annotations

import os

import pytest

from model import files
from service.processes import fleet as fleet_module
from service.processes.fleet import Fleet, Headcount, report_path, write_headcount


def test_a_single_worker_is_the_fleet_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fleet = Fleet()
    fleet.report(ready=True)
    fleet.beat()
    assert [report.ready for report in fleet.workers()] == [True]
    assert fleet.headcount() == Headcount(workers=1, replaced=0)
    assert not any(tmp_path.iterdir())


def test_every_worker_sees_the_reports_of_all_by_place(tmp_path):
    second, first = Fleet(tmp_path, 1), Fleet(tmp_path, 0)
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


def test_a_replacement_starts_from_an_empty_report(tmp_path):
    Fleet(tmp_path, 0).report(ready=True, bundle="sha256:a")
    (report,) = Fleet(tmp_path, 0).workers()
    assert (report.ready, report.bundle) == (False, None)


def test_a_report_is_written_only_when_it_changes(tmp_path):
    fleet = Fleet(tmp_path, 0)
    fleet.report(ready=True)
    before = report_path(tmp_path, 0).stat()
    fleet.report(ready=True)
    assert report_path(tmp_path, 0).stat().st_ino == before.st_ino
    fleet.report(ready=False)
    assert report_path(tmp_path, 0).stat().st_ino != before.st_ino


def test_a_heartbeat_renews_the_reports_time_stamp_and_nothing_else(tmp_path):
    fleet, path = Fleet(tmp_path, 0), report_path(tmp_path, 0)
    content = path.read_bytes()
    os.utime(path, (1.0, 1.0))
    fleet.beat()
    assert path.stat().st_mtime > 1e9
    assert path.read_bytes() == content


@pytest.mark.parametrize("gone", ["report", "folder"])
def test_a_report_that_vanishes_costs_nobody_anything(tmp_path, gone):
    run = tmp_path / "run"
    run.mkdir()
    fleet, other = Fleet(run, 0), Fleet(run, 1)
    report_path(run, 1).unlink()
    if gone == "folder":
        report_path(run, 0).unlink()
        run.rmdir()
    other.beat()
    fleet.report(ready=True)
    assert [report.worker for report in fleet.workers()] == [0]


def test_a_full_disk_does_not_stop_a_worker_from_changing(tmp_path, monkeypatch):
    fleet = Fleet(tmp_path, 0)

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(fleet_module, "replace_file", full)
    fleet.report(bundle="sha256:b")
    assert fleet.own.bundle == "sha256:b"
    monkeypatch.setattr(fleet_module, "replace_file", files.replace_file)
    fleet.report(ready=True)
    assert [report.bundle for report in Fleet(tmp_path, 1).workers()] == ["sha256:b", None]


def test_the_headcount_is_what_the_supervisor_wrote_last(tmp_path):
    fleet = Fleet(tmp_path, 0)
    for headcount in (Headcount(workers=4), Headcount(workers=4, replaced=2)):
        write_headcount(tmp_path, headcount)
        assert fleet.headcount() == headcount
