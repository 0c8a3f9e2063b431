"""Preparation: labels under their masks, groups, and what the past gives."""

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
    PAST,
    PAST_FEATURES,
    USERS,
    prepared,
    schema,
    source,
)
from training.preparation.entities import prepare_entities
from training.preparation.preparation import prepare_log


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
