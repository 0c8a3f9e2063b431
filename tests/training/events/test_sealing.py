from __future__ import annotations

import fcntl
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from model.errors import FulcrumError
from model.events.feedback_table import open_feedback
from model.events.pseudonym import pseudonym
from tests.support.event_log import (
    CATALOGUE,
    START_MS,
    TASKS,
    candidates,
    impressions,
    make_log,
    write_events,
    write_exposures,
    write_folder,
)
from training.events.deletion import expire, forget
from training.events.join import join_events
from training.events.sealing import seal
from training.events.tail import last_exposures

HOUR_MS = 3_600_000
LATE_MS = START_MS + 30 * 24 * HOUR_MS


@pytest.fixture
def log():
    return make_log(120)


@pytest.fixture
def folder(tmp_path, log):
    folder = write_folder(tmp_path / "events")
    for worker in range(3):
        write_exposures(folder, log.exposures[worker::3], batch_rows=10)
    write_events(folder, log.events)
    return folder


def names(folder):
    return [sorted(path.name for path in hour.iterdir()) for hour in folder.hours()]


def joined(folder, out: Path):
    join_events(folder.path, out, LATE_MS)
    return impressions(out), candidates(out)


def test_segments_of_past_hours_become_one_file_per_hour_with_the_same_rows(folder, log, tmp_path):
    before = joined(folder, tmp_path / "before")

    sealed = seal(folder.path, START_MS + 2 * HOUR_MS)

    assert (sealed.hours, sealed.files, sealed.open) == (2, 6, 0)
    assert [[name.split(".")[1] for name in hour] for hour in names(folder)] == [
        ["parquet"],
        ["parquet"],
        ["arrow"] * 3,
    ]
    for one, other in zip(before, joined(folder, tmp_path / "after"), strict=True):
        assert_frame_equal(one, other)
    ids = pl.read_parquet(folder.hours()[0])["exposure_id"].to_list()
    assert ids == sorted(one.exposure_id for one in log.exposures[:40])
    assert seal(folder.path, START_MS + 2 * HOUR_MS).files == 0


def test_what_comes_late_into_a_sealed_hour_is_sealed_with_it(folder, log, tmp_path):
    before = joined(folder, tmp_path / "out")
    seal(folder.path, LATE_MS)
    write_exposures(folder, log.exposures[:5])

    seal(folder.path, LATE_MS)

    assert [len(hour) for hour in names(folder)] == [1, 1, 1]
    assert_frame_equal(joined(folder, tmp_path / "out")[0], before[0])
    assert pq.read_metadata(folder.hours()[0] / names(folder)[0][0]).num_rows == 40


def test_an_hour_that_a_worker_still_writes_to_is_left(folder):
    segment = sorted(folder.hours()[1].iterdir())[0]
    with segment.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        sealed = seal(folder.path, LATE_MS)

    assert (sealed.hours, sealed.open) == (2, 1)
    assert len(names(folder)[1]) == 3
    assert seal(folder.path, LATE_MS).hours == 1


@pytest.mark.parametrize("stop", range(8))
def test_sealing_that_is_stopped_between_any_two_steps_doubles_and_loses_nothing(
    folder, tmp_path, monkeypatch, stop
):
    before = joined(folder, tmp_path / "before")
    steps = []

    def stopping(act):
        def step(path, *arguments, **named):
            steps.append(path)
            if len(steps) > stop:
                raise KeyboardInterrupt
            return act(path, *arguments, **named)

        return step

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", stopping(Path.replace))
        patched.setattr(Path, "unlink", stopping(Path.unlink))
        with pytest.raises(KeyboardInterrupt):
            seal(folder.path, LATE_MS)

    for one, other in zip(before, joined(folder, tmp_path / "after"), strict=True):
        assert_frame_equal(one, other)
    seal(folder.path, LATE_MS)
    assert [len(hour) for hour in names(folder)] == [1, 1, 1]
    assert_frame_equal(joined(folder, tmp_path / "after")[0], before[0])


def test_bundles_of_one_hour_are_sealed_apart_and_torn_tails_fall_away(tmp_path):
    folder = write_folder(tmp_path / "events")
    (torn,) = write_exposures(folder, make_log(6, hours=0.5).exposures, batch_rows=2)
    torn.write_bytes(torn.read_bytes()[:-100])
    write_exposures(folder, make_log(6, 1, hours=0.5, tasks=("shr",)).exposures, ("shr",))
    (folder.hours()[0] / "1-00.arrow").write_bytes(b"\xff\xff\xff\xff")

    sealed = seal(folder.path, LATE_MS)

    assert [len(hour) for hour in names(folder)] == [2]
    assert sealed.torn > 0
    assert joined(folder, tmp_path / "out")[0].height == 4 * (4 + 6)


def test_a_damaged_file_is_not_sealed_away(folder):
    (folder.hours()[0] / "1-00.arrow").write_bytes(b"this is no segment" * 10)

    with pytest.raises(FulcrumError, match="cannot be read"):
        seal(folder.path, LATE_MS)

    assert len(names(folder)[0]) == 4


@pytest.mark.parametrize("sealed", [False, True])
def test_a_user_is_forgotten_in_events_and_in_the_joined_log(folder, log, tmp_path, sealed):
    out = tmp_path / "out"
    before = joined(folder, out)
    theirs = {one.exposure_id for one in log.exposures if one.user == "u7"}
    if sealed:
        seal(folder.path, LATE_MS)

    deleted = forget(folder.path, "u7", outs=[out])

    assert deleted.exposures == len(theirs) == 6
    assert deleted.events == sum(event.exposure_id in theirs for event in log.events) > 0
    assert_frame_equal(impressions(out), before[0].filter(pl.col("user_id") != "u7"))
    assert_frame_equal(candidates(out), before[1].filter(~pl.col("exposure_id").is_in(list(theirs))))
    files = [path for place in (folder.path, out) for path in place.rglob("*") if path.is_file()]
    content = b"".join(path.read_bytes() for path in files if path.suffix == ".sqlite")
    assert not [identity for identity in theirs if identity.encode() in content]
    assert not theirs & set(pl.read_parquet(out / "feedback/*/*.parquet")["exposure_id"])
    assert forget(folder.path, "u7").exposures == 0


def test_a_user_whose_id_is_hashed_is_forgotten_by_the_key(tmp_path):
    log = make_log(40)
    hashed = [type(one)(**{**_fields(one), "user": pseudonym(one.user, "k")}) for one in log.exposures]
    folder = write_folder(tmp_path / "events")
    write_exposures(folder, hashed)

    assert forget(folder.path, "u1").exposures == 0
    assert forget(folder.path, "u1", ["old", "k"]).exposures == 2


def _fields(one):
    return {name: getattr(one, name) for name in one.__slots__}


def test_exposures_of_an_open_segment_are_named_and_their_feedback_is_deleted(folder, log):
    hour = folder.hours()[0]
    with sorted(hour.iterdir())[1].open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        deleted = forget(folder.path, "u1")

    assert [path.parent for path in deleted.open] == [hour]
    assert forget(folder.path, "u1").open == []


def test_old_hours_expire_with_their_feedback(folder, log, tmp_path):
    joined(folder, tmp_path / "out")
    kept = [one for one in log.exposures if one.time_ms >= START_MS + HOUR_MS]

    deleted = expire(folder.path, START_MS + HOUR_MS + 5)

    assert deleted.hours == 1
    database = open_feedback(folder.feedback)
    left = {identity for (identity,) in database.execute("SELECT exposure_id FROM feedback")}
    database.close()
    assert min(left) > kept[0].exposure_id[:8]
    summary = join_events(folder.path, tmp_path / "out", LATE_MS)
    assert summary.removed == 1
    assert impressions(tmp_path / "out")["exposure_id"].n_unique() == len(kept)


def test_rows_numbered_again_after_a_deletion_are_joined(folder, log, tmp_path):
    out = tmp_path / "out"
    joined(folder, out)
    forget(folder.path, "u7")
    deleted = sum(
        event.exposure_id in {one.exposure_id for one in log.exposures[7::20]} for event in log.events
    )
    shown = log.exposures[0]
    fresh = [
        type(log.events[0])(
            f"new{n}", shown.exposure_id, shown.items[0], "watched", 1e9, shown.time_ms, LATE_MS
        )
        for n in range(deleted + 1)
    ]
    write_events(folder, fresh)

    join_events(folder.path, out, LATE_MS)

    found = impressions(out).filter(pl.col("watched") >= 1e9)
    assert found["watched"][0] // 1e9 == deleted + 1


def test_the_tail_is_the_last_exposures_with_what_came_of_them(folder, log):
    last = last_exposures(folder.path, 50)

    assert [one.exposure_id for one in last] == [one.exposure_id for one in log.exposures[-50:]]
    for one in last:
        expected = [e for e in log.events if e.exposure_id == one.exposure_id]
        assert sorted(one.events) == sorted((e.item_id, e.kind, e.value) for e in expected)
    assert last_exposures(folder.path, 50, last[-3].exposure_id) == last[-2:]
    assert last_exposures(folder.path, 3, last[-1].exposure_id) == []


def test_tasks_and_catalogue_stay_those_of_the_folder(folder):
    seal(folder.path, LATE_MS)

    assert folder.read_catalogue().tasks == TASKS
    assert folder.read_catalogue().events == CATALOGUE
