"""The routes of operations: whether the service lives, whether it can rank, and its metrics."""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from service.contract.answers import Readiness
from service.http.openapi import problems
from service.http.replies import active_service, json_answer
from service.startup import Service

router = APIRouter()


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
    kinds = service.control.snapshot().active.bundle.manifest.events
    return json_answer(
        {
            "status": "ready",
            "bundle": service.fleet.own.bundle,
            "fusion": service.fleet.own.fusion,
            "workers": {"wanted": headcount.workers, "ready": len(ready), "replaced": headcount.replaced},
            "bundles": Tally(report.bundle for report in ready),
            "fusions": Tally(report.fusion for report in ready),
            "revisions": Tally(str(report.revision or "none") for report in ready),
            "generations": Tally(report.generation or "none" for report in ready),
            "features": "reachable" if service.stores.healthy and service.fleet.own.generation else "away",
            "feedback": service.feedback.store.state if service.feedback and kinds else "off",
            "control": _followed(service),
            "arm_bundles": Tally(version for report in ready for version in report.arm_bundles),
            "waiting": {name: why for report in ready for name, why in report.waiting.items()},
            "events": service.exposures.state if service.exposures is not None else "off",
        }
    )


@router.get("/metrics", responses=problems(HTTPStatus.SERVICE_UNAVAILABLE))
async def metrics(request: Request) -> Response:
    """Numbers for Prometheus, of all workers."""
    service = active_service(request.app.state)
    text = await asyncio.to_thread(service.metrics.scrape)
    return Response(text, media_type=service.metrics.content_type)


def _followed(service: Service) -> str:
    if service.operator is None:
        return "off"
    problem = service.operator.problem
    return "followed" if problem is None else f"failing: {problem}"
