"""Query: a ranking request as the ranker takes it, read from its bytes. Knows the contract, and no bundle.

The contract is `request.RankRequest`. It judges a body value by value, which costs more than ranking needs of
each. So a body is first looked at column by column, by operations that touch all candidates at once: what is
valid beyond doubt is taken, and all else is left to the contract, which refuses it in its own words or takes
it, too.

Shapes: N candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from service.contract.fields import COLUMNS, asked
from service.contract.request import (
    MAX_FEATURES,
    MAX_FIELDS,
    MAX_ID_BYTES,
    MAX_LIST,
    MAX_NAME,
    MAX_VIDEO_LEN_S,
    Candidate,
    RankRequest,
    parse_rank_request,
)
from service.contract.strict_json import count_written_keys, read_json


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """Whom to rank what for, and how; as in `RankRequest` where not told otherwise.

    Attributes:
        fields: what items carry, each once, in their order.
        ids: of the candidates, each once [N].
        video_len_s: the lengths that the request gives, seconds, NaN where it gives none [N]; None where it
            gives none at all.
        features: the item features that it gives by name [N]; None where it gives none at all.
    """

    request_id: str | None
    user_id: str
    scene: str
    top_k: int
    timeout_ms: float | None
    explain: bool
    fields: Sequence[str]
    context: Mapping[str, Any]
    user_features: Mapping[str, Any]
    ids: Sequence[str]
    video_len_s: npt.NDArray[np.float64] | None = None
    features: Sequence[Mapping[str, Any]] | None = None
    session_id: str | None = None


def read_query(body: bytes, max_candidates: int) -> Query:
    """The request in `body`.

    Raises:
        InvalidRequestError: it is no strict JSON or breaks the contract; names the field.
    """
    query = quick_query(body, max_candidates)
    return strict_query(body, max_candidates) if query is None else query


def strict_query(body: bytes, max_candidates: int) -> Query:
    """The request in `body`, judged by the contract value by value.

    Raises:
        InvalidRequestError: it is no strict JSON or breaks the contract; names the field.
    """
    return query_of(parse_rank_request(read_json(body), max_candidates))


def query_of(request: RankRequest) -> Query:
    """A valid request, column by column."""
    candidates = request.candidates or ()
    return Query(
        request.request_id,
        request.user_id,
        request.scene,
        request.top_k,
        request.timeout_ms,
        request.explain,
        asked(request.fields),
        request.context,
        request.user_features,
        request.ids,
        _seconds([candidate.video_len for candidate in candidates]),
        _given([candidate.features for candidate in candidates]),
        request.session_id,
    )


_SHORT_ID = MAX_ID_BYTES // 4
"""Characters that fit whatever they are: four bytes each at most."""

_KEYS = RankRequest.model_fields.keys()
_CANDIDATE_KEYS = Candidate.model_fields.keys()
_DEFAULTS = {
    name: field.get_default(call_default_factory=True, validated_data={})
    for name, field in RankRequest.model_fields.items()
    if not field.is_required()
}
_ABSENT: dict[str, Any] = {"features": {}}

_NUMBERS = {int, float}
_NUMBERS_OR_NONE = {int, float, type(None)}
_SCALARS = {str, int, float, bool, type(None)}


def quick_query(body: bytes, max_candidates: int) -> Query | None:
    """The request in `body` if it is valid beyond doubt. No number of JSON is NaN or infinite in orjson."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if type(document) is not dict or not document.keys() <= _KEYS or "user_id" not in document:
        return None
    given = _DEFAULTS | document
    context, user_features = given["context"], given["user_features"]
    if not _is_plain(given) or type(context) is not dict or type(user_features) is not dict:
        return None
    if not _are_names({*context, *user_features}):
        return None
    if not _are_features([*context.values(), *user_features.values()]):
        return None
    keys = len(document) + len(context) + len(user_features)
    ids, candidates = given["candidate_ids"], given["candidates"]
    lengths: Sequence[float | None] = ()
    features: Sequence[dict[str, Any]] = ()
    if candidates is not None:
        if ids is not None or not _is_list_of(dict, candidates, max_candidates):
            return None
        columns = _columns(candidates)
        if columns is None:
            return None
        ids, lengths, features = columns["id"], columns.get("video_len", ()), columns.get("features", ())
        if not set(map(type, lengths)) <= _NUMBERS_OR_NONE or not set(map(type, features)) <= {dict}:
            return None
        if not _are_names(set(chain.from_iterable(features))):
            return None
        if not _are_features(list(chain.from_iterable(map(dict.values, features)))):
            return None
        keys += sum(map(len, candidates)) + sum(map(len, features))
    if not _is_list_of(str, ids, max_candidates) or not _are_ids(ids):
        return None
    seconds = _seconds(lengths)
    if seconds is not None and ((seconds <= 0.0) | (seconds > MAX_VIDEO_LEN_S)).any():
        return None
    # A key that stands twice is lost in reading. Each key is followed by a colon: where there are no more
    # colons than keys, none was lost; where there are, some may stand in texts.
    if body.count(b":") != keys and count_written_keys(body) != keys:
        return None
    return Query(
        given["request_id"],
        given["user_id"],
        given["scene"],
        given["top_k"],
        given["timeout_ms"],
        given["explain"],
        asked(given["fields"]),
        context,
        user_features,
        ids,
        seconds,
        _given(features),
        given["session_id"],
    )


def _columns(candidates: list[dict[str, Any]]) -> dict[str, list[Any]] | None:
    """By key, each candidate's value, or what stands for one that it leaves out; None for a foreign key."""
    names = set(candidates[0])
    if names <= _CANDIDATE_KEYS and sum(map(len, candidates)) == len(names) * len(candidates):
        try:
            return {name: list(map(itemgetter(name), candidates)) for name in names | {"id"}}
        except KeyError:  # not all have the same keys
            pass
    names = set(chain.from_iterable(candidates)) | {"id"}
    if not names <= _CANDIDATE_KEYS:
        return None
    return {name: [candidate.get(name, _ABSENT.get(name)) for candidate in candidates] for name in names}


def _is_plain(given: Mapping[str, Any]) -> bool:
    """Whether the values that do not concern candidates, features apart, are valid beyond doubt."""
    timeout_ms, top_k, fields = given["timeout_ms"], given["top_k"], given["fields"]
    return (
        _is_id(given["user_id"])
        and _is_id(given["scene"])
        and all(given[name] is None or _is_id(given[name]) for name in ("request_id", "session_id"))
        and type(top_k) is int
        and top_k >= 1
        and (timeout_ms is None or (type(timeout_ms) in _NUMBERS and timeout_ms > 0))
        and type(given["explain"]) is bool
        and type(fields) is list
        and len(fields) <= MAX_FIELDS
        and set(map(type, fields)) <= {str}
        and COLUMNS.keys() >= set(fields)
    )


def _is_id(value: Any) -> bool:
    return type(value) is str and 0 < len(value) <= _SHORT_ID


def _is_list_of(kind: type, values: Any, most: int) -> bool:
    return type(values) is list and 0 < len(values) <= most and set(map(type, values)) == {kind}


def _are_ids(ids: list[str]) -> bool:
    distinct = set(ids)
    return len(distinct) == len(ids) and "" not in distinct and max(map(len, ids)) <= _SHORT_ID


def _are_names(names: set[str]) -> bool:
    """Whether so few different features are named, and so briefly, that no object has too many of them."""
    return len(names) <= MAX_FEATURES and max(map(len, names), default=0) <= MAX_NAME


def _are_features(values: list[Any]) -> bool:
    kinds = set(map(type, values))
    if kinds <= _SCALARS:
        return True
    lists = [value for value in values if type(value) is list]
    return (
        kinds <= _SCALARS | {list}
        and max(map(len, lists)) <= MAX_LIST
        and set(map(type, chain.from_iterable(lists))) <= _SCALARS
    )


def _seconds(lengths: Sequence[float | None]) -> npt.NDArray[np.float64] | None:
    seconds = np.array(lengths, np.float64)  # None is NaN
    return None if np.isnan(seconds).all() else seconds


def _given(features: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]] | None:
    return features if any(features) else None
