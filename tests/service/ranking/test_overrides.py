"""Feature values in a request: over the store's, checked by name and kind."""

from __future__ import annotations

import numpy as np
import pytest

from model.encoding import Column, Encoder
from model.schema import Schema
from service.contract.errors import InvalidRequestError
from service.ranking.overrides import encode_context, override_items, override_lengths, override_user

LISTS = Schema.model_validate(
    {
        "name": "lists",
        "data": {"user": "u", "item": "i", "split": {"train": "a", "validation": "b"}},
        "features": [
            {"name": "watched", "side": "user", "kind": "sequence", "max_values": 3, "shares": "video"},
            {"name": "age", "side": "user", "kind": "numeric"},
            {"name": "city", "side": "user", "kind": "categorical"},
            {"name": "session", "side": "context", "kind": "sequence", "max_values": 2, "shares": "video"},
            {"name": "video", "side": "item", "kind": "id"},
            {"name": "tags", "side": "item", "kind": "multi", "separator": ",", "max_values": 2},
        ],
        "tasks": [{"name": "vtr", "type": "binary", "label": "a"}],
    }
)


@pytest.fixture
def lists():
    nothing = Column([None] * 3)
    return Encoder.fit(
        LISTS,
        {
            **dict.fromkeys(("watched", "session", "city"), nothing),
            "age": Column([1.0, 2.0, None]),
            "video": Column(["v1", "v2", "v3"]),
            "tags": Column(["x", "y", None]),
        },
    )


def vtr(answer, place=0):
    return answer["items"][place]["predictions"]["vtr"]


def test_context_counts(served):
    one, other = (served.rank(candidate_ids=["v1"], context={"hour": hour}) for hour in (1, 22))
    assert vtr(one) != vtr(other)


def test_user_features_stand_for_the_stores(served):
    plain = served.rank(candidate_ids=["v1"])
    same = served.rank(candidate_ids=["v1"], user_features={"age": 19, "activity": "low"})
    other = served.rank(candidate_ids=["v1"], user_features={"age": 40})
    assert vtr(same) == pytest.approx(vtr(plain), abs=1e-6)
    assert vtr(other) != vtr(plain)
    assert other["items"][0]["status"] == "ok"


def test_item_features_stand_for_the_stores_of_their_candidate_alone(served):
    plain = served.rank(candidate_ids=["v1", "v2"], fields=["predictions"])
    changed = served.rank(
        candidates=[{"id": "v1", "features": {"likes": 9000, "author": "a7"}}, {"id": "v2"}]
    )
    before, after = (
        {i["id"]: i["predictions"]["vtr"] for i in answer["items"]} for answer in (plain, changed)
    )
    assert before["v1"] != after["v1"]
    assert before["v2"] == pytest.approx(after["v2"], abs=1e-6)


def test_one_category_is_one_however_it_is_written(served):
    spellings = [served.rank(candidate_ids=["v1"], context={"tab": tab}) for tab in ("1", 1, 1.0, True)]
    assert {vtr(answer) for answer in spellings} == {vtr(spellings[0])}


def test_null_is_missing(served):
    nothing = served.rank(candidate_ids=["v1"])
    assert vtr(served.rank(candidate_ids=["v1"], context={"hour": None, "tab": None})) == vtr(nothing)


def test_an_unknown_category_is_no_error(served):
    served.rank(candidate_ids=["v1"], context={"tab": "never seen"})


def test_a_truth_value_is_a_number_where_one_is_expected(served):
    one, other = (served.rank(candidate_ids=["v1"], context={"hour": hour}) for hour in (True, 1))
    assert vtr(one) == vtr(other)


def test_a_given_length_stands_for_the_duration_feature_too(served):
    by_length = served.rank(candidates=[{"id": "v1", "video_len": 12.5}])
    by_both = served.rank(candidates=[{"id": "v1", "video_len": 12.5, "features": {"duration_ms": 12_500}}])
    by_feature = served.rank(candidates=[{"id": "v1", "features": {"duration_ms": 12_500}}], explain=True)
    assert vtr(by_length) == pytest.approx(vtr(by_both), abs=1e-7)
    assert vtr(by_length) == pytest.approx(vtr(by_feature), abs=1e-7)
    assert vtr(by_length) != vtr(served.rank(candidate_ids=["v1"]))
    assert by_feature["items"][0]["terms"]["video_len"]["video_len"] != 12.5


def test_numbers_beyond_all_reason_are_clipped(served):
    for likes in (1e308, -1e308, 2**63, 2**64 - 1, 10**40):
        served.rank(candidates=[{"id": "v1", "features": {"likes": likes}}], context={"hour": likes})


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ({"context": {"tabb": 1}}, "context.tabb", "unknown context feature; the bundle has tab, hour"),
        ({"user_features": {"sex": 1}}, "user_features.sex", "the bundle has user_id, activity, age"),
        ({"user_features": {"tab": 1}}, "user_features.tab", "give it in context"),
        ({"context": {"likes": 1}}, "context.likes", "give it in candidates[].features"),
        ({"context": {"hour": "21"}}, "context.hour", "expected a number, found '21'"),
        ({"user_features": {"age": "old"}}, "user_features.age", "expected a number, found 'old'"),
        (
            {"candidates": [{"id": "a"}, {"id": "b", "features": {"like": 1}}]},
            "candidates[1].features.like",
            "the bundle has video_id, author, duration_ms, likes",
        ),
        (
            {"candidates": [{"id": "a"}, {"id": "b", "features": {"likes": "3.5"}}]},
            "candidates[1].features.likes",
            "expected a number, found '3.5'",
        ),
    ],
)
def test_what_the_bundle_does_not_know_is_refused_by_name(served, body, field, says):
    problem = served.refused(**({} if "candidates" in body else {"candidate_ids": ["v1"]}), **body)
    assert problem["errors"][0]["field"] == field
    assert says in problem["errors"][0]["message"]


def test_lists_stand_for_the_stores(lists):
    user = lists.sides["user"].encode({"watched": Column([["v3"]])}, 1)
    override_user(lists, user, {"watched": ["v1", None, "v9", "v2"]})
    assert user.ids[0, :3].tolist() == [3, 1, 2]
    override_user(lists, user, {"watched": []})
    assert user.ids[0, :3].tolist() == [0, 0, 0]
    items = lists.sides["item"].encode({"tags": Column([["x"], ["x"], ["x"]])}, 3)
    override_items(
        lists,
        items,
        [{"tags": ["y", "new", "x"]}, {}, {"tags": "y, x"}],
    )
    assert items.ids[:, 1:].tolist() == [[3, 1], [2, 0], [3, 2]]
    assert encode_context(lists, {"session": ["v1", "v2", "v3"]}).ids.tolist() == [[4, 3]]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"watched": "v1"}, "user_features.watched: expected a list, found 'v1'"),
        ({"watched": 3}, "user_features.watched: expected a list, found 3"),
        ({"age": [1]}, "user_features.age: expected a number, found a list of 1"),
        ({"city": ["x", "y"]}, "user_features.city: expected one value, found a list of 2"),
    ],
)
def test_a_list_stands_where_a_list_is_expected(lists, values, says):
    user = lists.sides["user"].encode({}, 1)
    with pytest.raises(InvalidRequestError, match=says):
        override_user(lists, user, values)
    assert not user.ids.any()
    override_user(lists, user, {"watched": None})


def test_lengths_stand_for_the_stores_where_the_request_has_them(lists):
    assert lists.schema.data.video_len is None
    items, seconds = lists.sides["item"].encode({}, 3), np.array([1.0, 2.0, np.nan])
    override_lengths(lists, items, seconds, np.array([np.nan, 20.0, 30.0]))
    assert seconds.tolist() == [1.0, 20.0, 30.0]


def test_what_a_bundle_without_such_features_does_not_know_is_refused_in_one_line(lists):
    bare = LISTS.model_copy(update={"features": [one for one in LISTS.features if one.side != "context"]})
    encoder = Encoder(bare, lists.features)
    with pytest.raises(
        InvalidRequestError, match=r"^context\.'a\\nb': unknown context feature; the bundle has none$"
    ):
        encode_context(encoder, {"a\nb": 1})


def test_a_number_is_neither_a_list_nor_text_that_parts_into_one(lists):
    items = lists.sides["item"].encode({}, 1)
    with pytest.raises(InvalidRequestError, match="tags: expected a list, or text parted by ',', found 3"):
        override_items(lists, items, [{"tags": 3}])
    np.testing.assert_array_equal(items.ids, 0)
