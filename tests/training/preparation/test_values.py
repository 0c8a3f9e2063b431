"""Raw values of features and video lengths."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from model.encoding import Encoder
from model.errors import FulcrumError
from tests.support.small_log import LOG, NUMBER, prepared, schema, source, values
from training.preparation.preparation import prepare_log


def test_a_feature_may_be_an_expression_or_a_constant():
    features = [{**NUMBER, "expr": "time / 10"}, {**NUMBER, "name": "one", "expr": "1"}]
    found = prepared(features=features)
    assert values(found) == [1.0, 2.0, 3.0, 4.0]
    assert values(found, "one") == [1.0] * 4


def test_a_column_that_no_feature_can_hold_is_refused():
    with pytest.raises(
        FulcrumError, match=r"feature 'score': expected a column of numbers, text .*found Date"
    ):
        prepared(LOG.with_columns(score=date(2022, 5, 1)))


@pytest.mark.parametrize(
    ("unit", "expected"), [("ms", [0.012, None, None, 3.5]), ("s", [12.0, None, None, 3500.0])]
)
def test_the_videos_length_is_in_seconds_and_unknown_where_it_is_not_positive(unit, expected):
    log = LOG.with_columns(score=0.5, length=pl.Series(["12", "-1", None, "3500"]))
    found = prepared(log, time=None, video_len={"column": "length", "unit": unit})
    np.testing.assert_array_equal(found.video_len_s, np.array(expected, float))


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
