"""Needed columns: all that a schema reads of a log and its tables, and no more."""

from __future__ import annotations

import pytest

from tests.support.small_log import schema
from training.preparation.needed import made_of_the_past, needed_columns, side_columns

FEATURES = [
    {"name": "age", "side": "user", "kind": "numeric", "column": "birth"},
    {"name": "ratio", "side": "item", "kind": "numeric", "expr": "likes / views"},
    {"name": "hour", "side": "context", "kind": "numeric"},
    {"name": "rate", "side": "user", "kind": "numeric", "expr": "user_rate_count + 1"},
]
TASKS = [{"name": "vtr", "type": "binary", "label": "watched > 1", "where": "shown"}]
DATA = {
    "group": "session",
    "video_len": {"column": "length", "unit": "ms"},
    "time_unit": "s",
    "priors": [{"name": "user_rate", "by": "user", "of": "clicked", "where": "seen"}],
    "histories": [{"name": "liked", "by": ["user", "tab"], "of": "video", "seed": "likes_before"}],
}


def plain(names):
    """Without whole expressions, which stand for a column of that name."""
    return {name for name in names if name.isidentifier()}


@pytest.mark.parametrize(
    ("split", "rules"),
    [({"last": 0.5}, set()), ({"train": "day < 3", "validation": "night = 1"}, {"day", "night"})],
)
def test_every_column_that_a_schema_names_is_needed_and_no_other(split, rules):
    declared = schema(FEATURES, TASKS, split=split, **DATA)
    assert plain(needed_columns(declared)) == rules | {
        *("user", "item", "time", "session"),
        *("birth", "likes", "views", "hour", "user_rate_count", "length"),
        *("watched", "shown"),
        *("clicked", "seen", "tab", "video", "likes_before"),
    }


def test_the_length_of_a_video_is_a_column_of_the_item():
    declared = schema(FEATURES, TASKS, split={"last": 0.5}, **DATA)
    assert plain(side_columns(declared, "item")) == {"likes", "views", "length"}
    assert plain(side_columns(declared, "context")) == {"hour"}


def test_what_reads_any_column_of_a_prior_moves_with_the_log():
    declared = schema(FEATURES, TASKS, split={"last": 0.5}, **DATA)
    moving = {feature.name for feature in declared.features if made_of_the_past(declared, feature)}
    assert moving == {"rate"}
