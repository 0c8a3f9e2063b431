"""Expressions: evaluated row by row, and refused with the field they stand in."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from model.errors import FulcrumError
from model.schema import Schema
from tests.support.small_log import LOG, NUMBER, prepared
from training.datasets.source import LogSource
from training.preparation.expressions import column_names, evaluated, floats
from training.preparation.preparation import prepare_log


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
            "tasks.vtr.label: 'word' takes column 'word' for numbers, .* 'w' is no number",
        ),
    ],
)
def test_an_expression_that_fails_on_a_value_is_refused_with_its_field(declared, match):
    with pytest.raises(FulcrumError, match=match) as error:
        prepared(LOG.with_columns(score=0.5, word=pl.lit("w")), **declared)
    assert "\n" not in str(error.value)


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


FRAME = pl.DataFrame({"user": ["a", "b", "b"], "n": [1, None, 3], "flag": [True, False, None]})


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a + b * a", {"a", "b"}),
        ("case when a > 1 then b else 0 end", {"a", "b"}),
        ("1 + 1", set()),
        ("user", {"user"}),  # SQL's own word, and a column's name
        ("a +", set()),
        ("watched seconds", {"watched"}),
        ("order", {"order"}),
    ],
)
def test_an_expression_names_the_columns_that_it_may_read(text, names):
    assert column_names(text) == names | {text}  # a column may be called so


def test_numbers_and_truth_values_become_floats_and_nothing_becomes_nan():
    np.testing.assert_array_equal(floats(FRAME, "n", "f"), [1.0, np.nan, 3.0])
    np.testing.assert_array_equal(floats(FRAME, "flag", "f"), [1.0, 0.0, np.nan])
    np.testing.assert_array_equal(floats(FRAME, "7", "f"), [7.0] * 3)


def test_text_is_no_number_and_is_refused_with_its_field():
    with pytest.raises(
        FulcrumError, match=r"tasks\.vtr\.label: 'user' takes column 'user' for numbers, .*'a' is no number"
    ):
        floats(FRAME, "user", "tasks.vtr.label")


def test_only_where_asked_must_a_row_not_know_others():
    assert floats(FRAME, "n - max(n)", "f").tolist()[0] == -2.0
    with pytest.raises(FulcrumError, match="f: 'n - max\\(n\\)' gives a row another value"):
        floats(FRAME, "n - max(n)", "f", alone=True)


NARROW = pl.DataFrame(
    {
        "play": pl.Series([1000, 9000], dtype=pl.UInt32),
        "length": pl.Series([5000, 5000], dtype=pl.UInt32),
        "huge": pl.Series([2**64 - 1, 3], dtype=pl.UInt64),
        "small": pl.Series([100, -100], dtype=pl.Int8),
        "price": pl.Series([Decimal("1.00"), Decimal("2.50")], dtype=pl.Decimal(10, 2)),
        "parts": pl.Series([Decimal("3.00"), Decimal("4.00")], dtype=pl.Decimal(10, 2)),
        "shown": [datetime(2026, 1, 1, 23, 59), datetime(2026, 1, 2)],
        "title": ["abc", "abcd"],
        "took": pl.Series([1000, 2000]).cast(pl.Duration("ms")),
    }
)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("play - length >= 0", [0, 1]),
        ("play - 2000", [-1000, 7000]),
        ("-play", [-1000, -9000]),
        ("huge - 4 >= 0", [1, 0]),
        ("small * 100", [10_000, -10_000]),
        ("case when small > 0 then small * 2 else small end", [200, -100]),
        ("extract(hour from shown) * 60 + extract(minute from shown)", [1439, 0]),
        ("length(title) - 4", [-1, 0]),
        ("cast(play as smallint) * 100", [100_000, 900_000]),
        ("price / parts", [1 / 3, 0.625]),
    ],
)
def test_no_integer_wraps_around_and_no_decimal_is_cut(text, numbers):
    assert floats(NARROW, text, "f").tolist() == pytest.approx(numbers, rel=1e-12)


@pytest.mark.parametrize("text", ["took", "shown", "shown - shown", "cast(shown as date)"])
def test_times_and_durations_are_no_numbers(text):
    with pytest.raises(FulcrumError, match=r"f: .* gives (Duration|Date).*, expected numbers or"):
        floats(NARROW, text, "f")


def test_text_among_numbers_is_named_with_its_value():
    frame = pl.DataFrame({"n": ["1", "12 kg"]})
    for text in ("n", "n > 1", "n + 1"):
        with pytest.raises(FulcrumError, match=r"column 'n' for numbers, .*: '12 kg' is no number"):
            floats(frame, text, "f")
    with pytest.raises(FulcrumError, match=r"n' for numbers, and as ids .* CAST\(n AS DOUBLE\)"):
        floats(pl.DataFrame({"n": ["01", "2"]}), "n > 1", "f")


@pytest.mark.parametrize("name", ["watched seconds", "watch-time", "order", "length(s)"])
def test_a_columns_own_name_is_that_column_whatever_sql_makes_of_it(name):
    assert floats(pl.DataFrame({name: [1.0, 2.0]}), name, "f").tolist() == [1.0, 2.0]
    assert floats(pl.DataFrame({name: [1.0, 2.0]}), f'"{name}" * 2', "f").tolist() == [2.0, 4.0]


def test_whole_decimals_stay_exact_in_expressions():
    frame = pl.DataFrame({"id": pl.Series([f"{2**53 + step}" for step in range(9)]).cast(pl.Decimal(20, 0))})
    assert evaluated("case when id > 0 then id end", frame, "f").to_list() == [
        2**53 + step for step in range(9)
    ]


def test_decimal_commas_are_named():
    with pytest.raises(FulcrumError, match="'20,5' is no number; write a decimal point"):
        floats(pl.DataFrame({"play": ["20,5", "3,1"]}), "play >= 20", "f")


@pytest.mark.parametrize("text", ["took > 1500", "1500 < took", "shown = 0"])
def test_moments_and_durations_are_not_compared_with_numbers(text):
    with pytest.raises(FulcrumError, match=r"f: .* compares (Duration|Datetime).* with a number"):
        floats(NARROW, text, "f")
