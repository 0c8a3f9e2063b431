"""Doubts: what a person must see of a log that is read without an error."""

from __future__ import annotations

from datetime import date, datetime

import polars as pl
import pytest

from tests.support.small_log import LOG, NUMBER, schema, scores, source
from training.datasets.source import SourceTable
from training.preparation.doubts import Doubts, doubts_of_past, known_past
from training.preparation.entities import prepare_entities
from training.preparation.preparation import prepare_log

PLAIN = LOG.with_columns(score=0.5)
LAST = {"split": {"last": 0.5}}


def doubts(log, *tables, **declared):
    spec = schema(**{**LAST, **declared})
    read = source(log, *tables)
    found = Doubts(spec, read)
    found.add(prepare_log(spec, read))
    return found.found()


def only(found, *words):
    (doubt,) = found
    assert all(word in doubt for word in words), doubt


def test_a_plain_log_raises_none():
    assert doubts(PLAIN) == []


def test_a_table_whose_keys_are_spelled_otherwise_is_named():
    table = scores(item=["0010", "0020"], score=[0.5, 0.7])
    only(doubts(LOG, table), "table 'scores': 0 of 4 rows", "item is '10' in the log", "'0010' in the table")


def test_a_table_that_holds_nothing_of_these_rows_is_named():
    only(doubts(LOG, scores(item=[77], score=[0.5])), "0 of 4 rows find a row of it")


def dated(known, *, log=LOG):
    table = {"name": "scores", "files": "scores.csv", "key": "item", "as_of": "known"}
    return doubts(log, scores(item=[10, 20], known=known, score=[0.5, 0.7]), tables=[table])


def test_states_that_all_lie_before_the_log_or_after_it_are_doubted():
    assert dated([5, 15]) == []
    only(dated([1, 2]), "100% of its rows were known before the log's first row, by known")
    only(dated([77, 78]), "0 of 4 rows find a row of it that was known before them")


def test_seconds_beside_milliseconds_are_doubted():
    log = LOG.with_columns(time=pl.col("time") + 1_700_000_000_000)
    only(dated([1_699_999_000, 1_699_999_500], log=log), "10^-3: are both in one unit?")
    seconds = LOG.with_columns(time=pl.col("time") + 1_700_000_000)
    only(dated([1_700_000_000_000] * 2, log=seconds), "known before them", "10^3: are both in one unit?")


@pytest.mark.parametrize(
    ("unit", "moment", "doubted"),
    [("s", 1.7e12, True), ("ms", 1.7e9, True), ("ms", 1.7e12, False), ("s", 1.7e9, False), ("s", 5.0, False)],
)
def test_a_time_unit_that_makes_no_time_of_today_is_doubted_by_its_name(unit, moment, doubted):
    found = doubts(PLAIN.with_columns(time=pl.col("time") + int(moment)), time_unit=unit)
    assert bool(found) is doubted
    assert all(doubt.startswith("data.time_unit:") for doubt in found)


def test_ids_that_no_request_can_name_are_counted_in_bytes():
    log = PLAIN.with_columns(user=pl.Series(["u" * 257, "é" * 128, "u1", "é" * 129]))
    only(doubts(log), "data.user: 2 rows have ids of more than 256 bytes")


def test_rows_without_a_user_are_counted():
    only(
        doubts(PLAIN.with_columns(user=pl.Series(["u1", None, "", "u2"]))),
        "data.user: 2 of 4 rows have no user",
    )


def test_exact_copies_of_rows_are_counted():
    only(doubts(pl.concat([PLAIN, PLAIN.head(3)])), "data.log: 3 of 7 rows are exact copies")


def test_a_split_that_gives_far_more_than_its_share_is_named():
    log = PLAIN.with_columns(time=pl.Series([1, 2, 2, 2]))
    only(doubts(log, split={"last": 0.25}), "data.split.last: 75% of the rows are in validation, not 25%")


def test_text_in_a_numeric_feature_is_counted_with_an_example():
    log = LOG.with_columns(score=pl.Series(["1", "12 kg", "", None]))
    only(doubts(log), "features.score: 1 rows hold text that is no number, such as '12 kg'")


def test_text_for_lengths_is_counted():
    log = PLAIN.with_columns(length=pl.Series(["1", "2 s", None, "3"]))
    only(doubts(log, video_len={"column": "length"}), "data.video_len: 1 rows hold text", "'2 s'")


PRIOR = {"time_unit": "s", "priors": [{"name": "rate", "by": "user", "of": "label", "delay_s": 1000}], **LAST}
RATE = [{"name": "rate", "side": "user", "kind": "numeric"}]


def test_a_prior_or_history_that_sees_no_row_is_named():
    found = doubts(LOG, features=RATE, **PRIOR)
    only(found, "data.priors.rate: 4 of 4 rows have no earlier row by user to see")
    past = {"time_unit": "s", "histories": [{"name": "seen", "by": "user", "of": "item", "delay_s": 1000}]}
    lists = [{"name": "seen", "side": "user", "kind": "sequence", "max_values": 2}]
    only(doubts(LOG, features=lists, **past), "data.histories.seen: 4 of 4 rows have no earlier row")


def test_chunks_are_doubted_as_one_log():
    spec = schema(**LAST)
    table = scores(item=[10], score=[0.5])
    found = Doubts(spec)
    for part in (LOG.filter(pl.col("item") == 20), LOG.filter(pl.col("item") == 10)):
        found.add(prepare_log(spec, source(part, table)))
    assert found.found() == []  # though the first chunk found nothing


def test_rows_judged_without_the_past_that_training_saw_are_doubted():
    declared = {**PRIOR, "priors": [{"name": "rate", "by": "user", "of": "label"}]}
    spec = schema(features=RATE, **declared)
    log = LOG.with_columns(user=pl.lit("u1"))
    trained = known_past(spec, prepare_log(spec, source(log)))
    assert trained["missing"] == {"rate": 0.5}  # of two training rows, the first
    later = prepare_log(spec, source(log.with_columns(time=pl.col("time") + 100, label=None)), split=False)
    found = doubts_of_past(spec, later, later.user.nonzero()[0], trained)
    assert "begins at 110; training saw a past from 10 on" in found[0]
    assert "feature 'rate' is made of the past, and is missing in 100%" in found[1]
    again = prepare_log(spec, source(log), split=False)
    assert doubts_of_past(spec, again, again.user.nonzero()[0], trained) == []


def test_publishing_doubts_a_table_that_shares_no_key_with_the_log():
    items = SourceTable("items", pl.DataFrame({"item": ["0010"], "score": [0.5]}), "item")
    (doubt,) = prepare_entities(schema(), source(PLAIN, items), "items").doubts
    assert "none of its 1 rows has a item of the log" in doubt
    assert (
        prepare_entities(schema((NUMBER,)), source(LOG, scores(item=[10], score=[0.5])), "items").doubts == ()
    )


def test_ids_that_floats_can_no_longer_tell_apart_are_counted():
    log = PLAIN.with_columns(user=pl.Series([1.0, 2.0**60, 2.0**60, 4.0]))
    only(doubts(log), "data.user: 2 rows have ids as floating-point numbers so large")


def test_nan_is_no_user_and_no_large_one():
    log = PLAIN.with_columns(user=pl.Series([1.0, float("nan"), 2.0, 3.0]))
    only(doubts(log), "data.user: 1 of 4 rows have no user")


def test_states_dated_by_midnights_are_asked_about():
    hours = [datetime(2026, 1, day, 12) for day in (4, 1, 3, 2)]
    log = LOG.with_columns(time=pl.Series(hours))
    only(
        dated([datetime(2026, 1, 1), datetime(2026, 1, 2)], log=log), "known is always the beginning of a day"
    )
    assert dated([date(2026, 1, 1), date(2026, 1, 2)], log=log) == []
    assert dated([datetime(2026, 1, 1, 5), datetime(2026, 1, 2)], log=log) == []
