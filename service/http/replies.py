"""Replies that routes share. Knows no ranking."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson
from starlette.datastructures import State
from starlette.responses import Response

from service.contract.errors import NotReadyError, ServiceError
from service.http.problems import problem_of
from service.startup import Service


def refused(error: ServiceError, state: State) -> Response:
    """The answer to a request that failed so, which is logged where that is not its caller's fault."""
    answer = problem_of(error)
    if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        state.request_log.failed(answer.status_code, error)
    return answer


def active_service(state: State) -> Service:
    """What answers.

    Raises:
        NotReadyError: it is not loaded, or gone already.
    """
    service: Service | None = state.service
    if service is None:
        raise NotReadyError("the bundle is not loaded, or the service is shutting down")
    return service


def json_answer(body: dict[str, Any]) -> Response:
    """A plain answer."""
    return Response(orjson.dumps(body), media_type="application/json")
