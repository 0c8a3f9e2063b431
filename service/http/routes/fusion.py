"""The route of the fusion config in force."""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus

import orjson
from fastapi import APIRouter, Request, Response

from model.fusion import canonical_json
from service.contract.answers import FusionReport
from service.control.fusion.state import ActiveFusion
from service.http.openapi import problems
from service.http.replies import active_service, json_answer

router = APIRouter()


@router.get("/v1/fusion", response_model=FusionReport, responses=problems(HTTPStatus.SERVICE_UNAVAILABLE))
async def fusion(request: Request) -> Response:
    """The fusion config in force, and what became of the file since."""
    service = active_service(request.app.state)
    state, in_force = service.control.fusion, service.control.in_force
    schedule = None if in_force is None else in_force.schedule
    active = state.active
    return json_answer(
        {
            "revision": active.revision,
            "version": active.version,
            "source": active.source,
            "loaded_at": active.loaded_at,
            "scenes": sorted(active.config.scenes),
            "config": orjson.loads(canonical_json(active.config)),
            "left_out": _left_out(active, service.control.snapshot().active.bundle.task_names),
            "schedule": None if schedule is None else schedule.model_dump(),
            "rejected": None if state.rejected is None else asdict(state.rejected),
        }
    )


def _left_out(active: ActiveFusion, tasks: list[str]) -> dict[str, list[str]]:
    """By scene: the tasks that do not count in it."""
    return {
        name: [task for task in tasks if not scene.weights.get(task)]
        for name, scene in sorted(active.config.scenes.items())
    }
