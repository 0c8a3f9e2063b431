"""The route of previews, straight from ASGI as rankings are: a slider that moves sends many, beside rankings.

Compares nothing.
"""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Request, Response
from starlette.types import Receive, Scope

from service.contract.errors import NotFoundError
from service.contract.preview import PreviewItems, PreviewPicture, read_preview
from service.http.access import actor_of
from service.http.bodies import refuse_other_than_json, whole_body
from service.http.openapi import BEARER, problems
from service.http.replies import active_service
from service.http.routes.straight import SMALL_BYTES, Answer, StraightRoute

router = APIRouter()


class PreviewRoute(StraightRoute):
    """Answers previews, and passes on all else."""

    path = "/v1/fusion/preview"

    async def answer(self, scope: Scope, receive: Receive) -> Answer:
        """The picture, or the items."""
        return await _previewed(scope, receive), None


@router.post(
    PreviewRoute.path,
    response_model=PreviewPicture | PreviewItems,
    responses=problems(
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
    openapi_extra={"security": [{}, {BEARER: []}]},
)
async def preview(request: Request) -> Response:
    """What another fusion config would do to recent requests, or to one. Ranks nobody by it."""
    return Response(await _previewed(request.scope, request.receive), media_type="application/json")


async def _previewed(scope: Scope, receive: Receive) -> bytes:
    service = active_service(scope["app"].state)
    if service.preview is None:
        raise NotFoundError("there are no previews here; start the service with --control (FULCRUM_CONTROL)")
    service.preview.check_room()
    refuse_other_than_json(scope["headers"])
    body = await whole_body(receive)
    if len(body) <= SMALL_BYTES:
        asked = read_preview(body)
    else:
        asked = await service.execution.aside(read_preview, body)
    may_read = actor_of(Request(scope), service.actors).may("read")
    return await service.preview.answer(asked, may_read)
