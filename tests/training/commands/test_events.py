from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from fulcrum import app
from model.errors import FulcrumError
from tests.support.event_log import (
    START_MS,
    impressions,
    make_log,
    write_events,
    write_exposures,
    write_folder,
)
from training.commands.events import moment_ms

LATE_MS = START_MS + 30 * 86_400_000


@pytest.fixture
def events(tmp_path):
    return _written(tmp_path, 60)


def _written(tmp_path, exposures):
    log = make_log(exposures)
    folder = write_folder(tmp_path / "events")
    write_exposures(folder, log.exposures)
    write_events(folder, log.events)
    return folder.path


def fulcrum(*words):
    return CliRunner().invoke(app, ["events", *map(str, words)])


def test_the_log_is_joined_checked_sealed_shown_and_deleted_from_the_command_line(events, tmp_path):
    out = tmp_path / "out"
    joined = fulcrum("join", events, "--out", out, "--as-of", LATE_MS)
    assert "240 impressions of 60 exposures" in joined.stdout
    assert "3 written, 0 unchanged" in joined.stdout
    assert orjson.loads(fulcrum("seal", events, "--json").stdout) == {
        "hours": 3,
        "files": 3,
        "open": 0,
        "torn": 0,
    }
    again = fulcrum("join", events, "--out", out, "--as-of", "2026-01-30T23:00Z", "--json")
    assert orjson.loads(again.stdout)["counts"]["impressions"] == 240
    assert "-n" not in fulcrum("tail", events, "-n", 3).stdout
    assert len(fulcrum("tail", events, "-n", 3).stdout.splitlines()) == 3
    assert "deleted 3 exposures" in fulcrum("forget", events, "u1", "--out", out).stdout
    assert "u1" not in impressions(out)["user_id"].to_list()
    assert "in 3 hours" in fulcrum("expire", events, "--keep-days", 1).stdout


def test_check_fits_80_columns_and_says_by_its_exit_status_whether_files_are_damaged(events, monkeypatch):
    monkeypatch.setattr("model.terminal.answer._width", 80)
    checked = fulcrum("check", events)
    assert checked.exit_code == 0
    assert max(map(len, checked.stdout.splitlines())) <= 80
    assert "is_share" in checked.stdout
    document = orjson.loads(fulcrum("check", events, "--json").stdout)
    assert document["counts"]["impressions"] == 240
    assert set(document["kinds"]["is_share"]["late_s"]) == {"p50", "p90", "p99", "max"}

    (sorted((events / "exposures").iterdir())[0] / "1-00.parquet").write_bytes(b"nothing")

    assert fulcrum("check", events).exit_code == 1


def test_times_are_iso_8601_or_milliseconds():
    assert moment_ms("2026-01-01T00:00:00Z") == moment_ms("2026-01-01") == moment_ms("1767225600000")
    assert moment_ms("2026-01-01T01:00:00+01:00") == 1_767_225_600_000
    with pytest.raises(FulcrumError, match="'yesterday' is no time; expected such as"):
        moment_ms("yesterday")


@pytest.mark.parametrize("words", [["--before", "2026-01-01", "--keep-days", "3"], []])
def test_expire_takes_one_of_a_time_and_a_number_of_days(events, words):
    result = fulcrum("expire", events, *words)

    assert isinstance(result.exception, FulcrumError)
    assert "expected one of --before TIME and --keep-days N" in str(result.exception)


@pytest.mark.slow
def test_a_disk_that_takes_no_more_is_one_line_and_the_joined_log_stands(tmp_path):
    events, out = _written(tmp_path, 3_000), tmp_path / "joined"
    command = Path(sys.executable).with_name("fulcrum")
    fulcrum("join", events, "--out", out)
    stood = {path: path.read_bytes() for path in out.rglob("*.parquet")}
    full = f"ulimit -f 33; exec {command} events join {events} --out {tmp_path / 'other'}"
    done = subprocess.run(["bash", "-c", full], capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()[-1:]
    assert "Traceback" not in done.stderr
    assert line.startswith("error: ")
    assert "run it again" in line
    assert {path: path.read_bytes() for path in out.rglob("*.parquet")} == stood
