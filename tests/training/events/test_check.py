from __future__ import annotations

import dataclasses

import pytest

from model.events import Feedback
from tests.support.event_log import CONFIG, START_MS, make_log, write_events, write_exposures, write_folder
from training.events.check import check_events
from training.events.picture import draw

LATE_MS = START_MS + 30 * 86_400_000


@pytest.fixture
def log():
    return make_log(200)


@pytest.fixture
def folder(tmp_path, log):
    folder = write_folder(tmp_path / "events")
    write_exposures(folder, log.exposures)
    write_events(folder, log.events)
    return folder


def test_a_sound_folder_is_counted_exactly_and_nothing_is_wrong_with_it(folder, log):
    checked = check_events(folder.path, LATE_MS)

    assert not checked.damaged
    assert not checked.warnings
    counts = checked.counts
    assert (counts["exposures"], counts["impressions"], counts["events"]) == (200, 800, len(log.events))
    orphans = [event for event in log.events if event.item_id == "none"]
    assert counts["orphans"] == len(orphans)
    assert (counts["degraded"], dict(checked.degraded)) == (19, {"deadline": 19})
    assert sum(exposures for exposures, _ in checked.hours.values()) == 200
    of_kind = [event for event in log.events if event.kind == "is_share"]
    share = checked.kinds["is_share"]
    assert share.lateness.sum() <= len(of_kind)
    late_s = sorted((event.received_ms - event.time_ms) / 1000 for event in of_kind)
    assert share.late_s(0.5) == pytest.approx(late_s[len(late_s) // 2], rel=0.3)
    assert share.late_s(1.0) == pytest.approx(late_s[-1], rel=0.15)


def test_what_is_wrong_is_named(folder, log):
    twice = log.exposures[:3]
    write_exposures(
        folder, [*twice, dataclasses.replace(log.exposures[5], time_ms=log.exposures[5].time_ms + 1)]
    )
    moved = dataclasses.replace(log.exposures[0], time_ms=log.exposures[-1].time_ms)
    write_exposures(folder, [moved])
    shown = log.exposures[0]
    early = shown.time_ms - 1
    write_events(folder, [Feedback("x", shown.exposure_id, shown.items[0], "old", 1.0, early, early)])
    segment = sorted(folder.hours()[0].iterdir())[0]
    with segment.open("ab") as file:
        file.write(b"torn")
    (folder.hours()[0] / "1-00.parquet").write_bytes(b"nothing")
    folder.config(CONFIG).unlink()

    checked = check_events(folder.path, LATE_MS)

    assert checked.counts["exposures_twice"] == 4
    assert [line.split(":")[0].rsplit("/")[-1] for line in checked.damaged] == ["1-00.parquet"]
    said = " ".join(checked.warnings)
    for text in (
        f"fusion config {CONFIG}",
        "1 segments end in the middle",
        "1 exposures lie in the folder of another hour",
        "2 exposures have another time",
        "1 events were received before their exposure",
        "1 events are of kinds",
    ):
        assert text in said


def test_the_picture_is_drawn_of_any_folder(folder, tmp_path):
    draw(check_events(folder.path, LATE_MS), tmp_path / "events.svg")
    empty = write_folder(tmp_path / "empty")
    draw(check_events(empty.path, LATE_MS), tmp_path / "empty.png")

    assert "is_share" in (tmp_path / "events.svg").read_text()
    assert (tmp_path / "empty.png").read_bytes().startswith(b"\x89PNG")
