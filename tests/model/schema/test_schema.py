"""The schema: what it refuses, and by which name."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from model.errors import first_problem
from model.schema import Schema


@pytest.fixture
def parts(document):
    return {name: document[name] for name in ("name", "data", "features", "tasks")}


def problem(parts):
    with pytest.raises(ValidationError) as error:
        Schema.model_validate(parts)
    return first_problem(error.value, Schema, parts)


def test_a_schema_written_as_json_is_the_same_schema(parts):
    schema = Schema.model_validate(parts)
    assert Schema.model_validate_json(schema.model_dump_json()) == schema


def test_a_schema_cannot_be_changed(parts):
    with pytest.raises(ValidationError):
        Schema.model_validate(parts).name = "other"


@pytest.mark.parametrize(
    ("place", "key", "value", "expected"),
    [
        (("features", 0), "widht", 4, "features.user_id.widht: unknown key; .*did you mean width"),
        (
            ("features", 0),
            "kind",
            "text",
            "features.user_id.kind: unknown kind 'text'; the kinds are id, categorical, multi, sequence, num",
        ),
        (("features", 0), "side", "video", "features.user_id.side: .*found 'video'"),
        (("features", 0), "name", "user id", r"features\[0\].name: expected letters.*found 'user id'"),
        (("features", 0), "width", 0, "features.user_id.width: .*found 0"),
        (("features", 0), "name", "band", "feature 'band' is declared twice"),
        (("features", 2), "transform", "sqrt", "features.age.transform: .*found 'sqrt'"),
        (("features", 2), "width", 4, "features.age.width: unknown key"),
        (
            ("tasks", 0),
            "type",
            "ranking",
            "tasks.vtr.type: unknown type 'ranking'; the types are binary, regression",
        ),
        (("tasks", 0), "name", "video_len", "tasks.video_len.name: .*video_len and base are taken"),
        (("tasks", 0), "name", "base", "tasks.base.name: .*video_len and base are taken"),
        (("tasks", 0), "name", "VTR", "tasks.VTR.name: .*lower-case.*'VTR'"),
        (("tasks", 0), "name", "vcr", "task 'vcr' is declared twice"),
        (("tasks", 1), "bounds", [1, 0], r"tasks.vcr.bounds: expected 0 <= low < high, found \[1.0, 0.0\]"),
        (("tasks", 1), "bounds", [-1, 1], "tasks.vcr.bounds: expected 0 <= low"),
        (("tasks", 0), "weight", -1, "tasks.vtr.weight: .*found -1"),
        (("tasks", 0), "weight", float("inf"), "tasks.vtr.weight: "),
        (("data",), "item", None, "there are item features: name the item id's column in data.item"),
        (("data",), "time", None, "table 'views' has as_of: name the time column in data.time"),
        (("data",), "colour", "red", "data.colour: unknown key"),
        (("data", "video_len"), "unit", "min", "data.video_len.unit: .*found 'min'"),
        (("data",), "split", {"last": 1.0}, "data.split"),
        (("data",), "split", {"last": 0.2, "train": "a", "validation": "b"}, "data.split"),
        ((), "features", [], "features: "),
        ((), "tasks", [], "tasks: "),
    ],
)
def test_a_mistake_is_refused_by_its_place(parts, place, key, value, expected):
    owner = parts
    for step in place:
        owner = owner[step]
    owner[key] = value
    message = problem(parts)
    assert re.search(expected, message), message


def test_a_split_by_the_last_share_needs_a_time(parts):
    parts["data"] |= {"time": None, "split": {"last": 0.2}, "tables": []}
    assert "name the time column in data.time" in problem(parts)


def test_column_and_expression_exclude_each_other(parts):
    parts["features"][2] |= {"column": "age", "expr": "age + 1"}
    assert "feature 'age' has both column and expr" in problem(parts)


def test_features_come_by_side_in_the_order_asked_for(parts):
    schema = Schema.model_validate(parts)
    assert [spec.name for spec in schema.side("context", "user")] == ["tab", "user_id", "band", "age"]
    assert schema.task_names == ["vtr", "vcr", "shr"]


def test_the_features_that_a_requests_video_length_stands_for_are_those_of_its_column(parts):
    assert Schema.model_validate(parts).length_features() == []
    parts["features"] += [
        {"name": "seconds", "side": "item", "kind": "numeric", "column": "length_ms"},
        {"name": "length_ms", "side": "item", "kind": "numeric"},
        {"name": "minutes", "side": "item", "kind": "numeric", "expr": "length_ms / 60000"},
        {"name": "seen", "side": "context", "kind": "numeric", "column": "length_ms"},
    ]
    assert Schema.model_validate(parts).length_features() == ["seconds", "length_ms"]
    parts["data"]["video_len"] = None
    assert Schema.model_validate(parts).length_features() == ()


def test_one_pattern_may_stand_for_a_list(parts):
    data = Schema.model_validate(parts).data
    assert data.log == ("log.csv",)
    assert data.tables[0].files == ("users.csv",)


LIST = {"name": "watched", "side": "user", "kind": "sequence"}


@pytest.mark.parametrize(
    ("feature", "expected"),
    [
        ({"shares": "video"}, "feature 'watched' shares 'video', which is no other feature with a"),
        ({"shares": "watched"}, "feature 'watched' shares 'watched', which is no other"),
        ({"shares": "user_id", "min_count": 2}, "feature 'watched' shares the vocabulary of 'user_id'; "),
        ({"shares": "user_id", "width": 5}, r"its width is that of 'user_id', .*: \d+, not 5"),
        ({"pool": "attention"}, "feature 'watched': attention compares with the candidate; name in shares"),
        ({"pool": "attention", "shares": "user_id"}, "and 'user_id', which it shares, is a user feature"),
        ({"pool": "attention", "shares": "user_id", "side": "item"}, "an item feature takes mean, sum"),
        ({"heads": 2}, "feature 'watched': heads are for pool: attention"),
        ({"pool": "median"}, "pool: .*found 'median'"),
        ({"max_values": 0}, "max_values: .*found 0"),
        ({"kind": "multi", "pool": "attention"}, "pool: .*found 'attention'"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(parts, feature, expected):
    parts["features"].append({**LIST, **feature})
    assert re.search(expected, problem(parts))


def test_heads_part_the_width_of_the_table_they_share(parts):
    parts["features"].append({"name": "video", "side": "item", "kind": "id", "width": 6})
    parts["features"].append({**LIST, "shares": "video", "pool": "attention", "heads": 4})
    assert "4 heads do not part its width of 6" in problem(parts)


def test_a_feature_that_shares_has_the_width_of_its_owner_and_owners_are_shared_directly(parts):
    parts["features"].append({"name": "video", "side": "item", "kind": "id", "width": 6})
    parts["features"].append({**LIST, "shares": "video"})
    schema = Schema.model_validate(parts)
    assert schema.width(schema.features[-1]) == 6
    assert schema.owner(schema.features[-1]).name == "video"
    parts["features"].append({**LIST, "name": "liked", "shares": "watched"})
    assert "shares 'watched', which has no table of its own; share 'video'" in problem(parts)


PRIOR = {"name": "rate", "by": "user_id", "of": "1"}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"priors": [PRIOR], "time": None, "tables": []}, "'rate' is made of earlier rows: name the time"),
        ({"priors": [PRIOR, PRIOR]}, "two priors or histories make the column 'rate'"),
        ({"priors": [PRIOR], "histories": [{**PRIOR, "name": "rate_count"}]}, "make the column 'rate_count'"),
        ({"priors": [{**PRIOR, "by": []}]}, "by: "),
        ({"priors": [{**PRIOR, "smoothing": -1}]}, "smoothing: .*found -1"),
        ({"priors": [{**PRIOR, "half_life_days": 0}]}, "half_life_days: .*found 0"),
        ({"histories": [{**PRIOR, "last": 0}]}, "last: .*found 0"),
        ({"histories": [{**PRIOR, "name": "a b"}]}, "name: expected letters, digits and underscores"),
    ],
)
def test_a_past_that_does_not_fit_is_refused(parts, data, expected):
    parts["data"].update(data)
    assert re.search(expected, problem(parts))
