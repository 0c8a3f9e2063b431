"""The quick reading of a body takes what the contract takes, as the contract takes it, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract.errors import InvalidRequestError
from service.contract.fields import COLUMNS
from service.contract.query import Query, quick_query, read_query
from service.contract.request import MAX_FEATURES, MAX_FIELDS, MAX_LIST, MAX_NAME, MAX_VIDEO_LEN_S
from tests.support.properties import examples

MOST = 6

names = st.text(st.characters(codec="utf-8"), max_size=3) | st.sampled_from(
    ["v1", "v2", "a:b", "x" * 64, "x" * 65, "é" * 128, "é" * 129, '"', "\\", ""]
)
scalars = names | st.integers(-2, 2**64) | st.floats() | st.booleans() | st.none()
values = scalars | st.lists(scalars, max_size=2) | st.just([[1]]) | st.just({"a": 1})
features = st.dictionaries(names, values, max_size=2)
lengths = st.floats(0, 1e10) | st.integers(0, 100) | st.none() | scalars
candidates = st.fixed_dictionaries(
    {"id": names}, optional={"video_len": lengths, "features": features | scalars, "odd": scalars}
)
bodies = st.fixed_dictionaries(
    {"user_id": names},
    optional={
        "request_id": names | st.none(),
        "scene": names,
        "top_k": st.integers(-1, 3) | scalars,
        "timeout_ms": st.floats(0, 100) | st.integers(0, 100) | scalars,
        "explain": st.booleans() | scalars,
        "fields": st.lists(st.sampled_from([*COLUMNS, "score"]), max_size=3) | scalars,
        "context": features | scalars,
        "user_features": features | scalars,
        "candidates": st.lists(candidates, max_size=MOST + 1) | scalars,
        "candidate_ids": st.lists(names, max_size=MOST + 1) | st.lists(scalars, max_size=2) | scalars,
        "odd": scalars,
    },
)


def valid_bodies(most: int = MOST) -> st.SearchStrategy[dict[str, Any]]:
    """Bodies of which most are valid."""
    ids = st.sampled_from([f"v{n}" for n in range(20)]) | st.sampled_from(["a:b", "é", "x" * 64, '"', "\\"])
    values = st.sampled_from([1, 2.5, True, None, "text", "a:b", [1, "b"], []])
    features = st.dictionaries(st.sampled_from(["likes", "a:b", "tags"]), values, max_size=2)
    candidate = st.fixed_dictionaries(
        {"id": ids}, optional={"video_len": st.sampled_from([1, 2.5, 1e9, None]), "features": features}
    )
    given = {
        "request_id": ids | st.none(),
        "scene": ids,
        "top_k": st.integers(1, 10**12),
        "timeout_ms": st.sampled_from([1, 2.5, None]),
        "explain": st.booleans(),
        "fields": st.lists(st.sampled_from(sorted(COLUMNS)), max_size=3),
        "context": features,
        "user_features": features,
    }
    listed = st.lists(candidate, min_size=1, max_size=most, unique_by=lambda candidate: candidate["id"])
    named = st.lists(ids, min_size=1, max_size=most, unique=True)
    return st.builds(
        lambda body, chosen: {**body, **chosen},
        st.fixed_dictionaries({"user_id": ids}, optional=given),
        st.fixed_dictionaries({"candidates": listed}) | st.fixed_dictionaries({"candidate_ids": named}),
    )


def same(one: Query, other: Query) -> None:
    for field in Query.__slots__:
        found, expected = getattr(one, field), getattr(other, field)
        if isinstance(expected, np.ndarray):
            np.testing.assert_array_equal(found, expected)
        else:
            assert found == expected, field


def slowly(body: bytes, monkeypatch: pytest.MonkeyPatch) -> Query:
    """As the contract reads it."""
    with monkeypatch.context() as patch:
        patch.setattr("service.contract.query.quick_query", lambda *_: None)
        return read_query(body, MOST)


def agree(body: bytes) -> bool:
    """Whether the quick reading took the body; as the contract does, if so."""
    quick = quick_query(body, MOST)
    with pytest.MonkeyPatch.context() as patch:
        if quick is not None:
            same(quick, slowly(body, patch))
    return quick is not None


def written(document: Any, ascii_only: bool, indent: int | None) -> bytes:
    return json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")


@examples(300)
@given(bodies, st.booleans(), st.sampled_from([None, 1]))
def test_whatever_is_taken_quickly_is_what_the_contract_takes(document, ascii_only, indent):
    agree(written(document, ascii_only, indent))


@examples(150)
@given(valid_bodies(), st.booleans(), st.sampled_from([None, 1]))
def test_valid_bodies_are_taken_quickly(document, ascii_only, indent):
    assert agree(written(document, ascii_only, indent))


@examples(150)
@given(valid_bodies(), st.data())
def test_a_key_that_stands_twice_is_never_taken_quickly(document, data):
    """At any depth, however many colons the texts hold."""
    body = orjson.dumps(document)
    opens = [place for place in range(len(body)) if body[place : place + 1] == b"{"]
    place = data.draw(st.sampled_from(opens)) + 1
    inner = json.JSONDecoder().raw_decode(body[place - 1 :].decode())[0]
    if not inner or b"\\" in body or b'"{' in body:
        return
    key = data.draw(st.sampled_from(list(inner)))
    twice = body[:place] + json.dumps(key).encode() + b" : 1, " + body[place:]
    assert quick_query(twice, MOST) is None
    with pytest.raises(InvalidRequestError, match="stands twice"):
        read_query(twice, MOST)


@examples(150)
@given(valid_bodies(), st.data())
def test_a_body_that_is_spoilt_is_never_taken_for_another(document, data):
    body = bytearray(orjson.dumps(document))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place] = data.draw(st.sampled_from(b'{}[]:,"\\ 0-eNtn\xff\x00a'))
    agree(bytes(body))


def features_of(number: int, longest: int = 4) -> dict[str, int]:
    return {f"k{place:0{longest - 1}}": place for place in range(number)}


@pytest.mark.parametrize("over", [0, 1])
@pytest.mark.parametrize(
    "document",
    [
        lambda over: {"candidate_ids": [f"v{place}" for place in range(MOST + over)]},
        lambda over: {"candidates": [{"id": f"v{place}"} for place in range(MOST + over)]},
        lambda over: {"candidates": [{"id": "v", "video_len": MAX_VIDEO_LEN_S + over}]},
        lambda over: {"candidate_ids": ["v"], "top_k": 1 - over},
        lambda over: {"candidate_ids": ["v"], "context": {"tags": [1] * (MAX_LIST + over)}},
        lambda over: {"candidate_ids": ["v"], "user_features": {"tags": [1] * (MAX_LIST + over)}},
        lambda over: {"candidates": [{"id": "v", "features": {"tags": [1] * (MAX_LIST + over)}}]},
        lambda over: {"candidate_ids": ["v"], "fields": ["predictions"] * (MAX_FIELDS + over)},
        lambda over: {"candidate_ids": ["v"], "context": features_of(MAX_FEATURES + over)},
        lambda over: {"candidate_ids": ["v"], "user_features": features_of(MAX_FEATURES + over)},
        lambda over: {"candidate_ids": ["v"], "context": features_of(2, MAX_NAME + over)},
        lambda over: {"candidates": [{"id": "v", "features": features_of(MAX_FEATURES + over)}]},
        lambda over: {"candidates": [{"id": "v", "features": features_of(2, MAX_NAME + over)}]},
    ],
)
def test_both_readings_hold_to_the_same_bounds(document, over):
    body = orjson.dumps({"user_id": "u", **document(over)})
    assert agree(body) is not bool(over)
    if over:
        with pytest.raises(InvalidRequestError):
            read_query(body, MOST)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b'"text"', b"\xff", b"[" * 100_000])
def test_what_is_no_request_is_left_to_the_contract(body):
    assert quick_query(body, MOST) is None


@pytest.mark.parametrize(
    "part",
    [
        {"candidate_ids": ["v1", ""]},
        {"candidates": [{"id": "v1"}, {"id": ""}]},
        {"candidates": [{"id": "v1", "video_len": 0}]},
        {"candidate_ids": ["v1"], "timeout_ms": 0},
        {"candidate_ids": ["v1"], "timeout_ms": True},
        {"candidate_ids": ["v1"], "explain": 1},
        {"candidate_ids": ["v1"], "context": {"tags": [[1]]}},
        {"candidate_ids": ["v1"], "user_features": {"tags": {}}},
    ],
)
def test_what_the_contract_refuses_is_not_taken_quickly(part):
    body = orjson.dumps({"user_id": "u1", **part})
    assert quick_query(body, MOST) is None
    with pytest.raises(InvalidRequestError):
        read_query(body, MOST)
