"""Joining: a table's columns by key and as of each row's time."""

from __future__ import annotations

from datetime import date, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import FulcrumError
from tests.support.properties import examples
from tests.support.small_log import LOG, prepared, schema, scores, source, timeless, values
from training.datasets.source import SourceTable
from training.preparation.columns import key_strings
from training.preparation.entities import prepare_entities
from training.preparation.joining import join_table


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
    assert values(prepared(log, days)) == [None, None, None, 0.5]  # a day is known when it is over


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
        ({"known": ["x", "y"]}, "table 'scores': as_of: column 'known' holds text, .*row 1 has 'x'"),
        ({"known": [date(2022, 5, 1)] * 2}, "table 'scores': column 'known' holds Date, .*Int64 in the log"),
    ],
)
def test_columns_that_cannot_be_compared_are_refused(columns, match):
    table = scores(**{"item": [10, 20], "known": [1, 2], "score": [0.1, 0.2], **columns})
    with pytest.raises(FulcrumError, match=match) as error:
        prepared(LOG, table)
    assert "\n" not in str(error.value)


def test_only_the_columns_that_are_needed_are_joined():
    table = SourceTable("items", pl.DataFrame({"item": [10, 20], "score": [0.1, 0.2], "title": "x"}), "item")
    assert join_table(LOG, table, {"score"}, "time")[0].columns == [*LOG.columns, "score"]


def test_a_dated_table_joins_as_a_timeless_one_where_the_log_has_no_time():
    table = scores(item=[10, 20], known=[99, 99], score=[0.1, 0.2])
    assert join_table(LOG, table, {"score"}, None)[0]["score"].to_list() == [0.1, 0.1, 0.2, 0.2]


def test_a_key_that_nothing_before_the_table_holds_is_refused():
    table = SourceTable("authors", pl.DataFrame({"author": ["a"], "fans": [3]}), "author")
    with pytest.raises(FulcrumError, match="table 'authors': its key 'author' is neither in the log nor in"):
        join_table(LOG, table, {"fans"}, "time")


def at(*days, zone=None, hour=0):
    return pl.Series([datetime(2022, 5, day, hour) for day in days]).dt.replace_time_zone(zone)


@pytest.mark.parametrize(("log_zone", "table_zone"), [(None, "UTC"), ("UTC", None)])
def test_a_time_with_a_zone_and_one_without_are_refused_with_both_columns(log_zone, table_zone):
    log = LOG.with_columns(time=at(4, 1, 3, 2, zone=log_zone))
    table = scores(item=[10, 20], known=at(1, 2, zone=table_zone), score=[0.5, 0.7])
    with pytest.raises(FulcrumError, match=r"'known' holds .*log's 'time' holds .* the other has none"):
        prepared(log, table)


def test_times_of_two_zones_are_compared_as_moments():
    log = LOG.with_columns(time=at(4, 1, 3, 2, zone="UTC"))
    known = at(1, 2, zone="Asia/Tokyo", hour=9)  # midnight in UTC
    found = prepared(log, scores(item=[10, 20], known=known, score=[0.5, 0.7]))
    assert values(found) == [None, None, 0.7, 0.5]


@pytest.mark.parametrize("zone", [None, "Asia/Tokyo"])
def test_a_date_is_known_when_its_day_is_over_where_the_log_is(zone):
    log = LOG.with_columns(time=at(4, 1, 3, 2, zone=zone, hour=0))
    days = scores(item=[10, 20], known=[date(2022, 5, 3), date(2022, 5, 2)], score=[0.5, 0.7])
    assert values(prepared(log, days)) == [None, None, None, None]  # midnight is not after midnight
    later = LOG.with_columns(time=at(4, 1, 3, 2, zone=zone, hour=1))
    assert values(prepared(later, days)) == [None, None, 0.7, 0.5]


def test_in_a_log_of_dates_a_row_sees_the_days_before_its_own():
    log = LOG.with_columns(time=at(4, 1, 3, 2).cast(pl.Date))
    days = scores(item=[10, 20], known=[date(2022, 5, 3), date(2022, 5, 2)], score=[0.5, 0.7])
    assert values(prepared(log, days)) == [None, None, 0.7, 0.5]


def test_a_state_without_a_moment_is_never_known():
    for missing in (None, float("nan")):
        table = scores(item=[10, 20, 20], known=[1.0, 1.0, missing], score=[0.5, 0.7, 0.9])
        assert values(prepared(LOG, table)) == [0.5, 0.7, 0.7, 0.5]
        entities = prepare_entities(schema(), source(LOG, table), "items")
        assert dict(zip(key_strings(entities.keys), values(entities), strict=True)) == {"10": 0.5, "20": 0.7}


def test_decimals_and_large_integers_are_keys():
    large = 12_345_678_901_234_567_890
    log = LOG.with_columns(item=pl.Series([large, large, large + 1, large + 1], dtype=pl.UInt64))
    for kind in (pl.Decimal(20, 0), pl.String, pl.Int128):
        table = scores(item=pl.Series([str(large), str(large + 1)]).cast(kind), score=[0.5, 0.7])
        assert values(prepared(log, table)) == [0.5, 0.7, 0.7, 0.5]


def test_ids_beyond_the_reach_of_floats_are_refused_beside_floats():
    log = LOG.with_columns(item=pl.Series([2**60, 2**60, 2**60 + 1, 2**60 + 1]))
    with pytest.raises(FulcrumError, match="'item' holds Int64 in the log and Float64 in the table"):
        prepared(log, scores(item=[2.0**60], score=[0.5]))


def test_a_day_ends_an_hour_later_where_clocks_skip_midnight():
    log = LOG.with_columns(time=pl.Series([datetime(2026, 4, 24, hour) for hour in (4, 1, 3, 2)]))
    log = log.with_columns(time=pl.col("time").dt.replace_time_zone("Africa/Cairo"))
    days = scores(item=[10, 20], known=[date(2026, 4, 23), date(2026, 4, 24)], score=[0.5, 0.7])
    assert values(prepared(log, days)) == [None, None, None, 0.5]


def test_a_zoned_time_beside_a_log_of_dates_is_refused():
    log = LOG.with_columns(time=at(4, 1, 3, 2).cast(pl.Date))
    with pytest.raises(FulcrumError, match=r"column 'known' holds Datetime.* cannot be compared with Date"):
        prepared(log, scores(item=[10], known=at(1, zone="UTC"), score=[0.5]))


@pytest.mark.parametrize("nowhere", [float("nan"), float("inf"), float("-inf")])
def test_rows_at_no_moment_are_refused(nowhere):
    log = LOG.with_columns(time=pl.Series([1.0, 2.0, nowhere, 4.0]))
    with pytest.raises(FulcrumError, match=r"data\.time: 1 rows have no time"):
        prepared(log.with_columns(score=0.5))
