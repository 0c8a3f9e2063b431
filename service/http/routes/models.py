"""The routes of bundles: what there is, and which shall serve. Decides nothing about either."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response

from model.bundle import Manifest
from model.errors import FulcrumError
from service.contract.answers import ModelsReport
from service.contract.errors import (
    ConflictError,
    NotFoundError,
    StateUnavailableError,
)
from service.control.state.desired import StateError, UnknownVersionError
from service.http.access import actor_with
from service.http.openapi import BEARER, problems
from service.http.replies import active_service, json_answer
from service.startup import Service

router = APIRouter()


@router.get("/v1/models", response_model=ModelsReport, responses=problems(HTTPStatus.SERVICE_UNAVAILABLE))
async def models(request: Request) -> Response:
    """The bundles at hand, which of them serves, and why others do not."""
    return json_answer(_report(active_service(request.app.state)))


@router.post(
    "/v1/models/{version}/activate",
    response_model=ModelsReport,
    responses=problems(
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.CONFLICT,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
    openapi_extra={"security": [{BEARER: []}]},
)
async def activate(request: Request, version: str) -> Response:
    """Serve this bundle, and keep to it. The answer comes once this worker does; the others follow.

    The version may be shortened as long as it is unique.
    """
    service = active_service(request.app.state)
    actor = actor_with(request, service.actors, "activate")
    if service.rollout is None:
        raise ConflictError("this service was started with one bundle; set models, not bundle, to change it")
    try:
        if service.operator is None:
            await asyncio.to_thread(service.rollout.activate, version)
        else:
            await asyncio.to_thread(service.operator.activate_bundle, str(actor.name), version)
    except UnknownVersionError as error:
        raise NotFoundError(str(error)) from error
    except StateError as error:
        raise StateUnavailableError(str(error)) from error
    except FulcrumError as error:
        raise ConflictError(str(error)) from error
    return json_answer(_report(service))


def _report(service: Service) -> dict[str, Any]:
    workers = service.fleet.workers()
    own, previous = service.fleet.own, {worker.previous for worker in workers}
    refused: dict[Path, str] = {}
    known: list[tuple[Path, Manifest | None, str | None]]
    if service.rollout is None:
        bundle = service.control.snapshot().active.bundle
        known = [(bundle.path, bundle.manifest, None)]
    else:
        refused = service.rollout.refusals()
        known = [(model.path, model.manifest, model.problem) for model in service.rollout.catalog.models]

    def describe(path: Path, manifest: Manifest | None, problem: str | None) -> dict[str, Any]:
        version = manifest.version if manifest else None
        reason = problem or refused.get(path)
        if version == own.bundle:
            status = "active"
        elif reason is not None:
            status = "refused"
        else:
            status = "previous" if version in previous else "available"
        return {
            "name": manifest.name if manifest else None,
            "version": version,
            "created": manifest.created if manifest else None,
            "path": str(path),
            "status": status,
            "reason": reason,
            "tasks": [task.name for task in manifest.tasks] if manifest else [],
            "metrics": manifest.metrics if manifest else {},
            "workers": sum(worker.bundle == version and worker.ready for worker in workers),
            "arm_workers": sum(version in worker.arm_bundles and worker.ready for worker in workers),
            "arm_bytes": max((worker.arm_bundles.get(version or "", 0) for worker in workers), default=0),
        }

    return {
        "active": own.bundle,
        "desired": service.rollout.desired if service.rollout else None,
        "problem": service.rollout.problem if service.rollout else None,
        "models": [describe(*one) for one in known],
    }
