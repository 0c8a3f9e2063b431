"""The contract of `POST /v1/rank`: what a request may hold. The answer is in `answers.py`.

Knows nothing of a bundle: `overrides.py`, which does, checks names and kinds of features.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, PlainValidator, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from model.errors import MOST_PROBLEMS, shown
from model.frozen import Strict
from service.contract.errors import FieldProblem, InvalidRequestError, invalid
from service.contract.fields import FieldName

MAX_ID_BYTES = 256
MAX_VIDEO_LEN_S = 1e9
MAX_LIST = 5_000
"""Elements of a list that a request gives as a feature; the feature keeps far fewer."""
MAX_FEATURES = 1_000
"""Features that a request gives of its user, of its context, or of one candidate."""
MAX_NAME = 256
"""Characters of a feature's name, and of any other key."""
MAX_FIELDS = 64
"""Names in `fields`."""
_MAX_KEYS = 64
"""Keys of the request and of a candidate, unknown ones included."""


def _fits(text: str) -> str:
    # Four bytes a character at most: short ids need no encoding to be judged.
    if len(text) > MAX_ID_BYTES // 4 and len(text.encode()) > MAX_ID_BYTES:
        raise ValueError(f"an id is at most {MAX_ID_BYTES} bytes of UTF-8, found {len(text.encode())}")
    return text


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | bool | int) or _is_finite(value)


def _is_finite(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _feature(value: Any) -> Any:
    if _is_scalar(value):
        return value
    if not isinstance(value, list):
        raise ValueError(
            f"expected text, a finite number, true, false, null or a list of these, found {shown(value)}"
        )
    if len(value) > MAX_LIST:
        raise ValueError(f"a list has at most {MAX_LIST} elements, found {len(value)}")
    for place, element in enumerate(value):
        if not _is_scalar(element):
            raise ValueError(
                f"a list holds text, finite numbers, true, false or null, found {shown(element)} at {place}"
            )
    return value


Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_BYTES), AfterValidator(_fits)]
Scalar = str | int | float | bool | None
Feature = Annotated[
    Scalar | list[Scalar],
    PlainValidator(
        _feature,
        json_schema_input_type=Scalar | Annotated[list[Scalar], Field(max_length=MAX_LIST)],
    ),
]
Features = Annotated[dict[str, Feature], Field(max_length=MAX_FEATURES)]


class Candidate(Strict):
    """A video to score."""

    id: Id = Field(description="The video's id, as in the feature store.")
    video_len: float | None = Field(
        default=None,
        gt=0,
        le=MAX_VIDEO_LEN_S,
        description="Its length in seconds. Default: the store's. Stands for the duration feature, too.",
    )
    features: Features = Field(
        default_factory=dict,
        description="Item features by name, in place of the store's; null is missing. Features of several "
        "values take a list.",
    )


class RankRequest(Strict):
    """A user, candidates, and how to rank them. Give exactly one of candidates and candidate_ids."""

    request_id: Id | None = Field(default=None, description="The caller's name of this request, echoed.")
    user_id: Id = Field(description="The user's id, as in the feature store.")
    session_id: Id | None = Field(
        default=None,
        description="The session's id, where a scene explores by session. Default: a session a request.",
    )
    scene: Id = Field(
        default="default", description="Scene of the fusion config; an unknown one takes the default's."
    )
    top_k: int = Field(default=50, ge=1, description="Items in the answer, at most.")
    timeout_ms: float | None = Field(
        default=None,
        gt=0,
        description="Milliseconds from arrival; candidates not scored by then come back unscored.",
    )
    explain: bool = Field(default=False, description="Give each item's log-score and its terms.")
    fields: list[FieldName] = Field(
        default=["predictions"],
        max_length=MAX_FIELDS,
        description="What each item carries beside id, rank, score and status.",
    )
    context: Features = Field(default_factory=dict, description="Context features by name.")
    user_features: Features = Field(
        default_factory=dict,
        description="User features by name, in place of the store's; null is missing. Features of several "
        "values take a list, sequences oldest first.",
    )
    candidates: list[Candidate] | None = Field(
        default=None, min_length=1, description="Videos to score, with what the request knows of them."
    )
    candidate_ids: list[Id] | None = Field(
        default=None, min_length=1, description="Ids of the videos to score, in place of candidates."
    )

    @property
    def ids(self) -> list[str]:
        """The candidates' ids, in the given order."""
        if self.candidates is not None:
            return [candidate.id for candidate in self.candidates]
        return self.candidate_ids or []


def parse_rank_request(document: Any, max_candidates: int) -> RankRequest:
    """A JSON document as a request.

    Raises:
        InvalidRequestError: it breaks the contract; names the field.
    """
    _refuse_too_large(document, max_candidates)  # before anything costs time for each
    request = _validated(document)
    if (request.candidates is None) == (request.candidate_ids is None):
        found = "neither" if request.candidates is None else "both"
        raise InvalidRequestError(
            FieldProblem("candidates", f"give exactly one of candidates and candidate_ids, found {found}")
        )
    _refuse_repeated(request)
    return request


_LISTS: dict[str, TypeAdapter[Any]] = {
    "candidates": TypeAdapter(Candidate),
    "candidate_ids": TypeAdapter(Id, config=ConfigDict(strict=True)),
}
"""What the long lists hold."""


def _validated(document: Any) -> RankRequest:
    """The request, its long lists element by element: nothing is read after the last problem shown."""
    failures: list[ErrorDetails] = []
    lists = {}
    if isinstance(document, dict):
        lists = {name: document[name] for name in _LISTS if _is_filled_list(document.get(name))}
    request, all_read = None, True
    try:
        rest = {name: value for name, value in document.items() if name not in lists} if lists else document
        request = RankRequest.model_validate(rest)
    except ValidationError as error:
        failures += error.errors(include_url=False)
    found: dict[str, list[Any]] = {name: [] for name in lists}
    for name, values in lists.items():
        for place, value in enumerate(values):
            if len(failures) >= MOST_PROBLEMS:
                all_read = False
                break
            try:
                found[name].append(_LISTS[name].validate_python(value))
            except ValidationError as error:
                for one in error.errors(include_url=False):
                    failures.append({**one, "loc": (name, place, *one["loc"])})
    if request is None or failures:
        raise invalid(failures, RankRequest, all_read)
    return request.model_copy(update=found)


def _is_filled_list(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0


def _refuse_too_large(document: Any, max_candidates: int) -> None:
    """Bound what is in the request, and so the number of problems that it can have."""
    if not isinstance(document, dict):
        return
    _refuse_more("body", document, _MAX_KEYS, "keys")
    _refuse_more("fields", document.get("fields"), MAX_FIELDS, "names")
    _refuse_more("candidate_ids", document.get("candidate_ids"), max_candidates, "candidates")
    for field in ("context", "user_features"):
        _refuse_more(field, document.get(field), MAX_FEATURES, "features")
    candidates = document.get("candidates")
    _refuse_more("candidates", candidates, max_candidates, "candidates")
    for place, candidate in enumerate(candidates if isinstance(candidates, list) else ()):
        if isinstance(candidate, dict):
            _refuse_more("candidates[{}]", candidate, _MAX_KEYS, "keys", place)
            _refuse_more(
                "candidates[{}].features", candidate.get("features"), MAX_FEATURES, "features", place
            )


def _refuse_more(path: str, value: Any, most: int, what: str, place: int = 0) -> None:
    if not isinstance(value, list | dict):
        return
    if len(value) > most:
        found = f"at most {most} {what}, found {len(value)}"
    elif isinstance(value, dict) and max(map(len, value), default=0) > MAX_NAME:
        found = f"a key has at most {MAX_NAME} characters, found {max(map(len, value))}"
    else:
        return
    raise InvalidRequestError(FieldProblem(path.format(place), found))


def _refuse_repeated(request: RankRequest) -> None:
    ids = request.ids
    if len(set(ids)) == len(ids):
        return
    place: dict[str, int] = {}
    for index, candidate in enumerate(ids):
        first = place.setdefault(candidate, index)
        if first != index:
            path = "candidates[{}].id" if request.candidates is not None else "candidate_ids[{}]"
            earlier = path.format(first)
            raise InvalidRequestError(
                FieldProblem(
                    path.format(index), f"candidate {shown(candidate)} stands twice, first at {earlier}"
                )
            )
