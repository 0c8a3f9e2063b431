"""Preparation: joins as of each row's time, labels under their masks, splits, and the entities to publish."""

from __future__ import annotations

from datetime import date, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.encoding import Encoder
from model.errors import FulcrumError
from model.schema import Schema
from tests.support.properties import examples
from training.datasets.source import LogSource, SourceTable
from training.preparation.columns import key_strings
from training.preparation.entities import prepare_entities
from training.preparation.preparation import prepare_log

LOG = pl.DataFrame(
    {
        "user": ["u1", "u2", "u1", "u3"],
        "item": [10, 10, 20, 20],
        "time": [40, 10, 30, 20],
        "label": [1, 0, 1, 0],
    }
)
NUMBER = {"name": "score", "side": "item", "kind": "numeric"}
ANY_SPLIT = {"train": "label = 0", "validation": "label = 1"}


def schema(features=(NUMBER,), tasks=None, **data):
    columns = {"user": "user", "item": "item", "time": "time", "split": ANY_SPLIT}
    return Schema.model_validate(
        {
            "name": "s",
            "data": {**columns, **data},
            "features": list(features),
            "tasks": tasks or [{"name": "vtr", "type": "binary", "label": "label"}],
        }
    )


def source(log=LOG, *tables):
    return LogSource(log, tables, "test")


def scores(**columns):
    return SourceTable("scores", pl.DataFrame(columns), "item", "known" if "known" in columns else None)


def prepared(log=LOG, *tables, cut=True, **declared):
    return prepare_log(schema(**declared), source(log, *tables), split=cut)


def values(log, name="score"):
    column = log.columns[name]
    raw = column.values if column.codes is None else [column.values[code] for code in column.codes]
    return [None if value is None or value != value else value for value in raw]


def timeless(**columns):
    return SourceTable("items", pl.DataFrame({"item": [10, 20], **columns}), "item")


# --- joining ---------------------------------------------------------------------------------------------


@examples(80)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6)), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 6), st.none() | st.integers(0, 99)), max_size=12),
)
def test_a_row_sees_the_last_table_row_known_strictly_before_it(impressions, facts):
    log = pl.DataFrame(
        {
            "user": list(range(len(impressions))),
            "item": [item for item, _ in impressions],
            "time": [time for _, time in impressions],
            "label": 0,
        }
    )
    table = SourceTable(
        "scores",
        pl.DataFrame(facts, schema={"item": pl.Int64, "known": pl.Int64, "score": pl.Float64}, orient="row"),
        "item",
        "known",
    )
    found = prepared(log, table, cut=False)
    expected = []
    for item, time in sorted(impressions, key=lambda row: row[1]):
        seen = [fact for fact in facts if fact[0] == item and fact[1] < time]
        newest = max((known for _, known, _ in seen), default=None)
        last = [score for _, known, score in seen if known == newest]
        expected.append(last[-1] if last else None)
    assert values(found) == expected


def test_as_of_reads_dates_and_times():
    log = LOG.with_columns(time=pl.Series([datetime(2022, 5, day, 12) for day in (4, 1, 3, 2)]))
    known = [datetime(2022, 5, 1, 12), datetime(2022, 5, 2, 11, 59)]
    found = prepared(log, scores(item=[10, 20], known=known, score=[0.5, 0.7]))
    assert values(found) == [None, 0.7, 0.7, 0.5]
    days = scores(item=[10, 20], known=[date(2022, 5, 1), date(2022, 5, 3)], score=[0.5, 0.7])
    assert values(prepared(log, days)) == [0.5, None, 0.7, 0.5]


def test_the_logs_own_value_holds_and_the_table_fills_its_gaps():
    log = LOG.with_columns(score=pl.Series([1.0, None, None, 4.0]))
    assert values(prepared(log, timeless(score=[7.0, 8.0]))) == [7.0, 4.0, 8.0, 1.0]


def test_a_table_of_timeless_facts_with_a_key_twice_is_refused():
    twice = SourceTable("items", pl.DataFrame({"item": [10, 20, 10], "score": [1, 2, 3]}), "item")
    with pytest.raises(FulcrumError, match=r"table 'items': item 10 stands in several rows; .*as_of"):
        prepared(LOG, twice)


def test_a_key_may_come_from_an_earlier_table_though_no_feature_reads_it():
    items = SourceTable("items", pl.DataFrame({"item": [10, 20], "author": ["a", "b"]}), "item")
    authors = SourceTable("authors", pl.DataFrame({"author": ["b", "a"], "score": [0.2, 0.1]}), "author")
    assert values(prepared(LOG, items, authors)) == [0.1, 0.2, 0.2, 0.1]
    entities = prepare_entities(schema(), source(LOG, items, authors), "items")
    assert values(entities) == [0.1, 0.2]
    with pytest.raises(FulcrumError, match="table 'authors': its key 'author' is neither in the log nor"):
        prepared(LOG, authors, items)


def test_a_key_in_the_log_alone_leads_to_its_table_for_entities_too():
    log = LOG.with_columns(author=pl.Series(["a", "a", "b", "b"]))
    authors = SourceTable("authors", pl.DataFrame({"author": ["b", "a"], "score": [0.2, 0.1]}), "author")
    assert values(prepare_entities(schema(), source(log, authors), "items")) == [0.1, 0.2]


@pytest.mark.parametrize("dated", [False, True], ids=["timeless", "as of"])
@pytest.mark.parametrize("theirs", [pl.Int16, pl.Float64, pl.String, pl.Categorical])
@pytest.mark.parametrize("ours", [pl.Int64, pl.Float32, pl.String])
def test_keys_of_different_types_join_as_ids_compare(ours, theirs, dated):
    """3, 3.0 and "3" are one id."""

    def typed(ids, kind):
        series = pl.Series(ids, dtype=pl.Int64)
        return (series if kind.is_numeric() else series.cast(pl.String)).cast(kind)

    log = LOG.with_columns(item=typed([10, 10, None, 20], ours))
    known = {"known": [1, 1, 1]} if dated else {}
    table = scores(item=typed([20, None, 10], theirs), score=[0.2, 0.3, 0.1], **known)
    assert values(prepared(log, table)) == [0.1, 0.2, None, 0.1]
    entities = prepare_entities(schema(), source(log, table), "items")
    by_key = dict(zip(key_strings(entities.keys), values(entities), strict=True))
    assert by_key == {"10": 0.1, "20": 0.2}


def test_a_key_that_is_no_whole_number_is_not_cut_to_one():
    table = scores(item=[10.5, 20.0], score=[0.5, 0.2])
    assert values(prepared(LOG, table)) == [None, 0.2, 0.2, None]


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"item": ["x", "y"]}, "table 'scores': column 'item' holds String, .*Int64 in the log"),
        ({"known": ["x", "y"]}, "table 'scores': column 'known' holds String, .*Int64 in the log"),
        ({"known": [date(2022, 5, 1)] * 2}, "table 'scores': column 'known' holds Date, .*Int64 in the log"),
    ],
)
def test_columns_that_cannot_be_compared_are_refused(columns, match):
    table = scores(**{"item": [10, 20], "known": [1, 2], "score": [0.1, 0.2], **columns})
    with pytest.raises(FulcrumError, match=match) as error:
        prepared(LOG, table)
    assert "\n" not in str(error.value)


def test_rows_come_in_the_order_of_time_and_ties_in_the_order_of_the_log():
    log = LOG.with_columns(time=pl.Series([2, 1, 1, 2]), score=pl.Series([0.0, 1.0, 2.0, 3.0]))
    assert values(prepared(log)) == [1.0, 2.0, 0.0, 3.0]


# --- columns and expressions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "match"),
    [
        ({}, "features.score: column 'score' is not in the data; there is user, item, time, label"),
        ({"user": "viewer"}, "data: column 'viewer' is not in the data"),
        ({"time": "at"}, "data.time: column 'at' is not in the data"),
        ({"group": "session"}, "data: column 'session' is not in the data"),
        ({"video_len": {"column": "length"}}, "data.video_len: column 'length' is not in the data"),
        ({"keep": "is_rand = 0"}, "data.keep: column 'is_rand' is not in the data"),
        ({"split": {"train": "day < 3", "validation": "label = 1"}}, "data.split.train: column 'day' is not"),
        ({"features": [{**NUMBER, "expr": "likes / 2"}]}, "features.score.expr: column 'likes' is not in"),
        (
            {"tasks": [{"name": "vtr", "type": "binary", "label": "watched > 7"}]},
            "tasks.vtr.label: column 'watched' is not",
        ),
        (
            {"tasks": [{"name": "vtr", "type": "binary", "label": "label", "where": "entered"}]},
            "tasks.vtr.where: column 'entered' is not",
        ),
    ],
)
def test_a_missing_column_is_named_with_its_field_and_what_there_is(declared, match):
    log = LOG if not declared else LOG.with_columns(score=0.5)
    with pytest.raises(FulcrumError, match=match):
        prepared(log, **declared)


@pytest.mark.parametrize(
    "text", ["label +", "label, time", "nothing_like_it(label)", "user + ", "upper(time)"]
)
def test_an_expression_that_means_nothing_is_refused_with_its_field(text):
    with pytest.raises(FulcrumError, match=r"tasks\.vtr\.label: "):
        prepared(LOG.with_columns(score=0.5), tasks=[{"name": "vtr", "type": "regression", "label": text}])


@pytest.mark.parametrize(
    ("declared", "match"),
    [
        ({"keep": "cast(word as int) = 1"}, "data.keep: .*fails on this data"),
        (
            {"features": [{**NUMBER, "expr": "cast(word as int)"}]},
            "features.score.expr: .*fails on this data",
        ),
        (
            {"tasks": [{"name": "vtr", "type": "binary", "label": "cast(word as int)"}]},
            "tasks.vtr.label: .*fails on this data",
        ),
        (
            {"tasks": [{"name": "vtr", "type": "binary", "label": "word"}]},
            "tasks.vtr.label: 'word' gives String, expected numbers or truth values",
        ),
    ],
)
def test_an_expression_that_fails_on_a_value_is_refused_with_its_field(declared, match):
    with pytest.raises(FulcrumError, match=match) as error:
        prepared(LOG.with_columns(score=0.5, word=pl.lit("w")), **declared)
    assert "\n" not in str(error.value)


def test_a_feature_may_be_an_expression_or_a_constant():
    features = [{**NUMBER, "expr": "time / 10"}, {**NUMBER, "name": "one", "expr": "1"}]
    found = prepared(features=features)
    assert values(found) == [1.0, 2.0, 3.0, 4.0]
    assert values(found, "one") == [1.0] * 4


@pytest.mark.parametrize("keep", ["label", "label = 1", "label = 1 and time > 0"])
def test_keep_leaves_rows_out_before_anything_else(keep):
    tasks = [{"name": "vtr", "type": "regression", "label": "label"}]
    split = {"train": "time < 40", "validation": "time = 40"}
    found = prepared(LOG.with_columns(score=0.5), keep=keep, tasks=tasks, split=split)
    assert found.frame["time"].to_list() == [30, 40]


def test_a_log_of_no_rows_is_refused():
    with pytest.raises(FulcrumError, match="the log has no rows"):
        prepared(LOG.head(0))
    with pytest.raises(FulcrumError, match=r"data\.keep: 'time < 0' keeps none of 4 rows"):
        prepared(LOG, keep="time < 0")


def test_a_column_that_no_feature_can_hold_is_refused():
    with pytest.raises(
        FulcrumError, match=r"feature 'score': expected a column of numbers, text .*found Date"
    ):
        prepared(LOG.with_columns(score=date(2022, 5, 1)))


# --- labels ----------------------------------------------------------------------------------------------


def test_labels_are_clipped_and_their_unknown_values_masked():
    log = LOG.with_columns(
        score=0.5, watched=pl.Series([50.0, None, -1.0, 3.0]), length=pl.Series([10.0, 10.0, 10.0, 0.0])
    )
    tasks = [
        {"name": "vtr", "type": "binary", "label": "watched > 2"},
        {"name": "vcr", "type": "regression", "label": "watched / length", "bounds": [0, 2]},
        {"name": "shr", "type": "binary", "label": "label", "where": "watched > 0"},
    ]
    found = prepared(log, tasks=tasks, time=None)
    assert found.masks.tolist() == [
        [True, True, True],
        [False, False, False],
        [True, True, False],
        [True, False, True],
    ]
    assert found.labels.dtype == np.float32
    assert found.labels[found.masks].tolist() == [1, 2, 1, 0, 0, 1, 0]
    assert np.isnan(found.labels[1, 1])


@pytest.mark.parametrize("bad", ["label * 2", "label - 1", "label / 2"])
def test_a_binary_label_other_than_0_and_1_is_refused(bad):
    with pytest.raises(FulcrumError, match=r"tasks\.vtr\.label: expected 0 or 1 .*in 2 rows"):
        prepared(LOG.with_columns(score=0.5), tasks=[{"name": "vtr", "type": "binary", "label": bad}])


def test_strange_labels_outside_the_sample_space_do_not_count():
    task = {"name": "vtr", "type": "binary", "label": "label * 2", "where": "label = 0"}
    assert prepared(LOG.with_columns(score=0.5), tasks=[task]).masks[:, 0].sum() == 2


# --- splits, groups, lengths -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "validation", "match"),
    [
        ("time <= 30", "time >= 30", "data.split: 1 rows are in training and in validation"),
        ("time < 0", "time > 0", "data.split.train: no row of 4 is in it"),
        ("time > 0", "time > 100", "data.split.validation: no row of 4 is in it"),
    ],
)
def test_a_split_that_overlaps_or_is_empty_is_refused(train, validation, match):
    with pytest.raises(FulcrumError, match=match):
        prepared(LOG.with_columns(score=0.5), split={"train": train, "validation": validation})


def test_rows_of_neither_split_and_of_unknown_rules_are_left_out():
    log = LOG.with_columns(score=0.5, day=pl.Series([2, 1, None, 3]))
    found = prepared(log, split={"train": "day = 1", "validation": "day = 2"})
    assert found.frame["day"].to_list() == [1, 3, None, 2]
    assert found.train.tolist() == [True, False, False, False]
    assert found.validation.tolist() == [False, False, False, True]


def test_the_last_share_in_time_is_validation():
    log = pl.DataFrame({"user": range(10), "item": 1, "time": range(90, -10, -10), "label": 0, "score": 0.5})
    found = prepared(log, split={"last": 0.3})
    assert found.frame["time"].filter(found.validation).to_list() == [70, 80, 90]
    assert (found.train == ~found.validation).all()


def test_without_a_split_every_row_is_in_neither():
    found = prepared(LOG.with_columns(score=0.5), cut=False)
    assert not found.train.any()
    assert not found.validation.any()
    assert len(found) == 4


def test_users_and_groups_are_numbered_alike_when_no_group_is_named():
    found = prepared(LOG.with_columns(score=0.5))
    assert found.user.tolist() == found.group.tolist()
    assert len(set(found.user.tolist())) == 3
    assert found.user[2] == found.user[3]
    by_item = prepared(LOG.with_columns(score=0.5), group="item")
    assert by_item.group[0] == by_item.group[3] != by_item.group[1]


@pytest.mark.parametrize(
    ("unit", "expected"), [("ms", [0.012, None, None, 3.5]), ("s", [12.0, None, None, 3500.0])]
)
def test_the_videos_length_is_in_seconds_and_unknown_where_it_is_not_positive(unit, expected):
    log = LOG.with_columns(score=0.5, length=pl.Series(["12", "-1", None, "3500"]))
    found = prepared(log, time=None, video_len={"column": "length", "unit": unit})
    np.testing.assert_array_equal(found.video_len_s, np.array(expected, float))


# --- entities --------------------------------------------------------------------------------------------


def test_an_entity_has_its_latest_values_and_those_of_the_tables_alone_are_there_too():
    log = LOG.with_columns(score=pl.Series([0.4, 0.1, 0.3, 0.2]))
    table = SourceTable("items", pl.DataFrame({"item": [30, 10], "score": [0.9, 0.8]}), "item")
    items = prepare_entities(schema(), source(log, table), "items")
    assert dict(zip(items.keys.to_list(), values(items), strict=True)) == {10: 0.4, 20: 0.3, 30: 0.9}


def test_an_entity_sees_the_newest_row_of_a_dated_table():
    table = scores(item=[10, 20, 10, 40], known=[5, 99, 50, 1], score=[0.1, 0.2, 0.3, 0.4])
    items = prepare_entities(schema(), source(LOG, table), "items")
    assert dict(zip(items.keys.to_list(), values(items), strict=True)) == {10: 0.3, 20: 0.2, 40: 0.4}


def test_entities_hold_the_features_of_their_side_and_items_their_length():
    features = [NUMBER, {"name": "band", "side": "user", "kind": "categorical", "expr": "upper(age)"}]
    log = LOG.with_columns(score=0.5, age=pl.lit("old"), length=pl.Series([1000, 2000, 3000, -1]))
    declared = schema(features=features, video_len={"column": "length", "unit": "ms"})
    users = prepare_entities(declared, source(log), "users")
    assert (list(users.columns), users.video_len_s) == (["band"], None)
    assert values(users, "band") == ["OLD"] * 3
    items = prepare_entities(declared, source(log), "items")
    assert list(items.columns) == ["score"]
    lengths = dict(zip(items.keys.to_list(), items.video_len_s.tolist(), strict=True))
    assert lengths == {10: 1.0, 20: 3.0}


def test_entities_without_an_id_are_left_out():
    log = pl.concat([LOG, LOG.head(1).with_columns(user=pl.lit(None, pl.String))])
    users = prepare_entities(schema(), source(log.with_columns(score=0.5)), "users")
    assert sorted(users.keys.to_list()) == ["u1", "u2", "u3"]


def test_a_schema_without_items_has_none_to_publish():
    feature = {"name": "label", "side": "context", "kind": "numeric"}
    with pytest.raises(FulcrumError, match="names no item column"):
        prepare_entities(schema(features=[feature], item=None), source(), "items")


@pytest.mark.parametrize("expr", ["avg(watched)", "watched - max(watched)"])
def test_a_feature_that_looks_at_other_rows_is_refused(expr):
    log = pl.DataFrame({"u": ["a"] * 6, "t": range(6), "watched": [1.0, 5.0, 2.0, 9.0, 4.0, 3.0]})
    schema = Schema.model_validate(
        {
            "name": "n",
            "data": {"user": "u", "time": "t", "split": {"last": 0.3}},
            "features": [{"name": "f", "side": "context", "kind": "numeric", "expr": expr}],
            "tasks": [{"name": "vtr", "type": "binary", "label": "watched > 3"}],
        }
    )
    with pytest.raises(FulcrumError, match=r"features\.f\.expr: .* gives a row another value"):
        prepare_log(schema, LogSource(log, (), "test"))


def test_rows_of_one_moment_stay_on_one_side_of_a_split_by_time():
    log = pl.DataFrame({"u": ["a"] * 6, "t": [1, 2, 3, 3, 3, 4], "watched": [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]})
    schema = Schema.model_validate(
        {
            "name": "n",
            "data": {"user": "u", "time": "t", "split": {"last": 0.34}},
            "features": [{"name": "u", "side": "user", "kind": "id"}],
            "tasks": [{"name": "vtr", "type": "binary", "label": "watched"}],
        }
    )
    prepared = prepare_log(schema, LogSource(log, (), "test"))
    assert prepared.train.tolist() == [True, True, False, False, False, False]


# --- the past --------------------------------------------------------------------------------------------

PAST = {
    "time_unit": "s",
    "priors": [
        {"name": "user_rate", "by": "user", "of": "label", "smoothing": 1, "half_life_days": 0.001},
        {"name": "author_rate", "by": "author", "of": "label - user_rate", "smoothing": 2},
    ],
    "histories": [
        {"name": "liked", "by": "user", "of": "item", "where": "label = 1", "last": 3, "seed": "likes"},
        {"name": "viewers", "by": "item", "of": "user", "last": 2, "delay_s": 1},
    ],
    "split": {"last": 0.5},
}
PAST_FEATURES = [
    {"name": "user_rate", "side": "user", "kind": "numeric"},
    {"name": "age", "side": "user", "kind": "numeric", "column": "user_rate_age_s"},
    {"name": "liked", "side": "user", "kind": "sequence", "max_values": 3},
    {"name": "author_rate", "side": "item", "kind": "numeric"},
    {"name": "author_rows", "side": "item", "kind": "numeric", "expr": "author_rate_count + 0"},
    {"name": "viewers", "side": "item", "kind": "multi", "max_values": 2},
    {"name": "tags", "side": "item", "kind": "multi", "separator": ",", "max_values": 2},
]
ITEMS = SourceTable(
    "items",
    pl.DataFrame({"item": [10, 20, 30], "author": ["a", "b", "a"], "tags": ["x, y", "", None]}),
    "item",
)
USERS = SourceTable("users", pl.DataFrame({"user": ["u1", "u9"], "likes": [[7, 8], [9]]}), "user")


IMPRESSIONS = st.lists(
    st.tuples(
        st.sampled_from(["u1", "u2", "u3"]),
        st.sampled_from([10, 20, 30]),
        st.integers(0, 9),
        st.integers(0, 1),
    ),
    min_size=4,
    max_size=15,
)


@examples(40)
@given(
    IMPRESSIONS,
    st.sampled_from(["u1", "u2", "u3", "u9"]),
    st.sampled_from([10, 20, 30]),
)
def test_what_is_published_is_what_the_next_impression_sees(rows, user, item):
    declared = schema(PAST_FEATURES, **PAST)
    names = {"user": pl.String, "item": pl.Int64, "time": pl.Int64, "label": pl.Int64}
    log = pl.DataFrame(rows, schema=names, orient="row")
    last = pl.DataFrame([(user, item, log["time"].max() + 1, 0)], schema=names, orient="row")
    longer = prepare_log(declared, source(pl.concat([log, last]), USERS, ITEMS), split=False)
    encoder = Encoder.fit(declared, longer.columns)
    seen = encoder.encode(longer.columns, len(longer))
    for side, rows_of_side, kind, key in (("user", seen[0], "users", user), ("item", seen[1], "items", item)):
        entities = prepare_entities(declared, source(log, USERS, ITEMS), kind)
        if key not in entities.keys.to_list():  # a newcomer
            continue
        place = entities.keys.to_list().index(key)
        published = encoder.sides[side].encode(entities.columns, len(entities.keys))
        assert published.ids[place].tolist() == rows_of_side.ids[-1].tolist()
        np.testing.assert_allclose(published.numeric[place], rows_of_side.numeric[-1], rtol=1e-6, atol=1e-7)


@examples(40)
@given(
    IMPRESSIONS,
    st.integers(0, 10),
)
def test_rows_from_past_until_on_see_what_is_published(rows, until):
    declared = schema(PAST_FEATURES, **PAST, past_until=until)
    names = {"user": pl.String, "item": pl.Int64, "time": pl.Int64, "label": pl.Int64}
    log = source(pl.DataFrame(rows, schema=names, orient="row"), USERS, ITEMS)
    found = prepare_log(declared, log, split=False)
    moving = prepare_log(schema(PAST_FEATURES, **PAST), log, split=False)
    encoder = Encoder.fit(declared, moving.columns)
    seen, as_of = (encoder.encode(some.columns, len(some)) for some in (found, moving))
    before = found.frame["time"].to_numpy() <= until
    for place, (kind, key) in enumerate((("users", "user"), ("items", "item"))):
        np.testing.assert_array_equal(seen[place].ids[before], as_of[place].ids[before])
        np.testing.assert_array_equal(seen[place].numeric[before], as_of[place].numeric[before])
        entities = prepare_entities(declared, log, kind)
        published = encoder.sides["user" if kind == "users" else "item"].encode(
            entities.columns, len(entities.keys)
        )
        keys = entities.keys.to_list()
        for row in np.flatnonzero(found.frame["time"].to_numpy() >= until):
            where = keys.index(found.frame[key][int(row)])
            assert seen[place].ids[row].tolist() == published.ids[where].tolist()
            np.testing.assert_array_equal(seen[place].numeric[row], published.numeric[where])


def test_a_later_prior_may_read_an_earlier_one():
    log = LOG.with_columns(author=pl.Series(["a", "a", "a", "a"]))
    chained = {
        **PAST,
        "priors": [{**PAST["priors"][0], "smoothing": 0.0, "half_life_days": None}, PAST["priors"][1]],
        "histories": [],
    }
    found = prepared(log, features=[PAST_FEATURES[3]], cut=False, **chained)
    # u1's second row alone has a rate of its user before it: 1, so that 1 - 1 = 0 is the mean of one row.
    assert values(found, "author_rate") == [None, None, None, None]
    assert found.frame["user_rate"].to_list() == [None, None, None, 1.0]


@pytest.mark.parametrize(
    ("feature", "data", "match"),
    [
        (
            {"name": "rate", "side": "user", "kind": "numeric"},
            {"by": ["user", "label"]},
            "features.rate: 'rate' is made by user, label, and label takes several values for 33% of user",
        ),
        (
            {"name": "rate", "side": "item", "kind": "numeric"},
            {"by": "user"},
            "is made by user, and user takes several values for 100% of item",
        ),
        (
            {"name": "rate", "side": "context", "kind": "numeric"},
            {"by": ["user", "item"]},
            "is made by user, item; a context feature is one for all candidates",
        ),
        ({"name": "score", "side": "user", "kind": "numeric"}, {"name": "score"}, "makes the column 'score'"),
    ],
)
def test_a_prior_that_its_side_cannot_keep_is_refused(feature, data, match):
    log = LOG.with_columns(label=pl.Series([1, 0, 0, 0]), score=0.5)
    with pytest.raises(FulcrumError, match=match):
        prepared(
            log, features=[feature], cut=False, priors=[{"name": "rate", "by": "user", "of": "1", **data}]
        )


@pytest.mark.parametrize(
    ("feature", "match"),
    [
        (
            {"kind": "categorical"},
            "features.f: 'liked' is a history; make the feature of kind sequence or multi",
        ),
        ({"kind": "numeric", "expr": "liked + 1", "column": None}, "features.f.expr: 'liked' is a history"),
    ],
)
def test_a_history_is_read_by_column_and_as_a_list(feature, match):
    of_user = {"name": "f", "side": "user", "column": "liked", **feature}
    with pytest.raises(FulcrumError, match=match):
        prepared(features=[of_user], histories=[{"name": "liked", "by": "user", "of": "item"}])


def test_lists_in_the_log_and_text_that_parts_into_lists_are_alike():
    as_lists = LOG.with_columns(tags=pl.Series([["a", "b"], None, ["b"], []]))
    as_text = LOG.with_columns(tags=pl.Series(["a, b", None, "b", ""]))
    feature = {"name": "tags", "side": "item", "kind": "multi", "separator": ",", "max_values": 3}
    declared = schema([feature])
    encoded = []
    for log in (as_lists, as_text):
        found = prepare_log(declared, source(log))
        encoder = Encoder.fit(declared, found.columns)
        assert encoder.features["tags"].vocabulary.known == ["b", "a"]
        encoded.append(encoder.encode(found.columns, len(found))[1].ids.tolist())
    assert encoded[0] == encoded[1] == [[0, 0, 0], [0, 0, 0], [2, 0, 0], [3, 2, 0]]


def test_what_is_only_past_is_seen_and_is_no_impression():
    past = pl.DataFrame(
        {"user": ["u1", "u3", "u1"], "item": [5, 6, 7], "time": [1, 2, 35], "liked": [1, 1, 1]}
    )
    log = LOG.with_columns(liked=pl.lit(1))
    declared = {
        "priors": [{"name": "rate", "by": "user", "of": "liked", "smoothing": 0}],
        "histories": [{"name": "seen", "by": "user", "of": "item"}],
        "features": [
            {"name": "seen", "side": "user", "kind": "sequence"},
            {"name": "count", "side": "user", "kind": "numeric", "column": "rate_count"},
        ],
    }
    found = prepare_log(schema(**declared), LogSource(log, (), "test", past=past), split=False)
    assert found.frame["time"].to_list() == [10, 20, 30, 40]
    assert [found.columns["seen"].value(row) for row in range(4)] == [[], [6], [5], [5, 20, 7]]
    assert values(found, "count") == [0.0, 1.0, 1.0, 3.0]
    entities = prepare_entities(schema(**declared), LogSource(log, (), "test", past=past), "users")
    seen = dict(zip(entities.keys, (entities.columns["seen"].value(row) for row in range(3)), strict=True))
    assert seen == {"u1": [5, 20, 7, 10], "u2": [10], "u3": [6, 20]}
