"""The joined log: its order, what it keeps, and what its past says of each row."""

from __future__ import annotations

import polars as pl
import pytest

from model.errors import FulcrumError
from tests.support.small_log import LOG, PAST, PAST_FEATURES, prepared, schema, values
from training.datasets.source import LogSource
from training.preparation.entities import prepare_entities
from training.preparation.preparation import prepare_log


def test_rows_come_in_the_order_of_time_and_ties_in_the_order_of_the_log():
    log = LOG.with_columns(time=pl.Series([2, 1, 1, 2]), score=pl.Series([0.0, 1.0, 2.0, 3.0]))
    assert values(prepared(log)) == [1.0, 2.0, 0.0, 3.0]


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
