"""Features one by one: what they are made of, and which of their settings exclude each other."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from model.schema import FeatureSpec

FEATURE = TypeAdapter(FeatureSpec)


def feature(kind="categorical", side="user", **given):
    return FEATURE.validate_python({"name": "f", "kind": kind, "side": side, **given})


def test_the_source_is_the_column_or_else_the_name():
    assert feature().source == "f"
    assert feature(column="other").source == "other"


@pytest.mark.parametrize(
    ("given", "has"),
    [
        ({}, True),
        ({"min_count": 5}, True),
        ({"hash_buckets": 10}, False),
        ({"hash_buckets": 10, "min_count": 2}, True),
        ({"hash_buckets": 10, "max_size": 3}, True),
    ],
)
def test_values_have_rows_of_their_own_unless_all_are_hashed(given, has):
    assert feature(**given).has_vocabulary is has


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"column": "a", "expr": "b"}, "has both column and expr; keep one"),
        ({"shares": "g", "min_count": 2}, "shares the vocabulary of 'g'"),
        ({"shares": "g", "max_size": 2}, "give min_count, max_size and hash_buckets there"),
        ({"shares": "g", "hash_buckets": 2}, "shares the vocabulary of 'g'"),
        ({"kind": "sequence", "pool": "attention"}, "attention compares with the candidate; name in shares"),
        ({"kind": "sequence", "pool": "attention", "shares": "g", "side": "item"}, "takes mean, sum or max"),
        ({"kind": "sequence", "heads": 2}, "heads are for pool: attention"),
        ({"kind": "multi", "pool": "attention"}, "'mean', 'sum' or 'max'"),
        ({"kind": "numeric", "width": 4}, "Extra inputs are not permitted"),
        ({"kind": "colour"}, "does not match any of the expected tags"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(given, says):
    with pytest.raises(ValidationError, match=says):
        feature(**given)
