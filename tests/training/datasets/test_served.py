"""The reader of what was served, on joined logs written by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pyarrow import ipc

from model.errors import FulcrumError
from model.events import EventFolder, Exposure, Feedback
from model.events.exposures import batch, layout
from model.events.feedback_table import insert, open_feedback
from model.schema import Schema
from training.datasets import read_source, stream_source
from training.datasets.served import world_of
from training.events.join import join_events
from training.preparation.preparation import prepare_log
from training.recipe import load_recipe

SMALL = ["data.options.users=30", "data.options.items=40"]


def rows(n: int = 8, first: int = 0, **columns: object) -> pl.DataFrame:
    """Impressions of answers of two items, each answer a second later."""
    exposure = [first + k // 2 for k in range(n)]
    made = {
        "exposure_id": [f"x{k}" for k in exposure],
        "request_id": None,
        "item_id": [f"v{(first + k) % 40}" for k in range(n)],
        "position": [k % 2 + 1 for k in range(n)],
        "user_id": [f"u{k % 3}" for k in exposure],
        "time_ms": [1_772_323_200_000 + 1000 * k for k in exposure],
        "video_len_s": [5.5 + k % 40 for k in range(n)],
        "arms": [[] for _ in range(n)],
        "mature": True,
        "tab": "feed",
        "hour": [k % 24 for k in range(n)],
        "play_time_ms": [3_000 * (k % 2) for k in range(n)],
        "is_click": [k % 3 // 2 for k in range(n)],
        "is_share": [k % 2 for k in range(n)],
        "is_comment": [k % 4 // 3 for k in range(n)],
        **columns,
    }
    shared = {name: value for name, value in made.items() if not isinstance(value, list)}
    frame = pl.DataFrame({name: value for name, value in made.items() if isinstance(value, list)})
    return frame.with_columns(pl.lit(value).alias(name) for name, value in shared.items()).with_columns(
        pl.col("^is_.*$").cast(pl.Int8)
    )


def write(folder: Path, frame: pl.DataFrame, day: str = "2026-03-01", name: str = "part-0") -> Path:
    path = folder / "impressions" / f"day={day}" / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)
    return folder


def own(**data: object) -> Schema:
    """A recipe of one's own files, which calls things otherwise."""
    return Schema.model_validate(
        {
            "name": "own",
            "data": {
                "reader": "served",
                "user": "viewer",
                "item": "clip",
                "time": "time_ms",
                "time_unit": "ms",
                "video_len": {"column": "seconds", "unit": "s"},
                "split": {"last": 0.25},
                "tables": [{"name": "clips", "files": "../clips.csv", "key": "clip"}],
                **data,
            },
            "features": [
                {"name": "clip", "side": "item", "kind": "id"},
                {"name": "topic", "side": "item", "kind": "categorical"},
                {"name": "tab", "side": "context", "kind": "categorical"},
            ],
            "tasks": [{"name": "shr", "type": "binary", "label": "is_share"}],
        }
    )


@pytest.fixture
def out(tmp_path: Path) -> Path:
    clips = pl.DataFrame({"clip": [f"v{k}" for k in range(40)], "topic": ["cats", "cars"] * 20})
    clips.write_csv(tmp_path / "clips.csv")
    return tmp_path / "out"


def test_the_packaged_recipe_reads_the_log_and_the_world_that_it_was_served_in(tmp_path: Path) -> None:
    schema = load_recipe("served", SMALL).data_schema
    write(tmp_path, rows(40))
    log = prepare_log(schema, read_source(schema, tmp_path))
    assert len(log) == 40
    assert log.frame["duration_ms"].head(2).to_list() == [5_500, 6_500]  # as served, not as in the table
    for name in ("age_band", "topic", "author_id"):
        assert log.frame[name].null_count() < 40, name
    assert log.labels[1].tolist() == pytest.approx([0, 3_000 / 6_500, 1, 0])
    assert log.masks[:2].tolist() == [[True, False, False, False], [True] * 4]


def test_ids_and_lengths_get_the_names_that_the_recipe_has_for_them(out: Path) -> None:
    schema = own()
    log = prepare_log(schema, read_source(schema, write(out, rows())))
    assert log.frame["viewer"].to_list() == ["u0", "u0", "u1", "u1", "u2", "u2", "u0", "u0"]
    assert log.frame["clip"][0] == "v0"
    assert log.frame["topic"].to_list() == ["cats", "cars"] * 4
    assert log.video_len_s.tolist() == [5.5 + k for k in range(8)]


def test_what_was_logged_goes_before_what_a_table_says(out: Path) -> None:
    schema = own()
    frame = rows().with_columns(topic=pl.lit("as logged"))
    log = prepare_log(schema, read_source(schema, write(out, frame)))
    assert set(log.frame["topic"]) == {"as logged"}


def test_tables_are_read_as_of_the_moment_of_serving(out: Path) -> None:
    at = rows()["time_ms"][4]
    known = [0, at, 0]
    pl.DataFrame({"clip": ["v4", "v4", "v5"], "topic": ["old", "new", "same"], "known": known}).write_csv(
        out.parent / "clips.csv"
    )
    schema = own(tables=[{"name": "clips", "files": "../clips.csv", "key": "clip", "as_of": "known"}])
    frame = pl.concat([rows(6), rows(2, first=4).with_columns(pl.col("time_ms") + 9_000)])
    log = prepare_log(schema, read_source(schema, write(out, frame)))
    topics = log.frame.filter(pl.col("clip") == "v4")["topic"].to_list()
    assert topics == ["old", "new"]


def test_the_items_of_an_answer_are_no_past_of_each_other(out: Path) -> None:
    history = {"name": "shown", "by": "viewer", "of": "clip", "last": 5}
    schema = own(histories=[history])
    features = [*schema.model_dump()["features"], {"name": "shown", "side": "user", "kind": "sequence"}]
    schema = Schema.model_validate({**schema.model_dump(), "features": features})
    log = prepare_log(schema, read_source(schema, write(out, rows())))
    lists = log.columns["shown"]
    assert (lists.stop - lists.first).tolist() == [0, 0, 0, 0, 0, 0, 2, 2]


def test_impressions_whose_windows_are_open_are_left_out_and_counted(out: Path) -> None:
    write(out, rows().with_columns(mature=pl.int_range(pl.len()) < 6))
    source = read_source(own(), out)
    assert source.log.height == 6
    assert source.notes == (
        "2 of 8 impressions are left out: their windows were open when they were joined (the option mature: "
        "false takes them as they are)",
    )
    everything = read_source(own(options={"mature": False}), out)
    assert everything.log.height == 8
    assert everything.notes == ()
    assert everything.fingerprint != source.fingerprint


def test_a_log_that_is_too_young_says_what_to_do(out: Path) -> None:
    write(out, rows(mature=False))
    for read in (read_source, stream_source):
        with pytest.raises(FulcrumError, match=r"the windows of all impressions were open .*mature: false"):
            read(own(), out)


def test_files_of_other_days_may_have_other_columns(out: Path) -> None:
    """A log grows: a task, a kind, a context feature more."""
    write(out, rows(4).drop("is_comment"), day="2026-03-01")
    write(out, rows(4, first=2).with_columns(p_new=pl.lit(0.5)), day="2026-03-02")
    log = read_source(own(), out).log
    assert log["day"].to_list() == ["2026-03-01"] * 4 + ["2026-03-02"] * 4
    assert log["is_comment"].null_count() == log["p_new"].null_count() == 4


def test_rows_come_in_the_order_of_time_whatever_files_hold_them(out: Path) -> None:
    write(out, rows(4, first=4), name="part-0")
    write(out, rows(8).reverse(), name="part-1")
    log = read_source(own(), out).log
    keys = list(zip(log["time_ms"], log["exposure_id"], log["position"], strict=True))
    assert keys == sorted(keys)


def test_no_joined_log_is_refused_by_name(out: Path) -> None:
    out.mkdir()
    with pytest.raises(
        FulcrumError, match=r"no impressions/day=\*/\*\.parquet in it; .*`fulcrum events join"
    ):
        read_source(own(), out)


def test_a_column_that_every_joined_log_has_is_missed_by_name(out: Path) -> None:
    write(out, rows().drop("mature"))
    with pytest.raises(
        FulcrumError, match=r"part-0\.parquet: no column 'mature'; expected those of a joined"
    ):
        read_source(own(), out)


def test_a_damaged_file_is_named(out: Path) -> None:
    write(out, rows())
    (out / "impressions/day=2026-03-01/part-0.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(FulcrumError, match=r"part-0\.parquet: cannot be read as parquet"):
        read_source(own(), out)


def test_a_label_of_no_kind_is_refused_by_name(out: Path) -> None:
    schema = own()
    write(out, rows().drop("is_share"))
    with pytest.raises(FulcrumError, match="is_share"):
        prepare_log(schema, read_source(schema, out))


def test_a_name_for_two_columns_is_refused(out: Path) -> None:
    write(out, rows().with_columns(clip=pl.lit("context")))
    with pytest.raises(FulcrumError, match=r"the recipe calls the log's item_id 'clip', which is another"):
        read_source(own(), out)


def test_a_stream_has_the_rows_of_the_whole_log(out: Path) -> None:
    write(out, rows(8).with_columns(mature=pl.int_range(pl.len()) != 3))
    write(out, rows(8, first=4).with_columns(extra=1), day="2026-03-02")
    schema = own()
    stream, source = stream_source(schema, out), read_source(schema, out)
    chunks = list(stream.chunks(3))
    assert max(chunk.height for chunk in chunks) == 3
    streamed = pl.concat(chunks)
    assert stream.rows == streamed.height == 15
    order = ["time_ms", "exposure_id", "position"]
    assert streamed.select(source.log.columns).sort(order).equals(source.log, null_equal=True)
    assert stream.fingerprint == source.fingerprint


def test_dials_of_a_world_are_refused_without_one(out: Path) -> None:
    with pytest.raises(FulcrumError, match=r"data\.options: .*seed is a dial of a synthetic world"):
        read_source(own(options={"seed": 7}), write(out, rows()))


def test_the_world_of_a_bundle_is_that_of_its_recipe() -> None:
    demo, served = (load_recipe(name).data_schema for name in ("demo", "served"))
    assert world_of(demo, "bundle a") == world_of(served, "bundle b")
    assert world_of(load_recipe("served", SMALL).data_schema, "bundle b").users == 30


@pytest.mark.parametrize("schema", [load_recipe("kuairand").data_schema, own()])
def test_a_bundle_of_no_world_is_refused_by_name(schema: Schema) -> None:
    with pytest.raises(
        FulcrumError, match=rf"bundle a: its recipe's reader is '{schema.data.reader}', and view"
    ):
        world_of(schema, "bundle a")


def test_a_label_planted_in_feedback_after_its_window_is_not_seen(out: Path) -> None:
    """By the real join, of events as services write them."""
    events = EventFolder(out.parent / "events")
    recipe = load_recipe("served", [*SMALL, "data.split.last=0.5"])
    assert recipe.events is not None
    events.write_catalogue(recipe.data_schema.task_names, recipe.events)
    answered = 1_772_323_200_000
    ids = [f"{answered + k:012x}" for k in range(4)]
    ids = [f"{stem[:8]}-{stem[8:]}-7000-8000-{k:012d}" for k, stem in enumerate(ids)]
    schema = layout(recipe.data_schema.task_names)
    segment = events.hour(answered) / "one.arrow"
    segment.parent.mkdir(parents=True)
    with ipc.new_stream(segment, schema) as file:
        file.write(batch([exposed(name, answered + k) for k, name in enumerate(ids)], schema))
    window_ms = 1000 * recipe.events.kinds[0].window_s
    last, after = answered + window_ms, answered + window_ms + 100
    connection = open_feedback(events.feedback)
    planted = [
        Feedback("a", ids[0], "v1", "play_time_ms", 9_000.0, last, after),
        Feedback("b", ids[1], "v1", "play_time_ms", 9_000.0, after, after),
        Feedback("c", ids[2], "v1", "play_time_ms", 9_000.0, answered + 10, after),
        Feedback("d", ids[2], "v1", "play_time_ms", 99_000.0, after, after),
    ]
    insert(connection, planted)
    connection.close()
    join_events(events.path, out, after)
    log = prepare_log(recipe.data_schema, read_source(recipe.data_schema, out))
    assert log.frame.filter(pl.col("video_id") == "v1")["play_time_ms"].to_list() == [9_000, 0, 9_000, 0]
    assert log.labels[:, 0].tolist() == [1, 0, 0, 0, 1, 0, 0, 0]
    assert log.frame["tab"].to_list() == ["feed"] * 8
    assert log.frame["duration_ms"].to_list() == [10_000, 20_000] * 4


def exposed(exposure_id: str, time_ms: int) -> Exposure:
    """Two videos, shown to u1."""
    return Exposure(
        exposure_id=exposure_id,
        request_id=None,
        time_ms=time_ms,
        user="u1",
        unit_hash=1,
        scene="default",
        context={"tab": "feed", "hour": 20},
        bundle_version="sha256:b",
        variant="fp32",
        fusion_version="sha256:f",
        revision=None,
        arms=(),
        weights={},
        explored=False,
        degraded=(),
        items=("v1", "v2"),
        item_len_s=np.array([10.0, 20.0]),
        candidates=None,
    )
