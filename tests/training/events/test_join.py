from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path

import orjson
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from pyarrow import ipc

import training.events.parquet
from model.errors import FulcrumError
from model.events import EventCatalogue, EventFolder, FeedbackKind
from tests.support.event_log import (
    CATALOGUE,
    CONFIG,
    START_MS,
    TASKS,
    EventLog,
    candidates,
    impressions,
    make_log,
    naive_join,
    write_events,
    write_exposures,
    write_folder,
)
from tests.support.properties import examples
from training.events.join import join_events
from training.events.sealing import seal
from training.events.sources import index

HOUR_MS = 3_600_000
LATE_MS = START_MS + 30 * 86_400_000
FIRST_COLUMNS = [
    *("exposure_id", "request_id", "item_id", "position", "user_id", "session_id", "unit_hash", "scene"),
    "time_ms",
    *(
        "video_len_s",
        "bundle_version",
        "variant",
        "fusion_version",
        "revision",
        "arms",
        "explored",
        "degraded",
    ),
    *("mature", "context_json", "w_vtr", "w_vcr", "w_video_len", "p_vtr", "p_vcr", "hour", "tab"),
    *("play_time_ms", "is_click", "shared", "watched"),
]


def written(home: Path, log):
    folder = write_folder(home / "events")
    write_exposures(folder, log.exposures)
    write_events(folder, log.events)
    return folder


def rows_of(log, as_of_ms, like):
    return pl.DataFrame(naive_join(log, as_of_ms), schema=like.schema)


def test_the_rows_are_those_of_a_naive_join_on_ten_thousand_impressions(tmp_path):
    log = make_log(2_500)
    folder, out = written(tmp_path, log), tmp_path / "out"

    summary = join_events(folder.path, out, LATE_MS, slice_bytes=60_000)

    found = impressions(out)
    assert found.height == 10_000
    assert found.columns == FIRST_COLUMNS
    assert_frame_equal(found, rows_of(log, LATE_MS, found))
    assert found["mature"].all()
    assert found["is_click"].dtype == pl.Int8
    assert found["shared"].drop_nulls().sum() > 20
    counts = summary.counts
    parts = [counts[part] for part in ("joined", "orphans", "outside_window", "of_unknown_kinds")]
    assert sum(parts) == counts["events"] == len(log.events)
    assert all(parts[:3])
    assert (counts["impressions"], counts["candidates"]) == (10_000, candidates(out).height)
    assert (out / "configs" / f"{'ab' * 32}.json").read_bytes() == b"{}"
    assert (out / "catalogue.json").read_bytes() == folder.catalogue.read_bytes()


def test_exposures_of_an_older_service_have_no_session(tmp_path):
    log = make_log(60, hours=1.0)
    folder = write_folder(tmp_path / "events")
    (path,) = write_exposures(folder, log.exposures[:30])
    with pa.OSFile(str(path)) as file:
        rows = ipc.open_stream(file).read_all().drop_columns("session_id")
    with ipc.new_stream(str(path), rows.schema) as older:
        older.write_table(rows)
    write_exposures(folder, log.exposures[30:])
    write_events(folder, log.events)
    expected = EventLog(
        [replace(one, session=None) for one in log.exposures[:30]] + log.exposures[30:], log.events
    )
    for _ in range(2):
        join_events(folder.path, tmp_path / "out", LATE_MS)
        found = impressions(tmp_path / "out")
        assert_frame_equal(found, rows_of(expected, LATE_MS, found))
        assert found["session_id"].drop_nulls().len() > 0
        seal(folder.path, LATE_MS)


def test_candidates_are_in_the_order_of_the_request(tmp_path):
    log = make_log(8)
    folder = written(tmp_path, log)

    join_events(folder.path, tmp_path / "out", LATE_MS)

    found = candidates(tmp_path / "out").filter(pl.col("exposure_id") == log.exposures[4].exposure_id)
    ranked = log.exposures[4].candidates
    assert found["item_id"].to_list() == list(ranked.ids)
    assert found["input_index"].to_list() == list(range(12))
    assert found["p_vcr"].to_list() == ranked.predictions["vcr"].tolist()
    assert found.columns == ["exposure_id", "item_id", "input_index", "video_len_s", "p_vtr", "p_vcr"]


@examples(5)
@given(seed=st.integers(0, 10**6))
def test_shuffled_doubled_late_sealed_and_joined_in_between_the_rows_are_the_same(tmp_path_factory, seed):
    home, chance = tmp_path_factory.mktemp("log"), random.Random(seed)
    log = make_log(60, seed)
    folder, out = write_folder(home / "events"), home / "out"
    exposures = log.exposures + chance.sample(log.exposures, 10)
    chance.shuffle(exposures)
    events = log.events + chance.sample(log.events, len(log.events) // 3)
    chance.shuffle(events)
    steps = chance.randint(1, 5)
    for step in range(steps):
        write_exposures(folder, exposures[step::steps], batch_rows=chance.randint(1, 9))
        write_events(folder, events[step::steps])
        if chance.random() < 0.5:
            seal(folder.path, START_MS + chance.randint(0, 5) * HOUR_MS)
        if chance.random() < 0.7:
            as_of_ms = chance.choice([START_MS + chance.randint(0, 8 * HOUR_MS), LATE_MS])
            join_events(folder.path, out, as_of_ms, slice_bytes=chance.choice([1, 3_000, 10**6]))
    as_of_ms = chance.choice([START_MS + chance.randint(0, 8 * HOUR_MS), LATE_MS])

    summary = join_events(folder.path, out, as_of_ms)

    join_events(folder.path, home / "fresh", as_of_ms)
    found = impressions(out)
    assert_frame_equal(found, rows_of(log, as_of_ms, found))
    assert_frame_equal(found, impressions(home / "fresh"))
    assert_frame_equal(candidates(out), candidates(home / "fresh"))
    assert summary.counts["events"] == sum(one.received_ms <= as_of_ms for one in log.events)
    assert join_events(folder.path, out, as_of_ms).written == 0
    shutil.rmtree(home)


def test_as_of_a_time_the_rows_made_later_are_those_made_then(tmp_path):
    log, then_ms = make_log(200), START_MS + 2 * HOUR_MS
    folder = write_folder(tmp_path / "events")
    write_exposures(folder, [one for one in log.exposures if one.time_ms <= then_ms])
    write_events(folder, [one for one in log.events if one.received_ms <= then_ms])
    join_events(folder.path, tmp_path / "then", then_ms)
    write_exposures(folder, [one for one in log.exposures if one.time_ms > then_ms])
    write_events(folder, [one for one in log.events if one.received_ms > then_ms])

    join_events(folder.path, tmp_path / "later", LATE_MS)
    later = impressions(tmp_path / "later")
    join_events(folder.path, tmp_path / "later", then_ms)

    assert later.height == 800
    assert_frame_equal(impressions(tmp_path / "later"), impressions(tmp_path / "then"))
    assert_frame_equal(candidates(tmp_path / "later"), candidates(tmp_path / "then"))


def test_only_hours_that_changed_are_written_anew(tmp_path):
    log = make_log(60)
    folder, out = written(tmp_path, log), tmp_path / "out"
    last_ms = max(one.received_ms for one in log.events)
    assert join_events(folder.path, out, LATE_MS).written == 3
    assert join_events(folder.path, out, LATE_MS + 1).written == 0

    late = make_log(60).events[0]
    write_events(folder, [type(late)(**{**_fields(late), "event_id": "new", "received_ms": last_ms})])

    summary = join_events(folder.path, out, LATE_MS)
    assert (summary.written, summary.unchanged) == (1, 2)


def _fields(event):
    return {name: getattr(event, name) for name in event.__slots__}


def test_rows_become_mature_when_the_longest_window_has_passed(tmp_path):
    log = make_log(30)
    folder, out = written(tmp_path, log), tmp_path / "out"
    shown_ms = log.exposures[0].time_ms + CATALOGUE.longest_window_s * 1000
    found = []
    for as_of_ms in (shown_ms - 1, shown_ms, LATE_MS):
        join_events(folder.path, out, as_of_ms)
        found.append(impressions(out).filter(pl.col("mature"))["exposure_id"].n_unique())

    assert found == [0, 1, 30]


@pytest.mark.parametrize("replaced", range(5))
def test_an_interrupted_join_goes_on(tmp_path, monkeypatch, replaced):
    log = make_log(60)
    folder, out = written(tmp_path, log), tmp_path / "out"
    join_events(folder.path, out, START_MS + 2 * HOUR_MS)
    replace, calls = training.events.parquet.TableFile.replace, []

    def fail(self, metadata=None):
        calls.append(self)
        if len(calls) > replaced:
            raise KeyboardInterrupt
        replace(self, metadata)

    with monkeypatch.context() as patched:
        patched.setattr(training.events.parquet.TableFile, "replace", fail)
        with pytest.raises(KeyboardInterrupt):
            join_events(folder.path, out, LATE_MS)

    for as_of_ms in (START_MS + 2 * HOUR_MS, LATE_MS):
        join_events(folder.path, out, as_of_ms)
        join_events(folder.path, tmp_path / str(as_of_ms), as_of_ms)
        found = impressions(out)
        assert_frame_equal(found, rows_of(log, as_of_ms, found))
        assert_frame_equal(candidates(out), candidates(tmp_path / str(as_of_ms)))


def test_a_segment_torn_at_any_byte_gives_the_rows_before_the_tear(tmp_path):
    log = make_log(3, hours=0.5)
    folder = write_folder(tmp_path / "events")
    (path,) = write_exposures(folder, log.exposures, batch_rows=1)
    whole, parts = path.read_bytes(), index(path, LATE_MS).parts
    ends = [part.place + part.size for part in parts]
    near = {at for one in (0, parts[0].place, *ends) for at in range(one - 12, one + 12)}
    for end in sorted(near & set(range(len(whole))) | set(range(0, len(whole), 37))):
        path.write_bytes(whole[:end])
        found = index(path, LATE_MS)
        rows = sum(end >= one for one in ends)
        first = parts[0].place if end >= parts[0].place else 0
        assert (found.damaged, found.rows) == (None, rows), end
        assert found.torn == end - ([first, *ends][rows]), end
    path.write_bytes(whole[: ends[1] + 100])

    summary = join_events(folder.path, tmp_path / "out", LATE_MS)

    assert not summary.warnings
    assert impressions(tmp_path / "out").height == 8


def test_columns_are_the_union_over_bundles_and_null_where_one_lacks_them(tmp_path):
    old, new = make_log(10, hours=1, tasks=("vtr",)), make_log(10, 1, tasks=("vcr", "shr"))
    for one in new.exposures:
        one.context["warm"] = 0.5
    folder = write_folder(tmp_path / "events", ("vcr", "shr"))
    write_exposures(folder, old.exposures, ("vtr",))
    join_events(folder.path, tmp_path / "out", LATE_MS)
    write_exposures(folder, new.exposures, ("vcr", "shr"))

    join_events(folder.path, tmp_path / "out", LATE_MS)

    found = impressions(tmp_path / "out")
    assert [name for name in found.columns if name.startswith("p_")] == ["p_vcr", "p_shr", "p_vtr"]
    of_old = found.filter(pl.col("exposure_id").is_in([one.exposure_id for one in old.exposures]))
    assert of_old["p_vtr"].null_count() < of_old.height == of_old["p_shr"].null_count()
    assert of_old["warm"].null_count() == of_old.height
    assert found["warm"].drop_nulls().unique().to_list() == [0.5]
    schemas = {
        str(pl.read_parquet_schema(path)) for path in (tmp_path / "out/impressions").rglob("*.parquet")
    }
    assert len(schemas) == 1


def test_what_came_after_the_time_adds_no_column_until_it_is_seen(tmp_path):
    log = make_log(10, hours=0.5)
    log.exposures[-1].context["warm"] = True
    folder, out = written(tmp_path, log), tmp_path / "out"
    before_ms = log.exposures[-1].time_ms - 1

    join_events(folder.path, out, before_ms)
    assert "warm" not in impressions(out).columns
    join_events(folder.path, out, LATE_MS)
    assert impressions(out)["warm"].drop_nulls().to_list() == [True] * 4
    join_events(folder.path, out, before_ms)
    assert "warm" not in impressions(out).columns


def test_a_context_feature_of_a_column_s_name_gets_another(tmp_path):
    log = make_log(3)
    for one in log.exposures:
        one.context.update(scene="x", is_click=[1, "a"])
    folder = written(tmp_path, log)

    join_events(folder.path, tmp_path / "out", LATE_MS)

    found = impressions(tmp_path / "out")
    assert found["scene"].unique().to_list() == ["feed"]
    assert found["context_scene"].unique().to_list() == ["x"]
    assert found["context_is_click"][0].to_list() == ["1", "a"]


def test_predictions_of_low_precision_are_numbers_in_the_joined_log(tmp_path):
    log = make_log(20)
    folder = write_folder(tmp_path / "events")
    write_exposures(folder, log.exposures, precision="int16")

    join_events(folder.path, tmp_path / "out", LATE_MS)

    found = impressions(tmp_path / "out")
    exact = rows_of(log, LATE_MS, found)
    assert (found["p_vtr"] / exact["p_vtr"] - 1).abs().max() < 1 / 500
    assert found["p_vtr"].null_count() == exact["p_vtr"].null_count()


def test_events_of_unknown_kinds_and_of_no_exposure_are_counted_and_not_joined(tmp_path):
    log = make_log(20)
    folder = written(tmp_path, log)
    catalogue = EventCatalogue(kinds=CATALOGUE.kinds[:1])
    folder.write_catalogue(TASKS, catalogue)
    first = log.events[0]
    write_events(folder, [type(first)("other", "no-uuid", "v1", "is_click", 1.0, START_MS, START_MS)])

    counts = join_events(folder.path, tmp_path / "out", LATE_MS).counts

    found = impressions(tmp_path / "out")
    assert "is_click" not in found.columns
    assert counts["of_unknown_kinds"] > 10
    assert counts["orphans"] == 1 + sum(event.item_id == "none" for event in log.events)


def test_a_damaged_file_is_named_and_the_others_are_joined(tmp_path):
    log = make_log(60)
    folder = written(tmp_path, log)
    (folder.hours()[0] / "1-00.arrow").write_bytes(b"this is no segment" * 10)
    (folder.hours()[0] / "1-01.parquet").write_bytes(b"nor this a file")
    folder.config(CONFIG).unlink()

    summary = join_events(folder.path, tmp_path / "out", LATE_MS)

    assert impressions(tmp_path / "out").height == 240
    assert [line.split(":")[0].rsplit("/")[-1] for line in summary.warnings] == [
        "1-00.arrow",
        "1-01.parquet",
        f"{'ab' * 32}.json",
    ]


def test_a_folder_of_events_is_no_place_for_the_joined_log(tmp_path):
    folder = written(tmp_path, make_log(1))

    with pytest.raises(FulcrumError, match="that is a folder of events"):
        join_events(folder.path, folder.path, LATE_MS)
    with pytest.raises(FulcrumError, match="holds no events"):
        join_events(tmp_path, tmp_path / "out", LATE_MS)


def test_the_state_says_as_of_when(tmp_path):
    folder = written(tmp_path, make_log(1))

    join_events(folder.path, tmp_path / "out", LATE_MS)

    assert orjson.loads((tmp_path / "out/join.json").read_bytes())["as_of_ms"] == LATE_MS


def test_a_file_in_the_place_of_the_joined_log_is_refused_by_name(tmp_path: Path) -> None:
    folder = EventFolder(tmp_path / "events")
    folder.write_catalogue(["vtr"], EventCatalogue(kinds=(FeedbackKind(kind="is_share"),)))
    (tmp_path / "file").touch()
    with pytest.raises(FulcrumError, match=r"joined log .*file: expected a folder, found a file"):
        join_events(folder.path, tmp_path / "file", 0)
