"""A log of four rows, schemas over it, and what preparation makes of them."""

from __future__ import annotations

import polars as pl
from hypothesis import strategies as st

from model.schema import Schema
from training.datasets.source import LogSource, SourceTable
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
