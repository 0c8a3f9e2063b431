"""From Polars to the encoder: nothing is lost or renamed on the way."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from model.encoding import CategoricalEncoder, NumericEncoder
from model.errors import FulcrumError
from model.schema import CategoricalFeature, MultiFeature, NumericFeature
from training.preparation.columns import coded, key_strings, to_column, to_series

MULTI = MultiFeature(name="f", side="item", kind="multi")
WORD = CategoricalFeature(name="f", side="item", kind="id")
NUMBER = NumericFeature(name="f", side="item", kind="numeric")


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (pl.Series([3, None, 1, 3]), ["3", None, "1", "3"]),
        (pl.Series([3.0, math.nan, 0.5, None]), ["3", None, "0.5", None]),
        (pl.Series(["3", "", None, "a"]), ["3", None, None, "a"]),
        (pl.Series([True, False, None, True]), ["1", "0", None, "1"]),
        (pl.Series(["x", None, "y", "x"], dtype=pl.Categorical), ["x", None, "y", "x"]),
        (pl.Series(["x", None, "y", "x"], dtype=pl.Enum(["y", "x"])), ["x", None, "y", "x"]),
        (pl.Series([Decimal("1.5"), None, Decimal("2"), None]), ["1.5", None, "2", None]),
        (pl.Series([None, None]), [None, None]),
    ],
)
def test_a_column_of_categories_keeps_every_rows_value(series, expected):
    column = to_column(WORD, series)
    encoder = CategoricalEncoder.fit(WORD, column)
    found = [None if index == 0 else encoder.vocabulary.known[index - 2] for index in encoder.encode(column)]
    assert found == expected


@pytest.mark.parametrize(
    "series",
    [
        pl.Series([1, None, 3], dtype=pl.Int32),
        pl.Series([1.0, math.nan, 3.0]),
        pl.Series(["1", "?", "3"]),
        pl.Series(["1", None, "3"], dtype=pl.Categorical),
        pl.Series([Decimal("1"), None, Decimal("3")]),
    ],
)
def test_a_column_of_numbers_is_read_from_any_type_that_holds_numbers(series):
    column = to_column(NUMBER, series)
    assert NumericEncoder.fit(NUMBER, column).encode(column).tolist() == [[-1, 0], [0, 1], [1, 0]]


@pytest.mark.parametrize("series", [pl.Series([[1], [2]]), pl.Series([{"a": 1}]), pl.date_range(
    pl.date(2022, 5, 1), pl.date(2022, 5, 2), eager=True
)])  # fmt: skip
def test_a_column_of_another_type_is_refused_by_feature(series):
    for spec in (WORD, NUMBER):
        with pytest.raises(FulcrumError, match="feature 'f': expected a column of numbers, text or truth"):
            to_column(spec, series)


def test_ids_are_named_as_requests_name_them():
    assert key_strings(pl.Series([7, None, 7, 8])) == ["7", None, "7", "8"]
    assert key_strings(pl.Series([7.0, 8.5])) == ["7", "8.5"]
    assert key_strings(pl.Series(["u1", ""])) == ["u1", None]


@pytest.mark.parametrize(
    "series",
    [
        pl.Series([[1, 2], None, [], [3], [1, None]]),
        pl.Series([["a"], ["b", "a"], None]),
        pl.Series(["a", None, "b", "a"]),
        pl.Series([1.5, None, 2.5]),
    ],
)
def test_a_column_gives_its_values_back(series):
    spec = NUMBER if series.dtype.is_numeric() else MULTI if series.dtype == pl.List else WORD
    column = to_column(spec, series)
    rows = np.array([len(series) - 1, 1, 0, 1])
    expected = series.gather(rows)
    if series.dtype == pl.List:
        expected = expected.fill_null(pl.lit([], series.dtype))
    assert to_series(column, rows).to_list() == expected.to_list()


def test_arrays_of_one_length_are_lists():
    series = pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int64, 2))
    assert to_column(MULTI, series).value(1) == [3, 4]


def test_lists_of_what_cannot_be_a_category_are_refused():
    with pytest.raises(FulcrumError, match="feature 'f': expected a column of numbers, text or truth values"):
        to_column(MULTI, pl.Series([[[1]], [[2]]]))


def test_decimals_are_ids_as_exact_as_they_are_written():
    large = [f"{12_345_678_901_234_567_890 + step}" for step in range(80)]
    ids = pl.Series(large).cast(pl.Decimal(20, 0))
    column = coded(ids, "f")
    assert list(column.values) == large
    assert key_strings(pl.Series(["3.00", "3.10", None]).cast(pl.Decimal(10, 2))) == ["3", "3.1", None]


def test_decimals_of_many_digits_stay_apart():
    large = [f"{10**30 + step}" for step in range(30)]
    assert key_strings(pl.Series(large).cast(pl.Decimal(38, 0))) == large
