"""Malformed requests over real HTTP: the status, and the field that is named."""

from __future__ import annotations

import json
import tracemalloc

import orjson
import pytest

from service.contract.errors import InvalidRequestError
from service.contract.query import read_query
from service.contract.request import _LISTS, MAX_FEATURES, MAX_FIELDS, MAX_NAME

GOOD = {"user_id": "u1", "candidates": [{"id": "a"}, {"id": "b"}]}


def with_candidate(**fields):
    return {**GOOD, "candidates": [{"id": "a"}, {"id": "b", **fields}]}


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        (b"null", "body", ""),
        (b"[]", "body", ""),
        (b'"text"', "body", ""),
        (b"{}", "user_id", "required"),
        (b'{"user_id": "u1", "user_id": "u2"}', "user_id", "stands twice"),
        (b'{"user_id": NaN}', "body", "not valid JSON"),
        ({"user_id": "u1"}, "candidates", "found neither"),
        ({**GOOD, "candidate_ids": ["a"]}, "candidates", "found both"),
        ({**GOOD, "candidates": []}, "candidates", "1 or more"),
        ({"user_id": "u1", "candidate_ids": []}, "candidate_ids", "1 or more"),
        ({**GOOD, "candidates": {}}, "candidates", "list"),
        ({**GOOD, "candidates": ["a"]}, "candidates[0]", ""),
        ({**GOOD, "user_id": 1}, "user_id", "found 1"),
        ({**GOOD, "user_id": ""}, "user_id", "1 or more"),
        ({**GOOD, "user_id": "x" * 257}, "user_id", "256"),
        ({**GOOD, "user_id": "é" * 129}, "user_id", "256 bytes of UTF-8, found 258"),
        ({**GOOD, "user_id": None}, "user_id", "found null"),
        ({**GOOD, "requestid": "r"}, "requestid", "known keys are request_id, user_id"),
        ({**GOOD, "scene": 3}, "scene", "text"),
        ({**GOOD, "top_k": 0}, "top_k", "a number of at least 1, found 0"),
        ({**GOOD, "top_k": 2.5}, "top_k", "a whole number, found 2.5"),
        ({**GOOD, "top_k": "5"}, "top_k", "a whole number, without quotes"),
        ({**GOOD, "top_k": True}, "top_k", "a whole number, found true"),
        ({**GOOD, "timeout_ms": 0}, "timeout_ms", "a number above 0"),
        ({**GOOD, "timeout_ms": "40"}, "timeout_ms", "number"),
        ({**GOOD, "explain": 1}, "explain", "true or false"),
        ({**GOOD, "fields": ["score"]}, "fields[0]", "predictions"),
        ({**GOOD, "context": []}, "context", "a mapping"),
        ({**GOOD, "context": {"tab": []}}, "context.tab", "found a list"),
        ({**GOOD, "context": {"tab": {"deep": 1}}}, "context.tab", "found a mapping"),
        ({**GOOD, "user_features": {"age": [1]}}, "user_features.age", "found a list"),
        ({**GOOD, "user_features": {"age": [1, [2]]}}, "user_features.age", "found a list of 1 at 1"),
        ({**GOOD, "user_features": {"age": [1, {}]}}, "user_features.age", "found an empty mapping at 1"),
        (
            {**GOOD, "user_features": {"age": [0] * 5001}},
            "user_features.age",
            "at most 5000 elements, found 5001",
        ),
        (with_candidate(video_len=0), "candidates[1].video_len", "a number above 0"),
        (with_candidate(video_len=-1.5), "candidates[1].video_len", "a number above 0"),
        (with_candidate(video_len="31"), "candidates[1].video_len", "number"),
        (with_candidate(video_len=True), "candidates[1].video_len", "number"),
        (with_candidate(video_len=1e300), "candidates[1].video_len", "a number of at most"),
        (with_candidate(vidoe_len=3), "candidates[1].vidoe_len", "known keys are id, video_len, features"),
        (with_candidate(features={"likes": {}}), "candidates[1].features.likes", "found an empty mapping"),
        (with_candidate(id=7), "candidates[1].id", "found 7"),
        (with_candidate(id="a"), "candidates[1].id", "first at candidates[0].id"),
        ({"user_id": "u1", "candidate_ids": ["a", 5]}, "candidate_ids[1]", "found 5"),
        (
            {"user_id": "u1", "candidate_ids": ["a", "b", "a"]},
            "candidate_ids[2]",
            "first at candidate_ids[0]",
        ),
        (
            {"user_id": "u1", "candidate_ids": [str(n) for n in range(10_001)]},
            "candidate_ids",
            "at most 10000",
        ),
    ],
)
def test_a_malformed_body_is_refused_and_its_field_named(served, body, field, says):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = served.http.post("/v1/rank", content=content, headers={"content-type": "application/json"})
    problem = answer.json()
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == 422
    assert problem["errors"][0]["field"] == field
    assert says in problem["errors"][0]["message"]
    assert problem["detail"].startswith(f"{field}: ")


LONG_KEY = "a key has at most 256 characters, found 257"
IDS = [str(place) for place in range(10_001)]


def many(number: int, value: object = 0) -> dict:
    return {f"k{place}": value for place in range(number)}


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ({**GOOD, "fields": ["predictions"] * (MAX_FIELDS + 1)}, "fields", "at most 64 names, found 65"),
        ({**GOOD, **many(65)}, "body", "at most 64 keys, found 67"),
        ({**GOOD, "k" * (MAX_NAME + 1): 1}, "body", LONG_KEY),
        ({**GOOD, "context": many(MAX_FEATURES + 1)}, "context", "at most 1000 features, found 1001"),
        ({**GOOD, "user_features": many(1001)}, "user_features", "at most 1000 features, found 1001"),
        ({**GOOD, "context": {"k" * (MAX_NAME + 1): {}}}, "context", LONG_KEY),
        (with_candidate(**many(65)), "candidates[1]", "at most 64 keys, found 66"),
        (with_candidate(features=many(1001)), "candidates[1].features", "at most 1000 features, found 1001"),
        (with_candidate(features={"k" * (MAX_NAME + 1): 1}), "candidates[1].features", LONG_KEY),
        ({"user_id": "u1", "candidate_ids": IDS}, "candidate_ids", "at most 10000 candidates, found 10001"),
        (
            {"user_id": "u1", "candidates": [{"id": each} for each in IDS]},
            "candidates",
            "at most 10000 candidates, found 10001",
        ),
    ],
)
def test_everything_that_holds_more_has_a_bound(served, body, field, says):
    problem = served.http.post("/v1/rank", json=body).json()
    assert [one["field"] for one in problem["errors"]] == [field]
    assert problem["detail"] == f"{field}: {says}"


AMPLIFIERS = {
    "fields": {"fields": [""] * 40_000},
    "unknown keys": many(20_000),
    "context": {"context": many(20_000, {})},
    "features": {"candidates": [{"id": "a", "features": many(20_000, {})}]},
    "keys of candidates": {"candidates": [many(9) for _ in range(2_500)]},
    "features of candidates": {
        "candidates": [{"id": f"v{n}", "features": many(6, {})} for n in range(2_000)]
    },
    "ids": {"candidate_ids": list(range(10_000))},
    "lists": {"context": {"tab": [[]] * 50_000}},
}


@pytest.mark.parametrize("body", AMPLIFIERS.values(), ids=AMPLIFIERS)
def test_a_refusal_takes_memory_in_proportion_to_the_body_whatever_is_wrong_with_it(body):
    content = orjson.dumps({"user_id": "u1", **body})
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequestError) as refused:
            read_query(content, 10_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(refused.value.problems) <= 20
    assert peak < 60 * len(content)


def test_many_mistakes_are_cut_short(served):
    problem = served.refused(candidates=[{"id": place} for place in range(300)])
    assert len(problem["errors"]) == 20
    assert "(and at least 19 more)" in problem["detail"]
    assert "(and 4 more)" in served.refused(candidates=[{"id": place} for place in range(5)])["detail"]


@pytest.mark.parametrize("key", ["candidates", "candidate_ids"])
def test_nothing_is_read_after_the_last_problem_shown(monkeypatch, key):
    read = []

    class Counting:
        def validate_python(self, value):
            read.append(value)
            return whole.validate_python(value)

    whole = _LISTS[key]
    monkeypatch.setitem(_LISTS, key, Counting())
    with pytest.raises(InvalidRequestError):
        read_query(orjson.dumps({"user_id": "u1", key: [7] * 1000}), 10_000)
    assert len(read) == 20


def test_ten_thousand_candidates_are_taken(served):
    assert served.rank(candidate_ids=[str(n) for n in range(10_000)])["scored"] == 10_000


@pytest.mark.parametrize("name", ["e" * 256, "é" * 128, "a b", "\x00", "😀", '"\\', "1", "../x", "%s{}"])
def test_any_text_is_an_id(served, name):
    answer = served.rank(user_id=name, request_id=name, candidate_ids=[name])
    assert answer["items"][0]["id"] == answer["request_id"] == name


def test_integers_may_stand_for_floats(served):
    body = orjson.dumps({**with_candidate(video_len=31), "timeout_ms": 60_000})
    assert served.http.post("/v1/rank", content=body).status_code == 200
