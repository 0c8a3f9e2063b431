"""Entities to publish: each with its latest values."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.encoding import Encoder
from model.errors import FulcrumError
from tests.support.properties import examples
from tests.support.small_log import (
    IMPRESSIONS,
    ITEMS,
    LOG,
    NUMBER,
    PAST,
    PAST_FEATURES,
    USERS,
    schema,
    scores,
    source,
    values,
)
from training.datasets.source import SourceTable
from training.preparation.entities import prepare_entities
from training.preparation.preparation import prepare_log


def test_a_key_in_the_log_alone_leads_to_its_table_for_entities_too():
    log = LOG.with_columns(author=pl.Series(["a", "a", "b", "b"]))
    authors = SourceTable("authors", pl.DataFrame({"author": ["b", "a"], "score": [0.2, 0.1]}), "author")
    assert values(prepare_entities(schema(), source(log, authors), "items")) == [0.1, 0.2]


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
