"""The contract of `POST /v1/fusion/preview`: what a request may hold, and what the answers hold.

Says nothing of the config's own rules, which `model.fusion` judges, nor of the ranking request's.
"""

from __future__ import annotations

from typing import Any, Literal

import orjson
from pydantic import Field, ValidationError

from model.frozen import Strict
from model.fusion import DEFAULT_SCENE, MAX_BYTES
from service.contract.answers import BaseContribution, LengthContribution, TaskContribution
from service.contract.errors import FieldProblem, InvalidRequestError, invalid
from service.contract.request import Id
from service.contract.strict_json import read_json

MOST_RECENT = 300
"""Requests of a sample that one preview looks at."""
MOST_TOP = 100


class PreviewRequest(Strict):
    """What to compare with the fusion in force, `config` or `revision`, and where, `recent` or `request`."""

    recent: int | None = Field(
        default=None,
        ge=1,
        le=MOST_RECENT,
        description="Look at this number of the newest requests of the sample, of the scene.",
    )
    request: dict[str, Any] | None = Field(
        default=None, description="Look at this request, a body of /v1/rank, in place of recent ones."
    )
    config: dict[str, Any] | None = Field(default=None, description="The edited fusion config.")
    revision: int | None = Field(default=None, ge=1, description="A revision, in place of a config.")
    top: int = Field(default=10, ge=1, le=MOST_TOP, description="Places that count, and items in an answer.")
    scene: Id = Field(default=DEFAULT_SCENE, description="Of recent requests: those that get this scene.")
    sample_id: Id | None = Field(
        default=None,
        description="Of an earlier answer: look at the same requests again. One that is gone, as it is after "
        "a minute or more, is replaced by the newest; the answer says which it was.",
    )
    pick: int | None = Field(
        default=None,
        ge=0,
        description="Look at one of the recent requests, with the terms of its items: its number among those "
        "of the scene, the newest is 0.",
    )


class BaseName(Strict):
    """The fusion in force, which the edited one is compared with."""

    revision: int | None = Field(description="Counts in a store; null for a file.")
    version: str = Field(description="sha256 of the canonical config.")


class Mover(Strict):
    """A candidate of the first places of either order that changes its place."""

    id: str | None = Field(description="null for who may not see ids.")
    request: int = Field(description="The request's number, as `pick` takes it.")
    candidate: int = Field(description="The candidate's number in it, among those that were scored.")
    before: int = Field(description="Its rank, from 1.")
    after: int


class Shares(Strict):
    """Before, and after."""

    before: float
    after: float


class LengthShare(Shares):
    """The share of first places that lengths from `from_s` to below `to_s` have; both null: unknown ones."""

    from_s: float | None
    to_s: float | None = Field(description="Seconds; null for no end.")
    candidates: float = Field(description="Their share of all candidates.")


class StatusShare(Shares):
    """The share of the first places that candidates of a status have."""

    status: Literal["ok", "default_features"]


class Exposure(Strict):
    """What stands in the first places."""

    video_len: list[LengthShare]
    status: list[StatusShare]


class _Preview(Strict):
    sample_id: str | None = Field(description="Name of the sample; null without one.")
    made_ms: int | None = Field(description="When the sample was made: milliseconds since 1970, UTC.")
    requests: int = Field(description="Requests looked at, or from which `pick` picks.")
    base: BaseName
    movers: list[Mover] = Field(description="Those that move farthest.")


class PreviewPicture(_Preview):
    """What changes over recent requests; nulls where none was seen yet."""

    candidates: int
    changed_first: float | None = Field(description="Share of requests in which another candidate is first.")
    changed_top: float | None = Field(
        description="Share of the first places that others take, request by request."
    )
    kendall_tau: float | None = Field(description="Kendall's tau-b over the first 50, mean of requests.")
    exposure: Exposure | None
    rates: dict[str, Shares] | None = Field(
        description="By task: the mean prediction in the first places, before calibration."
    )


class PreviewItem(Strict):
    """A candidate in its place, with the terms of its score."""

    id: str | None
    candidate: int
    rank: int
    score: float
    log_score: float | None
    video_len_s: float | None
    status: Literal["ok", "default_features"]
    predictions: dict[str, float]
    terms: dict[str, TaskContribution | LengthContribution | BaseContribution]


class SegmentNames(Strict):
    """Segments whose weights hold; null for the scene's own."""

    before: str | None
    after: str | None


class PreviewItems(_Preview):
    """One request under both fusions."""

    pick: int
    scene: str = Field(description="The scene that the edited fusion applies.")
    segments: SegmentNames
    before: list[PreviewItem]
    after: list[PreviewItem]


def read_preview(body: bytes) -> PreviewRequest:
    """The request in `body`.

    Raises:
        InvalidRequestError: it is no strict JSON or breaks the contract; names the field.
    """
    document = read_json(body)
    try:
        found = PreviewRequest.model_validate(document)
    except ValidationError as error:
        raise invalid(error.errors(include_url=False), PreviewRequest, True) from None
    for one, other in (("config", "revision"), ("recent", "request")):
        given = [name for name in (one, other) if getattr(found, name) is not None]
        if len(given) != 1:
            raise _invalid(
                one, f"give exactly one of {one} and {other}, found {'both' if given else 'neither'}"
            )
    if found.request is not None:
        for name in ("pick", "sample_id", "scene"):
            if name in found.model_fields_set:
                raise _invalid(name, "goes with recent; a request says its own scene")
    if found.config is not None and len(body) > MAX_BYTES and len(orjson.dumps(found.config)) > MAX_BYTES:
        raise _invalid("config", f"larger than {MAX_BYTES} bytes; expected a fusion config")
    return found


def _invalid(field: str, message: str) -> InvalidRequestError:
    return InvalidRequestError(FieldProblem(field, message))
