"""The routes: from HTTP to the ranker and back. Decides nothing about ranking."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from model.fusion import canonical
from service.body import read_json
from service.control.fusion_file import ActiveFusion
from service.errors import MediaTypeError, NotReadyError
from service.middleware import ARRIVED_AT
from service.openapi import problems
from service.responses import FusionReport, RankResponse
from service.schemas import RankRequest, parse_rank_request
from service.startup import Service
from service.stopwatch import Stopwatch

__all__ = ["router"]

router = APIRouter()


@router.post(
    "/v1/rank",
    response_model=RankResponse,
    responses=problems(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
)
async def rank(request: Request) -> Response:
    """Rank candidate videos for a user."""
    service = _service(request)
    _refuse_other_than_json(request)
    body = await request.body()
    watch = Stopwatch(request.scope[ARRIVED_AT])
    in_pool = asyncio.get_running_loop().run_in_executor
    asked = await in_pool(service.pool, _parse, body, service.settings.max_candidates, watch)
    ranking = await service.ranker.rank(asked, watch)
    answer = _json(ranking.body)
    watch.lap("respond")
    service.metrics.ranked(ranking, watch)
    return answer


@router.get("/v1/fusion", response_model=FusionReport, responses=problems(HTTPStatus.SERVICE_UNAVAILABLE))
async def fusion(request: Request) -> Response:
    """The fusion config in force, and what became of the file since."""
    service = _service(request)
    state = service.fusion.state
    active = state.active
    return _json(
        {
            "revision": None,
            "version": active.version,
            "source": active.source,
            "loaded_at": active.loaded_at,
            "scenes": sorted(active.config.scenes),
            "config": orjson.loads(canonical(active.config)),
            "left_out": _left_out(active, service.active.bundle.task_names),
            "rejected": None if state.rejected is None else asdict(state.rejected),
        }
    )


@router.get("/livez")
async def livez() -> Response:
    """The process answers."""
    return _json({"status": "alive"})


@router.get("/readyz", responses=problems(HTTPStatus.SERVICE_UNAVAILABLE))
async def readyz(request: Request) -> Response:
    """The service can rank."""
    service = _service(request)
    return _json({"status": "ready", "bundle": service.active.bundle.version})


@router.get("/metrics", responses=problems(HTTPStatus.SERVICE_UNAVAILABLE))
async def metrics(request: Request) -> Response:
    """Numbers for Prometheus."""
    service = _service(request)
    text = service.metrics.scrape(service.active, service.fusion.state)
    return Response(text, media_type=service.metrics.content_type)


def _service(request: Request) -> Service:
    service: Service | None = request.app.state.service
    if service is None:
        raise NotReadyError("the bundle is not loaded, or the service is shutting down")
    return service


def _parse(body: bytes, max_candidates: int, watch: Stopwatch) -> RankRequest:
    watch.lap("wait")
    asked = parse_rank_request(read_json(body), max_candidates)
    watch.lap("parse")
    return asked


def _refuse_other_than_json(request: Request) -> None:
    """A body without a media type is taken for JSON; one that claims to be something else is not."""
    media_type = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise MediaTypeError(f"expected content-type application/json, found {media_type or 'nothing'}")


def _left_out(active: ActiveFusion, tasks: list[str]) -> dict[str, list[str]]:
    """By scene: the tasks that do not count in it."""
    return {
        name: [task for task in tasks if task not in scene.tasks or scene.tasks[task].weight == 0.0]
        for name, scene in sorted(active.config.scenes.items())
    }


def _json(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
