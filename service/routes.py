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
from service.contract.answers import FusionReport, RankResponse, Readiness
from service.control.fusion.file import ActiveFusion
from service.openapi import problems
from service.rank_route import active_service, ranked

__all__ = ["json_answer", "router"]

router = APIRouter()


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
    return Response(await ranked(request.scope, request.receive), media_type="application/json")


@router.get("/v1/fusion", response_model=FusionReport, responses=problems(HTTPStatus.SERVICE_UNAVAILABLE))
async def fusion(request: Request) -> Response:
    """The fusion config in force, and what became of the file since."""
    service = active_service(request.app.state)
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
    service = active_service(request.app.state)
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
    service = active_service(request.app.state)
    text = await asyncio.to_thread(service.metrics.scrape)
    return Response(text, media_type=service.metrics.content_type)


def json_answer(body: dict[str, Any]) -> Response:
    """A plain answer."""
    return Response(orjson.dumps(body), media_type="application/json")


def _left_out(active: ActiveFusion, tasks: list[str]) -> dict[str, list[str]]:
    """By scene: the tasks that do not count in it."""
    return {
        name: [task for task in tasks if task not in scene.tasks or scene.tasks[task].weight == 0.0]
        for name, scene in sorted(active.config.scenes.items())
    }
