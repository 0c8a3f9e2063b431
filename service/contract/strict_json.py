"""Body: a request's bytes to plain values, strictly. Knows JSON, and nothing of what the values mean.

Refuses what a JSON reader would let pass or change in silence: keys that stand twice, NaN and infinities,
numbers beyond float64, lone surrogates, other encodings than UTF-8, deep nesting.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from model.errors import shown
from service.contract.errors import FieldProblem, InvalidRequestError

MAX_DEPTH = 16
"""Objects and lists inside each other; a request needs 4."""


def read_json(body: bytes) -> Any:
    """The document in `body`.

    Raises:
        InvalidRequestError: it is not strict JSON; says where or names the key.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _refused(f"not valid JSON: {error}") from None
    if not isinstance(document, dict | list):
        return document
    if _count_keys(document) != count_written_keys(body):
        _refuse_twice(body)
    return document


def _count_keys(document: dict[str, Any] | list[Any]) -> int:
    """Keys of all objects, level by level: nesting costs no Python stack."""
    count, level = 0, [document]
    for _ in range(MAX_DEPTH):
        deeper: list[dict[str, Any] | list[Any]] = []
        for node in level:
            children = node
            if type(node) is dict:
                count += len(node)
                children = list(node.values())
            deeper += [child for child in children if type(child) is dict or type(child) is list]
        if not deeper:
            return count
        level = deeper
    raise _refused(f"nested deeper than {MAX_DEPTH} levels")


def count_written_keys(body: bytes) -> int:
    """Keys as written, those that parsing dropped included: one colon outside a string is one key.

    In valid JSON without a backslash, quotes do nothing but open and close strings.
    """
    if b"\\" in body:
        body = _without_escapes(body)
    return b"".join(body.split(b'"')[::2]).count(b":")


def _without_escapes(body: bytes) -> bytes:
    """The escapes taken out: pairs of backslashes first, so that what follows the rest is escaped."""
    return body.replace(b"\\\\", b"").replace(b'\\"', b"")


def _refuse_twice(body: bytes) -> None:
    def refuse_twice(pairs: list[tuple[str, Any]]) -> None:
        seen = set()
        for key, _ in pairs:
            if key in seen:
                raise InvalidRequestError(FieldProblem(key, f"key {shown(key)} stands twice in one object"))
            seen.add(key)

    json.loads(body, object_pairs_hook=refuse_twice)
    raise AssertionError("keys were dropped, but none stands twice")


def _refused(message: str) -> InvalidRequestError:
    return InvalidRequestError(FieldProblem("body", message))
