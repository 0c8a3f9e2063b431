"""The ranking route, straight from ASGI: from HTTP to the ranker and back. Decides nothing about ranking.

The framework documents it and would serve it, too, but its routing and its parameters cost more than all else
that HTTP takes: so it is asked only for what is not answered here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http import HTTPStatus

from fastapi import APIRouter, Request, Response
from starlette.background import BackgroundTask
from starlette.types import Receive, Scope

from service.contract.answers import RankResponse
from service.contract.query import Query, quick_query, read_query, strict_query
from service.http.bodies import refuse_other_than_json, whole_body
from service.http.openapi import problems
from service.http.replies import active_service
from service.http.routes.straight import SMALL_BYTES, Answer, StraightRoute
from service.ranking.ranker import Ranking
from service.ranking.stopwatch import Stopwatch
from service.startup import Service
from service.telemetry.scope import ARRIVED_AT, WATCH

router = APIRouter()


class RankRoute(StraightRoute):
    """Answers rankings, and passes on all else."""

    path = "/v1/rank"

    async def answer(self, scope: Scope, receive: Receive) -> Answer:
        """The ranking, whose record is written once it is on its way."""
        ranking = await ranked(scope, receive)
        return ranking.body, partial(keep, scope, ranking)


@router.post(
    RankRoute.path,
    response_model=RankResponse,
    responses=problems(
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
)
async def rank(request: Request) -> Response:
    """Rank candidate videos for a user."""
    ranking = await ranked(request.scope, request.receive)
    after = BackgroundTask(_keep_afterwards, request.scope, ranking)
    return Response(ranking.body, media_type="application/json", background=after)


async def _keep_afterwards(scope: Scope, ranking: Ranking) -> None:
    keep(scope, ranking)


def keep(scope: Scope, ranking: Ranking) -> None:
    """Have the record of an answer written, once the answer is on its way."""
    service: Service | None = scope["app"].state.service
    if ranking.shown is not None and service is not None and service.exposures is not None:
        service.exposures.offer(ranking.shown)


async def ranked(scope: Scope, receive: Receive) -> Ranking:
    """The answer to a ranking request.

    Raises:
        ServiceError: there is none.
    """
    state = scope["app"].state
    service = active_service(state)
    refuse_other_than_json(scope["headers"])
    body = await whole_body(receive)
    scope[WATCH] = watch = Stopwatch(scope[ARRIVED_AT])
    with service.metrics.inside():
        query = await _read(service, body, watch)
        ranking = await service.ranker.rank(query, watch)
    watch.lap("respond")
    service.metrics.ranked(ranking, watch)
    state.request_log.ranked(ranking, watch)
    return ranking


async def _read(service: Service, body: bytes, watch: Stopwatch) -> Query:
    """What the body asks; what takes less time than to hand it over is done at once."""
    most = service.settings.max_candidates
    read = read_query
    if len(body) <= SMALL_BYTES:
        query = quick_query(body, most)
        watch.lap("parse")
        if query is not None:
            return query
        read = strict_query
    return await service.execution.aside(_read_aside, read, body, most, watch)


def _read_aside(
    read: Callable[[bytes, int], Query], body: bytes, max_candidates: int, watch: Stopwatch
) -> Query:
    watch.lap("wait")
    query = read(body, max_candidates)
    watch.lap("parse")
    return query
