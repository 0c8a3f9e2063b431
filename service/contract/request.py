"""The contract of `POST /v1/rank`: what a request may hold. The answer is in `answers.py`.

Knows nothing of a bundle: `overrides.py`, which does, checks names and kinds of features.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PlainValidator, ValidationError

from model.errors import shown
from model.frozen import Strict
from service.contract.errors import FieldProblem, InvalidRequestError, invalid
from service.contract.fields import FieldName

MAX_ID_BYTES = 256
MAX_VIDEO_LEN_S = 1e9
MAX_LIST = 5_000
"""Elements of a list that a request gives as a feature; the feature keeps far fewer."""


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
Features = dict[str, Feature]


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
        default=["predictions"], description="What each item carries beside id, rank, score and status."
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
    _refuse_too_many(document, max_candidates)  # before anything costs time for each
    try:
        request = RankRequest.model_validate(document)
    except ValidationError as error:
        raise invalid(error, RankRequest, document) from None
    if (request.candidates is None) == (request.candidate_ids is None):
        found = "neither" if request.candidates is None else "both"
        raise InvalidRequestError(
            FieldProblem("candidates", f"give exactly one of candidates and candidate_ids, found {found}")
        )
    _refuse_repeated(request)
    return request


def _refuse_too_many(document: Any, max_candidates: int) -> None:
    if not isinstance(document, dict):
        return
    for field in ("candidates", "candidate_ids"):
        given = document.get(field)
        if isinstance(given, list) and len(given) > max_candidates:
            raise InvalidRequestError(
                FieldProblem(field, f"at most {max_candidates} candidates, found {len(given)}")
            )


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
