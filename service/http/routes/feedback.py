"""The route of feedback: from HTTP to the intake and back. Judges no event."""

from __future__ import annotations

from http import HTTPStatus

import orjson
from fastapi import APIRouter, Request, Response

from service.contract.answers import FeedbackReceipt
from service.contract.errors import NotFoundError
from service.http.bodies import refuse_other_than_json, whole_body
from service.http.openapi import problems
from service.http.replies import active_service

router = APIRouter()


@router.post(
    "/v1/feedback",
    status_code=HTTPStatus.ACCEPTED,
    response_model=FeedbackReceipt,
    responses=problems(
        HTTPStatus.NOT_FOUND,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
)
async def feedback(request: Request) -> Response:
    """Tell what viewers did. The answer comes once the accepted events would survive a power cut."""
    service = active_service(request.app.state)
    if service.feedback is None:
        raise NotFoundError("no feedback is kept here; start the service with --events DIR (FULCRUM_EVENTS)")
    catalogue = service.control.snapshot().active.bundle.manifest.events
    if catalogue is None:
        raise NotFoundError(
            "the bundle that serves declares no kinds of feedback; declare `events:` in its recipe and "
            "train it again"
        )
    refuse_other_than_json(request.scope["headers"])
    receipt = await service.feedback.take(await whole_body(request.receive), catalogue)
    return Response(orjson.dumps(receipt), HTTPStatus.ACCEPTED, media_type="application/json")
