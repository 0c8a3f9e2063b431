"""Problems: the one table from error to HTTP status, answered as `application/problem+json` (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response

from service.contract.errors import (
    BodyTooLargeError,
    ConflictError,
    EncodingError,
    FeedbackUnavailableError,
    FieldProblem,
    ForbiddenError,
    InvalidRequestError,
    MediaTypeError,
    NotFoundError,
    NotReadyError,
    OverloadedError,
    ServiceError,
    SlowClientError,
    StateUnavailableError,
    UnauthorizedError,
)

PROBLEM_JSON = "application/problem+json"


_MOST_SHOWN = 20
"""Field problems that one answer lists."""


_TABLE: Mapping[type[ServiceError], tuple[HTTPStatus, str]] = {
    InvalidRequestError: (HTTPStatus.UNPROCESSABLE_ENTITY, "The request is not valid"),
    BodyTooLargeError: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large"),
    MediaTypeError: (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body is not JSON"),
    EncodingError: (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body is encoded"),
    NotReadyError: (HTTPStatus.SERVICE_UNAVAILABLE, "The service is not ready"),
    SlowClientError: (HTTPStatus.REQUEST_TIMEOUT, "The body came too slowly"),
    OverloadedError: (HTTPStatus.SERVICE_UNAVAILABLE, "The service is overloaded"),
    FeedbackUnavailableError: (HTTPStatus.SERVICE_UNAVAILABLE, "Feedback cannot be kept"),
    UnauthorizedError: (HTTPStatus.UNAUTHORIZED, "A token is needed"),
    ForbiddenError: (HTTPStatus.FORBIDDEN, "It is not allowed"),
    NotFoundError: (HTTPStatus.NOT_FOUND, "There is no such thing"),
    ConflictError: (HTTPStatus.CONFLICT, "It cannot be done as things are"),
    StateUnavailableError: (HTTPStatus.SERVICE_UNAVAILABLE, "What is wanted cannot be read or written"),
}


def problem_of(error: ServiceError) -> Response:
    """The answer to a request that failed so."""
    status, title = _TABLE[type(error)]
    problems = error.problems if isinstance(error, InvalidRequestError) else ()
    headers: dict[str, str] = {}
    if isinstance(error, OverloadedError):
        headers["retry-after"] = str(error.retry_after_s)
    if isinstance(error, EncodingError):
        headers["accept-encoding"] = "identity"  # RFC 9110, 15.5.16
    if isinstance(error, SlowClientError):
        headers["connection"] = "close"  # the rest of the body may still come
    if isinstance(error, UnauthorizedError):
        headers["www-authenticate"] = 'Bearer realm="fulcrum"'
    return problem(status, title, str(error), problems, headers)


def problem(
    status: int,
    title: str,
    detail: str,
    problems: Sequence[FieldProblem] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An answer in `application/problem+json`."""
    body: dict[str, Any] = {"type": "about:blank", "title": title, "status": int(status), "detail": detail}
    if problems:
        body["errors"] = [{"field": one.field, "message": one.message} for one in problems[:_MOST_SHOWN]]
    return Response(orjson.dumps(body), status, headers, PROBLEM_JSON)
