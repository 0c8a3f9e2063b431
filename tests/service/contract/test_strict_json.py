"""Strict JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract.errors import InvalidRequestError
from service.contract.strict_json import MAX_DEPTH, read_json

TEXT = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(
    ['"', "\\", '\\"', ":", '":', "\\\\"]
)
DOCUMENTS = st.recursive(
    TEXT | st.integers(-(2**60), 2**60) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(DOCUMENTS, st.booleans())
def test_any_document_without_repeated_keys_is_read_as_written(document: Any, ascii_only: bool):
    assert read_json(json.dumps(document, ensure_ascii=ascii_only).encode()) == document


@given(st.dictionaries(TEXT, DOCUMENTS, min_size=1, max_size=4), st.data())
def test_any_repeated_key_is_found_and_named(document: dict[str, Any], data: st.DataObject):
    key = data.draw(st.sampled_from(list(document)))
    twice = json.dumps(document)[:-1] + f", {json.dumps(key)}: 1}}"
    body = json.dumps([{"deep": "DEEP"}]).replace('"DEEP"', twice)
    with pytest.raises(InvalidRequestError, match="stands twice") as refused:
        read_json(body.encode())
    assert refused.value.problems[0].field == key


def test_a_key_repeated_by_an_escape_is_found():
    with pytest.raises(InvalidRequestError, match="'a' stands twice"):
        read_json(b'{"a": 1, "\\u0061": 2}')


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'\xef\xbb\xbf{"a": 1}',
        '{"a": 1}'.encode("utf-16"),
        b'{"a": 1} x',
        b"{'a': 1}",
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 900 + b"1" + b"}" * 900,
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    ],
)
def test_what_is_not_strict_json_is_refused(body: bytes):
    with pytest.raises(InvalidRequestError, match=r"^body: "):
        read_json(body)


def test_nesting_up_to_the_limit_is_read():
    read_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
