"""The routes: from HTTP to the ranker and back. Decides nothing about ranking."""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
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
from service.responses import FusionReport, RankResponse, Readiness
from service.schemas import RankRequest, parse_rank_request
from service.startup import Service
from service.stopwatch import Stopwatch
from service.traces import WATCH

__all__ = ["active_service", "json_answer", "router"]

router = APIRouter()

_SMALL_BYTES = 8 * 1024


@router.post(
    "/v1/rank",
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
    service = active_service(request)
    _refuse_other_than_json(request)
    body = await request.body()
    request.scope[WATCH] = watch = Stopwatch(request.scope[ARRIVED_AT])
    with service.metrics.inside():
        asked = await _read(service, body, watch)
        ranking = await service.ranker.rank(asked, watch)
    answer = json_answer(ranking.body)
    watch.lap("respond")
    service.metrics.ranked(ranking, watch)
    request.app.state.request_log.ranked(ranking, watch)
    return answer


@router.get("/v1/fusion", response_model=FusionReport, responses=problems(HTTPStatus.SERVICE_UNAVAILABLE))
async def fusion(request: Request) -> Response:
    """The fusion config in force, and what became of the file since."""
    service = active_service(request)
    state = service.control.fusion
    active = state.active
    return json_answer(
        {
            "revision": None,
            "version": active.version,
            "source": active.source,
            "loaded_at": active.loaded_at,
            "scenes": sorted(active.config.scenes),
            "config": orjson.loads(canonical(active.config)),
            "left_out": _left_out(active, service.control.snapshot().active.bundle.task_names),
            "rejected": None if state.rejected is None else asdict(state.rejected),
        }
    )


@router.get("/livez")
async def livez() -> Response:
    """The process answers."""
    return json_answer({"status": "alive"})


@router.get("/readyz", response_model=Readiness, responses=problems(HTTPStatus.SERVICE_UNAVAILABLE))
async def readyz(request: Request) -> Response:
    """The service can rank; how many of its workers can, and what they run."""
    service = active_service(request)
    ready = [report for report in service.fleet.workers() if report.ready]
    headcount = service.fleet.headcount()
    return json_answer(
        {
            "status": "ready",
            "bundle": service.fleet.own.bundle,
            "fusion": service.fleet.own.fusion,
            "workers": {"wanted": headcount.workers, "ready": len(ready), "replaced": headcount.replaced},
            "bundles": Tally(report.bundle for report in ready),
            "fusions": Tally(report.fusion for report in ready),
            "generations": Tally(report.generation or "none" for report in ready),
            "features": "reachable" if service.stores.healthy and service.fleet.own.generation else "away",
        }
    )


@router.get("/metrics", responses=problems(HTTPStatus.SERVICE_UNAVAILABLE))
async def metrics(request: Request) -> Response:
    """Numbers for Prometheus, of all workers."""
    service = active_service(request)
    text = await asyncio.to_thread(service.metrics.scrape)
    return Response(text, media_type=service.metrics.content_type)


def active_service(request: Request) -> Service:
    """What answers.

    Raises:
        NotReadyError: it is not loaded, or gone already.
    """
    service: Service | None = request.app.state.service
    if service is None:
        raise NotReadyError("the bundle is not loaded, or the service is shutting down")
    return service


def json_answer(body: dict[str, Any]) -> Response:
    """A plain answer."""
    return Response(orjson.dumps(body), media_type="application/json")


async def _read(service: Service, body: bytes, watch: Stopwatch) -> RankRequest:
    """What the body asks; a small one is parsed in less time than it takes to hand it over."""
    most = service.settings.max_candidates
    if len(body) <= _SMALL_BYTES:
        return _parse(body, most, watch)
    return await service.execution.aside(_parse, body, most, watch)


def _parse(body: bytes, max_candidates: int, watch: Stopwatch) -> RankRequest:
    watch.lap("wait")
    asked = parse_rank_request(read_json(body), max_candidates)
    watch.lap("parse")
    return asked


def _refuse_other_than_json(request: Request) -> None:
    """A body without a media type is taken for JSON; one that claims to be something else is not."""
    media_type = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise MediaTypeError(
            f"send the header `content-type: application/json` (found {media_type or 'nothing'}), or none"
        )


def _left_out(active: ActiveFusion, tasks: list[str]) -> dict[str, list[str]]:
    """By scene: the tasks that do not count in it."""
    return {
        name: [task for task in tasks if task not in scene.tasks or scene.tasks[task].weight == 0.0]
        for name, scene in sorted(active.config.scenes.items())
    }
