"""The application: routes, middleware and errors around a loaded service. Knows no ranking.

uvicorn --factory service.http.app:create_app       with FULCRUM_* in the environment; or `fulcrum serve`
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, cast

import orjson
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.contract.errors import FieldProblem, InvalidRequestError, ServiceError
from service.contract.feedback import example_event
from service.contract.query import query_of
from service.contract.request import parse_rank_request
from service.http.edge import Edge
from service.http.openapi import Examples, complete
from service.http.problems import problem
from service.http.replies import refused
from service.http.routes import (
    documentation,
    experiments,
    feedback,
    fusion,
    models,
    preview,
    ranking,
    revisions,
    status,
)
from service.http.traced import Traced
from service.processes.fleet import Fleet
from service.ranking.stopwatch import Stopwatch
from service.settings import Settings, load_settings
from service.startup import Service, load_service
from service.telemetry.metrics import Metrics
from service.telemetry.request_log import RequestLog

_BODIES_INSIDE = 16
"""Bodies of the largest size that may be in memory at a time."""

log = structlog.get_logger(__name__)


def create_app(settings: Settings | None = None, service: Service | None = None) -> FastAPI:
    """The ASGI application.

    Args:
        settings: what to load at startup; from the environment where absent.
        service: loaded already, in place of settings.
    """
    settings = service.settings if service else settings or load_settings()
    fleet = service.fleet if service else Fleet()
    metrics = service.metrics if service else Metrics(fleet)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loaded = service if service else await asyncio.to_thread(load_service, settings, metrics, fleet)
        examples = await _examples(loaded)
        app.openapi = lambda: _document(app, examples)  # type: ignore[method-assign]
        loaded.start()
        app.state.service = loaded
        try:
            yield
        finally:
            app.state.service = None
            await loaded.stop()

    app = FastAPI(
        title="Fulcrum",
        summary="Ranks short videos.",
        version=version("fulcrum"),
        lifespan=lifespan,
        redirect_slashes=False,  # it would send callers to whatever host they name
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = None
    app.state.metrics = metrics
    app.state.request_log = RequestLog(settings.slow_ms)
    for routes in (ranking, feedback, fusion, preview, revisions, experiments, status, models, documentation):
        app.include_router(routes.router)
    app.add_exception_handler(ServiceError, _refuse)
    app.add_exception_handler(HTTPException, _refuse_http)
    app.add_exception_handler(RequestValidationError, _refuse_parameters)
    # The last added is the outermost.
    app.add_middleware(preview.PreviewRoute)
    app.add_middleware(ranking.RankRoute)
    app.add_middleware(
        Edge,
        report=metrics.answered,
        max_bytes=settings.max_body_bytes,
        timeout_s=settings.read_timeout_s,
        max_bytes_inside=_BODIES_INSIDE * settings.max_body_bytes,
    )
    if settings.otel_endpoint:
        app.add_middleware(Traced)
    return app


async def _refuse(request: Request, error: Exception) -> Response:
    return refused(cast(ServiceError, error), request.app.state)


async def _refuse_parameters(request: Request, error: Exception) -> Response:
    """What the framework refuses of a path or a query."""
    found = cast(RequestValidationError, error).errors()
    listed = [FieldProblem(str(one["loc"][-1]), str(one["msg"])) for one in found]
    return refused(InvalidRequestError(*listed, count=len(listed)), request.app.state)


async def _refuse_http(request: Request, error: Exception) -> Response:
    """What the framework refuses: unknown paths and methods."""
    found = cast(HTTPException, error)
    phrase = HTTPStatus(found.status_code).phrase
    path = request.scope["path"]  # the URL's is made with the host that the caller names
    details = {
        HTTPStatus.NOT_FOUND: f"there is no {path}; see /docs",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{path} does not take {request.method}; see /docs",
    }
    detail = details.get(HTTPStatus(found.status_code), str(found.detail))
    return problem(found.status_code, phrase, detail, headers=found.headers)


async def _examples(service: Service) -> Mapping[str, Examples]:
    """The bundle's example request with the answer it gets now, and feedback on that answer: documentation
    that cannot be wrong."""
    bundle = service.control.snapshot().active.bundle
    example = bundle.manifest.example
    if not example:
        return {}
    try:
        asked = parse_rank_request(example, service.settings.max_candidates)
        ranking = await service.ranker.rank(query_of(asked), Stopwatch())
        answer = orjson.loads(ranking.body)
        examples = {"/v1/rank": (example, answer)}
        if service.feedback is not None and bundle.manifest.events is not None:
            event = example_event(bundle.manifest.events, answer["exposure_id"], answer["items"][0]["id"])
            examples["/v1/feedback"] = ({"events": [event]}, {"accepted": 1, "rejected": []})
        return examples
    except Exception as error:  # documentation must not keep a service from its start
        log.warning("example_request_refused", bundle=str(bundle.path), error=str(error))
        return {}


def _document(app: FastAPI, examples: Mapping[str, Examples]) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        app.openapi_schema = complete(document, examples)
    return app.openapi_schema
